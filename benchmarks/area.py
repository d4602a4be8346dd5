"""Does the time of a survey grow with the area alone? Whole surveys of mosaics of several sizes, stage by stage.

    python -m benchmarks.area survey.yaml [--sizes 2048 4096 8192] [--repeat 1] [--set models=lens]

The mosaics are the first one of the configuration, cropped or repeated, so that they are equally crowded. Models are loaded
before. The exponent is that of time over pixels, fitted as a straight line to their logarithms: 1 is growth with the area, and
a constant cost makes it smaller.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.environment import environment, table
from benchmarks.mosaics import mosaic_of_size
from benchmarks.timed import STAGES, Timed, run_timed, running_cluster, start_up
from surveycnn.config import load_config


def exponent(pixels: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log(seconds) over log(pixels), by least squares.

    >>> round(exponent([1, 4, 16], [2, 8, 32]), 3)
    1.0
    """
    return float(np.polyfit(np.log(pixels), np.log(np.maximum(seconds, 1e-3)), 1)[0])


def area_table(sizes: Sequence[int], surveys: Sequence[Timed]) -> str:
    """A row for each size, and the exponents."""
    rows: list[list[object]] = []
    for size, survey in zip(sizes, surveys, strict=True):
        per_mpx = [f"{seconds / (size**2 / 1e6):.3f}" for seconds in (*survey.stages.values(), survey.seconds)]
        rows.append([f"{size} x {size}", survey.n_sources, f"{survey.seconds:.1f}", f"{survey.rate:.1f}", *per_mpx])
    if len(sizes) > 1:
        pixels = [float(size) ** 2 for size in sizes]
        by_stage = [exponent(pixels, [survey.stages[stage] for survey in surveys]) for stage in STAGES]
        exponents = [f"{value:.2f}" for value in (*by_stage, exponent(pixels, [survey.seconds for survey in surveys]))]
        rows.append(["exponent", "", "", "", *exponents])
    header = ["mosaic px", "sources", "s", "sources/s", *(f"{stage}, s/Mpx" for stage in STAGES), "all, s/Mpx"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration; its first mosaic gives the pixels")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096, 8192], help="sides of the mosaics, px")
    parser.add_argument("--cluster", default="threads", choices=["threads", "serial", "local"], help="what runs the tiles")
    parser.add_argument("--repeat", type=int, default=1, help="times that each size runs; the fastest is taken")
    parser.add_argument("--scratch", help="folder for temporary files, three times the pixels of the largest mosaic")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    print(environment(f"cluster {arguments.cluster}"), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name, running_cluster(arguments.cluster) as word:
        overrides = [*arguments.overrides, f"cluster={word}"]
        config = load_config(arguments.config, overrides)
        start_up(config, Path(name) / "small")
        surveys = []
        for size in arguments.sizes:
            own = mosaic_of_size(config, size, Path(name) / "mosaic", overrides)
            surveys.append(min((run_timed(own) for _ in range(arguments.repeat)), key=lambda survey: survey.seconds))
            shutil.rmtree(Path(name) / "mosaic")
    print(f"\nmodels {', '.join(config.models)}; tile cores of {config.tiling.core_px} px\n")
    print(area_table(arguments.sizes, surveys))


if __name__ == "__main__":
    main()
