"""Whether two runs have given the same: rows of every format bit by bit, files, status, and nothing left over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.formats.fits_table import read_fits
from surveycnn.catalogs.formats.zarr_store import read_zarr
from surveycnn.catalogs.publishing.publish import file_digests
from surveycnn.catalogs.source import FITS, HATS, PROVENANCE, ZARR, HatsSource
from surveycnn.catalogs.tables import arrow_to_numpy


def differences(quiet: Path, output: Path) -> list[str]:
    """What of the run in `output` is not as in the quiet one, a sentence each."""
    found = [*_files(quiet, output), *_provenance(quiet, output)]
    ours, theirs = read_formats(output), read_formats(quiet)
    if ours.keys() != theirs.keys():
        found.append(f"formats are {sorted(ours)}, of the quiet run {sorted(theirs)}")
    for name in ours.keys() & theirs.keys():
        found += [f"{name}: {finding}" for finding in _rows(ours[name], theirs[name])]
    if file_digests(output) != file_digests(quiet):
        changed = sorted(name for name, digest in file_digests(quiet).items() if file_digests(output).get(name) != digest)
        found.append(f"other bytes in {', '.join(changed)}")
    return found


def read_formats(output: Path) -> dict[str, pa.Table]:
    """All rows of each format that is there."""
    readers = {HATS: _read_hats, ZARR: read_zarr, FITS: read_fits}
    return {name: read(output / name) for name, read in readers.items() if (output / name).exists()}


def _read_hats(path: Path) -> pa.Table:
    source = HatsSource(path)
    return pa.concat_tables(source.scan(source.schema.names, None))


def _rows(ours: pa.Table, theirs: pa.Table) -> Iterator[str]:
    """Differences in rows and in the bits of columns; NaN of other bits differ too."""
    ids, expected = (arrow_to_numpy(table["source_id"]) for table in (ours, theirs))
    lost, new = np.setdiff1d(expected, ids), np.setdiff1d(ids, expected)
    if lost.size or new.size or len(np.unique(ids)) != len(ids):
        yield f"{lost.size} sources lost, {new.size} new, {len(ids) - len(np.unique(ids))} twice"
        return
    if ours.column_names != theirs.column_names:
        yield "other columns"
        return
    for name in theirs.column_names:
        mine, other = arrow_to_numpy(ours[name]), arrow_to_numpy(theirs[name])
        same = mine.dtype == other.dtype and (
            np.array_equal(mine, other) if mine.dtype.hasobject else mine.tobytes() == other.tobytes()
        )
        if not same:
            yield f"column {name!r} has other values"


def _provenance(quiet: Path, output: Path) -> Iterator[str]:
    ours, theirs = (json.loads((folder / PROVENANCE).read_text()) for folder in (output, quiet))
    for record in (ours, theirs):
        record["status"].pop("seconds")
    if ours["status"] != theirs["status"]:
        yield f"status is {ours['status']}, of the quiet run {theirs['status']}"
    if ours.keys() != theirs.keys():
        yield f"provenance differs in {', '.join(sorted(ours.keys() ^ theirs.keys()))}"


def _files(quiet: Path, output: Path) -> Iterator[str]:
    """Files that are in one folder alone; temporary ones that were left are among them."""
    ours, theirs = ({path.relative_to(folder).as_posix() for path in _walk(folder)} for folder in (output, quiet))
    if ours - theirs:
        yield f"left over: {', '.join(sorted(ours - theirs)[:8])}"
    if theirs - ours:
        yield f"missing: {', '.join(sorted(theirs - ours)[:8])}"


def _walk(folder: Path) -> Iterator[Path]:
    """Files, and folders whose name begins with a dot, which are never published.

    A session that runs tiles notes what it has spent, when it ends; where all were killed there is no such note.
    """
    found = (path for path in folder.rglob("*") if path.is_file() or path.name.startswith("."))
    return (path for path in found if path.relative_to(folder).as_posix() != "work/performance.json")


def verify(output: Path, environment: dict[str, str], n_tiles: int) -> list[str]:
    """What ``surveycnn verify`` has to say against a catalog, after it has computed `n_tiles` tiles again."""
    command = [sys.executable, "-m", "surveycnn", "verify", str(output), "--sample", str(n_tiles)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    return [] if ended.returncode == 0 else [f"verify ended with {ended.returncode}: {ended.stderr.strip()[-500:]}"]
