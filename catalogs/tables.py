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

_DIM_KEY = "dim"
_DEFAULT_DIM = "component"


def dataset_to_arrow(dataset: xr.Dataset) -> pa.Table:
    """Arrow table of the columns of `dataset`, attributes as field metadata.

    Parameters
    ----------
    dataset
        Variables of dims (source,), or (source, n) which become fixed-size lists. Text is an object or string array.

    Raises
    ------
    SchemaError
        For a variable with other dims.
    """
    fields, arrays = [], []
    for name, variable in dataset.data_vars.items():
        if variable.dims[:1] != (SOURCE_DIM,) or variable.ndim > 2:
            raise SchemaError(f"column {name!r} has dims {variable.dims}, expected ({SOURCE_DIM!r},) or ({SOURCE_DIM!r}, n)")
        metadata = {key: str(value) for key, value in variable.attrs.items()}
        if variable.ndim == 2:
            metadata[_DIM_KEY] = str(variable.dims[1])
        arrays.append(numpy_to_arrow(variable.values))
        fields.append(pa.field(str(name), arrays[-1].type, metadata=metadata))
    attrs = {ATTRS_KEY: json.dumps(dict(dataset.attrs), sort_keys=True)} if dataset.attrs else None
    return pa.table(arrays, schema=pa.schema(fields, metadata=attrs))


def arrow_to_dataset(table: pa.Table) -> xr.Dataset:
    """Dataset of the columns of `table`, the inverse of :func:`dataset_to_arrow`."""
    data_vars = {}
    for field in table.schema:
        attrs = field_attrs(field)
        values = arrow_to_numpy(table.column(field.name))
        dim = attrs.pop(_DIM_KEY, _DEFAULT_DIM)
        data_vars[field.name] = ((SOURCE_DIM, dim)[: values.ndim], values, attrs)
    attrs = json.loads((table.schema.metadata or {}).get(ATTRS_KEY, b"{}"))
    return xr.Dataset(data_vars, attrs=attrs)


def arrow_to_astropy(table: pa.Table) -> Table:
    """Astropy table of the columns of `table`: units and descriptions on the columns, the UCD in the column's meta."""
    from astropy.table import Column, Table

    columns = []
    for field in table.schema:
        attrs = field_attrs(field)
        values = arrow_to_numpy(table.column(field.name))
        values = values.astype(str) if values.dtype == object else values
        meta = {"ucd": attrs["ucd"]} if "ucd" in attrs else {}
        columns.append(Column(values, field.name, unit=attrs.get("units"), description=attrs.get("description"), meta=meta))
    return Table(columns)


def astropy_to_arrow(table: Table) -> pa.Table:
    """Arrow table of an astropy table; masked floats become NaN, other masked values their fill value.

    Raises
    ------
    SchemaError
        For a column with more than one value per row in more than one dimension.
    """
    fields, arrays = [], []
    for column in table.itercols():
        values = getattr(column, "value", column)  # a Quantity column, too
        filled = values.filled(np.nan if values.dtype.kind == "f" else None) if hasattr(values, "filled") else values
        arrays.append(numpy_to_arrow(np.asarray(filled)))
        info = column.info
        metadata = {"description": info.description, "units": str(info.unit or ""), "ucd": (info.meta or {}).get("ucd")}
        fields.append(pa.field(info.name, arrays[-1].type, metadata={key: value for key, value in metadata.items() if value}))
    return pa.table(arrays, schema=pa.schema(fields))


def field_attrs(field: pa.Field) -> dict[str, str]:
    """Metadata of an Arrow field as text; empty without any."""
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in (field.metadata or {}).items()}


def numpy_to_arrow(values: np.ndarray) -> pa.Array:
    """Arrow array of `values` of shape (n,) or (n, k); text becomes strings, (n, k) fixed-size lists."""
    if values.ndim > 2:
        raise SchemaError(f"a column has row shape {values.shape[1:]}, expected one number or one row of numbers")
    if values.dtype.kind in "OUST":
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
    if pa.types.is_fixed_size_list(array.type):
        return arrow_to_numpy(pa.chunked_array([array.flatten()])).reshape(len(array), array.type.list_size)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return np.array(array.fill_null("").to_pylist(), dtype=object)
    if array.null_count:
        array = array.fill_null(
            float("nan") if pa.types.is_floating(array.type) else False if pa.types.is_boolean(array.type) else 0
        )
    return array.to_numpy(zero_copy_only=False)


def _text(value: object) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
