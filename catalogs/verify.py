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
from surveycnn.catalogs.formats.file_source import file_kinds, file_source
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publishing.publish import file_digests
from surveycnn.catalogs.publishing.swap import read_settled
from surveycnn.catalogs.source import HATS, PROVENANCE, HatsSource, Source, local_folder, open_source
from surveycnn.catalogs.tables import arrow_to_numpy, field_attrs, numpy_to_arrow
from surveycnn.schema import Schema

ROWS_AT_ONCE = 1 << 16


def verify_catalog(path: str | Path) -> list[str]:
    """What is wrong with the catalog in a folder, one sentence each; empty where nothing is.

    Raises
    ------
    CatalogError
        Where the folder holds no catalog at all.
    """
    folder = local_folder(path)
    return read_settled(folder, lambda: _findings(folder))


def _findings(folder: Path) -> list[str]:
    open_source(folder)
    findings, n_rows = _check_provenance(folder)
    reference: tuple[str, Source] | None = None
    for kind, open_it in _openers(folder).items():
        try:
            source = open_it()
            found = [f"{kind}: {finding}" for finding in _check_columns(source.schema)]
            found += _check_rows(kind, source, reference, n_rows)
        except Exception as error:  # whatever a broken file makes its reader raise is what is to be reported
            findings.append(f"{kind}: cannot be read: {error}")
            continue
        findings += found
        reference = reference or (kind, source)
    return findings


def _openers(folder: Path) -> dict[str, Callable[[], Source]]:
    """What opens each of the formats that are there."""
    openers: dict[str, Callable[[], Source]] = {"hats": partial(HatsSource, folder / HATS)} if (folder / HATS).is_dir() else {}
    return openers | {kind: partial(file_source, folder, kind) for kind in file_kinds(folder)}


