"""What each target needs on the machine where a run is started, and whether it is here; nothing is started or changed."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from surveycnn.deployment.findings import Finding
from surveycnn.deployment.kubernetes_api import kubernetes
from surveycnn.deployment.machine import ask, command, package
from surveycnn.deployment.prefect_server import prefect
from surveycnn.run.cluster import describe_cluster

SMALL_MEMORY = 4 * 2**30
"""Bytes below which a worker with all models has no room for tiles of the default size."""


def local() -> Iterator[Finding]:
    """Worker processes on the cores of this machine."""
    shape = describe_cluster("local")
    limit = shape["memory_limit_bytes"]
    workers = f"{shape['workers']} worker" + "s" * (shape["workers"] > 1)
    text = f"{workers} of {shape['threads_per_worker']} threads with {limit / 2**30:.1f} GiB each"
    small = Finding("note", f"{text}, which is little", "see `surveycnn plan`, and lower tiling.core_px where it says so")
    yield small if limit < SMALL_MEMORY else Finding("ok", text)
    free = shutil.disk_usage(Path.cwd()).free
    yield Finding("ok", f"{free / 2**30:.0f} GiB free in the current folder")
    for engine in ("openvino", "tensorflow"):
        yield Finding("ok", f"engine {engine} {importlib.metadata.version(engine)}")


def local_cuda() -> Iterator[Finding]:
    """A worker for each GPU of this machine."""
    yield package("dask-cuda", "cuda")
    yield from _gpus()
    cuda = {name: importlib.metadata.version(name) for name in _cuda_packages()}
    majors = {name.rsplit("-cu", 1)[1] for name in cuda}
    if len(majors) > 1:
        yield Finding(
            "wrong",
            f"packages of CUDA {' and '.join(sorted(majors))} are installed beside each other",
            "make a fresh environment with pip install 'surveycnn[cuda]'",
        )
    if not any(name.startswith("nvidia-cudnn") for name in cuda):
        yield Finding("missing", "no cuDNN for TensorFlow", "pip install 'surveycnn[cuda]', which brings its CUDA with it")


def _cuda_packages() -> list[str]:
    names = {(one.metadata["Name"] or "").lower() for one in importlib.metadata.distributions()}
    return sorted(name for name in names if name.startswith("nvidia-") and name.rpartition("-cu")[2].isdigit())


def _gpus() -> Iterator[Finding]:
    try:
        import pynvml
    except ImportError:
        yield Finding("missing", "the NVIDIA driver cannot be asked (no pynvml)", "pip install 'surveycnn[cuda]'")
        return
    try:
        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        names = [
            f"{pynvml.nvmlDeviceGetName(one)} {pynvml.nvmlDeviceGetMemoryInfo(one).total / 2**30:.0f} GiB" for one in devices
        ]
        version = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError as error:
        yield Finding("missing", f"no NVIDIA driver answers ({error})", "install the driver, or use `cluster: local`")
        return
    if not names:
        yield Finding("missing", f"driver {version} lists no GPU", "use `cluster: local`")
    yield from (Finding("ok", f"GPU {i}: {name}, driver {version}") for i, name in enumerate(names))
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        hidden = os.environ["CUDA_VISIBLE_DEVICES"]
        yield Finding("missing", f"CUDA_VISIBLE_DEVICES is {hidden!r}, which hides every GPU", "unset it")


def slurm() -> Iterator[Finding]:
    """Jobs of a Slurm cluster as workers, and flows in jobs."""
    yield package("dask-jobqueue", "slurm")
    advice = "go to a login node of the cluster, or load its module for Slurm"
    commands = [command(name, advice) for name in ("sbatch", "squeue", "scancel", "srun")]
    yield from commands
    if commands[0].kind == "missing":
        return
    asked = ask("sinfo", "--noheader", "--format=%P %a %l %D nodes")
    if asked.is_ok and asked.output:
        yield from (Finding("ok", f"partition {line}") for line in asked.output.splitlines())
    else:
        found = "lists no partition" if asked.is_ok else f"does not answer ({asked.error})"
        yield Finding("missing", f"the Slurm controller {found}", "ask whoever runs the cluster")
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        yield Finding("note", f"this is job {job}, with {os.environ.get('SLURM_JOB_NUM_NODES', '?')} nodes")


TARGETS: dict[str, Callable[[], Iterator[Finding]]] = {
    "local": local,
    "local-cuda": local_cuda,
    "prefect": prefect,
    "slurm": slurm,
    "kubernetes": kubernetes,
}
