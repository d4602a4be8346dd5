"""Ours beside two scripts that a user would write by hand, for the same lens network on the same mosaic.

    python -m benchmarks.scripts survey.yaml [--size 4096] [--naive 300] [--repeat 2] [--set a.b=value]

*Careful* (:mod:`benchmarks.careful_script`) reads whole images, subtracts SEP's background, detects on the summed bands, cuts
with numpy and calls Keras's `predict` in batches of 64. *Naive* (:mod:`benchmarks.naive_script`) goes source by source, on the
300 brightest of the careful one's. Each side has a process of its own, which loads the model and runs once on a mosaic of 512 px
before any clock starts; then they take turns. Ours measures fluxes in all bands and publishes HATS, Zarr and FITS beside; the
scripts write one FITS table of positions and scores. Scores of sources within 1 px of each other are compared.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from benchmarks.environment import environment, table
from benchmarks.mosaics import mosaic_of_size
from benchmarks.timed import SMALL_PX, lap, run_timed, start_up
from surveycnn.config import SurveyConfig, load_config
from surveycnn.run.machine import n_cores

SIDES = ("ours", "careful", "naive")
MATCH_PX = 1.0

_here: dict[str, Any] = {}
"""What a side's process keeps between its jobs."""


class Side:
    """A process for one side."""

    def __init__(self, name: str, config: SurveyConfig, small: SurveyConfig, folder: Path, n_naive: int):
        self.name, self._folder, self._n_naive = name, folder, n_naive
        self.runs: list[tuple[float, float, int]] = []
        """Seconds, CPU seconds, sources."""
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        folder.mkdir()
        self._pool.submit(_prepare, name, config, small, folder).result()

    @property
    def catalog(self) -> Path:
        return self._folder / "scores.fits"

    def once(self, sources: Path) -> None:
        """Run; the naive side on the first of `sources`."""
        self.runs.append(self._pool.submit(_once, self.name, self._folder, sources, self._n_naive).result())

    @property
    def rate(self) -> float:
        """Sources per second, the median."""
        return median(n / seconds for seconds, _, n in self.runs)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per source, the median."""
        return median(1e3 * cpu / n for _, cpu, n in self.runs)

    def close(self) -> None:
        self._pool.shutdown()


def _prepare(name: str, config: SurveyConfig, small: SurveyConfig, folder: Path) -> None:
    _here["config"] = config
    if name == "ours":
        start_up(config, folder / "start_up")
        return
    from benchmarks import careful_script, naive_script

    _here["script"] = {"careful": careful_script, "naive": naive_script}[name]
    _here["model"] = careful_script.load()
    images = careful_script.images_of(small)
    careful_script.run(images, _here["model"], folder / "small.fits")
    if name == "naive":
        naive_script.run(images, _here["model"], folder / "small.fits", 2, folder / "small_naive.fits")


def _once(name: str, folder: Path, sources: Path, n_naive: int) -> tuple[float, float, int]:
    config, output = _here["config"], folder / "scores.fits"
    if name == "ours":
        survey = run_timed(config)
        survey.rows()["x", "y", "lens_score"].write(output, overwrite=True)
        return survey.seconds, survey.cpu, survey.n_sources
    from benchmarks.careful_script import images_of

    images, model, script = images_of(config), _here["model"], _here["script"]
    more = () if name == "careful" else (sources, n_naive)
    taken, n_sources = lap(lambda: script.run(images, model, *more, output))
    return *taken, n_sources


def agreement(ours: Table, theirs: Table) -> tuple[int, float, float]:
    """Number of sources that are within 1 px of each other; Spearman's coefficient of their scores, and of the scores of those
    whose stamps are the same pixels, as SEP's centre of light is not ours.
    """
    positions = [np.column_stack([rows["y"], rows["x"]]) for rows in (ours, theirs)]
    distance, nearest = cKDTree(positions[1]).query(positions[0], distance_upper_bound=MATCH_PX)
    found = np.isfinite(distance)
    here, there = positions[0][found], positions[1][nearest[found]]
    scores = np.asarray(ours["lens_score"])[found], np.asarray(theirs["lens_score"])[nearest[found]]
    is_same = (np.floor(here) == np.floor(there)).all(axis=1)
    ranks = [float(spearmanr(*pair, nan_policy="omit").statistic) for pair in (scores, [some[is_same] for some in scores])]
    return int(found.sum()), *ranks


def print_sides(sides: dict[str, Side]) -> None:
    """The table."""
    ours, rows = Table.read(sides["ours"].catalog), []
    for name, side in sides.items():
        seconds, n = median(seconds for seconds, _, _ in side.runs), side.runs[-1][-1]
        n_matched, *ranks = agreement(ours, Table.read(side.catalog))
        cells = [f"{seconds:.1f}", f"{side.rate:.1f}", f"{sides['ours'].rate / side.rate:.2f}", f"{side.cpu_ms:.2f}"]
        rows.append([name, n, *cells, n_matched, *(f"{value:.4f}" for value in ranks)])
    header = ["side", "sources", "s", "sources/s", "ours over it", "CPU ms/source", "within 1 px"]
    header += ["Spearman of scores", "where pixels agree"]
    print(table(header, rows), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration; its first mosaic is used")
    parser.add_argument("--size", type=int, default=4096, help="side of the mosaic, px: it is cropped or repeated")
    parser.add_argument("--naive", type=int, default=300, help="sources of the naive script")
    parser.add_argument("--repeat", type=int, default=2, help="times that each side runs")
    parser.add_argument("--scratch", help="folder for temporary files")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    print(environment(f"ours: cluster threads; all sides on {n_cores()} cores"), flush=True)
    overrides = [*arguments.overrides, "models=lens", "cluster=threads"]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder, found = Path(name), load_config(arguments.config, overrides)
        config = mosaic_of_size(found, arguments.size, folder / "mosaic", overrides)
        small = mosaic_of_size(found, SMALL_PX, folder / "small", overrides)
        sides = {name: Side(name, config, small, folder / name, arguments.naive) for name in SIDES}
        for _ in range(arguments.repeat):
            for side in sides.values():
                side.once(sides["careful"].catalog)
        for side in sides.values():
            side.close()
        print(
            f"\n{arguments.size} x {arguments.size} px, {arguments.repeat} times, medians; naive: its first {arguments.naive}\n"
        )
        print_sides(sides)


if __name__ == "__main__":
    main()
