"""How fast are questions to a published catalog, and in how much memory, beside plain lsdb and DuckDB on the same files?

    python -m benchmarks.catalog_queries [--catalog FOLDER | --rows 10000000] [--scratch FOLDER] [--repeat 3] [--questions cone]

Without a catalog, one is made of tiles of real shape (about 0.7 GB per million rows while it is made, then half of it) and
removed at the end. Each side answers each question in a process of its own, after the same question to a tiny catalog, so that
imports and what libraries set up once do not count: first with the files dropped from the page cache, as far as the system allows
it (cold), then again (warm). All sides give the rows as a table in memory; that they agree is checked. Every side has all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.catalog_tiles import make_tiles
from benchmarks.environment import environment, table
from benchmarks.timed import lap
from surveycnn.catalogs.publishing.merge import TileRows
from surveycnn.catalogs.publishing.publish import publish_rows
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.source import HATS

FEW = ["source_id", "ra", "dec", "lens_prob", "z_phot"]
QUESTIONS = {
    "cone": "60 arcsec, all columns",
    "filter": "lens_prob > 0.999 and z_phot < 1, five columns",
    "filter_all": "lens_prob > 0.9999 and z_phot < 1, all columns",
    "count": "rows of lens_prob > 0.9 and z_phot < 1",
    "top": "100 largest lens_prob, all columns",
    "ids": "100 source_ids, all columns",
}
SIDES = ("ours", "lsdb", "duckdb")
LIMITS = {"filter": "0.999", "filter_all": "0.9999", "count": "0.9"}
CONE_ARCSEC = 60.0
TINY_ROWS = 5000
TIMEOUT_S = 1800

Answer = tuple[int, np.ndarray]
"""Number of rows, and what has to be the same on all sides: sorted ids, or values of the column for the largest."""


def ours(folder: Path, question: str, about: dict[str, Any]) -> Answer:
    """The question to :func:`surveycnn.open_catalog`."""
    catalog = open_catalog(folder)
    if question == "cone":
        found = catalog.cone(*about["position"], CONE_ARCSEC)
    elif question == "top":
        found = catalog.top(100, by="lens_prob")
    elif question == "ids":
        found = catalog.ids(about["ids"])
    else:
        found = catalog.where(f"lens_prob > {LIMITS[question]} and z_phot < 1")
    if question == "count":
        return len(found), np.empty(0)
    return _answer((found.select(FEW) if question == "filter" else found).to_arrow(), question)


def lsdb(folder: Path, question: str, about: dict[str, Any]) -> Answer:
    """The question to ``lsdb.open_catalog``, as its documentation has it."""
    from surveycnn.catalogs.formats.export import import_lsdb

    few = {"filter": FEW, "count": ["lens_prob", "z_phot"]}.get(question, "all")
    catalog = import_lsdb().open_catalog(folder / HATS, columns=few)
    if question == "cone":
        found = catalog.cone_search(*about["position"], CONE_ARCSEC)
    elif question == "ids":
        found = catalog.id_search(values={"source_id": about["ids"]})
    elif question == "top":
        found = catalog.map_partitions(lambda frame: frame.nlargest(100, "lens_prob"))
    else:
        found = catalog.query(f"lens_prob > {LIMITS[question]} and z_phot < 1")
    frame = found.compute(progress_bar=False)
    if question == "count":
        return len(frame), np.empty(0)
    frame = frame.nlargest(100, "lens_prob") if question == "top" else frame
    return _answer(pa.table({name: pa.array(frame[name]) for name in ("source_id", "lens_prob")}), question)


def duckdb(folder: Path, question: str, about: dict[str, Any]) -> Answer:
    """The question in SQL to DuckDB on the Parquet files."""
    import duckdb as engine

    ra, dec = np.radians(about["position"])
    degrees = CONE_ARCSEC / 3600
    distance = (
        f"pow(sin((radians(dec) - {dec}) / 2), 2) + cos(radians(dec)) * {np.cos(dec)} * pow(sin((radians(ra) - {ra}) / 2), 2)"
    )
    conditions = {
        "cone": f"dec between {np.degrees(dec) - degrees} and {np.degrees(dec) + degrees} "
        f"and {distance} <= pow(sin(radians({degrees}) / 2), 2)",
        "top": "not isnan(lens_prob) order by lens_prob desc limit 100",  # NaN is the largest number there
        "ids": f"source_id in ({', '.join(map(str, about['ids']))})",
    }
    where = conditions.get(question, f"lens_prob > {LIMITS.get(question)} and not isnan(lens_prob) and z_phot < 1")
    what = {"filter": ", ".join(FEW), "count": "count(*)"}.get(question, "*")
    with engine.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        files = folder / HATS / "sources" / "dataset" / "**" / "*.parquet"
        found = connection.execute(f"select {what} from read_parquet('{files}', hive_partitioning = false) where {where}")
        if question == "count":
            return found.fetchone()[0], np.empty(0)
        return _answer(found.to_arrow_table(), question)


def _answer(rows: pa.Table, question: str) -> Answer:
    values = rows["lens_prob" if question == "top" else "source_id"].to_numpy()
    return rows.num_rows, np.sort(values)


def drop_from_cache(folder: Path) -> None:
    """Ask the system to forget the files of a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_mib() -> float:
    """Largest memory that this process has had; what its parent had, which ``getrusage`` counts, is none of it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def answer_once(side: str, question: str, about: dict[str, Any], repeat: int) -> dict[str, Any]:
    """In a process of its own: times of one question to one side, and the memory of the process."""
    warnings.simplefilter("ignore")
    ask: Callable[[Path, str, dict[str, Any]], Answer] = {"ours": ours, "lsdb": lsdb, "duckdb": duckdb}[side]
    ask(Path(about["tiny"]), question, about)
    before = peak_mib()
    folder = Path(about["catalog"])
    drop_from_cache(folder / HATS)
    cold, (n_rows, same) = lap(lambda: ask(folder, question, about))
    warm = [lap(lambda: ask(folder, question, about))[0] for _ in range(repeat)]
    return {
        "cold": cold.seconds,
        "warm": median(one.seconds for one in warm),
        "cpu": median(one.cpu for one in warm),
        "rows": n_rows,
        "same": same.tolist(),
        "peak": peak_mib(),
        "before": before,
    }


def in_process(side: str, question: str, about: Path, repeat: int) -> dict[str, Any]:
    """Result of :func:`answer_once` in a new process, or what became of it."""
    command = [sys.executable, "-m", "benchmarks.catalog_queries", "--child", side, question, str(about), "--repeat", str(repeat)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"failed": f"over {TIMEOUT_S} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:100]}
    return json.loads(done.stdout.splitlines()[-1])


def make_catalog(folder: Path, n_rows: int) -> Path:
    """Publish made-up tiles as HATS; the tiles are removed."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        paths, _ = make_tiles(Path(name), n_rows)
        return publish_rows(TileRows(paths), folder / f"rows_{n_rows}", formats=[HATS], name="benchmark").path


