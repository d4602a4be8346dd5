"""Checks a published catalog against itself: columns, order, rows of every format, digests.

Recomputing tiles, the other half of ``surveycnn verify``, belongs to the run.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.columns import position_columns
from surveycnn.catalogs.file_source import file_kinds, file_source
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publish import file_digests
from surveycnn.catalogs.source import HATS, PROVENANCE, HatsSource, Source, open_source
from surveycnn.catalogs.swap import read_settled
from surveycnn.catalogs.tables import arrow_to_numpy, field_attrs, numpy_to_arrow
from surveycnn.schema import Schema


def verify_catalog(path: str | Path) -> list[str]:
    """What is wrong with the catalog in a folder, one sentence each; empty where nothing is.

    Raises
    ------
    CatalogError
        Where the folder holds no catalog at all.
    """
    folder = Path(path)
    return read_settled(folder, lambda: _findings(folder))


def _findings(folder: Path) -> list[str]:
    open_source(folder)
    findings, n_rows = _check_provenance(folder)
    tables = {}
    for kind, read in _readers(folder).items():
        try:
            tables[kind] = read()
        except Exception as error:  # whatever a broken file makes its reader raise is what is to be reported
            findings.append(f"{kind}: cannot be read: {error}")
    for kind, table in tables.items():
        if n_rows is not None and table.num_rows != n_rows:
            findings.append(f"{kind} has {table.num_rows} rows, {PROVENANCE} says {n_rows}")
        findings += [f"{kind}: {finding}" for finding in (*_check_columns(table), *_check_order(table))]
    for first, reference in list(tables.items())[:1]:
        for kind in list(tables)[1:]:
            findings += [f"{kind} and {first}: {finding}" for finding in _compare(tables[kind], reference)]
    return findings


def _readers(folder: Path) -> dict[str, Callable[[], pa.Table]]:
    """Readers of the formats that are there."""
    readers: dict[str, Callable[[], pa.Table]] = {}
    if (folder / HATS).is_dir():
        readers["hats"] = lambda: _read(HatsSource(folder / HATS))
    return readers | {kind: partial(_read_file, folder, kind) for kind in file_kinds(folder)}


def _read_file(folder: Path, kind: str) -> pa.Table:
    return _read(file_source(folder, kind))


def _read(source: Source) -> pa.Table:
    tables = list(source.scan(source.schema.names, None))
    return pa.concat_tables(tables) if tables else source.schema.empty_table()


def _check_provenance(folder: Path) -> tuple[list[str], int | None]:
    """Differences between the files and their digests in the provenance record, and the rows that it states."""
    path = folder / PROVENANCE
    if not path.is_file():
        return [f"{PROVENANCE} is missing"], None
    try:
        record = json.loads(path.read_text())["catalog"]
        expected, n_rows = dict(record["files"]), operator.index(record["rows"])
    except (ValueError, KeyError, TypeError):
        return [f"{PROVENANCE} cannot be read as the record of a catalog"], None
    found = file_digests(folder)
    findings = [f"{name} is missing" for name in sorted(set(expected) - set(found))]
    findings += [f"{name} is not in {PROVENANCE}" for name in sorted(set(found) - set(expected))]
    changed = sorted(name for name in set(found) & set(expected) if found[name] != expected[name])
    return findings + [f"{name} has other contents than {PROVENANCE} says" for name in changed], n_rows


def _check_columns(table: pa.Table) -> Iterator[str]:
    """Columns that every catalog has, with their types and units, and descriptions of all."""
    for name, variable in Schema(position_columns()).items():
        if name not in table.column_names:
            yield f"column {name!r} is missing"
            continue
        field = table.schema.field(name)
        expected = numpy_to_arrow(variable.empty(0)).type
        if field.type != expected:
            yield f"column {name!r} is of type {field.type}, expected {expected}"
        unit = field_attrs(field).get("units", "")
        if unit != variable.unit:
            yield f"column {name!r} has unit {unit!r}, expected {variable.unit!r}"
    for field in table.schema:
        if "description" not in field_attrs(field):
            yield f"column {field.name!r} has no description"


def _check_order(table: pa.Table) -> Iterator[str]:
    """Unique ids, usable positions, and rows sorted by HEALPix index and id."""
    if not {"source_id", "ra", "dec"} <= set(table.column_names):
        return
    source_id, ra, dec = (arrow_to_numpy(table[name]) for name in ("source_id", "ra", "dec"))
    repeated = len(source_id) - len(np.unique(source_id))
    if repeated:
        yield f"{repeated} rows have the source_id of another row"
    off_sky = ~(np.isfinite(ra) & (ra >= 0) & (ra < 360) & (np.abs(dec) <= 90))
    if off_sky.any():
        yield f"{off_sky.sum()} rows have no position with ra from 0 to 360 and dec from -90 to 90 degrees"
        return
    index = healpix_index(ra, dec)
    unsorted = (np.diff(index) < 0) | ((np.diff(index) == 0) & (np.diff(source_id) <= 0))
    if unsorted.any():
        yield f"rows are not sorted by HEALPix index and source_id, first at row {int(np.flatnonzero(unsorted)[0]) + 1}"


def _compare(table: pa.Table, reference: pa.Table) -> Iterator[str]:
    """Differences in columns and values; NaN equals NaN."""
    if table.column_names != reference.column_names:
        yield f"columns differ: {sorted(set(table.column_names) ^ set(reference.column_names)) or 'in their order'}"
        return
    if table.num_rows != reference.num_rows:
        yield f"{table.num_rows} and {reference.num_rows} rows"
        return
    for name in table.column_names:
        ours, theirs = arrow_to_numpy(table[name]), arrow_to_numpy(reference[name])
        same = ours.shape == theirs.shape and np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
        if not same:
            yield f"column {name!r} has other values"
