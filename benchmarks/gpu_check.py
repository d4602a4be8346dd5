"""A survey on a GPU: share of time that the device is busy, slowdown against bare forward passes, scores beside those of a CPU.

    python -m benchmarks.gpu_check [--size 8192] [--batches 256 512 1024 2048] [--device gpu]

Runs on the Keras backend that is installed (TensorFlow, else JAX, else torch) and says so and ends where it sees no GPU. The
mosaic is simulated once and repeated up to `--size`. Each survey runs under `cluster: local-cuda`, one worker, on a cluster where
the survey of a small mosaic has loaded everything before the clock starts; without dask-cuda, in threads of this process.
`--device cpu` sends a small mosaic through the same code on the CPU, as a check of this script.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from benchmarks.environment import environment, table
from benchmarks.mosaics import mosaic_of_size
from surveycnn.config import SurveyConfig, load_config
from surveycnn.errors import ClusterError
from surveycnn.inference import engines
from surveycnn.inference.predictor import Predictor
from surveycnn.models.backend import import_keras, is_installed, keras_backend
from surveycnn.models.card import Card
from surveycnn.models.package import golden_difference, load_package, package_folder, read_golden
from surveycnn.run.cluster_files import start_cluster
from surveycnn.run.machine import GPU_THREADS_PER_WORKER
from surveycnn.run.progress import Silent
from surveycnn.run.simulate import SimulateConfig, run_simulate
from surveycnn.run.store import WorkStore
from surveycnn.run.survey import run_survey
from surveycnn.run.worker import read_engine_note

SKY = Path(__file__).resolve().parent.parent / "runs" / "gpu_check"
MODELS = ("lens", "morphology", "merger", "photoz")
TIMED_SECONDS = 1.0
SMALL_PX, COMPARED_PX = 512, 1500


def choose_backend() -> None:
    """Let Keras take a backend that is installed, and leave memory of the GPU to the worker."""
    if not is_installed(keras_backend()):
        found = [name for name in ("tensorflow", "jax", "torch") if is_installed(name)]
        if found:
            os.environ["KERAS_BACKEND"] = found[0]
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def why_no_gpu() -> str:
    """The reason why there is nothing to check; empty where there is a GPU."""
    if not engines.may_have_gpu():
        return "this machine has no device file of a GPU, or CUDA_VISIBLE_DEVICES hides all"
    if not is_installed(keras_backend()):
        return "neither TensorFlow nor JAX nor torch is installed"
    if not engines.has_gpu():
        return f"the Keras backend {keras_backend()!r} sees no GPU: install its package for CUDA"
    return ""


@dataclass(frozen=True)
class Bare:
    """Forward passes of one model on stamps that lie on the device."""

    stamps_per_s: float
    difference: float
    """Largest one of the raw outputs from the golden ones of the package."""


@cache
def bare(name: str, batch_size: int, xla: bool) -> Bare | None:
    """What the backend's engine does with batches of that size; None where they do not fit."""
    card, model = _network(name)
    try:
        engine = engines.make_engine(keras_backend(), model, batch_size=batch_size, xla=xla)
        tensors = [import_keras().ops.ones((batch_size, *shape), "float32") for shape in card.input_shapes]
        engine.call_on_device(*tensors)
        fastest, stop = np.inf, time.perf_counter() + TIMED_SECONDS
        while time.perf_counter() < stop:
            started = time.perf_counter()
            engine.call_on_device(*tensors)
            fastest = min(fastest, time.perf_counter() - started)
    except engines.OutOfDeviceMemory:
        return None
    golden = read_golden(package_folder(name), card)
    raw = Predictor(card, lambda _: engine, batch_size).predict_raw(golden.stamps, *golden.fluxes)
    return Bare(batch_size / fastest, golden_difference(raw, golden.raw))


@cache
def _network(name: str) -> tuple[Card, Any]:
    return load_package(package_folder(name), golden=False)