def _check_provenance(folder: Path) -> tuple[list[str], int | None]:
    """Differences between the files and their digests in the provenance record, and the rows that it states."""
    path = folder / PROVENANCE
    if not path.is_file():
        return [f"{PROVENANCE} is missing"], None
    try:
        record = json.loads(path.read_text())["catalog"]
        expected, n_rows = dict(record["files"]), operator.index(record["rows"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return [f"{PROVENANCE} cannot be read as the record of a catalog"], None
    found = file_digests(folder)
    findings = [f"{name} is missing" for name in sorted(set(expected) - set(found))]
    findings += [f"{name} is not in {PROVENANCE}" for name in sorted(set(found) - set(expected))]
    changed = sorted(name for name in set(found) & set(expected) if found[name] != expected[name])
    return findings + [f"{name} has other contents than {PROVENANCE} says" for name in changed], n_rows


def _check_columns(schema: pa.Schema) -> Iterator[str]:
    """Columns that every catalog has, with their types and units, and descriptions of all."""
    for name, variable in Schema(position_columns()).items():
        if name not in schema.names:
            yield f"column {name!r} is missing"
            continue
        field = schema.field(name)
        expected = numpy_to_arrow(variable.empty(0)).type
        if field.type != expected:
            yield f"column {name!r} is of type {field.type}, expected {expected}"
        unit = field_attrs(field).get("units", "")
        if unit != variable.unit:
            yield f"column {name!r} has unit {unit!r}, expected {variable.unit!r}"
    for field in schema:
        if "description" not in field_attrs(field):
            yield f"column {field.name!r} has no description"


def _check_rows(kind: str, source: Source, reference: tuple[str, Source] | None, n_rows: int | None) -> list[str]:
    """What is wrong with the rows of a format, and what differs from those of the reference; all columns are read."""
    order, difference = _Order(), _Difference(source.schema, reference[1].schema) if reference else None
    others = _even(reference[1].scan(reference[1].schema.names, None)) if reference else iter(())
    n_found = 0
    for table in _even(source.scan(source.schema.names, None)):
        n_found += table.num_rows
        order.add(table)
        other = next(others, None)
        if difference is not None and other is not None:
            difference.add(table, other)
    if difference is not None and difference.can_compare and reference:
        difference.count(n_found, reference[1].count())
    findings = [] if n_rows in (None, n_found) else [f"{kind} has {n_found} rows, {PROVENANCE} says {n_rows}"]
    findings += [f"{kind}: {finding}" for finding in order.findings()]
    if difference is not None and reference:
        findings += [f"{kind} and {reference[0]}: {finding}" for finding in difference.findings()]
    return findings


def _even(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of :data:`ROWS_AT_ONCE` rows, the last one shorter."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(part.num_rows for part in waiting) >= ROWS_AT_ONCE:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROWS_AT_ONCE)
            waiting = [joined.slice(ROWS_AT_ONCE)]
    if waiting and (rest := pa.concat_tables(waiting)).num_rows:
        yield rest


class _Order:
    """Unique ids, usable positions, and rows sorted by HEALPix index and id; of the rows, only the ids are kept."""

    def __init__(self) -> None:
        self._ids: list[np.ndarray] = []
        self._n_rows = self._n_off_sky = 0
        self._first_unsorted: int | None = None
        self._last = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)

    def add(self, table: pa.Table) -> None:
        """Look at the next rows."""
        if not {"source_id", "ra", "dec"} <= set(table.column_names):
            return
        source_id, ra, dec = (arrow_to_numpy(table[name]) for name in ("source_id", "ra", "dec"))
        self._ids.append(source_id)
        off_sky = ~(np.isfinite(ra) & (ra >= 0) & (ra < 360) & (np.abs(dec) <= 90))
        self._n_off_sky += int(np.count_nonzero(off_sky))
        if not self._n_off_sky and self._first_unsorted is None:
            index = np.concatenate([self._last[0], healpix_index(ra, dec)])
            ids = np.concatenate([self._last[1], source_id])
            steps = np.diff(index)
            unsorted = np.flatnonzero((steps < 0) | ((steps == 0) & (np.diff(ids) <= 0)))
            if unsorted.size:
                self._first_unsorted = self._n_rows - len(self._last[0]) + int(unsorted[0]) + 1
            self._last = index[-1:], ids[-1:]
        self._n_rows += table.num_rows

    def findings(self) -> Iterator[str]:
        """What is wrong."""
        ids = np.concatenate([np.zeros(0, dtype=np.int64), *self._ids])
        repeated = len(ids) - len(np.unique(ids))
        if repeated:
            yield f"{repeated} rows have the source_id of another row"
        if self._n_off_sky:
            yield f"{self._n_off_sky} rows have no position with ra from 0 to 360 and dec from -90 to 90 degrees"
        elif self._first_unsorted is not None:
            yield f"rows are not sorted by HEALPix index and source_id, first at row {self._first_unsorted}"


class _Difference:
    """Differences of two formats in columns and values; NaN equals NaN."""

    def __init__(self, schema: pa.Schema, reference: pa.Schema):
        self.can_compare = schema.names == reference.names
        self._columns = sorted(set(schema.names) ^ set(reference.names)) or "in their order"
        self._others: dict[str, None] = {}
        self._counts: tuple[int, int] = 0, 0

    def add(self, table: pa.Table, reference: pa.Table) -> None:
        """Compare the next rows of both."""
        if not self.can_compare or table.num_rows != reference.num_rows:
            return
        for name in table.column_names:
            ours, theirs = arrow_to_numpy(table[name]), arrow_to_numpy(reference[name])
            same = ours.shape == theirs.shape and np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
            if not same:
                self._others[name] = None

    def count(self, n_rows: int, n_reference: int) -> None:
        """Note how many rows there are of both."""
        self._counts = n_rows, n_reference

    def findings(self) -> Iterator[str]:
        """What differs."""
        if not self.can_compare:
            yield f"columns differ: {self._columns}"
        elif self._counts[0] != self._counts[1]:
            yield f"{self._counts[0]} and {self._counts[1]} rows"
        else:
            yield from (f"column {name!r} has other values" for name in self._others)
