"""Merges tile results into rows sorted by position: no row lost, none twice, equal bytes whatever the order of the files.

Between the tile files of a run and their publishing. The sky is merged pixel by pixel, each from the few files that have rows in
it or around it, so that memory follows the pixel; a small catalog can be merged as a whole (:func:`merge_tiles`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.columns import PRIVATE
from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.healpix import CELL_SHIFT, Zone, healpix_index, pixel_range
from surveycnn.catalogs.publishing.primary import primary_rows_of_part
from surveycnn.catalogs.publishing.tile_files import (
    TileSummary,
    groups_to_check,
    raise_damages,
    read_tile,
    repeated_id,
    summarise,
)
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow
from surveycnn.errors import SurveyCNNError
from surveycnn.schema import Schema
from surveycnn.sources.identity import PIXEL_BITS

INPUT_ID = "input_id"
"""Column of catalogs whose sources come from a table of the user: the last bits of source_id are then the row of that table."""
FIRST_RINGS = 2
"""Rings of cells around a pixel that are looked at first: in the inner one, all neighbours of a row are at hand."""

MERGE_VERSION = 1
"""To be raised where the same tile files would give other partitions: old ones are not taken over then."""

_KEYS = ("source_id", "ra", "dec", "mosaic", "x", "y", "flags", "flux_radius")
"""Columns that say which row of an object is primary."""

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
"""Calls a function with each unit, anywhere and in any order, and gives the results in the order of the units."""


def one_by_one(function: Callable[[Any], Any], units: Iterable[Any]) -> list[Any]:
    """Results of a function for each unit, called here."""
    return [function(unit) for unit in units]


class NeedsMore(SurveyCNNError):
    """The rings around a pixel that were read do not hold all that decides which of its rows are primary."""


@dataclass(frozen=True)
class TilePart:
    """A pixel of the sky, and the tile files that its rows come from."""

    zone: Zone | None
    """None for the whole sky."""
    n_rows: int
    files: tuple[Path, ...]
    """With rows in the pixel."""
    around: tuple[Path, ...]
    """With rows in the pixel or the rings around it."""
    footprints: tuple[Footprint, ...]
    """Mosaics of the files in `around`; none where every row is primary."""
    schema: pa.Schema = field(repr=False)
    is_everything: bool = False
    """Whether no other file has rows."""

    def read(self) -> pa.Table:
        """Rows in the pixel, sorted by HEALPix order-29 index and source_id.

        Raises
        ------
        NeedsMore
            Where the rings around the pixel are too few.
        SurveyCNNError
            Where the files do not hold the rows that they did, or other columns than they should.
        """
        columns: dict[str, list[pa.Array]] = {name: [] for name in self.schema.names}
        indices, around = [np.zeros(0, dtype=np.int64)], []
        for path in self.files:
            whole = _filled(path, read_tile(path), self.schema)
            if self._decides:
                around.append(self._near(whole))
            table, index = self._in_zone(whole)
            for name in columns:
                columns[name] += table[name].chunks
            indices.append(index)
        index = np.concatenate(indices)
        if len(index) != self.n_rows:
            raise SurveyCNNError(f"merged {len(index)} rows, but the {len(self.files)} tile files hold {self.n_rows}")
        if self._decides:
            others = sorted(set(self.around) - set(self.files))
            around += [
                self._near(_filled(path, read_tile(path, self._key_names), self.schema, self._key_names)) for path in others
            ]
        return self._with_primary(_sorted(columns, index, self.schema), around)

    def _in_zone(self, table: pa.Table) -> tuple[pa.Table, np.ndarray]:
        """Rows of a table that are in the pixel, and their order-29 indices."""
        index = _index(table)
        inside = self.zone.inside(index) if self.zone is not None else np.ones(len(index), dtype=bool)
        return (table, index) if inside.all() else (table.filter(pa.array(inside)), index[inside])

    @property
    def _decides(self) -> bool:
        """Whether rows are to be compared with those of other mosaics."""
        return bool(self.footprints) and "is_primary" in self.schema.names

    @property
    def _key_names(self) -> list[str]:
        return [name for name in (*_KEYS, INPUT_ID) if name in self.schema.names]

    def _with_primary(self, table: pa.Table, around: list[pa.Table]) -> pa.Table:
        """The table with is_primary set from the footprints; left as it is without them."""
        if not self._decides or not table.num_rows:
            return table
        position = table.column_names.index("is_primary")
        values = np.isin(table["source_id"].to_numpy(), self._primary_ids(pa.concat_tables(around)))
        return table.set_column(position, table.schema.field(position), pa.array(values))

    def _near(self, table: pa.Table) -> pa.Table:
        """Keys of the rows of a table in the pixel and the rings around it."""
        keys = table.select(self._key_names)
        if self.zone is None:
            return keys
        near = self.zone.within(_index(keys), self.zone.n_rings)
        return keys if near.all() else keys.filter(pa.array(near))

    def _primary_ids(self, keys: pa.Table) -> np.ndarray:
        """source_id of the rows in the pixel, and some around it, that are primary."""
        columns = {name: arrow_to_numpy(keys[name]) for name in _KEYS}
        same_object = columns["source_id"] & ((1 << PIXEL_BITS) - 1) if INPUT_ID in keys.column_names else None
        wanted = settled = np.ones(keys.num_rows, dtype=bool)
        if self.zone is not None:
            index = _index(keys)
            wanted = self.zone.inside(index)
            settled = settled if self.is_everything else self.zone.within(index, self.zone.n_rings - 1)
        primary = primary_rows_of_part(columns, self.footprints, wanted, settled, same_object)
        if primary is None:
            raise NeedsMore(f"objects in pixel {self.zone} reach further than the rings around it")
        return columns["source_id"][primary]


class TileRows:
    """Rows of all tile files of a run, known by the summaries of the files.

    Parameters
    ----------
    paths
        Parquet files of the finished tiles, in any order.
    footprints
        The mosaics, to decide which row of an object is the primary one where they overlap; without them, all rows are.
    schema
        Columns of the result; those that a file lacks (a band or model that its mosaic does not have) are NaN, 0, False or "".
        By default the union of the files' columns, in the order of their names' first appearance in the sorted files.
    spread
        What calls the functions that look at a file each.

    Raises
    ------
    DamagedTiles
        Where files cannot be read, or their pages do not have the checksums that were written with them.
    SurveyCNNError
        Where a source_id appears twice; the message names the files.
    """

    def __init__(
        self,
        paths: Iterable[Path | str],
        footprints: Sequence[Footprint] = (),
        schema: Schema | None = None,
        spread: Spread = one_by_one,
    ):
        files = sorted(Path(path) for path in paths)
        self.summaries: list[TileSummary] = raise_damages(spread(summarise, files))
        self.schema = dataset_to_arrow(schema.empty()).schema if schema is not None else _union(files)
        self._footprints = {footprint.mosaic: footprint for footprint in footprints}
        for finding in spread(repeated_id, groups_to_check(self.summaries)):
            if finding:
                raise SurveyCNNError(finding)
        self.n_rows = sum(summary.n_rows for summary in self.summaries)
        self.id_sum = sum(summary.id_sum for summary in self.summaries) % 2**64

    @cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted cells of the sky that hold rows, and how many."""
        cells, place = np.unique(self._entries[0], return_inverse=True)
        return cells, np.bincount(place, weights=self._entries[1], minlength=len(cells)).astype(np.int64)

    @cached_property
    def _entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cell, rows and number of the file of each pair of a cell and a file, sorted by cell."""
        empty = [np.zeros(0, dtype=np.int64)]
        cells = np.concatenate(empty + [summary.cells for summary in self.summaries])
        counts = np.concatenate(empty + [summary.counts for summary in self.summaries])
        files = np.repeat(np.arange(len(self.summaries)), [len(summary.cells) for summary in self.summaries])
        order = np.argsort(cells, kind="stable")
        return cells[order], counts[order], files[order]

    def part(self, order: int, pixel: int, n_rings: int = FIRST_RINGS) -> TilePart:
        """The rows of a pixel of the sky, to be read by whoever gets it."""
        cells, counts, files = self._entries
        start, stop = (bound >> CELL_SHIFT for bound in pixel_range(order, pixel))
        inside = slice(*np.searchsorted(cells, (start, stop)))
        zone = Zone(order, pixel, n_rings if self._footprints else 0)
        ring = np.isin(cells, zone.cells(zone.n_rings))
        ring[inside] = True
        here, around = np.unique(files[inside]), np.unique(files[ring])
        mosaics = sorted({name for number in around for name in self.summaries[number].mosaics})
        return TilePart(
            zone,
            int(counts[inside].sum()),
            tuple(self.summaries[number].path for number in here),
            tuple(self.summaries[number].path for number in around),
            tuple(self._footprints[name] for name in mosaics if name in self._footprints),
            self.schema,
            is_everything=bool(ring.all()),
        )

    def digest(self, part: TilePart) -> str:
        """SHA-256 of all that the rows of a part depend on: files, columns, footprints, and the version of what merges them."""
        by_path = self._digests
        record = {
            "version": MERGE_VERSION,
            "zone": [part.zone.order, part.zone.pixel] if part.zone else None,
            "files": [by_path[path] for path in part.around],
            "footprints": [footprint.digest for footprint in part.footprints],
        }
        text = json.dumps(record, sort_keys=True).encode()
        return hashlib.sha256(text + self.schema.serialize().to_pybytes()).hexdigest()

    @cached_property
    def _digests(self) -> dict[Path, str]:
        return {summary.path: summary.digest for summary in self.summaries}

    def everything(self) -> TilePart:
        """All rows as one part."""
        paths = tuple(summary.path for summary in self.summaries)
        return TilePart(None, self.n_rows, paths, paths, tuple(self._footprints.values()), self.schema, is_everything=True)


def merge_tiles(paths: Sequence[Path | str], footprints: Sequence[Footprint] = (), schema: Schema | None = None) -> pa.Table:
    """Rows of all tile files in memory, sorted by HEALPix order-29 index and source_id; see :class:`TileRows`."""
    return TileRows(paths, footprints, schema).everything().read()


def _sorted(columns: dict[str, list[pa.Array]], index: np.ndarray, schema: pa.Schema) -> pa.Table:
    """Table of `columns`, emptied on the way: one column after another, so that the rows are not in memory twice."""
    order = pa.array(np.lexsort((arrow_to_numpy(pa.chunked_array(columns["source_id"], pa.int64())), index)))
    arrays = [pa.chunked_array(columns.pop(field.name), field.type).combine_chunks().take(order) for field in schema]
    return pa.table(arrays, schema=schema)


def _index(table: pa.Table) -> np.ndarray:
    """HEALPix order-29 index of each row."""
    if not table.num_rows:
        return np.zeros(0, dtype=np.int64)
    return healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy())


def _union(files: Sequence[Path]) -> pa.Schema:
    """Every column of the files, with the metadata of the first that has it."""
    fields: dict[str, pa.Field] = {}
    for path in files:
        for one in pq.read_schema(path):
            if not one.name.startswith(PRIVATE):
                fields.setdefault(one.name, one)
    return pa.schema(fields.values())


def _filled(path: Path, table: pa.Table, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """The table with exactly the columns of `schema`, or those of them in `columns`; what it lacks is filled."""
    found = dict(zip(table.column_names, table.columns, strict=True))
    expected = {one.name: one.type for one in schema}
    unknown = [name for name in found if name not in expected]
    wrong = [name for name, column in found.items() if name in expected and column.type != expected[name]]
    if unknown or wrong:
        raise SurveyCNNError(f"tile file {str(path)!r} has unknown columns {unknown}, columns of another type {wrong}")
    names = [name for name in (expected if columns is None else columns) if name in expected]
    arrays = [found[name] if name in found else _fill_values(expected[name], table.num_rows) for name in names]
    return pa.table(arrays, names=names)


def _fill_values(kind: pa.DataType, n_rows: int) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_fill_values(kind.value_type, n_rows * kind.list_size), type=kind)
    value = float("nan") if pa.types.is_floating(kind) else "" if pa.types.is_string(kind) else 0
    return pa.array(np.full(n_rows, value), type=kind) if value != "" else pa.array([""] * n_rows, type=kind)