def bare_table(batches: Sequence[int]) -> str:
    """Forward passes by model, batch size and, on TensorFlow, with XLA and without."""
    rows = []
    for name in MODELS:
        for xla in (False, True) if keras_backend() == "tensorflow" else (False,):
            measured = [bare(name, batch_size, xla) for batch_size in batches]
            rates = [f"{one.stamps_per_s:,.0f}" if one else "does not fit" for one in measured]
            largest = max((one.difference for one in measured if one), default=np.nan)
            rows.append([name, "yes" if xla else "no", *rates, f"{largest:.1e}"])
    return table(["model", "XLA", *(f"stamps/s at {n}" for n in batches), "largest difference from golden"], rows)


class InferSpan(Silent):
    """A progress that notes when inference begins and ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def add(self, stage: str, n_units: int) -> None:
        self._note(stage)

    def advance(self, stage: str, n_units: int = 1) -> None:
        self._note(stage)

    def _note(self, stage: str) -> None:
        if stage == "infer":
            self.times.append(time.perf_counter())


@contextmanager
def sampled_utilisation() -> Iterator[list[tuple[float, float]]]:
    """Times and per cent of the first GPU's utilisation as its driver tells it, every tenth of a second; empty without pynvml."""
    samples: list[tuple[float, float]] = []
    done = threading.Event()

    def sample(pynvml: Any) -> None:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not done.wait(0.1):
            samples.append((time.perf_counter(), pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))

    thread = None
    with suppress(Exception):  # without the package or the driver there are no samples
        import pynvml

        pynvml.nvmlInit()
        thread = threading.Thread(target=sample, args=(pynvml,), daemon=True)
        thread.start()
    try:
        yield samples
    finally:
        done.set()
        if thread:
            thread.join()


@contextmanager
def shared_cluster(device: str) -> Iterator[tuple[str, str]]:
    """Value of `cluster` for all surveys, and what to say of it."""
    with ExitStack() as stack:
        if device == "cpu":
            yield "threads", "threads of this process"
            return
        try:
            found = stack.enter_context(start_cluster("local-cuda"))
        except ClusterError as error:
            yield "threads", f"threads of this process, as local-cuda is not to be had: {error}"
        else:
            yield found.scheduler_address, f"local-cuda, {GPU_THREADS_PER_WORKER} threads per worker"


HEADER = [
    "models",
    "sources",
    "infer, s",
    "sources/s",
    "busy",
    "busy, NVML",
    "bare forward passes, s",
    "slowdown",
    "seconds of steps",
]


def timed_survey(config: SurveyConfig) -> list[str]:
    """Row of the table for a survey that is run anew; `busy` is the share of the stage infer inside the engines."""
    span = InferSpan()
    with sampled_utilisation() as samples:
        told = run_survey(config, fresh=True, progress=span).performance
    note = read_engine_note(WorkStore(config.work_path).engine_path)
    assert note is not None  # every run leaves one
    print(f"engine: {note.description}")
    infer, steps = told["seconds"]["infer"], told["step_seconds"]
    during = [share for at, share in samples if span.times[0] <= at <= span.times[-1]]
    measured = [bare(name, note.batch_size, note.xla) for name in config.models]
    alone = sum(told["sources"] / one.stamps_per_s for one in measured if one) / told["workers"]["most_at_once"]
    return [
        ", ".join(config.models),
        f"{told['sources']:,}",
        f"{infer:.2f}",
        f"{told['sources'] / infer:,.0f}",
        f"{steps['forward'] / told['workers']['most_at_once'] / infer:.2f}",
        f"{np.mean(during) / 100:.2f}" if during else "not known",
        f"{alone:.2f}",
        f"{infer / alone:.2f}",
        ", ".join(f"{step} {seconds:.1f}" for step, seconds in steps.items()),
    ]


