"""Photometric redshifts from two real tables by our commands, by scikit-learn and by RAIL's estimators, scored alike.

    python -m benchmarks.photoz_tables --data FOLDER --rail-env FOLDER -o docs/photoz_tables [--rows surveycnn knn ...]
    python -m benchmarks.photoz_tables --data FOLDER --speed

FOLDER of --data holds ``photoz_dc2`` and ``photoz_sdss_mgs`` (benchmarks/photoz_tables_data.py says what they are). The
environment of --rail-env is made where it is not there. Rows of earlier runs stay in --work and are used again, but for those of
our own commands; --fresh makes all anew. ``--speed`` times our commands on 160,000 rows of 11 bands instead.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photoz_tables_data import Sample, read_dc2, read_sdss
from benchmarks.photoz_tables_methods import Result, nearest_neighbours, random_forest, surveycnn_photoz
from benchmarks.photoz_tables_page import draw, page
from benchmarks.photoz_tables_rail import ESTIMATORS, NEEDS_FILTERS, python_of, rail
from benchmarks.photoz_tables_score import gridded_scores, summarised
from benchmarks.photoz_tables_speed import speed
from surveycnn.errors import InputError, UserError
from surveycnn.run.publish import library_versions
from surveycnn.training.redshift_metrics import redshift_metrics

OURS = "surveycnn"
DRAWN = {OURS: "surveycnn photoz", "rail_flexzboost": "RAIL FlexZBoost"}
READERS = {"photoz_dc2": read_dc2, "photoz_sdss_mgs": read_sdss}
LIMIT_S = 720
"""CPU seconds after which an estimator of RAIL is given up: six minutes of two cores."""
CHECKED = ("sigma_nmad", "crps", "cde_loss", "pit_ks")
"""Metrics that are shown beside those of redshift_metrics."""


def methods(sample: Sample, given: argparse.Namespace) -> dict[str, Callable[[], Result]]:
    """Every row of a sample's table, not yet run."""
    rows: dict[str, Callable[[], Result]] = {
        OURS: lambda: surveycnn_photoz(sample, given.seed, given.work),
        "knn": lambda: nearest_neighbours(sample),
        "random_forest": lambda: random_forest(sample, given.seed),
    }
    if given.rail_env:
        python = python_of(given.rail_env)
        for name in ESTIMATORS:
            if NEEDS_FILTERS.get(name, sample.name) == sample.name:
                rows[f"rail_{name}"] = partial(rail, name, sample, python, given.work, given.limit)
    unknown = sorted(set(given.rows or ()) - set(rows) - {f"rail_{name}" for name in ESTIMATORS})
    if unknown:
        raise InputError(f"unknown rows {', '.join(unknown)}: expected some of {', '.join(rows)}")
    return {name: method for name, method in rows.items() if not given.rows or name in given.rows}


def run_sample(sample: Sample, given: argparse.Namespace) -> dict[str, Any]:
    """What photoz_tables.json says of a sample; its picture is drawn."""
    rows, drawn = {}, {}
    for name, method in methods(sample, given).items():
        row, scores = kept_or_run(
            given.work / f"{sample.name}_{name}_row", method, sample, given, again=given.fresh or name == OURS
        )
        rows[name] = row
        if name in DRAWN and scores:
            drawn[DRAWN[name]] = scores
        print(f"{sample.name} {name}: {row.get('metrics', row.get('error'))}", flush=True)
    grid = sample.grid
    about = {"first": grid[0], "last": grid[-1], "n": len(grid), "step": grid[1] - grid[0]}
    told = {"title": sample.title, "n_train": len(sample.train), "n_test": len(sample.test), "grid": about, "rows": rows}
    if drawn:
        draw(drawn, sample.test.redshift, sample.title, given.output / f"{sample.name}.png")
        told["figure"] = f"{sample.name}.png"
    return told


def kept_or_run(
    stem: Path, method: Callable[[], Result], sample: Sample, given: argparse.Namespace, *, again: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Row and scores (object,) of a method, from `stem`.json and .npz where an earlier run left them."""
    if not again and stem.with_suffix(".json").exists():
        with np.load(stem.with_suffix(".npz")) as file:
            return json.loads(stem.with_suffix(".json").read_text()), dict(file)
    try:
        result = method()
    except subprocess.CalledProcessError as error:
        row: dict[str, Any] = {"title": stem.stem.removesuffix("_row"), "error": why(error, given.limit)}
        scores: dict[str, np.ndarray] = {}
    else:
        scores = gridded_scores(sample.test.redshift, sample.grid, result.densities)
        row = {"title": result.title, "version": result.version, "fit_s": result.fit_s, "predict_s": result.predict_s}
        row["metrics"] = summarised(sample.test.redshift, scores)
        if result.mixture is not None:
            exact = redshift_metrics(sample.test.redshift, *result.mixture)
            row["closed_form"] = {name: exact[name].value for name in CHECKED}
    np.savez(stem.with_suffix(".npz"), **scores)
    stem.with_suffix(".json").write_text(json.dumps(row, indent=2))
    return row, scores


def why(error: subprocess.CalledProcessError, limit_s: int) -> str:
    """One line about a command that ended badly."""
    stopped = error.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    return f"stopped after {limit_s} s of CPU" if stopped else f"exit code {error.returncode}"


def machine() -> str:
    """Processor, cores and Python."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def compare(given: argparse.Namespace) -> None:
    """Run all rows on both tables and write the page."""
    given.output.mkdir(parents=True, exist_ok=True)
    given.work.mkdir(parents=True, exist_ok=True)
    samples = [read(given.data / folder) for folder, read in READERS.items()]
    told: dict[str, Any] = {
        "command": f"python -m benchmarks.photoz_tables --data FOLDER --rail-env FOLDER -o {given.output}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "seed": given.seed,
        "samples": {sample.name: run_sample(sample, given) for sample in samples},
    }
    rows = [row for sample in told["samples"].values() for row in sample["rows"].values() if "version" in row]
    versions = {**library_versions(), **dict(row["version"].rsplit(" ", 1) for row in rows)}
    told["versions"] = versions
    (given.output / "photoz_tables.json").write_text(json.dumps(told, indent=2) + "\n")
    (given.output / "photoz_tables.md").write_text(page(told))
    print(given.output / "photoz_tables.md")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photoz_tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photoz_dc2 and photoz_sdss_mgs")
    parser.add_argument("--rail-env", type=Path, help="environment of RAIL, made if absent; left out: no rows of RAIL")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/photoz_tables"))
    parser.add_argument("--work", type=Path, default=Path("runs/photoz_tables"), help="where rows are kept between runs")
    parser.add_argument("--rows", nargs="+", help="only these rows")
    parser.add_argument("--fresh", action="store_true", help="run the rows again that earlier runs left")
    parser.add_argument("--limit", type=int, default=LIMIT_S, help="CPU seconds of an estimator of RAIL")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", action="store_true", help="time our commands on 160,000 rows of 11 bands")
    return parser


def main() -> int:
    """Exit code: 0, or 2 where the input cannot be used."""
    given = arguments().parse_args()
    given.data, given.work, given.output = given.data.resolve(), given.work.resolve(), given.output
    try:
        if given.speed:
            given.work.mkdir(parents=True, exist_ok=True)
            print(machine())
            speed(read_dc2(given.data / "photoz_dc2"), given.work, given.seed)
        else:
            compare(given)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
