"""The catalog as a FITS binary table, or as several where one would be too large: written and read by rows.

Rows have a fixed length, so that many processes write into one file at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surveycnn.catalogs.formats.fits_header import (
    UNSIGNED,
    FitsLayout,
    FitsPart,
    ascii_text,
    fits_layout,
    header_bytes,
    is_text,
    row_bytes,
    unescape,
)
from surveycnn.catalogs.formats.row_index import is_sorted_by_healpix
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.tables import arrow_to_numpy, numpy_to_arrow
from surveycnn.errors import CatalogError, SchemaError

if TYPE_CHECKING:
    pass

MAX_BYTES = (1 << 32) - (1 << 20)
"""Size of a FITS file of a catalog: below 4 GiB, the largest that FAT32 and readers with 32-bit offsets take."""

NAME = "catalog.fits"
_BLOCK = 2880
_WRITE_ROWS = 1 << 14


def fits_pieces(
    schema: pa.Schema, n_rows: int, text_bytes: Mapping[str, int], max_bytes: int = MAX_BYTES
) -> list[tuple[int, int]]:
    """First row and number of rows of each file of a table: one file where it stays below `max_bytes`, else as few as can be."""
    head = len(header_bytes(schema, n_rows, text_bytes, False, FitsPart(1, 1, 0))) + _BLOCK
    rows = max(1, (max_bytes - head) // max(1, row_bytes(schema, text_bytes)))
    return [(first, min(rows, n_rows - first)) for first in range(0, n_rows, rows)] or [(0, 0)]


def fits_files(folder: Path) -> list[Path]:
    """Files of the FITS table of a catalog folder, in the order of the rows; empty where there is none."""
    return [folder / NAME] if (folder / NAME).exists() else sorted(folder.glob("catalog_[0-9][0-9][0-9].fits"))


def check_parts(paths: Sequence[Path]) -> None:
    """Raise CatalogError where the files are not all those of one table, in order."""
    next_row = 0
    for number, path in enumerate(paths, start=1):
        layout = fits_layout(path)
        if layout.part != FitsPart(number, len(paths), next_row):
            raise CatalogError(
                f"{str(path)!r} is file {layout.part.number} of {layout.part.n_parts} of a table, from row "
                f"{layout.part.first_row}; expected file {number} of {len(paths)}, from row {next_row}: fetch the files of the "
                "catalog that are missing, or publish it again"
            )
        next_row += layout.n_rows


def create_fits(
    path: Path,
    schema: pa.Schema,
    n_rows: int,
    text_bytes: Mapping[str, int],
    *,
    is_sorted: bool = False,
    part: FitsPart | None = None,
) -> None:
    """Write header and length of a FITS table whose rows :func:`write_fits_rows` fills in.

    Parameters
    ----------
    text_bytes
        Width of each column of text, see :func:`text_widths`.
    is_sorted
        Whether the rows are sorted by HEALPix order-29 index of their ra and dec.
    part
        Where the table is one of several files.
    """
    header = header_bytes(schema, n_rows, text_bytes, is_sorted, part)
    n_bytes = n_rows * row_bytes(schema, text_bytes)
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + -(-n_bytes // _BLOCK) * _BLOCK)


def create_fits_parts(
    folder: Path,
    schema: pa.Schema,
    n_rows: int,
    text_bytes: Mapping[str, int],
    *,
    is_sorted: bool = False,
    max_bytes: int = MAX_BYTES,
) -> list[Path]:
    """Write header and length of ``catalog.fits``, or of ``catalog_001.fits`` and so on, in `folder`; their paths."""
    pieces = fits_pieces(schema, n_rows, text_bytes, max_bytes)
    if len(pieces) == 1:
        create_fits(folder / NAME, schema, n_rows, text_bytes, is_sorted=is_sorted)
        return [folder / NAME]
    paths = [folder / f"catalog_{number:03d}.fits" for number in range(1, len(pieces) + 1)]
    for number, (path, (first_row, rows)) in enumerate(zip(paths, pieces, strict=True), start=1):
        part = FitsPart(number, len(pieces), first_row)
        create_fits(path, schema, rows, text_bytes, is_sorted=is_sorted, part=part)
    return paths


def write_fits_rows(path: Path, first_row: int, table: pa.Table) -> None:
    """Write `table` into the rows from `first_row` on of a file of :func:`create_fits`: any process, in any order.

    Raises
    ------
    SchemaError
        For other columns than the file has, rows beyond its end, or text wider than its column.
    """
    layout = fits_layout(path)
    if layout.schema.names != table.column_names or first_row < 0 or first_row + table.num_rows > layout.n_rows:
        raise SchemaError(
            f"rows {first_row} to {first_row + table.num_rows} with columns {table.column_names} do not fit into {str(path)!r}: "
            f"it has {layout.n_rows} rows and columns {layout.schema.names}"
        )
    with path.open("r+b") as stream:
        stream.seek(layout.offset + first_row * layout.record.itemsize)
        for start in range(0, table.num_rows, _WRITE_ROWS):
            stream.write(_records(table.slice(start, _WRITE_ROWS), layout.record).tobytes())


def write_fits_parts(paths: Sequence[Path], first_row: int, table: pa.Table) -> None:
    """Write `table` into the rows from `first_row` on of the whole table, whose files are `paths`."""
    start = 0
    for path in paths:
        n_rows = fits_layout(path).n_rows
        low, high = max(first_row, start), min(first_row + table.num_rows, start + n_rows)
        if low < high:
            write_fits_rows(path, low - start, table.slice(low - first_row, high - low))
        start += n_rows
    if first_row + table.num_rows > start:
        raise SchemaError(f"rows {first_row} to {first_row + table.num_rows} do not fit into {len(paths)} files of {start} rows")


def write_fits(table: pa.Table, path: Path) -> None:
    """Write `table` as the binary table of a FITS file; the same bytes for the same table."""
    create_fits(path, table.schema, table.num_rows, text_widths(table), is_sorted=is_sorted_by_healpix(table))
    write_fits_rows(path, 0, table)


def text_widths(table: pa.Table) -> dict[str, int]:
    """Bytes of the longest text of each column of text; of a table in pieces, take the largest of each."""
    return {
        field.name: max(1, pc.max(pc.binary_length(ascii_text(table[field.name]))).as_py() or 0)
        for field in table.schema
        if is_text(field.type)
    }


def read_fits(path: Path, columns: Sequence[str] | None = None, rows: slice = slice(None)) -> pa.Table:
    """Arrow table of the first binary table of a FITS file of ours; only `columns` and `rows` are read from disk."""
    return read_rows(fits_layout(path), columns, rows)


def read_rows(layout: FitsLayout, columns: Sequence[str] | None, rows: slice) -> pa.Table:
    """As :func:`read_fits`, of a file whose header has been read."""
    names = layout.schema.names if columns is None else list(columns)
    shape = (layout.n_rows,)
    records = np.memmap(layout.path, layout.record, "r", layout.offset, shape) if layout.n_rows else np.zeros(0, layout.record)
    places = [layout.schema.get_field_index(name) for name in names]
    if -1 in places:
        raise SchemaError(f"{str(layout.path)!r} has no column {names[places.index(-1)]!r}: it has {layout.schema.names}")
    arrays = [_read_column(records[rows][f"c{place}"], layout.schema.field(place).type) for place in places]
    return pa.table(arrays, schema=pa.schema([layout.schema.field(place) for place in places]))


def fits_chunk_starts(layout: FitsLayout, chunk_rows: int) -> np.ndarray | None:
    """HEALPix order-29 index of every `chunk_rows`-th row, from the rows themselves; None where they are not sorted by it."""
    if not layout.is_sorted:
        return None
    sample = read_rows(layout, ["ra", "dec"], slice(None, None, chunk_rows))
    return healpix_index(sample["ra"].to_numpy(), sample["dec"].to_numpy())


def _records(table: pa.Table, record: np.dtype) -> np.ndarray:
    """Rows as they are in the file."""
    records = np.zeros(table.num_rows, record)
    for place, name in zip(record.names or (), table.column_names, strict=True):
        column, stored = table[name], records[place]
        if is_text(table.schema.field(name).type):
            texts = np.array(ascii_text(column).to_pylist(), dtype=bytes)
            if texts.dtype.itemsize > stored.dtype.itemsize:
                raise SchemaError(
                    f"column {name!r} has text of {texts.dtype.itemsize} bytes, the FITS file was created for "
                    f"{stored.dtype.itemsize}"
                )
            stored[:] = texts
            continue
        values = arrow_to_numpy(column)
        if values.dtype.kind == "b":
            values = np.where(values, np.int8(ord("T")), np.int8(ord("F")))
        elif values.dtype.str[1:] in UNSIGNED:
            signed = UNSIGNED[values.dtype.str[1:]][1]
            values = values.view(signed) ^ np.iinfo(signed).min
        stored[:] = values
    return records


def _read_column(stored: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Column of what is in the file."""
    if pa.types.is_string(kind):
        texts = pc.utf8_rtrim(pa.array(np.ascontiguousarray(stored)).cast(pa.string()), characters=" ")
        if not pc.any(pc.match_substring(texts, "\\")).as_py():
            return texts
        return pa.array([unescape(text) for text in texts.to_pylist()], pa.string())
    value = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    if pa.types.is_boolean(value):
        return numpy_to_arrow(stored == ord("T"))
    if pa.types.is_unsigned_integer(value) and not pa.types.is_uint8(value):
        native = stored.astype(stored.dtype.newbyteorder("="))
        return numpy_to_arrow((native ^ np.iinfo(native.dtype).min).view(value.to_pandas_dtype()))
    return numpy_to_arrow(np.asarray(stored))
