"""A whole survey by the clock: start-up apart, seconds of its stages, thread-seconds of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from astropy.table import Table

from benchmarks.mosaics import mosaic_of_size
from surveycnn.config import SurveyConfig
from surveycnn.run.local_cluster import local_shape, n_cores
from surveycnn.run.progress import Silent
from surveycnn.run.survey import run_survey

STAGES = ("plan", "ingest", "infer", "publish")
SMALL_PX = 512
"""Side of the mosaic whose survey loads all that a longer one needs."""


class Lap(NamedTuple):
    """How long something took."""

    seconds: float
    """By the clock on the wall."""
    cpu: float
    """Of all threads of this process: what is left of the comparison on a busy machine."""


Parts = dict[str, dict[int, Lap]]
"""Times by part and number of threads."""


def lap(function: Callable[[], Any]) -> tuple[Lap, Any]:
    """How long a call took, and what it gave."""
    started, cpu = time.perf_counter(), time.process_time()
    result = function()
    return Lap(time.perf_counter() - started, time.process_time() - cpu), result


class Marks(Silent):
    """A progress that notes when each stage did something last."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def add(self, stage: str, n_units: int) -> None:
        self.first.setdefault(stage, time.perf_counter())

    def advance(self, stage: str, n_units: int = 1) -> None:
        self.last[stage] = time.perf_counter()

    def spans(self, ended: float) -> dict[str, float]:
        """Seconds of each of :data:`STAGES`: a stage goes on until its last unit is done, publishing until `ended`."""
        ends = {
            "plan": self.first.get("ingest", self.started),
            "ingest": self.last.get("ingest", self.started),
            "infer": self.last.get("infer", self.started),
            "publish": ended,
        }
        seconds, before = {}, self.started
        for stage in STAGES:
            seconds[stage] = max(ends[stage] - before, 0.0)
            before = max(ends[stage], before)
        return seconds


@dataclass(frozen=True)
class Timed:
    """A survey that has run."""

    seconds: float
    """From the call to the published catalog."""
    cpu: float
    """CPU seconds of this process: those of the survey, but for the workers of a Dask cluster."""
    stages: dict[str, float]
    """Seconds of each of :data:`STAGES`; their sum is `seconds`."""
    steps: dict[str, float]
    """Seconds of the steps of all tiles, added over threads."""
    n_sources: int
    catalog: Path
    """The FITS file."""

    @property
    def rate(self) -> float:
        """Sources per second."""
        return self.n_sources / self.seconds

    def rows(self) -> Table:
        """The catalog by source_id."""
        rows = Table.read(self.catalog)
        rows.sort("source_id")
        return rows


def run_timed(config: SurveyConfig) -> Timed:
    """Run a survey anew."""
    marks = Marks()
    taken, result = lap(lambda: run_survey(config, fresh=True, progress=marks))
    steps = {step: float(value) for step, value in result.status.seconds.items()}
    stages = marks.spans(marks.started + taken.seconds)
    return Timed(taken.seconds, taken.cpu, stages, steps, result.n_sources, result.output / "catalog.fits")


def start_up(config: SurveyConfig, folder: Path) -> Timed:
    """The survey of a small mosaic with the settings of `config`: whatever it loads is there for the next one of this process
    or of the running cluster that `config` names."""
    return run_timed(mosaic_of_size(config, SMALL_PX, folder, cluster=config.cluster))


@contextmanager
def running_cluster(word: str) -> Iterator[str]:
    """Value of `cluster` for surveys that shall share one: `word` itself, or for ``local`` the address of a local Dask cluster
    of the same shape, which stays up between them."""
    with ExitStack() as stack:
        if word == "local":
            from distributed import LocalCluster

            n_workers, n_threads = local_shape(n_cores())
            options = {"n_workers": n_workers, "threads_per_worker": n_threads, "dashboard_address": None, "host": "127.0.0.1"}
            word = stack.enter_context(LocalCluster(**options)).scheduler_address
        yield word


def stage_lines(surveys: Sequence[Timed]) -> str:
    """Stages and steps of the fastest of some surveys, in two lines."""
    best = min(surveys, key=lambda survey: survey.seconds)
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in best.stages.items())
    steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in best.steps.items())
    return f"stages of the fastest survey, s: {stages}\nsteps of its tiles, thread-seconds: {steps}"
