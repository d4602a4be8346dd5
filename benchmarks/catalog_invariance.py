"""Does the published catalog depend on how the sky was cut? Runs whole surveys with several tile cores and compares row by row.

    python -m benchmarks.catalog_invariance survey.yaml --core 512 1024 2048 16384 -o differences [--set models=lens]

The largest core is the reference: 16384 px hold most mosaics as one tile. Sources that are flagged `truncated` in either catalog
are left out of the comparison, counted and listed in <output>/flagged.csv; anything else that differs is listed in
<output>/differences.csv. Runs stay in <output> and are used again.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from astropy.table import Table

from surveycnn.catalogs.flags import decode_flags, has_flag
from surveycnn.config import load_config
from surveycnn.run.progress import open_progress
from surveycnn.run.survey import run_survey

POSITIONS, SKY, MEASURED = ("x", "y"), ("ra", "dec"), ("flux_", "flux_radius", "kron_radius")
NOT_NUMBERS = ("source_id", "mosaic", "is_primary", "flags", "input_id")


def run(config_path: str, core_px: int, output: Path, overrides: list[str]) -> Table:
    """Rows of the survey in tiles of `core_px`, by source_id."""
    own = [f"tiling.core_px={core_px}", f"output={output}", "engine.precision=float32", "formats=[fits]", *overrides]
    start = time.perf_counter()
    with open_progress() as progress:
        result = run_survey(load_config(config_path, own), progress=progress)
    tiles = result.status.tiles["done"]
    print(f"core {core_px}: {result.n_sources} sources from {tiles} tiles in {time.perf_counter() - start:.0f} s", flush=True)
    rows = Table.read(output / "catalog.fits")
    rows.sort("source_id")
    return rows


def kind_of(name: str) -> str:
    """What a column is compared as."""
    if name in POSITIONS:
        return "position px"
    if name in SKY:
        return "position deg"
    return "flux, relative" if name.startswith(MEASURED) else "score"


def difference(ours: np.ndarray, theirs: np.ndarray, kind: str) -> np.ndarray:
    """Difference of two columns, relative for fluxes; inf where only one is NaN. Of vector columns the largest."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    with np.errstate(invalid="ignore"):
        found = np.abs(ours - theirs)
    if kind.startswith("flux"):
        found = found / np.maximum(np.abs(theirs), 1e-30)
    found = np.where(np.isnan(ours) != np.isnan(theirs), np.inf, np.where(np.isnan(ours), 0, found))
    return found.reshape(len(found), -1).max(axis=1)


def compare(rows: Table, whole: Table) -> tuple[dict[str, float], list[tuple], int]:
    """Largest difference by kind of column, all differing sources (source_id, what, value), and how many are flagged."""
    unsure = set(rows["source_id"][has_flag(rows["flags"], "truncated")])
    unsure |= set(whole["source_id"][has_flag(whole["flags"], "truncated")])
    ours, theirs = (set(table["source_id"].tolist()) - unsure for table in (rows, whole))
    listed = [(i, "missing in tiles", "") for i in sorted(theirs - ours)] + [
        (i, "only in tiles", "") for i in sorted(ours - theirs)
    ]
    common = np.array(sorted(ours & theirs), np.int64)
    a, b = (table[np.searchsorted(table["source_id"], common)] for table in (rows, whole))
    largest: dict[str, float] = {}
    for name in whole.colnames:
        if name in NOT_NUMBERS:
            values = np.asarray(a[name] != b[name], float)
            kind = "other columns"
        else:
            kind = kind_of(name)
            values = difference(a[name], b[name], kind)
        largest[kind] = max(largest.get(kind, 0.0), float(values.max(initial=0)))
        limit = {"position px": 1e-3, "position deg": 1e-7, "flux, relative": 1e-5, "score": 1e-4, "other columns": 0}[kind]
        listed += [(int(i), name, f"{v:.3g}") for i, v in zip(common[values > limit], values[values > limit], strict=True)]
    return largest, listed, len(unsure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration")
    parser.add_argument("--core", type=int, nargs="+", default=[512, 1024, 2048, 16384], help="tile cores, px")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs and the lists")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    cores = sorted(arguments.core)
    tables = {core: run(arguments.config, core, arguments.output / f"core{core}", arguments.overrides) for core in cores}
    whole = tables[cores[-1]]
    with (
        open(arguments.output / "differences.csv", "w", newline="") as differences,
        open(arguments.output / "flagged.csv", "w", newline="") as flagged,
    ):
        csv.writer(differences).writerow(["core_px", "source_id", "column", "difference"])
        csv.writer(flagged).writerow(["core_px", "source_id", "mosaic", "x", "y", "flags"])
        for core in cores:
            rows = tables[core]
            largest, listed, n_unsure = compare(rows, whole)
            csv.writer(differences).writerows((core, *row) for row in listed)
            for row in rows[has_flag(rows["flags"], "truncated")]:
                names = " ".join(decode_flags(int(row["flags"])))
                csv.writer(flagged).writerow([core, row["source_id"], row["mosaic"], row["x"], row["y"], names])
            text = ", ".join(f"{kind} {value:.2g}" for kind, value in largest.items())
            share = 100 * n_unsure / max(len(whole), 1)
            print(
                f"core {core} against {cores[-1]}: {len(rows)} sources, {n_unsure} flagged ({share:.2f} %), "
                f"{len(listed)} beyond the limits; largest differences: {text}"
            )


if __name__ == "__main__":
    main()
