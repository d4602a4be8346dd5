"""Merges tile results into one table, sorted by position: no row lost, none twice, equal bytes whatever the order of the files.

Between the tile files of a run and `surveycnn.catalogs.publish`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.columns import PRIVATE
from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.primary import primary_rows
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow
from surveycnn.errors import SurveyCNNError
from surveycnn.schema import Schema
from surveycnn.sources.identity import PIXEL_BITS

INPUT_ID = "input_id"
"""Column of catalogs whose sources come from a table of the user: the last bits of source_id are then the row of that table."""


class DamagedTiles(SurveyCNNError):
    """Tile files whose bytes are not those that were written."""

    def __init__(self, damaged: Mapping[Path, str]):
        self.paths = tuple(damaged)
        shown = "; ".join(f"{str(path)!r} ({reason.splitlines()[0]})" for path, reason in list(damaged.items())[:3])
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        super().__init__(f"damaged tile file{'s' * (len(damaged) > 1)} {shown}{more}")


def merge_tiles(paths: Sequence[Path | str], footprints: Sequence[Footprint] = (), schema: Schema | None = None) -> pa.Table:
    """Rows of all tile files, sorted by HEALPix order-29 index and source_id.

    Parameters
    ----------
    paths
        Parquet files of the finished tiles, in any order.
    footprints
        The mosaics, to decide which row of an object is the primary one where they overlap; without them, all rows are.
    schema
        Columns of the result; those that a file lacks (a band or model that its mosaic does not have) are NaN, 0, False or "".
        By default the union of the files' columns, in the order of their names' first appearance in the sorted files.

    Raises
    ------
    DamagedTiles
        Where files cannot be read, or their pages do not have the checksums that were written with them.
    SurveyCNNError
        Where a source_id appears twice, columns of two files disagree, or rows are missing; the message names the files.
    """
    files = sorted(Path(path) for path in paths)
    tables = _read_tiles(files)
    columns = dataset_to_arrow(schema.empty()).schema if schema is not None else _union(files, tables)
    filled = [_fill(path, table, columns) for path, table in zip(files, tables, strict=True)]
    table = pa.concat_tables(filled) if filled else columns.empty_table()
    expected = sum(pq.read_metadata(path).num_rows for path in files)
    if table.num_rows != expected:
        raise SurveyCNNError(f"merged {table.num_rows} rows, but the {len(files)} tile files hold {expected}")
    if not table.num_rows:
        return table
    source_id = table["source_id"].to_numpy()
    _check_unique(source_id, files, [len(part) for part in tables])
    order = np.lexsort((source_id, healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy())))
    return _with_primary(table.take(order).combine_chunks(), footprints)


def _read_tiles(files: Sequence[Path]) -> list[pa.Table]:
    tables, damaged = [], {}
    for path in files:
        try:
            tables.append(_read_tile(path))
        except pa.ArrowException as error:
            damaged[path] = str(error)
        except OSError as error:
            if error.errno is not None:  # the file system's: the file may be whole
                raise
            damaged[path] = str(error)
    if damaged:
        raise DamagedTiles(damaged)
    return tables


def _read_tile(path: Path) -> pa.Table:
    """Rows of a tile file, without the columns that are none of the catalog's; the checksums of its pages are verified."""
    names = [name for name in pq.read_schema(path).names if not name.startswith(PRIVATE)]
    return pq.read_table(path, columns=names, partitioning=None, page_checksum_verification=True)


def _union(files: Sequence[Path], tables: Sequence[pa.Table]) -> pa.Schema:
    """Every column of the tables, with the metadata of the first that has it."""
    fields: dict[str, pa.Field] = {}
    for table in tables:
        for field in table.schema:
            fields.setdefault(field.name, field)
    return pa.schema(fields.values())


def _fill(path: Path, table: pa.Table, columns: pa.Schema) -> pa.Table:
    """The table with exactly `columns`; those that it lacks hold fill values."""
    unknown = [name for name in table.column_names if name not in columns.names]
    wrong = [field.name for field in table.schema if field.name in columns.names and field.type != columns.field(field.name).type]
    if unknown or wrong:
        raise SurveyCNNError(f"tile file {str(path)!r} has unknown columns {unknown}, columns of another type {wrong}")
    arrays = [
        table[field.name] if field.name in table.column_names else _fill_values(field.type, table.num_rows) for field in columns
    ]
    return pa.table(arrays, schema=columns.remove_metadata())


def _fill_values(kind: pa.DataType, n_rows: int) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_fill_values(kind.value_type, n_rows * kind.list_size), type=kind)
    value = float("nan") if pa.types.is_floating(kind) else "" if pa.types.is_string(kind) else 0
    return pa.array(np.full(n_rows, value), type=kind) if value != "" else pa.array([""] * n_rows, type=kind)


def _check_unique(source_id: np.ndarray, files: Sequence[Path], counts: Sequence[int]) -> None:
    """Raise with the ids that appear more than once and the files that hold them."""
    unique, repeats = np.unique(source_id, return_counts=True)
    if len(unique) == len(source_id):
        return
    twice = unique[repeats > 1]
    owners = np.repeat(np.arange(len(files)), counts)[np.isin(source_id, twice[:1])]
    names = sorted({str(files[owner]) for owner in owners})
    raise SurveyCNNError(f"{len(twice)} source_id appear more than once, for instance {twice[0]} in {names}")


def _with_primary(table: pa.Table, footprints: Sequence[Footprint]) -> pa.Table:
    """The table with is_primary set from the footprints; left as it is without them."""
    if not footprints or "is_primary" not in table.column_names:
        return table
    position = table.column_names.index("is_primary")
    names = ("source_id", "ra", "dec", "mosaic", "x", "y", "flags", "flux_radius")
    columns = {name: arrow_to_numpy(table[name]) for name in names}
    same_object = columns["source_id"] & ((1 << PIXEL_BITS) - 1) if INPUT_ID in table.column_names else None
    primary = primary_rows(columns, footprints, same_object)
    return table.set_column(position, table.schema.field(position), pa.array(primary))
