"""One Parquet file of a catalog, read by row groups: which of them can hold rows that are selected, and their columns."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.formats.reading import reading
from surveycnn.catalogs.selection.limits import Limits, Sky, chunk_bounds, is_bounded
from surveycnn.errors import CatalogError

Identity = tuple[int, int, int]
BATCH_ROWS = 1 << 16
"""Rows that are read at once, where row groups are smaller."""
_FOOTERS = 16
"""Footers that are kept: some MB each for a million rows of a hundred columns."""


class Group(NamedTuple):
    """A row group of a file."""

    number: int
    start: int
    """Row of the file at which it begins."""
    n_rows: int


def batches(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Row groups in lists of about :data:`BATCH_ROWS` rows, at least one in each."""
    batch: list[Group] = []
    for group in groups:
        if batch and sum(other.n_rows for other in batch) + group.n_rows > BATCH_ROWS:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


@dataclass(frozen=True)
class _Footer:
    metadata: pq.FileMetaData
    schema: pa.Schema
    groups: tuple[Group, ...]
    leaves: dict[str, int]
    """Place of the values of each column that has one kind of them, by the name of the column."""


@dataclass(frozen=True)
class Anchor:
    """A file by which a catalog is known again: with another one in its place, all files are others."""

    path: Path
    identity: Identity | None

    @classmethod
    def of(cls, path: Path) -> Anchor:
        return cls(path, file_identity(path))

    def check(self, folder: Path) -> None:
        """Raise CatalogError where another catalog has taken the place of the one that was opened."""
        found = file_identity(self.path)
        if found is None:
            raise CatalogError(
                f"the catalog in {str(folder)!r} is not there any more, or not seen by {platform.node()}: open it again, or let "
                "all workers see its folder under the same path"
            )
        if found != self.identity:
            raise CatalogError(f"the catalog in {str(folder)!r} has been published anew: open it again")


@dataclass(frozen=True)
class ParquetPiece:
    """Rows of a Parquet file whose HEALPix indices are from `first` to `last`; goes to other machines as it is."""

    path: Path
    first: int
    last: int
    schema: pa.Schema
    """Columns of the catalog; where the file lacks one, its values are missing."""
    sky: Sky
    anchor: Anchor
    folder: Path
    """Folder of the catalog, for messages."""

    def count(self) -> int:
        """Number of rows, of the file's own account."""
        return sum(group.n_rows for group in self.groups(Limits()))

    def groups(self, limits: Limits) -> list[Group]:
        """Row groups, in order, that may hold rows within `limits`."""
        with reading(self.path):
            try:
                footer = self._footer()
                if not limits.regions and not limits.conditions:
                    return list(footer.groups)
                return [group for group in footer.groups if limits.possible(self._bounds(footer, group), self.sky)]
            finally:  # the reason of a file that is gone, too
                self.anchor.check(self.folder)

    def read(self, columns: Sequence[str], groups: Sequence[Group]) -> pa.Table:
        """Columns, at least one, of the rows of some row groups, as the catalog's schema has them."""
        with reading(self.path):
            try:
                footer = self._footer()
                known = set(footer.schema.names)
                stored = [name for name in columns if name in known]
                with pq.ParquetFile(self.path, metadata=footer.metadata) as file:
                    table = file.read_row_groups([group.number for group in groups], columns=stored)
                table = self._as_in_catalog(table, columns, sum(group.n_rows for group in groups))
                table.validate(full=True)
            finally:
                self.anchor.check(self.folder)
        return table

    def _footer(self) -> _Footer:
        return _read_footer(self.path, file_identity(self.path))

    def _bounds(self, footer: _Footer, group: Group):
        row_group = footer.metadata.row_group(group.number)

        def bounds(name: str) -> tuple[np.ndarray, np.ndarray] | None:
            place, field = footer.leaves.get(name), self._field(name)
            if place is None or field is None or field.type != footer.schema.field(name).type or not is_bounded(field.type):
                return None
            return chunk_bounds(row_group.column(place), field.type)

        return bounds

    def _field(self, name: str) -> pa.Field | None:
        place = self.schema.get_field_index(name)
        return self.schema.field(place) if place >= 0 else None

    def _as_in_catalog(self, table: pa.Table, columns: Sequence[str], n_rows: int) -> pa.Table:
        if table.num_columns and table.num_rows != n_rows:
            raise ValueError(f"{table.num_rows} rows where its footer says {n_rows}")
        fields, arrays, found = [self.schema.field(name) for name in columns], [], set(table.schema.names)
        for field in fields:
            if field.name not in found:
                arrays.append(pa.chunked_array([pa.nulls(n_rows, field.type)]))
                continue
            column = table.column(field.name)
            arrays.append(column if column.type == field.type else column.cast(field.type))
        return pa.table(arrays, schema=pa.schema(fields))


def file_identity(path: Path) -> Identity | None:
    """What tells a file from a later one of the same name; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=_FOOTERS)
def _read_footer(path: Path, identity: Identity | None) -> _Footer:
    with pq.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow  # metadata.schema would make a circle that is freed late
    groups, start = [], 0
    for number in range(metadata.num_row_groups):
        n_rows = metadata.row_group(number).num_rows
        if n_rows < 0:
            raise ValueError(f"row group {number} has {n_rows} rows")
        groups.append(Group(number, start, n_rows))
        start += n_rows
    first = metadata.row_group(0) if groups else None
    names = [first.column(place).path_in_schema for place in range(metadata.num_columns)] if first is not None else []
    leaves: dict[str, int] = {}
    known = set(schema.names)
    for place, name in enumerate(names):
        if name in known:
            leaves[name] = place
        else:
            root = name.split(".")[0]
            leaves[root] = -1 if root in leaves else place
    return _Footer(metadata, schema, tuple(groups), {name: place for name, place in leaves.items() if place >= 0})