def lines_of(question: str, results: dict[str, dict[str, Any]]) -> list[list[object]]:
    """A line of the table for each side."""
    lines: list[list[object]] = []
    reference = results["ours"]
    for side, found in results.items():
        if "failed" in found:
            lines.append([question, side, found["failed"], *[""] * 6])
            continue
        is_same = found["same"] == reference.get("same") and found["rows"] == reference.get("rows")
        ratios = [f"{found[key] / reference[key]:.2f}" if key in reference else "" for key in ("cold", "warm", "cpu")]
        times = [f"{found[key]:.3f} ({ratio})" for key, ratio in zip(("cold", "warm", "cpu"), ratios, strict=True)]
        memory = [f"{found['peak']:.0f}", f"{found['peak'] - found['before']:.0f}"]
        lines.append([question, side, *times, *memory, found["rows"], "yes" if is_same else "no"])
    return lines


def main() -> None:
    """Print a table of all sides and questions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--catalog", type=Path, help="folder of a published catalog with HATS, lens_prob and z_phot")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the catalog that is made without --catalog")
    parser.add_argument("--scratch", help="folder for temporary files")
    parser.add_argument("--repeat", type=int, default=3, help="times that a question is asked again")
    parser.add_argument("--questions", nargs="+", default=list(QUESTIONS), choices=list(QUESTIONS))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, question, about = arguments.child
        print(json.dumps(answer_once(side, question, json.loads(Path(about).read_text()), arguments.repeat)))
        return
    more = ", ".join(f"{name} {version(name)}" for name in ("pyarrow", "lsdb", "hats", "duckdb", "pandas"))
    print(environment(more), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder = arguments.catalog or make_catalog(Path(name), arguments.rows)
        run(folder, make_catalog(Path(name), TINY_ROWS), Path(name) / "about.json", arguments)


def run(folder: Path, tiny: Path, about: Path, arguments: argparse.Namespace) -> None:
    """Ask every question of every side, one after another, and print the table."""
    catalog = open_catalog(folder)
    some = catalog.select(["source_id", "ra", "dec"])
    rng = np.random.default_rng(0)
    first = next(some.scan())
    middle = first.slice(first.num_rows // 3, 1).to_pylist()[0]
    ids = rng.choice(np.concatenate([part["source_id"].to_numpy() for part in some.scan()]), 100, replace=False)
    facts = {"catalog": str(folder.resolve()), "tiny": str(tiny), "position": [middle["ra"], middle["dec"]], "ids": ids.tolist()}
    about.write_text(json.dumps(facts))
    size = f"{len(catalog):,} rows of {len(catalog.columns)} columns"
    print(f"\n{size}; {arguments.repeat} times warm, medians; over ours in brackets\n")
    print("\n".join(f"- {question}: {text}" for question, text in QUESTIONS.items() if question in arguments.questions) + "\n")
    lines = []
    for question in arguments.questions:
        results = {side: in_process(side, question, about, arguments.repeat) for side in arguments.sides}
        lines += lines_of(question, results)
        print(lines_of(question, results), file=sys.stderr, flush=True)
    header = ["question", "side", "cold s", "warm s", "warm CPU s", "peak MiB", "of it for the question", "rows", "same as ours"]
    print(table(header, lines))


if __name__ == "__main__":
    main()
