"""What more workers bring: the same survey on clusters of several shapes, one after another, in one run.

    python -m benchmarks.workers survey.yaml [--shapes 1x1 1x2 2x1] [--size 3000] [--repeat 1] [--set a.b=value]

A shape is worker processes x threads of each; the engine of a worker has as many threads as the worker. Every shape is a local
Dask cluster of its own, on which the survey of a small mosaic has loaded everything before the clock starts; start-up is stated.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from distributed import Client, LocalCluster

from benchmarks.environment import environment, table
from benchmarks.mosaics import mosaic_of_size
from surveycnn.config import SurveyConfig, load_config
from surveycnn.run.plan import make_plan
from surveycnn.run.stages import RunTile
from surveycnn.run.store import WorkStore
from surveycnn.run.survey import run_survey

_SMALL_PX = 512
_SHAPES = ("1x1", "1x2", "2x1")


@dataclass(frozen=True)
class Shape:
    """Of a cluster."""

    n_workers: int
    n_threads: int

    def __str__(self) -> str:
        return f"{self.n_workers} x {self.n_threads}"

    @classmethod
    def parse(cls, text: str) -> Shape:
        """`text` like ``2x4``.

        >>> Shape.parse("2x4")
        Shape(n_workers=2, n_threads=4)
        """
        try:
            n_workers, n_threads = (int(part) for part in text.split("x"))
        except ValueError:
            raise argparse.ArgumentTypeError(f"shape {text!r} is not workers x threads, such as 2x4") from None
        return cls(n_workers, n_threads)


def measure(config: SurveyConfig, shape: Shape, size: int, n_times: int, folder: Path) -> tuple[float, list[dict]]:
    """Seconds of the start-up on a cluster of `shape`, and what each survey after it reports of itself."""
    started = time.perf_counter()
    options = {"n_workers": shape.n_workers, "threads_per_worker": shape.n_threads, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster, set_as_default=False) as client:
        address = cluster.scheduler_address
        small = mosaic_of_size(config, _SMALL_PX, folder / "small", cluster=address)
        run_survey(small, fresh=True)
        plan = make_plan(small)
        # the one tile has made one worker load its models; this waits for the others
        client.run(RunTile.of(plan, plan.mosaics[0], WorkStore(small.work_path), shape.n_threads).loader)
        start_up = time.perf_counter() - started
        wide = mosaic_of_size(config, size, folder / "wide", cluster=address) if size else _on(config, address, folder)
        return start_up, [run_survey(wide, fresh=True).performance for _ in range(n_times)]


def _on(config: SurveyConfig, address: str, folder: Path) -> SurveyConfig:
    """`config` on a running cluster, with its output in `folder`."""
    return config.model_copy(update={"cluster": address, "output": str(folder / "out"), "work_dir": ""})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration")
    parser.add_argument("--shapes", type=Shape.parse, nargs="+", default=[Shape.parse(text) for text in _SHAPES])
    parser.add_argument("--size", type=int, default=0, help="px, the first mosaic cropped or repeated to it; 0: as it is")
    parser.add_argument("--repeat", type=int, default=1, help="surveys on each cluster; the median counts")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    print(environment())
    config, rows, first = load_config(arguments.config, arguments.overrides), [], None
    for shape in arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            start_up, reports = measure(config, shape, arguments.size, arguments.repeat, Path(folder))
        seconds = {stage: median(report["seconds"][stage] for report in reports) for stage in reports[0]["seconds"]}
        first = first or seconds["total"]
        report = reports[0]
        rate = report["sources"] / seconds["total"]
        stages = [f"{seconds[stage]:.1f}" for stage in ("ingest", "infer", "publish", "total")]
        rows.append([shape, report["sources"], *stages, f"{rate:.0f}", f"{first / seconds['total']:.2f}", f"{start_up:.0f}"])
        print(f"{shape}: {report['engine']}", flush=True)
    header = [
        "workers x threads",
        "sources",
        "ingest s",
        "infer s",
        "publish s",
        "total s",
        "sources/s",
        "speed-up",
        "start-up s",
    ]
    print(table(header, rows))


if __name__ == "__main__":
    main()
