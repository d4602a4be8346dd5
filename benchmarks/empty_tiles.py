"""What a tile costs when there is nothing to do: a mosaic of very many tiles through plan and execution, and the driver's memory.

    python -m benchmarks.empty_tiles [--tiles 1000000] [--cluster local]

No pixels are read: the plan is made of headers that nobody wrote, and the function that is called with each tile returns at once.
Everything else is what a survey does: units with their ids, the look for results that are there, execution on the cluster,
retries, counting. The scheduler of a cluster `local` lives in the process of the driver, so the memory is that of both.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml

from benchmarks.environment import environment
from surveycnn.config import load_config
from surveycnn.run.inputs import MosaicInputs
from surveycnn.run.plan import MosaicPlan, Plan, WorkUnit
from surveycnn.run.progress import Silent
from surveycnn.run.session import Session, run_tiles
from surveycnn.run.stages import TileReport
from surveycnn.run.store import WorkStore
from surveycnn.sky.tiling import TileGrid

CORE_PX = 64
N_SAMPLES = 200
SETTLED = 0.2
"""Share of the tiles before which the memory still settles: buffers and pools of threads that are made once."""

_STEPS = ("read", "detect", "measure", "load", "stamps", "predict", "forward", "write")


class Nothing:
    """Stands for a tile's work: it reports as a tile does, of zero seconds."""

    def __call__(self, unit: WorkUnit) -> TileReport:
        return TileReport(0, dict.fromkeys(_STEPS, 0.0))


class MemoryProgress(Silent):
    """Notes the memory of this process over the tiles done."""

    def __init__(self, n_tiles: int):
        self.n_done, self._every = 0, max(1, n_tiles // N_SAMPLES)
        self.samples: list[tuple[int, float]] = []

    def advance(self, stage: str, n_units: int = 1) -> None:
        self.n_done += n_units
        if self.n_done % self._every == 0:
            self.samples.append((self.n_done, resident_mb()))


def resident_mb() -> float:
    """Memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def make_empty_plan(n_tiles: int, cluster: str, folder: Path) -> Plan:
    """Plan of one square mosaic of at least `n_tiles` tiles."""
    side = CORE_PX * math.ceil(math.sqrt(n_tiles))
    mosaic = {"id": "empty", "images": [{"band": band, "path": f"{band}.fits"} for band in "gri"]}
    survey = {"name": "empty", "mosaics": [mosaic], "cluster": cluster, "output": str(folder / "out")}
    (folder / "survey.yaml").write_text(yaml.safe_dump(survey))
    config = load_config(folder / "survey.yaml")
    inputs = MosaicInputs("empty", tuple(config.mosaics[0].images), side, side, "", 0.2, 0, grids=(None,) * 3)
    return Plan(config, (MosaicPlan(inputs, TileGrid("empty", side, side, CORE_PX, CORE_PX), ("r",), (), {}),), {})


def fit_line(samples: list[tuple[int, float]]) -> tuple[float, float]:
    """Slope of the memory and its standard error, MB per million tiles."""
    tiles, memory = np.array(samples[round(SETTLED * len(samples)) :]).T
    (slope, _), covariance = np.polyfit(tiles / 1e6, memory, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def run(n_tiles: int, cluster: str) -> None:
    """Run the tiles and print what they cost."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        plan = make_empty_plan(n_tiles, cluster, Path(folder))
        mosaic, n_tiles = plan.mosaics[0], plan.n_tiles
        progress = MemoryProgress(n_tiles)
        session = Session(plan, WorkStore(plan.config.work_path), progress, stack)
        started = time.perf_counter()
        session.todo(mosaic)
        looked = time.perf_counter()
        print(session.cluster.description)
        ready, cpu = time.perf_counter(), time.process_time()
        states = run_tiles(session, mosaic, Nothing)
        ended, cpu = time.perf_counter(), time.process_time() - cpu
    slope, error = fit_line(progress.samples)
    seconds = {"plan and look for results": looked - started, "execute": ended - ready}
    total = sum(seconds.values())
    print(f"{n_tiles} tiles: {dict(states)}")
    for name, value in seconds.items():
        print(f"{name:>26} {value:8.2f} s {1e3 * value / n_tiles:8.4f} ms per tile")
    print(f"{'both':>26} {total:8.2f} s {1e3 * total / n_tiles:8.4f} ms per tile; CPU of the driver {1e3 * cpu / n_tiles:.4f} ms")
    first, last = progress.samples[0][1], progress.samples[-1][1]
    print(
        f"memory of the driver with the scheduler: {first:.0f} MB at first, {last:.0f} MB at the end; after {SETTLED:.0%} of the "
        f"tiles {slope:.1f} +- {error:.1f} MB per million tiles"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=1_000_000, help="number of tiles")
    parser.add_argument("--cluster", default="local", help="as in the configuration")
    arguments = parser.parse_args()
    print(environment())
    run(arguments.tiles, arguments.cluster)


if __name__ == "__main__":
    main()
