"""The catalog as a Zarr v3 store for ``xarray.open_zarr``: written whole or by rows, read by rows and columns.

    flux_r (source), ..., pz_mean (source, component)   every column under its name
    flux (source, band), morph (source, answer), ...    the same numbers once more as cubes, whose chunks are hard links
    chunk (chunk)                                       HEALPix order-29 index of the first row of each chunk of rows

A chunk of one plane of a cube is encoded as the chunk of its column is, byte by byte, so the cubes take no space; where the file
system has no links they are copies. Chunks are the least that is read, shards the files that hold many of them.
"""

from __future__ import annotations

import operator
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from surveycnn.catalogs.cubes import Cube, cubes_of
from surveycnn.catalogs.formats.reading import check_zarr
from surveycnn.catalogs.formats.row_index import even_slices, is_sorted_by_healpix
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.tables import DEFAULT_DIM, DIM_KEY, arrow_to_numpy, field_attrs, numpy_to_arrow
from surveycnn.errors import SchemaError
from surveycnn.schema import SOURCE_DIM

CHUNK_ROWS = 1 << 14
"""Rows of a chunk, 64 kB of a float column: a cone of an arcminute reads one or two of each column."""
SHARD_ROWS = 1 << 18
"""Rows of a shard, a file of 1 MB of a float column. Pieces written by several processes begin at multiples of it."""

_COLUMNS_ATTR = "columns"
_CHUNK_DIM = "chunk"


