"""The columns of a catalog for people: what `surveycnn columns` and docs/columns.md print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.tables import DEFAULT_DIM, DIM_KEY, dataset_to_arrow, field_attrs, null_value
from surveycnn.schema import SOURCE_DIM, Plane, Schema, Variable


class Row(NamedTuple):
    """One column of a catalog, in words."""

    name: str
    type: str
    """As numpy names it, with the values per row where there are several: ``f4[5]``; ``str`` and ``bool``."""
    unit: str
    ucd: str
    dims: str
    """Of the column in xarray, and its place in a cube where it has one."""
    filled_by: str
    description: str
    """With the null value, where there is one."""


def data_model(columns: pa.Schema | Schema | Iterable[pa.Field] | Iterable[Variable]) -> list[Row]:
    """What is known of columns, a row each.

    >>> data_model([Variable("flux_r", "f4", "flux", "nJy", "phot.flux", plane=Plane("flux", "band", "r"))])[0].dims
    'source; flux[band=r]'
    """
    found = list(columns.values() if isinstance(columns, Schema) else columns)
    variables = [column for column in found if isinstance(column, Variable)]
    fields = dataset_to_arrow(Schema(variables).empty()).schema if variables else found
    return [_row(field) for field in fields]


def _row(field: pa.Field) -> Row:
    attrs, null = field_attrs(field), null_value(field)
    dims, plane = [SOURCE_DIM], Plane.parse(attrs.get("plane", ""))
    if pa.types.is_fixed_size_list(field.type):
        dims.append(attrs.get(DIM_KEY, DEFAULT_DIM))
    place = f"; {plane.cube}[{plane.dim}={plane.label}]" if plane else ""
    description = attrs.get("description", "") + (f"; null is {null}" if null is not None else "")
    unit, ucd, filled_by = (attrs.get(key, "") for key in ("units", "ucd", "filled_by"))
    return Row(field.name, type_name(field.type), unit, ucd, ", ".join(dims) + place, filled_by, description)


def type_name(kind: pa.DataType) -> str:
    """Short name of the type of a column.

    >>> type_name(pa.list_(pa.float32(), 5)), type_name(pa.string())
    ('f4[5]', 'str')
    """
    if pa.types.is_fixed_size_list(kind):
        return f"{type_name(kind.value_type)}[{kind.list_size}]"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.dtype(kind.to_pandas_dtype()).str[1:]
    return "bool" if pa.types.is_boolean(kind) else "str" if pa.types.is_string(kind) else str(kind)
