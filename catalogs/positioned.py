"""Tables with positions, of whatever users match with: in memory, or read where they are asked for.

A table, a data frame or a file is in memory; a catalog, ours or any HATS one, is read around the positions that ask for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.formats.file_source import FileSource
from surveycnn.catalogs.formats.hats_source import HatsSource
from surveycnn.catalogs.selection.regions import Region
from surveycnn.catalogs.selection.steps import Top
from surveycnn.catalogs.source import sky_of
from surveycnn.catalogs.tables import NULL_KEY, field_attrs, null_value
from surveycnn.errors import CatalogError, InputError
from surveycnn.sky.sphere import unit_vectors, wrapped
from surveycnn.tables.arrays import arrow_of_astropy
from surveycnn.tables.files import read_table
from surveycnn.tables.positions import check_positions, degrees_of, find_positions

if TYPE_CHECKING:
    from surveycnn.catalogs.query import Catalog


@dataclass(frozen=True, eq=False)
class TableRows:
    """Rows in memory, without nulls."""

    schema: pa.Schema
    """Columns that a result has, with their metadata."""
    ra: pa.Field
    dec: pa.Field
    """Columns of the positions, which need not be among them."""
    where: str
    """What it is, for messages."""
    table: pa.Table

    @property
    def n_rows(self) -> int:
        """Rows at most, without reading them."""
        return self.table.num_rows

    def scan(self, columns: Sequence[str], region: Region | None = None) -> Iterator[pa.Table]:
        """Tables of some columns, in order; rows outside of `region` may be left out, those inside not."""
        yield self.table.select(list(columns))


@dataclass(frozen=True, eq=False)
class CatalogRows:
    """Rows that are read from a catalog; the rest as in :class:`TableRows`."""

    schema: pa.Schema
    ra: pa.Field
    dec: pa.Field
    where: str
    catalog: Catalog

    @property
    def n_rows(self) -> int:
        return self.catalog.n_published

    def scan(self, columns: Sequence[str], region: Region | None = None) -> Iterator[pa.Table]:
        steps = self.catalog.steps if region is None else (*self.catalog.steps, ("around positions", region))
        return replace(self.catalog, steps=steps).scan(columns)


Positioned: TypeAlias = TableRows | CatalogRows
"""Rows with positions."""


def rows_of_catalog(catalog: Catalog, ra: str | None = None, dec: str | None = None) -> CatalogRows:
    """The rows of a catalog with the columns of their positions, selected or not."""
    where, sky, schema = f"catalog {catalog.name!r}", sky_of(catalog._source), catalog._source.schema
    names = (sky.ra, sky.dec)
    if ra is not None or dec is not None or not set(names) <= set(schema.names):
        names = find_positions(schema, where, ra, dec)
    return CatalogRows(catalog.schema, schema.field(names[0]), schema.field(names[1]), where, catalog)


def rows_of(other: object, ra: str | None = None, dec: str | None = None) -> Positioned:
    """The rows of what a user matches with.

    Parameters
    ----------
    other
        A catalog, a table (astropy, pandas, Arrow), a ``SkyCoord``, or the path of a catalog's folder or a table's file.
    ra, dec
        Columns of the positions; None finds them, see :func:`surveycnn.tables.positions.find_positions`.

    Raises
    ------
    InputError
        Where a table cannot be read, or has no columns of positions.
    CatalogError
        Where it is something else.
    """
    from surveycnn.catalogs.query import Catalog, open_catalog

    if isinstance(other, str | Path) and os.path.isdir(other):
        other = open_catalog(other)
    if isinstance(other, Catalog):
        return _rows_of_catalog(rows_of_catalog(other, ra, dec))
    where = f"the table {str(other)!r}" if isinstance(other, str | Path) else "the other table"
    table = without_nulls(read_table(other) if isinstance(other, str | Path) else _table_of(other), where)
    names = find_positions(table.schema, where, ra, dec)
    return TableRows(table.schema, table.schema.field(names[0]), table.schema.field(names[1]), where, table)


def _rows_of_catalog(rows: CatalogRows) -> Positioned:
    """The rows of a catalog; in memory where they are a result, or its best, which would be found again for each block."""
    steps = [step for _, step in rows.catalog.steps]
    if isinstance(rows.catalog._source, HatsSource | FileSource) and not any(isinstance(step, Top) for step in steps):
        return rows
    names = list(dict.fromkeys([*rows.schema.names, rows.ra.name, rows.dec.name]))
    return TableRows(rows.schema, rows.ra, rows.dec, rows.where, rows.catalog.select(names).to_arrow())


def rows_inside(rows: Positioned, regions: Sequence[Region]) -> Positioned:
    """The rows whose positions lie in all of some regions."""
    if isinstance(rows, CatalogRows):
        steps = (*rows.catalog.steps, *(("inside", region) for region in regions))
        return replace(rows, catalog=replace(rows.catalog, steps=steps))
    ra, dec = positions_of(rows.table, rows)
    inside = np.all([region.contains(ra, dec) for region in regions], axis=0)
    return replace(rows, table=rows.table.filter(pa.array(inside)))


def vectors_of(table: pa.Table, rows: Positioned) -> np.ndarray:
    """Unit vectors (n, 3) of the rows of a table that `rows` gave; NaN where a position is missing."""
    return unit_vectors(*positions_of(table, rows))


def positions_of(table: pa.Table, rows: Positioned) -> tuple[np.ndarray, np.ndarray]:
    """Ra in [0, 360) and dec (n,) in degrees of the rows of a table that `rows` gave; NaN where a position is missing.

    Raises
    ------
    InputError
        Where a position is none on the sky, or not in a unit of angles.
    """
    ra, dec = (degrees_of(table[field.name], field, rows.where) for field in (rows.ra, rows.dec))
    check_positions(ra, dec, rows.where, allow_missing=True)
    return wrapped(ra), dec


def without_nulls(table: pa.Table, where: str) -> pa.Table:
    """The table as our own are: missing floats NaN, missing text empty, missing whole numbers the null value of their column."""
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise InputError(f"{where} has more than one column {', '.join(map(repr, twice))}: rename all but one")
    columns, fields = [], []
    for field in table.schema:
        column = _simple(table[field.name])
        field = field.with_type(column.type)
        if column.null_count and pa.types.is_integer(column.type):
            field = nullable(field)
        if column.null_count:
            blank = blank_of(field)
            column = column if blank is None or pa.types.is_nested(column.type) else column.fill_null(blank)
        columns.append(column)
        fields.append(field)
    return pa.table(columns, schema=pa.schema(fields))


def _simple(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column in a type that has a null value or needs none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _simple(column.cast(kind.value_type))
    if pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_temporal(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if pa.types.is_boolean(kind) and column.null_count:
        return column.cast(pa.int8()).cast(pa.int16())
    return column


def nullable(field: pa.Field) -> pa.Field:
    """A column of whole numbers with a null value: its own, or the number that is farthest from those that are used."""
    if null_value(field) is not None:
        return field
    limits = np.iinfo(field.type.to_pandas_dtype())
    null = limits.min if limits.min < 0 else limits.max
    return field.with_metadata({**field_attrs(field), NULL_KEY: str(null)})


def blank_of(field: pa.Field) -> Any:
    """What stands in a column where there is no value, as Python has it; None for types that have nothing but null."""
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        inner = blank_of(field.with_type(kind.value_type))
        return None if inner is None else [inner] * kind.list_size
    if pa.types.is_floating(kind):
        return float("nan")
    if pa.types.is_integer(kind):
        return null_value(field) or 0
    return "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else None


def _table_of(other: Any) -> pa.Table:
    """Arrow table of a table in memory."""
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    if isinstance(other, pa.Table):
        return other
    try:
        if isinstance(other, SkyCoord):
            return pa.table({name: np.atleast_1d(getattr(other.icrs, name).deg) for name in ("ra", "dec")})
        if isinstance(other, Table):
            return arrow_of_astropy(other)
        if hasattr(other, "columns") and hasattr(other, "to_numpy"):
            return pa.Table.from_pandas(other, preserve_index=False)
    except Exception as error:  # whatever a column of odd things makes a library raise
        raise InputError(
            f"the {type(other).__name__} to match with has a column that cannot be used ({type(error).__name__}: {error}): give "
            "columns of numbers and text alone"
        ) from error
    raise CatalogError(f"{type(other).__name__} is not understood: give a catalog, a table, a data frame or a path")