def create_zarr(
    path: Path, schema: pa.Schema, n_rows: int, attrs: Mapping[str, str] | None = None, *, is_sorted: bool = False
) -> None:
    """Write the metadata, consolidated, of a store whose rows :func:`write_zarr_rows` fills in.

    Parameters
    ----------
    attrs
        Attributes of the group.
    is_sorted
        Whether the rows are sorted by HEALPix order-29 index of their ra and dec.
    """
    wrong = [field.name for field in schema if not field.name or "/" in field.name or field.name.startswith(("__", "."))]
    if wrong:
        raise SchemaError(f"column {wrong[0]!r} cannot be the name of a Zarr array: rename it or leave it out")
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.create_group(path, zarr_format=3, attributes=dict(attrs or {}) | {_COLUMNS_ATTR: schema.names})
    chunk, shard = _rows(n_rows)
    for field in schema:
        _create_column(group, field, n_rows, chunk, shard)
    for cube in cubes_of(schema):
        kind, names = _dtype(schema.field(cube.columns[0]).type), (SOURCE_DIM, cube.dim)
        _create(group, cube.name, (n_rows, len(cube.columns)), kind, (chunk, 1), (shard, 1), names, cube.attrs)
        if cube.dim not in group:
            shape = (len(cube.labels),)
            _create(group, cube.dim, shape, "str", shape, shape, (cube.dim,), {})[:] = np.array(
                cube.labels, np.dtypes.StringDType()
            )
    if is_sorted and _CHUNK_DIM not in group:
        text = {"description": f"HEALPix order-29 index of the first row of each {chunk} rows", "chunk_rows": chunk}
        shape, per_shard = (-(-n_rows // chunk),), (shard // chunk,)
        _create(group, _CHUNK_DIM, shape, "i8", per_shard, per_shard, (_CHUNK_DIM,), text)
    with warnings.catch_warnings():  # the specification of version 3 does not mention them yet; xarray warns of stores without
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part", category=UserWarning)
        zarr.consolidate_metadata(path)


def write_zarr_rows(path: Path, first_row: int, table: pa.Table) -> None:
    """Write `table` into the rows from `first_row` on of a store of :func:`create_zarr`: any process, in any order.

    Raises
    ------
    SchemaError
        For other columns than the store has, or rows that are not whole shards: a multiple of SHARD_ROWS up to another one, or
        up to the end.
    """
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    names, n_rows = _columns(group), count_rows_of(group)
    stop = first_row + table.num_rows
    if names != table.column_names or first_row % SHARD_ROWS or not 0 <= first_row <= stop <= n_rows:
        raise SchemaError(
            f"rows {first_row} to {stop} with columns {table.column_names} do not fit into {str(path)!r}: it has {n_rows} rows "
            f"and columns {names}, and pieces begin at multiples of {SHARD_ROWS}"
        )
    if stop % SHARD_ROWS and stop < n_rows:
        raise SchemaError(f"rows {first_row} to {stop} end inside of a shard: cut pieces at multiples of {SHARD_ROWS}")
    chunk = _rows(n_rows)[0]
    cubes = cubes_of(table.schema)
    for rows in even_slices(first_row, stop, SHARD_ROWS):
        part = table.slice(rows.start - first_row, rows.stop - rows.start)
        for name in names:
            _set(group, name, rows, arrow_to_numpy(part[name]))
        for cube in cubes:
            _link_planes(path, cube, rows.start // SHARD_ROWS)
        if _has_chunk_starts(group):
            sample = part.take(pa.array(np.arange(0, part.num_rows, chunk)))
            starts = healpix_index(sample["ra"].to_numpy(), sample["dec"].to_numpy())
            _set(group, _CHUNK_DIM, slice(rows.start // chunk, rows.start // chunk + len(starts)), starts)


def write_zarr(table: pa.Table, path: Path, attrs: Mapping[str, str] | None = None) -> None:
    """Write `table` as a Zarr store; the same bytes for the same table."""
    create_zarr(path, table.schema, table.num_rows, attrs, is_sorted=is_sorted_by_healpix(table))
    write_zarr_rows(path, 0, table)


def read_zarr(path: Path, columns: Sequence[str] | None = None, rows: slice = slice(None)) -> pa.Table:
    """Arrow table of a store of :func:`write_zarr`; only `columns` and the chunks of `rows` are read from disk."""
    return read_group(open_zarr(path), columns, rows)


def open_zarr(path: Path) -> zarr.Group:
    """Store of ours, its metadata read, and found to ask for nothing unsafe."""
    check_zarr(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that are not as they were written, which fail or do no harm
        return zarr.open_group(path, mode="r", zarr_format=3)


def read_group(group: zarr.Group, columns: Sequence[str] | None, rows: slice) -> pa.Table:
    """As :func:`read_zarr`, of a store that is open."""
    found = {name: _array(group, name) for name in (columns if columns is not None else _columns(group))}
    arrays = {name: numpy_to_arrow(np.asarray(array[rows])) for name, array in found.items()}
    return pa.table(list(arrays.values()), schema=pa.schema([_field(name, found[name], arrays[name].type) for name in found]))


def count_rows_of(group: zarr.Group) -> int:
    """Number of rows of a store, without reading them."""
    names = _columns(group)
    return _array(group, names[0]).shape[0] if names else 0


def chunk_starts_of(group: zarr.Group) -> tuple[np.ndarray, int] | None:
    """HEALPix order-29 index of the first row of each chunk, and the rows of a chunk; None where rows are not sorted by it."""
    if not _has_chunk_starts(group):
        return None
    array = _array(group, _CHUNK_DIM)
    return np.asarray(array[:], dtype=np.int64), operator.index(array.attrs["chunk_rows"])  # type: ignore[arg-type]


# -- arrays --------------------------------------------------------------------------------------------------------------------


def _rows(n_rows: int) -> tuple[int, int]:
    """Rows of a chunk and of a shard of a table."""
    chunk = max(1, min(CHUNK_ROWS, n_rows))
    return chunk, chunk * -(-max(1, min(n_rows, SHARD_ROWS)) // chunk)


def _dtype(kind: pa.DataType) -> str:
    """Zarr's type of the values of a column; for text, whatever the column's encoding, ``str``."""
    if pa.types.is_dictionary(kind) or pa.types.is_fixed_size_list(kind):
        return _dtype(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "str"
    return "bool" if pa.types.is_boolean(kind) else np.dtype(kind.to_pandas_dtype()).str[1:]


def _create_column(group: zarr.Group, field: pa.Field, n_rows: int, chunk: int, shard: int) -> None:
    is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
    if not is_number and not pa.types.is_fixed_size_list(field.type) and _dtype(field.type) != "str":
        raise SchemaError(f"column {field.name!r} is of type {field.type}, for which Zarr has none: leave it out")
    attrs = field_attrs(field)
    dim = attrs.pop(DIM_KEY, DEFAULT_DIM)
    names: tuple[str, ...] = (SOURCE_DIM,)
    sizes: tuple[int, ...] = ()
    if pa.types.is_fixed_size_list(field.type):
        names, sizes = (SOURCE_DIM, dim), (field.type.list_size,)
    inner = tuple(max(1, size) for size in sizes)
    _create(group, field.name, (n_rows, *sizes), _dtype(field.type), (chunk, *inner), (shard, *inner), names, attrs)


def _create(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    chunks: tuple[int, ...],
    shards: tuple[int, ...],
    dims: tuple[str, ...],
    attrs: Mapping[str, Any],
) -> zarr.Array:
    options: dict[str, Any] = {"chunks": chunks, "shards": shards if shards != chunks else None, "dimension_names": dims}
    fill = {"f": np.nan, "b": False, "s": ""}.get(dtype[0], 0)
    return group.create_array(name, shape=shape, dtype=dtype, fill_value=fill, attributes=dict(attrs), **options)


def _set(group: zarr.Group, name: str, rows: slice, values: np.ndarray) -> None:
    """Write values; chunks of nothing but NaN or 0, too, whose file would be missing else, as one that is lost."""
    values = values.astype(np.dtypes.StringDType()) if values.dtype == object else values
    with zarr.config.set({"array.write_empty_chunks": True}):
        _array(group, name)[rows] = values


def _link_planes(path: Path, cube: Cube, shard: int) -> None:
    """Give the files of the columns of a cube the names that they have as its planes."""
    for place, name in enumerate(cube.columns):
        file, plane = path / name / "c" / str(shard), path / cube.name / "c" / str(shard) / str(place)
        plane.parent.mkdir(parents=True, exist_ok=True)
        temporary = plane.with_name(f".{uuid.uuid4().hex}")
        try:
            os.link(file, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(file, temporary)
        os.replace(temporary, plane)
        temporary.unlink(missing_ok=True)  # which is left where both names are of one file already


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise SchemaError(f"{name!r} is a group of the Zarr store, expected a column")
    return array


def _columns(group: zarr.Group) -> list[str]:
    """Names of the columns, in order."""
    names = group.attrs.get(_COLUMNS_ATTR)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SchemaError(f"the attribute {_COLUMNS_ATTR!r} of the Zarr store is {names!r}, expected the names of its columns")
    return [str(name) for name in names]


def _has_chunk_starts(group: zarr.Group) -> bool:
    return _CHUNK_DIM in group and _CHUNK_DIM not in _columns(group)


def _field(name: str, array: zarr.Array, kind: pa.DataType) -> pa.Field:
    metadata = {str(key): str(value) for key, value in array.attrs.items()}
    dims: list[str | None] = list(getattr(array.metadata, "dimension_names", None) or [])
    if array.ndim == 2 and len(dims) == 2:
        metadata[DIM_KEY] = str(dims[1])
    return pa.field(name, kind, metadata=metadata)
