"""A Dask cluster inside one Slurm allocation of one or many nodes: the scheduler lives in the driver, srun starts the workers.

The driver runs in the batch script. What the nodes have is read from the SLURM_* variables of the allocation.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import Scheduler, Security
from distributed.deploy.spec import ProcessInterface, SpecCluster

from surveycnn.errors import ClusterError
from surveycnn.run.machine import GPU_THREADS_PER_WORKER, local_shape

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 10.0
"""Time that the step of a node has to end."""
POLL_SECONDS = 0.2
GOOD_SECONDS = 600.0
"""A step that has lived so long starts its count of restarts anew."""


@dataclass(frozen=True)
class Node:
    """What an allocation has of a node."""

    name: str
    n_cores: int
    memory_bytes: int | None
    """None where the allocation does not say."""
    n_gpus: int


@dataclass(frozen=True)
class Shape:
    """Workers of a node."""

    n_workers: int
    n_threads: int
    memory_limit: int | None
    """Bytes of each; None leaves it to Dask, on the node."""


class SlurmAllocation(SpecCluster):
    """Dask workers on all nodes of the allocation that this process runs in; other arguments as for a SpecCluster.

    Each node has a step of its own, so that one that ends is started again without the others.

    Parameters
    ----------
    threads_per_worker
        None gives four cores to a worker, and with GPUs four threads.
    workers_per_node
        None follows from the cores; with GPUs it is one for each GPU.
    gpus
        Start ``dask cuda worker``.
    driver_memory
        Left free on each node, because the driver and the scheduler share one of them with workers.
    n_restarts
        How often the step of a node is started again before the run goes on without that node.
    python
        How Python is called on the nodes: ``apptainer exec --nv image.sif python`` where it lies in an image.
    srun_args, worker_args
        Further arguments of ``srun`` and of the command of the workers.
    log_directory
        Where each step writes what its workers print; on a file system that all nodes share.
    security
        True encrypts, with certificates made for this run that go to the workers by their environment.

    Raises
    ------
    ClusterError
        Outside of an allocation, or where its nodes have too little for a worker.
    """

    keeps_workers = True
    """Steps that end are started again by this class itself."""

    def __init__(
        self,
        *,
        threads_per_worker: int | None = None,
        workers_per_node: int | None = None,
        gpus: bool = False,
        driver_memory: str | int = "4GB",
        n_restarts: int = 5,
        interface: str | None = None,
        local_directory: str | None = None,
        log_directory: str = "slurm-logs",
        python: str = sys.executable,
        srun_args: Sequence[str] = (),
        worker_args: Sequence[str] = (),
        security: Security | bool | None = None,
        scheduler_options: Mapping[str, Any] | None = None,
        silence_logs: int | bool = logging.ERROR,
        **arguments: Any,
    ):
        reserved = parse_bytes(driver_memory)
        nodes = nodes_of_allocation(os.environ)
        shapes = [shape_of(node, threads_per_worker, workers_per_node, gpus, reserved) for node in nodes]
        security = Security.temporary() if security is True else security or Security()
        Path(log_directory).mkdir(parents=True, exist_ok=True)
        options = {
            "gpus": gpus,
            "python": python,
            "srun_args": srun_args,
            "worker_args": [*_given("--interface", interface), *_given("--local-directory", local_directory), *worker_args],
            "n_restarts": n_restarts,
            "environment": _environment(security),
            "log": f"{log_directory}/{os.environ['SLURM_JOB_ID']}-",
        }
        scheduler = {"interface": interface, "security": security, "dashboard_address": "127.0.0.1:0"}
        scheduler["protocol"] = "tls" if security.require_encryption else "tcp"
        super().__init__(
            workers={node.name: _spec(node, shape, options) for node, shape in zip(nodes, shapes, strict=True)},
            scheduler={"cls": Scheduler, "options": scheduler | dict(scheduler_options or {})},
            security=security,
            silence_logs=silence_logs,
            **arguments,
        )


def _spec(node: Node, shape: Shape, options: dict[str, Any]) -> dict[str, Any]:
    """What SpecCluster has to know of a node. No worker has the name of its node alone, so it leaves replacing to the step."""
    group = [f"-{number}" for number in range(shape.n_workers)]
    return {"cls": NodeStep, "options": options | {"node": node, "shape": shape}, "group": group}


class NodeStep(ProcessInterface):
    """The step of srun that runs the workers of one node, started again where it ends before the cluster."""

    def __init__(
        self,
        scheduler: str,
        name: str,
        *,
        node: Node,
        shape: Shape,
        environment: dict[str, str],
        n_restarts: int,
        log: str,
        **how: Any,
    ):
        super().__init__(scheduler, name)
        srun = ["srun", "--nodes=1", "--ntasks=1", f"--nodelist={node.name}", f"--cpus-per-task={node.n_cores}", "--overlap"]
        # --export: a driver that was submitted with --export=NONE would hand on as little
        srun += [f"--job-name=surveycnn-{node.name}", "--export=ALL", "--quiet", *how["srun_args"]]
        self.command = [*srun, *worker_command(scheduler, node, shape, how["gpus"], how["python"]), *how["worker_args"]]
        self._node, self._environment, self._n_restarts = node, environment, n_restarts
        self._log = Path(f"{log}{node.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = self._start_process()
        self._kept = asyncio.create_task(self._keep(self._process))
        await super().start()

    async def close(self) -> None:
        """End the step: at SIGTERM srun kills all that it has started, which harms no result."""
        if self._kept is not None and self._process is not None:
            self._kept.cancel()
            for end in (self._process.terminate, self._process.kill):
                end()
                with suppress(TimeoutError):
                    await asyncio.wait_for(_ended(self._process), CLOSE_SECONDS)
                    break
        await super().close()

    def _start_process(self) -> subprocess.Popen[bytes]:
        # a session of its own: Ctrl-C in a terminal is the driver's, which closes its steps in order
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,
            )

    async def _keep(self, process: subprocess.Popen[bytes]) -> None:
        n_left, pause = self._n_restarts, 1.0
        while True:
            started = time.monotonic()
            code = await _ended(process)
            if time.monotonic() - started > GOOD_SECONDS:
                n_left, pause = self._n_restarts, 1.0
            found = f"the workers of node {self._node.name} have ended (srun: {code}; {self._log})"
            if n_left == 0:
                logger.error("%s again and again: the run goes on without them", found)
                return
            logger.warning("%s and are started again", found)
            await asyncio.sleep(pause)
            n_left, pause = n_left - 1, min(4 * pause, 60.0)
            try:
                process = self._process = self._start_process()
            except OSError as error:  # the one that has ended is looked at again
                logger.warning("the workers of node %s cannot be started (%s)", self._node.name, error)


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process, once it has one."""
    while (code := process.poll()) is None:
        await asyncio.sleep(POLL_SECONDS)
    return code


