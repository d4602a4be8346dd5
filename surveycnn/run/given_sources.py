"""Sources of a user's table in the work directory: one Parquet file per mosaic, sorted by tile, of which a tile reads its own.

Written at ingest from :mod:`surveycnn.sources.catalog`; a source belongs to the tile whose core holds its nearest pixel.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.tables import arrow_to_numpy, numpy_to_arrow
from surveycnn.run.store import WorkStore, atomic_path
from surveycnn.sky.tiling import Tile, TileGrid
from surveycnn.sources.catalog import PlacedSources

ROWS_PER_GROUP = 8192
"""Rows that are read at once: a tile reads those groups that hold rows of its own."""

_COLUMNS = tuple(PlacedSources.__dataclass_fields__)


def write_sources(store: WorkStore, grid: TileGrid, placed: PlacedSources) -> None:
    """Write the sources of a mosaic, unless they are there: the work directory belongs to one table."""
    path = store.source_path(grid.mosaic)
    if path.exists():
        return
    row, col = (np.floor(values + 0.5).astype(np.int64) // grid.core_px for values in (placed.y, placed.x))
    order = np.lexsort((placed.row, col, row))
    columns = {"tile_row": row, "tile_col": col} | {name: getattr(placed, name) for name in _COLUMNS}
    table = pa.table({name: numpy_to_arrow(values[order]) for name, values in columns.items()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROWS_PER_GROUP)


def read_sources_of_tile(store: WorkStore, tile: Tile) -> PlacedSources:
    """Sources of one tile, in the order of their rows."""
    of_tile = [("tile_row", "==", tile.row), ("tile_col", "==", tile.col)]
    table = pq.read_table(store.source_path(tile.mosaic), filters=of_tile, partitioning=None)
    return PlacedSources(*(arrow_to_numpy(table[name]) for name in _COLUMNS))
