"""Cross-match of a catalog with whatever has positions: a source of rows that are joined when they are read.

Both sides may be larger than memory: a block of the one is joined with what lies around it in the other, block after block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.nearest import Neighbours, Pairs
from surveycnn.catalogs.positioned import Positioned, TableRows, blank_of, nullable, vectors_of
from surveycnn.catalogs.selection.moc_region import MocRegion
from surveycnn.catalogs.selection.regions import Region
from surveycnn.catalogs.tables import field_attrs
from surveycnn.errors import CatalogError

SEPARATION = "separation"
"""Column that a cross-match adds, arcsec."""
MAX_RADIUS_ARCSEC = 3600
MAX_NEIGHBORS = 100
HOWS = ("inner", "left")
BLOCK_ROWS = 1 << 17
"""Rows that are joined at once; other catalogs of no more rows are read whole."""

_SEPARATION_FIELD = pa.field(
    SEPARATION,
    pa.float64(),
    metadata={"units": "arcsec", "ucd": "pos.angDistance", "description": "distance to the matched position"},
)


@dataclasses.dataclass(eq=False)
class Matched:
    """Rows of `ours`, each with the nearest rows of `theirs`, in the order of `ours` and then of the separation.

    Where there is none and it is a left join: NaN, empty text, False, or the null value of a column of whole numbers.
    """

    ours: Positioned
    theirs: Positioned
    radius_arcsec: float
    n_neighbors: int
    is_left: bool
    our_suffix: str
    their_suffix: str
    schema: pa.Schema = dataclasses.field(init=False)
    """Columns of both, then the separation."""

    def __post_init__(self) -> None:
        self.schema = pa.schema([*self._our_fields.values(), *self._their_fields.values(), _SEPARATION_FIELD])

    @cached_property
    def _our_fields(self) -> dict[str, pa.Field]:
        """Fields of the result by their names in `ours`."""
        return {field.name: field.with_name(field.name + self.our_suffix) for field in self.ours.schema}

    @cached_property
    def _their_fields(self) -> dict[str, pa.Field]:
        """Fields of the result by their names in `theirs`; a table has one main position and id, and our cubes alone."""
        fields = {}
        for field in self.theirs.schema:
            attrs = field_attrs(field)
            attrs.pop("plane", None)  # of a cube of theirs, beside which ours of that name would stand
            if "ucd" in attrs:
                attrs["ucd"] = ";".join(word for word in attrs["ucd"].split(";") if word != "meta.main")
            field = field.with_metadata(attrs)
            field = nullable(field) if self.is_left and pa.types.is_integer(field.type) else field
            fields[field.name] = field.with_name(field.name + self.their_suffix)
        return fields

    @cached_property
    def _n_rows(self) -> int:
        return sum(table.num_rows for table in self.scan([SEPARATION], None))

    def count(self) -> int:
        """Number of rows: the positions are matched."""
        return self._n_rows

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        """Tables of some columns; rows whose position in `ours` is outside of `region` may be left out."""
        mine, others = ([name for name, field in fields.items() if field.name in columns] for fields in self._fields)
        fields = pa.schema([self.schema.field(name) for name in columns])
        for block, part, pairs in self._blocks(mine, others, region):
            arrays = {self._our_fields[name].name: block[name].take(pairs.ours) for name in mine}
            for name in others:
                arrays[self._their_fields[name].name] = _taken(part[name], pairs.theirs, self._their_fields[name])
            arrays[SEPARATION] = pa.chunked_array([pairs.separation_arcsec])
            yield pa.table([arrays[field.name].cast(field.type) for field in fields], schema=fields)

    @property
    def _fields(self) -> tuple[dict[str, pa.Field], dict[str, pa.Field]]:
        return self._our_fields, self._their_fields

    @property
    def _has_our_positions(self) -> bool:
        """Whether the columns ra and dec of the result, to which a region applies, are the positions of `ours`."""
        return all(
            field.name == name and field.name + self.our_suffix == name
            for name, field in (("ra", self.ours.ra), ("dec", self.ours.dec))
        )

    def _blocks(
        self, mine: Sequence[str], others: Sequence[str], region: Region | None
    ) -> Iterator[tuple[pa.Table, pa.Table, Pairs]]:
        """Blocks of `ours`, what lies around each in `theirs`, and which rows of them belong together."""
        is_small = isinstance(self.theirs, TableRows) or self.theirs.n_rows <= BLOCK_ROWS
        known = self._read_others(others, None) if is_small else None
        region = region if self._has_our_positions else None
        if known is not None and region is None and not self.is_left:
            region = MocRegion.around(known[1], self.radius_arcsec / 3600)
        for block in _in_blocks(self.ours.scan(_with_positions(mine, self.ours), region)):
            vectors = vectors_of(block, self.ours)
            part, _, neighbours = known or self._read_others(others, MocRegion.around(vectors, self.radius_arcsec / 3600))
            pairs = neighbours.within(vectors, self.radius_arcsec, self.n_neighbors)
            yield block, part, _with_unmatched(pairs, block.num_rows) if self.is_left else pairs

    def _read_others(self, columns: Sequence[str], region: MocRegion | None) -> tuple[pa.Table, np.ndarray, Neighbours]:
        """Rows of `theirs`, those in `region` alone, with their positions."""
        needed = _with_positions(columns, self.theirs)
        parts = list(self.theirs.scan(needed, region))
        fields = {field.name: field for field in (self.theirs.ra, self.theirs.dec, *self.theirs.schema)}
        empty = pa.schema([fields[name] for name in needed]).empty_table()
        table = pa.concat_tables([part.replace_schema_metadata() for part in parts]) if parts else empty
        vectors = vectors_of(table, self.theirs)
        return table, vectors, Neighbours(vectors)


def matched(
    ours: Positioned,
    theirs: Positioned,
    *,
    radius_arcsec: float,
    n_neighbors: int = 1,
    how: str = "inner",
    our_suffix: str = "",
    their_suffix: str = "_other",
) -> Matched:
    """Source of the rows of `ours` with the nearest of `theirs`; nothing is read before they are asked for.

    Raises
    ------
    CatalogError
        Where the radius, the number of neighbours or the way to join is none, or names collide.
    """
    if not 0 < radius_arcsec <= MAX_RADIUS_ARCSEC:
        raise CatalogError(f"crossmatch: radius is {radius_arcsec:g} arcsec, expected above 0 and up to {MAX_RADIUS_ARCSEC}")
    if isinstance(n_neighbors, bool) or n_neighbors != int(n_neighbors) or not 1 <= n_neighbors <= MAX_NEIGHBORS:
        raise CatalogError(f"crossmatch: n_neighbors is {n_neighbors!r}, expected 1 to {MAX_NEIGHBORS}")
    if how not in HOWS:
        raise CatalogError(f"crossmatch: how is {how!r}, expected one of {', '.join(map(repr, HOWS))}")
    found = Matched(ours, theirs, float(radius_arcsec), int(n_neighbors), how == "left", our_suffix, their_suffix)
    names = found.schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogError(f"crossmatch: columns {twice} are there already: give another suffix, or select others first")
    if isinstance(theirs, TableRows):
        vectors_of(theirs.table, theirs)  # says at once what is wrong with them
    return found


def _with_positions(columns: Sequence[str], rows: Positioned) -> list[str]:
    return list(dict.fromkeys([*columns, rows.ra.name, rows.dec.name]))


def _in_blocks(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of BLOCK_ROWS rows, the last one of fewer."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table.replace_schema_metadata())
        if sum(map(len, waiting)) >= BLOCK_ROWS:
            whole = pa.concat_tables(waiting)
            n_full = len(whole) // BLOCK_ROWS * BLOCK_ROWS
            yield from (whole.slice(start, BLOCK_ROWS) for start in range(0, n_full, BLOCK_ROWS))
            waiting = [whole.slice(n_full)]
    rest = pa.concat_tables(waiting) if waiting else None
    if rest is not None and rest.num_rows:
        yield rest


def _with_unmatched(pairs: Pairs, n_rows: int) -> Pairs:
    """The pairs, and -1 for each of `n_rows` rows that has none, in the order of the rows."""
    alone = np.setdiff1d(np.arange(n_rows), pairs.ours)
    ours = np.concatenate([pairs.ours, alone])
    theirs = np.concatenate([pairs.theirs, np.full(len(alone), -1)])
    separation = np.concatenate([pairs.separation_arcsec, np.full(len(alone), np.nan)])
    order = np.argsort(ours, kind="stable")
    return Pairs(ours[order], theirs[order], separation[order])


def _taken(column: pa.ChunkedArray, rows: np.ndarray, field: pa.Field) -> pa.ChunkedArray:
    """Some rows of a column; what stands for no value where a row is -1."""
    if (rows >= 0).all():
        return column.take(pa.array(rows))
    blank = pa.array([blank_of(field)], type=column.type)
    return pa.chunked_array([*column.chunks, blank], type=column.type).take(pa.array(np.where(rows < 0, len(column), rows)))