def worker_command(scheduler: str, node: Node, shape: Shape, gpus: bool, python: str) -> list[str]:
    """The command that starts the workers of a node."""
    module = "dask_cuda.cli" if gpus else "distributed.cli.dask_worker"
    name = node.name if shape.n_workers > 1 else f"{node.name}-0"  # with more than one Dask adds the numbers
    arguments = {"nthreads": shape.n_threads, "memory-limit": shape.memory_limit or "auto", "name": name, "death-timeout": 120}
    if not gpus:  # else it is a worker for each GPU
        arguments["nworkers"] = shape.n_workers
    arguments["dashboard-address"] = "127.0.0.1:0"
    return [
        *shlex.split(python),
        "-m",
        module,
        scheduler,
        *(text for key in arguments for text in (f"--{key}", str(arguments[key]))),
    ]


def shape_of(node: Node, n_threads: int | None, n_workers: int | None, gpus: bool, reserved: int) -> Shape:
    """How the cores, GPUs and memory of a node are divided into workers.

    >>> shape_of(Node("n1", 32, 64 * 10**9, 0), None, None, False, 4 * 10**9)
    Shape(n_workers=8, n_threads=4, memory_limit=7500000000)

    Raises
    ------
    ClusterError
        Where it has no GPU but should, or less memory than the driver is to have.
    """
    if gpus:
        n_workers, n_threads = node.n_gpus, n_threads or GPU_THREADS_PER_WORKER
        if not n_workers:
            raise ClusterError(
                "this allocation has no GPUs: submit with --gres=gpu:N or --gpus-per-node=N, or use slurm-allocation"
            )
    else:
        n_workers, n_threads = local_shape(node.n_cores, n_workers, n_threads)
    if node.memory_bytes is None:
        return Shape(n_workers, n_threads, None)
    limit = (node.memory_bytes - reserved) // n_workers
    if limit <= 0:
        raise ClusterError(
            f"node {node.name} of this allocation has {node.memory_bytes / 1e9:.1f} GB, and {reserved / 1e9:.1f} GB of it are "
            "kept for the driver: submit with a larger --mem, or lower driver_memory in the cluster file"
        )
    return Shape(n_workers, n_threads, limit)


