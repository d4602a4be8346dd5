"""Rows of a table in memory, to be published as those of tile files are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.healpix import CELL_SHIFT, Zone, healpix_index, pixel_range
from surveycnn.catalogs.publishing.tile_files import id_sum
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import SchemaError


@dataclass(frozen=True)
class TablePart:
    """Rows of a pixel of the sky."""

    zone: Zone
    table: pa.Table = field(repr=False)

    @property
    def n_rows(self) -> int:
        return self.table.num_rows

    def read(self) -> pa.Table:
        """The rows, sorted as the catalog is."""
        return self.table


class TableRows:
    """Rows of a table that is sorted by HEALPix order-29 index and source_id.

    Raises
    ------
    SchemaError
        Where rows are not sorted, not unique, or have no positions.
    """

    def __init__(self, table: pa.Table):
        missing = [column for column in ("source_id", "ra", "dec") if column not in table.column_names]
        if missing:
            raise SchemaError(f"columns {missing} are missing: a catalog needs source_id, ra and dec")
        source_id = arrow_to_numpy(table["source_id"])
        unique, counts = np.unique(source_id, return_counts=True)
        if len(unique) < len(source_id):
            raise SchemaError(f"source_id is not unique, for instance {unique[counts > 1][:3].tolist()}")
        ra, dec = (arrow_to_numpy(table[name]) for name in ("ra", "dec"))
        n_off_sky = int(np.count_nonzero(~(np.isfinite(ra) & (np.abs(dec) <= 90))))
        if n_off_sky:
            raise SchemaError(f"{n_off_sky} rows have no position (a finite ra, dec from -90 to 90 degrees): leave them out")
        self._index = healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy()) if len(source_id) else np.zeros(0, np.int64)
        steps = np.diff(self._index)
        if np.any(steps < 0) or np.any((steps == 0) & (np.diff(source_id) < 0)):
            raise SchemaError("rows are not sorted by HEALPix order-29 index and source_id: merge or sort them first")
        self._table = table
        self.schema = table.schema
        self.n_rows = table.num_rows
        self.id_sum = id_sum(source_id)

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted cells of the sky that hold rows, and how many."""
        return np.unique(self._index >> CELL_SHIFT, return_counts=True)

    def part(self, order: int, pixel: int, n_rings: int = 0) -> TablePart:
        """The rows of a pixel of the sky."""
        start, stop = np.searchsorted(self._index, pixel_range(order, pixel))
        return TablePart(Zone(order, pixel, n_rings), self._table.slice(start, stop - start))

    def digest(self, part: TablePart) -> str:
        """Nothing: it is not known what the rows of a table come from."""
        return ""
