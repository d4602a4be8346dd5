"""Rows by their source_id, and the index that tells in which partitions of a HATS collection they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from surveycnn.catalogs.formats.parquet_piece import Anchor, ParquetPiece, batches
from surveycnn.catalogs.formats.reading import reading
from surveycnn.catalogs.selection.limits import Bounds, Limits, Sky
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError

COLUMN = "source_id"


@dataclass(frozen=True, eq=False)
class Ids:
    """Rows whose source_id is one of some."""

    values: np.ndarray
    """Sorted, each once; int64 of shape (n,)."""
    columns = (COLUMN,)

    @classmethod
    def of(cls, ids: Iterable[int]) -> Ids:
        """Ids as the user gives them: a list, an array, a column of a table."""
        values = np.asarray(list(ids) if isinstance(ids, Iterable) and not hasattr(ids, "__array__") else ids)
        if values.size == 0:
            values = values.astype(np.int64)
        if values.ndim != 1 or values.dtype.kind not in "iu" or (values.dtype.kind == "u" and values.max() >= 2**63):
            shown = ", ".join(map(repr, values.ravel()[:3].tolist()))
            raise CatalogError(f"ids: found {values.dtype} of shape {values.shape} ({shown}), expected a list of whole numbers")
        return cls(np.unique(values.astype(np.int64)))

    def __call__(self, columns: Mapping[str, np.ndarray], n_rows: int) -> np.ndarray:
        """Boolean array of shape (n_rows,), True for rows with one of the ids."""
        if not len(self.values):
            return np.zeros(n_rows, dtype=bool)
        place = np.searchsorted(self.values, columns[COLUMN])
        return self.values[np.minimum(place, len(self.values) - 1)] == columns[COLUMN]

    def possible(self, bounds: Bounds) -> bool:
        found = bounds(COLUMN)
        if found is None:
            return True
        return bool(np.searchsorted(self.values, found[0][0]) < np.searchsorted(self.values, found[1][0], side="right"))


def pixels_of(index: Path, ids: Ids) -> list[tuple[int, int]]:
    """Order and pixel of each partition that has rows with one of the ids, by the HATS index in a folder."""
    found = []
    for path in sorted((index / "dataset").rglob("*.parquet")):
        with reading(path):
            piece = ParquetPiece(path, 0, 0, pq.read_schema(path), Sky(), Anchor.of(path), index)
        for groups in batches(piece.groups(Limits(conditions=(ids,)))):
            table = piece.read([COLUMN, "Norder", "Npix"], groups)
            rows = np.flatnonzero(ids({COLUMN: arrow_to_numpy(table[COLUMN])}, table.num_rows))
            found.append(np.stack([arrow_to_numpy(table[name])[rows].astype(np.int64) for name in ("Norder", "Npix")], axis=1))
    pairs = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
    return [(int(order), int(pixel)) for order, pixel in pairs]
