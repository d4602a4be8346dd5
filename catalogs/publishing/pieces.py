"""Pieces of a catalog that is being published, each made by one call on whatever worker: partitions, margins, the id index.

    sources/           the rows; dataset/Norder=k/Dir=d/Npix=n.parquet, each sorted as the catalog is
    sources_5arcs/     rows within at least 5 arcsec outside of each partition, so that cross-matches lose nothing at borders
    sources_id_index/  source_id and the partition in which it is

Every call may be made again, by another worker, after one that was cut off: files are renamed to their names when they are whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.columns import HEALPIX_COLUMN
from surveycnn.catalogs.formats.fits_table import text_widths
from surveycnn.catalogs.healpix import ORDER, Zone, healpix_index, pixel_range
from surveycnn.catalogs.publishing.encodings import encodings
from surveycnn.catalogs.publishing.merge import NeedsMore
from surveycnn.catalogs.publishing.tile_files import Damage, damage, id_sum
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.durable import atomic_path
from surveycnn.errors import SurveyCNNError

HEALPIX_FIELD = pa.field(
    HEALPIX_COLUMN,
    pa.int64(),
    metadata={"description": "HEALPix index of the position, nested, order 29", "ucd": "pos.healpix", "filled_by": "merge"},
)
MARGIN = "sources_5arcs"
"""Folder of the margin cache inside the collection."""
MARGIN_ARCSEC = 5.0
MARGIN_ORDER = 14
"""Cells that are wider than the margin, so that a ring of them around a pixel holds it."""
ROW_GROUP_ROWS = 1 << 14
"""Rows of a Parquet row group, the least that a query reads."""
INDEX_ROWS = 1 << 22
"""Source numbers in a file of the id index."""
_QUANTILES = 33


class Part(Protocol):
    """Rows of a pixel of the sky, wherever they come from."""

    @property
    def zone(self) -> Zone | None:
        """The pixel."""

    @property
    def n_rows(self) -> int:
        """How many rows it has."""

    def read(self) -> pa.Table:
        """The rows, sorted as the catalog is."""


@dataclass(frozen=True)
class Kept:
    """A file of the catalog that is to be replaced, which holds what is wanted if its bytes are still those."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Piece:
    """A partition that has been written, as it was read back."""

    order: int
    pixel: int
    n_rows: int
    id_sum: int
    n_primary: int
    text_bytes: Mapping[str, int]
    """Longest text of each column of texts, encoded as FITS has it."""
    id_quantiles: tuple[int, ...]
    """Some of the source numbers, evenly among them, the least and the greatest included."""
    sha256: str

    @property
    def name(self) -> str:
        """Path inside its catalog of the collection."""
        return piece_name(self.order, self.pixel)


def piece_name(order: int, pixel: int) -> str:
    """Path of a partition inside its catalog, as HATS has it.

    >>> piece_name(5, 12345)
    'dataset/Norder=5/Dir=10000/Npix=12345.parquet'
    """
    return f"dataset/Norder={order}/Dir={pixel // 10000 * 10000}/Npix={pixel}.parquet"


@dataclass(frozen=True)
class WritePiece:
    """Writes the rows of a part as a partition of a catalog."""

    folder: Path
    """Folder of the catalog inside the collection."""
    schema_metadata: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    def __call__(self, unit: tuple[Part, Kept | None]) -> Piece | NeedsMore | list[Damage]:
        part, kept = unit
        assert part.zone is not None
        path = self.folder / piece_name(part.zone.order, part.zone.pixel)
        if kept is None or not take(kept, path):
            try:
                table = part.read()
            except NeedsMore as error:
                return error
            except (pa.ArrowException, OSError) as error:
                return find_damage(part, error)
            write_rows(table, path, self.schema_metadata)
        return read_back(path, part.zone.order, part.zone.pixel)


