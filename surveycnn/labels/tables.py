"""Tables of labels: the grades that a report exports, or any table with positions or ids and a column of 1 and 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from surveycnn.errors import InputError
from surveycnn.sky.files import file_sha256
from surveycnn.tables.arrays import array_of_column
from surveycnn.tables.files import read_table
from surveycnn.tables.positions import check_positions, column_named, degrees_of, find_positions
from surveycnn.training.config import LabelFile

TASKS = ("lens", "morphology", "merger", "photoz")
_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no"}


@dataclass(frozen=True)
class Labels:
    """Labelled places on the sky, or labelled sources of a catalog where a table has no positions."""

    value: np.ndarray
    """(label,) bool."""
    ra: np.ndarray
    """Degrees; NaN where there is an id instead."""
    dec: np.ndarray
    source_id: np.ndarray
    """int64; -1 where there is a position instead."""
    about: str
    """Files with their digests, for the card."""

    def __len__(self) -> int:
        return len(self.value)


def read_labels(files: Sequence[LabelFile], task: str) -> Labels:
    """Labels of a task in several tables; rows without a label are left out.

    Raises
    ------
    InputError
        Where a table has no labels, labels of other tasks alone, or values that are none; or one class alone in all of them.
    """
    parts = [_read(file, task) for file in files]
    names = ("value", "ra", "dec", "source_id")
    values, ra, dec, source_id = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    where = ", ".join(repr(file.path) for file in files)
    if not 0 < values.sum() < len(values):
        has = "positives" if values.any() else "negatives"
        raise InputError(
            f"the labels in {where} are {len(values)} {has} and nothing else: both classes are needed to tell them apart"
        )
    return Labels(values, ra, dec, source_id, "; ".join(part.about for part in parts))


def _read(file: LabelFile, task: str) -> Labels:
    where = f"table {file.path!r}"
    table = _of_task(read_table(file.path), task, where)
    name = column_named(table.column_names, file.label, "label", where)
    values, known = _values(array_of_column(table[name], name), name, where)
    if not known.any():
        raise InputError(f"{where} has {table.num_rows} rows and no label in column {name!r}: expected 1, 0 or nothing in each")
    table, n = table.filter(pa.array(known)), int(known.sum())
    ra, dec = np.full((2, n), np.nan)
    ids = np.full(n, -1, np.int64)
    has_positions = file.ra is not None or file.dec is not None or "source_id" not in table.column_names
    if has_positions or {"ra", "dec"} <= set(table.column_names):
        columns = find_positions(table.schema, where, file.ra, file.dec)
        ra, dec = (degrees_of(table[column], table.schema.field(column), where) for column in columns)
        check_positions(ra, dec, where)
    else:
        ids = _ids(array_of_column(table["source_id"], "source_id"), where)
    return Labels(values[known], ra, dec, ids, f"{file.path} (sha256 {file_sha256(file.path)[:12]})")


def _ids(column: np.ndarray, where: str) -> np.ndarray:
    """Numbers of sources, int64; other types have lost digits, or are names of somebody else's."""
    plain = np.ma.getdata(column)
    if plain.dtype.kind not in "iu" or np.ma.getmaskarray(column).any():
        found = f"it is {plain.dtype.name}" if plain.dtype.kind not in "iu" else "some rows have none"
        raise InputError(
            f"{where}: column 'source_id' should hold a whole number of 64 bits in each row, {found}: write the ids as integers, "
            "or give positions in columns ra and dec instead"
        )
    return plain.astype(np.int64)


def _of_task(table: pa.Table, task: str, where: str) -> pa.Table:
    """Rows of a task, where the table says in a column `model` which task each row is of."""
    if "model" not in table.column_names:
        return table
    found = [str(value) for value in array_of_column(table["model"], "model").tolist()]
    if not set(found) & set(TASKS):
        return table
    kept = np.array([value == task for value in found])
    if not kept.any():
        others = ", ".join(f"{n} of {name}" for name, n in Counter(found).most_common())
        raise InputError(
            f"{where} has no labels of the task {task!r}, its rows are {others}: give another table, or another task"
        )
    return table.filter(pa.array(kept))


def _values(column: np.ndarray, name: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (row,) bool, and which of them are there."""
    known = ~np.ma.getmaskarray(column)
    plain = np.ma.getdata(column)
    if plain.dtype.kind in "biuf":
        known = known & ~np.isnan(plain.astype(float))
        wrong = plain[known & ~np.isin(plain, (0, 1))]
        values = np.where(known, plain, 0) == 1
    else:
        words = np.array([str(value).strip().lower() for value in plain], object)
        known = known & (words != "")
        wrong = plain[known & ~np.isin(words.astype(str), [*_TRUE, *_FALSE])]
        values = np.isin(words.astype(str), list(_TRUE))
    if wrong.size:
        shown = ", ".join(repr(value) for value in dict.fromkeys(wrong.tolist()[:5]))
        raise InputError(
            f"{where}: column {name!r} has {wrong.size} values that are no labels, such as {shown}: expected 1, 0 or nothing"
        )
    return values, known
