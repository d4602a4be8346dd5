"""Conversions between xarray datasets, Arrow tables and astropy tables that keep units, UCDs and descriptions.

A vocabulary module: it imports only the schema classes and libraries, and every layer may import it. A dataset is what the
stages hand on, an Arrow table is what tile files and the HATS catalog hold, an astropy table is what users ask for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import xarray as xr

from surveycnn.errors import SchemaError
from surveycnn.schema import SOURCE_DIM

if TYPE_CHECKING:
    from astropy.table import Table

ATTRS_KEY = b"surveycnn"
"""Schema metadata that holds the attributes of the dataset, as JSON."""

DIM_KEY = "dim"
"""Field metadata that holds the second dimension of a column with several values per row."""
DEFAULT_DIM = "component"
CUBE_KEY = "columns"
"""Attribute of a variable that repeats columns as a cube: their names."""
NULL_KEY = "null_value"
_META_KEYS = ("ucd", "filled_by", "plane")
"""Attributes that an astropy column has no place for but its meta."""
_WHOLE_NUMBERS = frozenset({pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()})


def dataset_to_arrow(dataset: xr.Dataset) -> pa.Table:
    """Arrow table of the columns of `dataset`, attributes as field metadata.

    Parameters
    ----------
    dataset
        Variables of dims (source,), or (source, n) which become fixed-size lists. Text is an object or string array. Cubes of
        `surveycnn.catalogs.cubes`, which repeat columns, are left out.

    Raises
    ------
    SchemaError
        For a variable with other dims.
    """
    fields, arrays = [], []
    for name, variable in dataset.data_vars.items():
        if _is_cube(variable, dataset):
            continue
        if variable.dims[:1] != (SOURCE_DIM,) or variable.ndim > 2:
            raise SchemaError(f"column {name!r} has dims {variable.dims}, expected ({SOURCE_DIM!r},) or ({SOURCE_DIM!r}, n)")
        metadata = {key: str(value) for key, value in variable.attrs.items()}
        if variable.ndim == 2:
            metadata[DIM_KEY] = str(variable.dims[1])
        arrays.append(numpy_to_arrow(variable.values))
        fields.append(pa.field(str(name), arrays[-1].type, metadata=metadata))
    attrs = {ATTRS_KEY: json.dumps(dict(dataset.attrs), sort_keys=True)} if dataset.attrs else None
    return pa.table(arrays, schema=pa.schema(fields, metadata=attrs))


def _is_cube(variable: xr.DataArray, dataset: xr.Dataset) -> bool:
    """Whether a variable repeats columns of the dataset."""
    columns = variable.attrs.get(CUBE_KEY)
    return isinstance(columns, list | tuple) and bool(columns) and set(columns) <= set(dataset.data_vars)


def arrow_to_dataset(table: pa.Table) -> xr.Dataset:
    """Dataset of the columns of `table`, the inverse of :func:`dataset_to_arrow`."""
    data_vars = {}
    for field in table.schema:
        attrs = field_attrs(field)
        values = arrow_to_numpy(table.column(field.name))
        dim = attrs.pop(DIM_KEY, DEFAULT_DIM)
        data_vars[field.name] = ((SOURCE_DIM, dim)[: values.ndim], values, attrs)
    attrs = json.loads((table.schema.metadata or {}).get(ATTRS_KEY, b"{}"))
    return xr.Dataset(data_vars, attrs=attrs)


def arrow_to_astropy(table: pa.Table) -> Table:
    """Astropy table of the columns of `table`: units and descriptions on the columns, the UCD and the rest in the column's meta.

    Columns with a null value are masked where they have it; ``meta["values"]["null"]`` is where astropy looks for it in VOTables.
    """
    from astropy.table import Column, MaskedColumn, Table

    columns = []
    for field in table.schema:
        attrs, null = field_attrs(field), null_value(field)
        values = arrow_to_numpy(table.column(field.name))
        values = values.astype(str) if values.dtype == object else values
        meta: dict[str, object] = {key: attrs[key] for key in _META_KEYS if key in attrs}
        told = {"unit": attrs.get("units"), "description": attrs.get("description"), "meta": meta}
        if null is None:
            columns.append(Column(values, field.name, **told))
        else:
            meta["values"] = {"null": null}
            columns.append(MaskedColumn(values, field.name, mask=values == null, fill_value=null, **told))
    return Table(columns)


def null_value(field: pa.Field) -> int | None:
    """The whole number that stands for no value in a column; None where there is none."""
    text = field_attrs(field).get(NULL_KEY, "")
    is_number = text.removeprefix("-").isdecimal() and pa.types.is_integer(field.type)
    return int(text) if is_number and _fits_into(int(text), field.type) else None


def _fits_into(value: int, kind: pa.DataType) -> bool:
    limits = np.iinfo(kind.to_pandas_dtype())
    return limits.min <= value <= limits.max


def astropy_to_arrow(table: Table) -> pa.Table:
    """Arrow table of an astropy table; masked floats become NaN, other masked values the null or fill value.

    Raises
    ------
    SchemaError
        For a column with more than one value per row in more than one dimension.
    """
    fields, arrays = [], []
    for column in table.itercols():
        values = getattr(column, "value", column)  # a Quantity column, too
        info = column.info
        meta = dict(info.meta or {})
        null = (meta.get("values") or {}).get("null")
        filled = values.filled(np.nan if values.dtype.kind == "f" else null) if hasattr(values, "filled") else values
        arrays.append(numpy_to_arrow(np.asarray(filled)))
        metadata = {"description": info.description, "units": str(info.unit or ""), **{key: meta.get(key) for key in _META_KEYS}}
        metadata[NULL_KEY] = str(null) if null is not None and arrays[-1].type in _WHOLE_NUMBERS else ""
        told = {key: str(value) for key, value in metadata.items() if value}
        fields.append(pa.field(info.name, arrays[-1].type, metadata=told))
    return pa.table(arrays, schema=pa.schema(fields))


def field_attrs(field: pa.Field) -> dict[str, str]:
    """Metadata of an Arrow field as text; empty without any."""
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in (field.metadata or {}).items()}


def numpy_to_arrow(values: np.ndarray) -> pa.Array:
    """Arrow array of `values` of shape (n,) or (n, k); text becomes strings, (n, k) fixed-size lists."""
    if values.ndim > 2:
        raise SchemaError(f"a column has row shape {values.shape[1:]}, expected one number or one row of numbers")
    if values.dtype.kind in "UT":
        return pa.array(values.tolist(), type=pa.string())
    if values.dtype.kind in "OS":
        return pa.array([_text(value) for value in values], type=pa.string())
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if native.ndim == 1:
        return pa.array(native)
    # the list size is a property of the type: k = 0 and no rows are as good as any
    return pa.FixedSizeListArray.from_arrays(pa.array(native.reshape(-1)), native.shape[1])


def arrow_to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Array of shape (n,) or (n, k) of an Arrow column; text is an object array; nulls become NaN, "" or False."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk at all
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=column.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        if array.null_count:  # which flatten() would leave out
            array = pa.array([[None] * kind.list_size if row is None else row for row in array.to_pylist()], type=kind)
        return arrow_to_numpy(pa.chunked_array([array.flatten()])).reshape(len(array), kind.list_size)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(array.fill_null("").to_pylist(), dtype=object)
    if pa.types.is_null(kind) or pa.types.is_decimal(kind):
        array, kind = array.cast(pa.float64()), pa.float64()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return array.to_numpy(zero_copy_only=False)
    if not pa.types.is_primitive(kind):  # of others' catalogs, as text
        return np.array([_shown(value) for value in array.to_pylist()], dtype=object)
    if array.null_count:
        array = array.fill_null(float("nan") if pa.types.is_floating(kind) else False if pa.types.is_boolean(kind) else 0)
    return array.to_numpy(zero_copy_only=False)


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return "" if value is None else str(value)


def _text(value: object) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