def nodes_of_allocation(environment: Mapping[str, str]) -> list[Node]:
    """The nodes of the Slurm allocation that `environment` describes.

    Raises
    ------
    ClusterError
        Where it describes none.
    """
    if not {"SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_JOB_CPUS_PER_NODE"} <= environment.keys():
        raise ClusterError(
            "this is no Slurm allocation (no SLURM_JOB_NODELIST): submit the run with sbatch deploy/slurm/multi-node.sbatch, "
            "or use the cluster slurm-cpu, which submits jobs of its own"
        )
    names = _hostnames(environment["SLURM_JOB_NODELIST"])
    cores = counts_per_node(environment["SLURM_JOB_CPUS_PER_NODE"])
    n_gpus = int(environment.get("SLURM_GPUS_ON_NODE", "0"))
    return [Node(name, n_cores, _memory(environment, n_cores), n_gpus) for name, n_cores in zip(names, cores, strict=True)]


def counts_per_node(text: str) -> list[int]:
    """Numbers that Slurm writes for the nodes of a job.

    >>> counts_per_node("72(x2),36")
    [72, 72, 36]
    """
    parts = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(",")]
    if not all(parts):
        raise ClusterError(f"SLURM_JOB_CPUS_PER_NODE is {text!r}, but a list such as 72(x2),36 was expected")
    return [int(part[1]) for part in parts if part for _ in range(int(part[2] or 1))]


def _hostnames(nodes: str) -> list[str]:
    try:
        done = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"scontrol cannot be run here ({error}): the driver needs Slurm's commands on its node") from None
    if done.returncode:
        raise ClusterError(f"scontrol does not know the nodes {nodes!r} of this allocation: {done.stderr.strip()}")
    return done.stdout.split()


def _memory(environment: Mapping[str, str], n_cores: int) -> int | None:
    """Bytes of a node; --mem=0 asks for all of it, and Dask on the node knows how much that is."""
    per_node, per_core = (int(environment.get(f"SLURM_MEM_PER_{unit}", "0")) for unit in ("NODE", "CPU"))
    return (per_node or per_core * n_cores) * 2**20 or None


def _environment(security: Security) -> dict[str, str]:
    """What workers get beside the environment of the driver: its Dask configuration, with the certificates.

    Certificates in the environment are never on a disk, and no other user can read them.
    """
    worker = security.get_tls_config_for_role("worker")
    if not security.require_encryption:
        return {}
    keys = {"ca-file": worker["ca_file"], "worker": {"cert": worker["cert"], "key": worker["key"]}}
    tls = {"distributed": {"comm": {"require-encryption": True, "tls": keys}}}
    return {"DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(dask.config.merge(dask.config.config, tls))}


def _given(option: str, value: str | None) -> list[str]:
    return [] if value is None else [option, value]
