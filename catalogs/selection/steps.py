"""Selections of a query, one after another: which rows of a table they leave, and what they need to know of the rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, cast

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.selection.expression import Expression
from surveycnn.catalogs.selection.ids import Ids
from surveycnn.catalogs.selection.limits import Limits, Sky
from surveycnn.catalogs.selection.regions import Region
from surveycnn.catalogs.tables import arrow_to_numpy


@dataclass(frozen=True)
class Top:
    """The first `n` rows in descending order of a column; NaN last, ties in the order of the rows."""

    n: int
    by: str

    def order(self, values: np.ndarray) -> np.ndarray:
        """The rows, best first."""
        return np.argsort(_descending(values), kind="stable")[: self.n]

    def candidates(self, values: np.ndarray) -> np.ndarray:
        """The same rows in their own order."""
        key = _descending(values)
        if self.n < len(key) and self.n > 0:
            worst = np.partition(key, self.n - 1)[self.n - 1]
            few = np.flatnonzero(key <= worst) if worst == worst else np.arange(len(key))
            return np.sort(few[self.order(values[few])])
        return np.arange(len(key))[: self.n]


Step: TypeAlias = Region | Expression | Ids | Top


def columns_of(steps: Sequence[Step], sky: Sky) -> list[str]:
    """Columns that steps need, each once."""
    names: dict[str, None] = {}
    for step in steps:
        if isinstance(step, Expression | Ids):
            names |= dict.fromkeys(step.columns)
        elif isinstance(step, Top):
            names[step.by] = None
        else:
            names |= {sky.ra: None, sky.dec: None}
    return list(names)


def limits_of(steps: Sequence[Step]) -> Limits:
    """What rows have to meet to pass all steps, as far as it is known before they are read."""
    conditions = tuple(step for step in steps if isinstance(step, Expression | Ids))
    return Limits(tuple(step for step in steps if not isinstance(step, Expression | Ids | Top)), conditions)


def selected_rows(table: pa.Table, steps: Sequence[Step], sky: Sky) -> np.ndarray:
    """Numbers of the rows of `table` that pass all steps, one after another, in the order that they give."""
    columns = {name: column_values(table[name]) for name in columns_of(steps, sky)}
    rows = np.arange(table.num_rows)
    for step in steps:
        if isinstance(step, Top):
            kept = step.order(columns[step.by])
        else:
            kept = np.flatnonzero(_mask(step, columns, len(rows), sky))
        if isinstance(step, Top) or len(kept) < len(rows):
            rows, columns = rows[kept], {name: values[kept] for name, values in columns.items()}
    return rows


def column_values(column: pa.ChunkedArray) -> np.ndarray:
    """Array of shape (n,) or (n, k) of a column; text through the different texts, which are few."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or not len(column):
        return arrow_to_numpy(column)
    encoded = column.fill_null("").combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    texts = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)[:-1]
    return texts[encoded.indices.to_numpy()]


def _mask(step: Region | Expression | Ids, columns: Mapping[str, np.ndarray], n_rows: int, sky: Sky) -> np.ndarray:
    if isinstance(step, Expression | Ids):
        return step(columns, n_rows)
    ra, dec = columns[sky.ra], columns[sky.dec]
    south, north = _dec_limits(cast(Hashable, step))
    near = np.flatnonzero((dec >= south) & (dec <= north))
    mask = np.zeros(n_rows, dtype=bool)
    mask[near] = step.contains(ra[near], dec[near])
    return mask


@lru_cache(maxsize=64)
def _dec_limits(region: Hashable) -> tuple[float, float]:
    return cast(Region, region).dec_limits()


def _descending(values: np.ndarray) -> np.ndarray:
    """Keys whose ascending order is the descending one of the values."""
    # ~ reverses whole numbers without overflow; NaN sorts last whatever its sign
    return -values if values.dtype.kind == "f" else ~values