def find_damage(part: Any, error: Exception) -> list[Damage]:
    """The files of a part that cannot be read as they were written; raises `error` where there are none."""
    found = []
    for path in sorted({*getattr(part, "files", ()), *getattr(part, "around", ())}):
        try:
            pq.read_table(path, partitioning=None, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as reason:
            found.append(damage(path, reason))
    if not found:
        raise error
    return found


def take(kept: Kept, path: Path) -> bool:
    """Put a file of the old catalog in the place of one of the new: no byte is written where it can be linked."""
    try:
        if sha256_of(kept.path) != kept.sha256:
            return False
    except OSError:  # gone, or not to be read: its rows are in the tile files
        return False
    with atomic_path(path) as temporary:
        try:
            os.link(kept.path, temporary)
        except OSError:
            shutil.copyfile(kept.path, temporary)
    return True


def write_rows(table: pa.Table, path: Path, metadata: Mapping[bytes, bytes] | None = None) -> None:
    """Write rows with their HEALPix index as a Parquet file of the collection."""
    index = healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy()) if table.num_rows else np.zeros(0, np.int64)
    table = table.add_column(0, HEALPIX_FIELD, pa.array(index)).replace_schema_metadata(dict(metadata or {}) or None)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, **parquet_options(table.schema))


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How the files of a collection are written.

    As by hats, which takes seconds to import, but for the level of the compression: its 15 takes ten times as long for 3 % less.
    """
    chosen = {"row_group_size": ROW_GROUP_ROWS, "compression": "zstd", "compression_level": 3, "write_page_index": True}
    return chosen | {"write_page_checksum": True} | encodings(schema)


def read_back(path: Path, order: int, pixel: int) -> Piece:
    """What a partition holds, from its file.

    Raises
    ------
    SurveyCNNError
        Where rows are out of order or out of the pixel.
    """
    schema = pq.read_schema(path)
    texts = [one.name for one in schema if pa.types.is_string(one.type)]
    names = [HEALPIX_COLUMN, "source_id", *(["is_primary"] if "is_primary" in schema.names else []), *texts]
    table = pq.read_table(path, columns=names, partitioning=None, page_checksum_verification=True)
    index, source_id = (arrow_to_numpy(table[name]) for name in (HEALPIX_COLUMN, "source_id"))
    start, stop = pixel_range(order, pixel)
    steps = np.diff(index)
    if ((index < start) | (index >= stop)).any() or ((steps < 0) | ((steps == 0) & (np.diff(source_id) <= 0))).any():
        raise SurveyCNNError(f"{str(path)!r} is not sorted by HEALPix index and source_id, or has rows of another pixel")
    return Piece(
        order,
        pixel,
        len(index),
        id_sum(source_id),
        int(np.count_nonzero(arrow_to_numpy(table["is_primary"]))) if "is_primary" in names else len(index),
        text_widths(table.select(texts)),
        tuple(np.sort(source_id)[np.linspace(0, len(source_id) - 1, _QUANTILES).astype(int)].tolist()) if len(source_id) else (),
        sha256_of(path),
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of the bytes of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# -- margins ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WriteMargin:
    """Writes the rows around a pixel, from the partitions that have rows there; returns how many there are."""

    folder: Path
    """Folder of the margins' catalog inside the collection."""
    schema_metadata: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    def __call__(self, unit: tuple[int, int, Sequence[Path], Kept | None]) -> int:
        order, pixel, partitions, kept = unit
        path = self.folder / piece_name(order, pixel)
        if kept is not None and take(kept, path):
            return pq.read_metadata(path).num_rows
        cells = margin_cells(order, pixel)
        tables = [table for partition in partitions for table in rows_in_cells(partition, cells)]
        n_rows = sum(table.num_rows for table in tables)
        if n_rows:
            table = pa.concat_tables(tables).combine_chunks()
            with atomic_path(path) as temporary:
                table = table.replace_schema_metadata(dict(self.schema_metadata) or None)
                pq.write_table(table, temporary, **parquet_options(table.schema))
        return n_rows


def margin_cells(order: int, pixel: int) -> np.ndarray:
    """Sorted cells of :data:`MARGIN_ORDER` around a pixel."""
    import cdshealpix

    edges, corners = cdshealpix.external_neighbours(pixel, order, MARGIN_ORDER - order, num_threads=1)
    cells = np.concatenate([np.ravel(edges), np.ravel(corners)]).astype(np.int64)
    return np.unique(cells[cells >= 0])


def rows_in_cells(path: Path, cells: np.ndarray) -> list[pa.Table]:
    """Rows of a partition in cells of :data:`MARGIN_ORDER`, in their order; row groups far from all cells are not read."""
    shift = 2 * (ORDER - MARGIN_ORDER)
    tables = []
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            limits = file.metadata.row_group(number).column(0).statistics
            first, last = np.searchsorted(cells, (limits.min >> shift, (limits.max >> shift) + 1))
            if first == last:
                continue
            index = file.read_row_group(number, [HEALPIX_COLUMN])[HEALPIX_COLUMN].to_numpy()
            near = np.isin(index >> shift, cells[first:last])
            if near.any():
                tables.append(file.read_row_group(number).filter(pa.array(near)))
    return tables


# -- the id index ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WriteIndex:
    """Writes a file of the id index: the source numbers of a range, sorted, with the partition of each."""

    folder: Path
    """Folder of the index inside the collection."""
    sources: Path
    """Folder of the catalog whose rows they are."""

    def __call__(self, unit: tuple[int, int, int, Sequence[tuple[int, int]]]) -> int:
        number, start, stop, pieces = unit
        ids, orders, pixels = [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)], [np.zeros(0, np.uint64)]
        for order, pixel in pieces:
            table = pq.read_table(self.sources / piece_name(order, pixel), columns=["source_id"], partitioning=None)
            found = table["source_id"].to_numpy()
            found = found[(found >= start) & (found <= stop)]
            ids.append(found)
            orders.append(np.full(len(found), order, np.uint8))
            pixels.append(np.full(len(found), pixel, np.uint64))
        joined = [np.concatenate(parts) for parts in (ids, orders, pixels)]
        rank = np.argsort(joined[0], kind="stable")
        source_id, norder, npix = (values[rank] for values in joined)
        folders = np.multiply(np.floor_divide(npix, 10_000), 10_000)
        table = pa.table({"source_id": source_id, "Norder": norder, "Dir": folders, "Npix": npix})
        with atomic_path(self.folder / "dataset" / "index" / f"part.{number:05d}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd", row_group_size=1 << 17, write_page_checksum=True)
        return table.num_rows
