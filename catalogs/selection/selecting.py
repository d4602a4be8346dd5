"""Rows of a source that the steps of a query leave, in the order that they give: the piece between a query and what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.selection.limits import Limits, Sky
from surveycnn.catalogs.selection.scanning import Addresses, CountRows, FindTop, ReadRows, best_rows, fetch, run
from surveycnn.catalogs.selection.steps import Step, Top, columns_of, limits_of, selected_rows
from surveycnn.catalogs.source import Piece, PieceSource, Source, sky_of


@dataclass(frozen=True)
class Selection:
    """A source and the steps that select from it, one after another."""

    source: Source
    steps: tuple[Step, ...]
    client: Any = None
    """Client of a Dask cluster whose workers read; None where this process does."""

    @property
    def _sky(self) -> Sky:
        return sky_of(self.source)

    @property
    def _streamed(self) -> tuple[Step, ...]:
        """Steps that each row passes or not, whatever the others are."""
        tops = [place for place, step in enumerate(self.steps) if isinstance(step, Top)]
        return self.steps[: tops[0]] if tops else self.steps

    @property
    def _rest(self) -> tuple[Step, ...]:
        """The first top and what comes after it."""
        return self.steps[len(self._streamed) :]

    def count(self) -> int:
        """Number of the rows; only what the steps need is read."""
        if not self.steps:
            return self.source.count()
        if not isinstance(self.source, PieceSource):
            return sum(table.num_rows for table in self.tables(self.source.schema.names[:1]))
        if self._rest:
            return len(self._best(self.source)[1])
        limits = limits_of(self.steps)
        task = CountRows(self.steps, self._sky)
        return sum(n_rows for _, n_rows in run(((task, piece) for piece in self.source.pieces(limits)), limits, self.client))

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Tables of some columns of the rows, in order; one alone after a top."""
        if not isinstance(self.source, PieceSource):
            yield from self._scanned(list(columns))
        elif self._rest:
            pieces, addresses = self._best(self.source)
            table = fetch(pieces, addresses, columns, self.client)
            if table is not None:
                yield table
        else:
            limits = limits_of(self.steps)
            task = ReadRows(tuple(columns), self.steps, self._sky)
            jobs = ((task, piece) for piece in self.source.pieces(limits))
            yield from (table for _, table in run(jobs, limits, self.client) if table is not None)

    def _best(self, source: PieceSource) -> tuple[list[Piece], Addresses]:
        """Pieces of the source, and where the rows that are left lie in them."""
        limits: Limits = limits_of(self._streamed)
        pieces = list(source.pieces(limits))
        first, *rest = self._rest
        assert isinstance(first, Top)
        found = best_rows(FindTop(first, self._streamed, self._sky), pieces, limits, self.client)
        needed = columns_of(rest, self._sky)
        table = fetch(pieces, found, needed, self.client) if needed else None
        if table is None:
            return pieces, found
        return pieces, found.take(selected_rows(table, rest, self._sky))

    def _scanned(self, columns: list[str]) -> Iterator[pa.Table]:
        """The rows of a source that gives tables alone; those that a top leaves are in memory."""
        needed = list(dict.fromkeys([*columns, *columns_of(self.steps, self._sky)]))
        region = next(iter(limits_of(self._streamed).regions), None)
        parts = (self._kept(table, self._streamed) for table in self.source.scan(needed, region))
        if not self._rest:
            yield from (part.select(columns) for part in parts)
            return
        best: pa.Table | None = None
        for part in parts:
            best = self._kept(part if best is None else pa.concat_tables([best, part]), self._rest[:1])
        if best is not None:
            yield self._kept(best, self._rest[1:]).select(columns)

    def _kept(self, table: pa.Table, steps: Sequence[Step]) -> pa.Table:
        rows = selected_rows(table, steps, self._sky)
        return table if np.array_equal(rows, np.arange(table.num_rows)) else table.take(rows)
