"""Columns of users' tables between Arrow, numpy and astropy, with their missing values: the conversions of the file formats.

Our own columns have none but NaN, and :mod:`surveycnn.catalogs.tables` serves them; an `id` of a user may be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.tables import field_attrs
from surveycnn.errors import InputError

if TYPE_CHECKING:
    from astropy.table import Table


def to_arrow(values: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """Arrow array of `values` of shape (row,) or (row, n, ...), which become fixed-size lists; null where `mask` is True."""
    if values.ndim > 1:
        rest = values.shape[2:]
        inner = to_arrow(values.reshape(-1, *rest), None if mask is None else mask.reshape(-1, *rest))
        return pa.FixedSizeListArray.from_arrays(inner, values.shape[1])
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind in "OUT":
        decoded = [value.decode("utf-8") if isinstance(value, bytes) else value for value in values.tolist()]
        return pa.array(decoded, mask=mask, type=None if decoded else pa.string())
    return pa.array(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")), mask=mask)


def array_of_column(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """Array of shape (row,) or (row, n, ...) of an Arrow column; masked where values other than floats are missing.

    Missing floats are NaN; text and times are object arrays of str, and missing ones are masked.

    Raises
    ------
    InputError
        For a type that has no array, such as lists of several lengths.
    """
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        return _vectors(array, name)
    if pa.types.is_null(kind) or pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif pa.types.is_temporal(kind):
        array = array.cast(pa.string())
    kind = array.type
    if not (pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"column {name!r} of type {column.type} is no column of numbers or text: leave it out or write .parquet")
    if pa.types.is_floating(kind):
        return array.to_numpy(zero_copy_only=False)  # nulls are NaN
    missing = array.is_null().to_numpy(zero_copy_only=False)
    is_text = not pa.types.is_primitive(kind)
    filler = "" if is_text else False if pa.types.is_boolean(kind) else 0
    filled = array.fill_null(pa.scalar(filler, type=kind))
    values = np.array(filled.to_pylist(), dtype=object) if is_text else filled.to_numpy(zero_copy_only=False)
    return np.ma.MaskedArray(values, missing) if missing.any() else values


def _vectors(array: pa.Array, name: str) -> np.ndarray:
    """Array of fixed-size lists; a row that is missing as a whole has missing values."""
    size = array.type.list_size
    # flatten() leaves the missing rows out
    inner = array_of_column(pa.chunked_array([array.flatten()]), name)
    inner = inner.reshape(-1, size, *inner.shape[1:])
    if not array.null_count:
        return inner
    filler = np.nan if inner.dtype.kind == "f" else "" if inner.dtype == object else 0
    values = np.ma.MaskedArray(np.full((len(array), *inner.shape[1:]), filler, dtype=inner.dtype), mask=True)
    values[array.is_valid().to_numpy(zero_copy_only=False)] = inner
    return values.filled(filler) if inner.dtype.kind == "f" else values


def split_vectors(table: pa.Table) -> pa.Table:
    """The table with one column per value, name_0, name_1, ..., where a column has several values per row."""
    columns, fields = [], []
    for field in table.schema:
        if not pa.types.is_nested(field.type):
            columns.append(table[field.name])
            fields.append(field)
            continue
        values = array_of_column(table[field.name], field.name)
        for place, part in enumerate(values.reshape(len(values), -1 if values.size else int(np.prod(values.shape[1:]))).T):
            columns.append(to_arrow(np.asarray(part), np.ma.getmaskarray(part) if np.ma.isMaskedArray(part) else None))
            fields.append(pa.field(f"{field.name}_{place}", columns[-1].type, metadata=field.metadata))
    return pa.table(columns, schema=pa.schema(fields))


def arrow_of_astropy(table: Table) -> pa.Table:
    """Arrow table of an astropy table: units, UCDs and descriptions as metadata of the fields; masked values are nulls."""
    arrays, fields = [], []
    for column in table.itercols():
        values = getattr(column, "value", column)  # a Quantity column, too
        mask = np.asarray(values.mask) if np.any(getattr(values, "mask", False)) else None
        arrays.append(to_arrow(np.asarray(getattr(values, "unmasked", values)), mask))
        ucd = (column.info.meta or {}).get("ucd")
        metadata = {"description": column.info.description, "units": str(column.info.unit or ""), "ucd": ucd}
        metadata = {key: str(value) for key, value in metadata.items() if value}
        fields.append(pa.field(column.info.name, arrays[-1].type, metadata=metadata))
    return pa.table(arrays, schema=pa.schema(fields))


def astropy_of_arrow(table: pa.Table, for_fits: bool = False) -> Table:
    """Astropy table of an Arrow table, the inverse of :func:`arrow_of_astropy`.

    Parameters
    ----------
    for_fits
        Of types that FITS has: text in ASCII, others escaped; no bytes or half floats; NaN or a mask for what is missing.

    Raises
    ------
    InputError
        For a column that cannot be written.
    """
    from astropy.table import Column, MaskedColumn, Table

    columns = []
    for field in table.schema:
        values = array_of_column(table[field.name], field.name)
        if values.dtype == object:
            values = values.astype(str)  # keeps the mask
        values = _fits_values(values, field.name) if for_fits else values
        attrs = field_attrs(field)
        kind = MaskedColumn if np.ma.isMaskedArray(values) else Column
        columns.append(kind(values, field.name, unit=attrs.get("units"), description=attrs.get("description")))
    return Table(columns)


def _fits_values(values: np.ndarray, name: str) -> np.ndarray:
    """`values` in a type of FITS; its columns of int8 are read as logical ones."""
    if values.dtype.kind == "U":
        return np.char.encode(np.ma.filled(values, ""), "ascii", "backslashreplace")
    if values.dtype.kind == "b" and np.ma.isMaskedArray(values):
        raise InputError(missing_message(name, values, "FITS"))
    values = values.astype({"int8": np.int16, "float16": np.float32}.get(values.dtype.name, values.dtype), copy=False)
    if np.ma.isMaskedArray(values):
        values.fill_value = _unused(values, name)
    return values


def _unused(values: np.ma.MaskedArray, name: str) -> int:
    """An integer that none of `values` has: what FITS writes for those that are missing."""
    limits, used = np.iinfo(values.dtype), set(np.unique(values.compressed()).tolist())
    # astropy reads no TNULL of unsigned columns that is large
    unused = next((value for value in range(limits.min, limits.max) if value not in used), None)
    if unused is None:
        raise InputError(missing_message(name, values, "FITS"))
    return unused


def missing_message(name: str, values: np.ma.MaskedArray, file_format: str) -> str:
    """What to say where a format has no missing values of this type."""
    n = int(np.ma.count_masked(values))
    advice = "leave it out or write .parquet"
    return f"column {name!r} ({values.dtype}) has {n} missing values, which {file_format} cannot hold: {advice}"