def differences(config: SurveyConfig, folder: Path) -> str:
    """Largest differences of the models' columns between the survey of `config` here and on the CPU of another process."""
    here = run_survey(config, fresh=True).output
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", str(folder / "survey.yaml"), "--no-prefect", "--fresh"]
    changes = {"output": folder / "cpu", "work_dir": folder / "cpu" / "work", "cluster": "serial", "engine.kind": keras_backend()}
    changes["models"] = f"[{','.join(config.models)}]"
    command += [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    there = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=there)
    found, expected = (Table.read(output / "catalog.fits") for output in (here, folder / "cpu"))
    if list(found["source_id"]) != list(expected["source_id"]):
        return "the catalogs have other sources"
    rows = []
    for name in found.colnames:
        if name.startswith(("lens_", "merger_", "morph_", "z_")) and found[name].dtype.kind == "f":
            one, other = (np.asarray(catalog[name], np.float64) for catalog in (found, expected))
            rows.append((float(np.nanmax(np.abs(one - other), initial=0.0)), name, int((np.isnan(one) != np.isnan(other)).sum())))
    largest = sorted(rows, reverse=True)[:8]
    cells = [[name, f"{difference:.1e}", n_nan] for difference, name, n_nan in largest]
    return f"{len(found)} sources, largest differences\n" + table(["column", "difference", "NaN in one alone"], cells)


def check(arguments: argparse.Namespace, folder: Path) -> None:
    """Print all tables."""
    more = f"Keras on {keras_backend()}, device {engines.gpu_name() if engines.has_gpu() else 'CPU'}"
    print(environment(more), flush=True)
    print(f"\nforward passes alone, stamps on the device\n{bare_table(arguments.batches)}", flush=True)
    simulated = run_simulate(SimulateConfig(output=str(SKY), ny=arguments.drawn, nx=arguments.drawn))
    engine = [] if arguments.device == "gpu" else [f"engine.kind={keras_backend()}", f"engine.batch_size={arguments.batches[0]}"]
    config = load_config(simulated.survey_yaml, engine)
    with shared_cluster(arguments.device) as (word, told):
        print(f"\ncluster: {told}", flush=True)
        started = time.perf_counter()
        run_survey(mosaic_of_size(config, SMALL_PX, folder / "small", cluster=word), fresh=True)
        print(f"start-up, on {SMALL_PX} px: {time.perf_counter() - started:.1f} s", flush=True)
        large = mosaic_of_size(config, arguments.size, folder / "large", cluster=word)
        rows = [timed_survey(large.model_copy(update={"models": models})) for models in (("lens",), MODELS)]
        print(f"\nsurveys of {arguments.size} px\n{table(HEADER, rows)}", flush=True)
        compared = mosaic_of_size(config, min(COMPARED_PX, arguments.size), folder / "compared", cluster=word)
        print(f"\nbeside a CPU: {differences(compared, folder / 'compared')}")


def pretend_device() -> None:
    """Let engines on the CPU take the path of those on a device."""
    make = engines.make_engine

    def make_engine(*given: Any, **options: Any) -> Any:
        engine = make(*given, **options)
        engine.on_device = True
        return engine

    engines.make_engine = make_engine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--size", type=int, help="side of the mosaic in pixels; 8192, or 700 on a CPU")
    parser.add_argument("--drawn", type=int, default=1500, help="side of the mosaic that is simulated and repeated")
    parser.add_argument("--batches", type=int, nargs="+", help="stamps per forward pass; 256 to 2048, or 16 on a CPU")
    arguments = parser.parse_args()
    on_cpu = arguments.device == "cpu"
    arguments.size = arguments.size or (700 if on_cpu else 8192)
    arguments.batches = arguments.batches or ([16] if on_cpu else [256, 512, 1024, 2048])
    choose_backend()
    if on_cpu:
        pretend_device()
    elif reason := why_no_gpu():
        print(f"no GPU to check: {reason}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        check(arguments, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
