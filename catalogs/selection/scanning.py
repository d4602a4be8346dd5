"""Reads the selected rows of a catalog piece by piece: first what the selections need, then the rest of the rows that they leave.

What is done with a batch of rows is a task, the same here, in threads, and on the workers of a Dask cluster. Memory is bounded by
the batches that are read at a time, and by the result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.formats.parquet_piece import BATCH_ROWS, Group, batches
from surveycnn.catalogs.selection.limits import Limits, Sky
from surveycnn.catalogs.selection.steps import Step, Top, column_values, columns_of, selected_rows
from surveycnn.catalogs.source import Piece

MAX_THREADS = 4
"""Batches that are read at the same time; more would need more memory, and gain little over a disk."""

MAX_VALUES = 1 << 20
"""Values of the rest of the columns that are read at once, of some group at least."""

T = TypeVar("T")
R = TypeVar("R")


class Task(Protocol[R]):
    """What is done with the rows of some groups of a piece."""

    def __call__(self, piece: Piece, groups: Sequence[Group]) -> R: ...

    def join(self, parts: list[R]) -> R:
        """Result of several lists of groups, in order."""


@dataclass(frozen=True)
class ReadRows:
    """Table of some columns of the rows that pass the steps; None where none does."""

    columns: tuple[str, ...]
    steps: tuple[Step, ...]
    sky: Sky

    def __call__(self, piece: Piece, groups: Sequence[Group]) -> pa.Table | None:
        if not self.steps:
            return piece.read(self.columns, groups)
        needed = columns_of(self.steps, self.sky)
        found = piece.read(needed, groups)
        rows = selected_rows(found, self.steps, self.sky)
        if not len(rows):
            return None
        rest = [name for name in self.columns if name not in needed]
        table = found.take(rows)
        if rest:
            other = read_rows(piece, groups, rows, rest)
            table = pa.table([*table.columns, *other.columns], schema=pa.schema([*table.schema, *other.schema]))
        return table.select(list(self.columns))

    def join(self, parts: list[pa.Table | None]) -> pa.Table | None:
        return _joined(parts)


@dataclass(frozen=True)
class CountRows:
    """Number of the rows that pass the steps, of which there is one."""

    steps: tuple[Step, ...]
    sky: Sky

    def __call__(self, piece: Piece, groups: Sequence[Group]) -> int:
        return len(selected_rows(piece.read(columns_of(self.steps, self.sky), groups), self.steps, self.sky))

    def join(self, parts: list[int]) -> int:
        return sum(parts)


Candidates = tuple[np.ndarray, np.ndarray]
"""Values of the column and numbers of the rows in their piece, in the order of the rows."""


@dataclass(frozen=True)
class FindTop:
    """Rows that pass the steps and may be among the best."""

    top: Top
    steps: tuple[Step, ...]
    sky: Sky

    def __call__(self, piece: Piece, groups: Sequence[Group]) -> Candidates:
        found = piece.read(columns_of((*self.steps, self.top), self.sky), groups)
        rows = selected_rows(found, self.steps, self.sky)
        values = column_values(found[self.top.by])[rows]
        kept = self.top.candidates(values)
        in_piece = np.concatenate([np.arange(group.start, group.start + group.n_rows) for group in groups])
        return values[kept], in_piece[rows[kept]]

    def join(self, parts: list[Candidates]) -> Candidates:
        values, rows = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
        kept = self.top.candidates(values)
        return values[kept], rows[kept]


@dataclass(frozen=True)
class FetchRows:
    """Some columns of rows by their number in the piece, ascending."""

    columns: tuple[str, ...]
    rows: np.ndarray

    def __call__(self, piece: Piece, groups: Sequence[Group]) -> pa.Table | None:
        first, stop = groups[0].start, groups[-1].start + groups[-1].n_rows
        low, high = np.searchsorted(self.rows, [first, stop])
        return read_rows(piece, groups, self.rows[low:high] - first, self.columns) if high > low else None

    def join(self, parts: list[pa.Table | None]) -> pa.Table | None:
        return _joined(parts)


def read_rows(piece: Piece, groups: Sequence[Group], rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
    """Columns of one row or more, counted over `groups`, ascending; only groups that have some are read, a few at a time."""
    stops = np.cumsum([group.n_rows for group in groups])
    edges = np.searchsorted(rows, stops)
    tables: list[pa.Table] = []
    together: list[Group] = []
    places: list[np.ndarray] = []
    n_rows = 0
    for group, stop, low, high in zip(groups, stops, [0, *edges[:-1]], edges, strict=True):
        if high == low:
            continue
        if together and (n_rows + group.n_rows) * len(columns) > MAX_VALUES:
            tables.append(_taken(piece.read(columns, together), places))
            together, places, n_rows = [], [], 0
        together.append(group)
        places.append(rows[low:high] - (stop - group.n_rows) + n_rows)
        n_rows += group.n_rows
    tables.append(_taken(piece.read(columns, together), places))
    return pa.concat_tables(tables)


def _taken(table: pa.Table, places: list[np.ndarray]) -> pa.Table:
    rows = np.concatenate(places)
    return table if len(rows) == table.num_rows else table.take(rows)


def _joined(tables: Iterable[pa.Table | None]) -> pa.Table | None:
    found = [table for table in tables if table is not None]
    return pa.concat_tables(found) if found else None


def whole_piece(task: Task[R], piece: Piece, limits: Limits) -> R | None:
    """Result of a task for a piece; None where no row can be within the limits."""
    parts = [task(piece, groups) for groups in batches(piece.groups(limits))]
    return task.join(parts) if parts else None


def run(jobs: Iterable[tuple[Task[R], Piece]], limits: Limits, client: Any = None) -> Iterator[tuple[int, R]]:
    """Results of tasks on pieces, each with the number of its job, in the order of the jobs and of the rows."""
    numbered = enumerate(jobs)
    if client is not None:
        from surveycnn.catalogs.selection.on_workers import on_workers

        calls = ((number, (task, piece, limits)) for number, (task, piece) in numbered)
        yield from ((number, result) for number, result in on_workers(client, whole_piece, calls) if result is not None)
        return
    work = ((number, task, piece, groups) for number, (task, piece) in numbered for groups in batches(piece.groups(limits)))
    yield from in_threads(lambda item: (item[0], item[1](*item[2:])), work)


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in order, some of them computed ahead; one item alone is not worth a thread."""
    n_threads = min(MAX_THREADS, pa.cpu_count())
    items = iter(items)
    first = list(islice(items, 2))
    if n_threads == 1 or len(first) < 2:
        yield from map(function, chain(first, items))
        return
    with ThreadPoolExecutor(n_threads, thread_name_prefix="catalog") as pool:
        pending = deque(pool.submit(function, item) for item in first)
        try:
            for item in items:
                while len(pending) > n_threads:
                    yield pending.popleft().result()
                pending.append(pool.submit(function, item))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@dataclass(frozen=True)
class Addresses:
    """Where rows are: the number of the piece and that of the row in it, arrays of shape (n,)."""

    pieces: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: np.ndarray) -> Addresses:
        return Addresses(self.pieces[places], self.rows[places])


def best_rows(task: FindTop, pieces: Iterable[Piece], limits: Limits, client: Any = None) -> Addresses:
    """Where the best rows are, best first; only as many as wanted, and a batch, are in memory."""
    top = task.top
    parts: list[tuple[np.ndarray, ...]] = []
    for number, (values, rows) in run(((task, piece) for piece in pieces), limits, client):
        parts.append((values, np.full(len(rows), number), rows))
        if sum(len(part[0]) for part in parts) > 2 * top.n + BATCH_ROWS:
            parts = [_best(top, parts)]
    if not parts:
        return Addresses(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    values, numbers, rows = _best(top, parts)
    return Addresses(numbers, rows).take(top.order(values))


def _best(top: Top, parts: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    columns = [np.concatenate([part[place] for part in parts]) for place in range(3)]
    kept = top.candidates(columns[0])
    return tuple(column[kept] for column in columns)


def fetch(pieces: Sequence[Piece], found: Addresses, columns: Sequence[str], client: Any = None) -> pa.Table | None:
    """Columns of the rows at some addresses, in their order; None without any."""
    order = np.lexsort((found.rows, found.pieces))
    ordered = found.take(order)
    jobs = [(FetchRows(tuple(columns), ordered.rows[ordered.pieces == one]), pieces[one]) for one in np.unique(ordered.pieces)]
    table = _joined(table for _, table in run(jobs, Limits(), client))
    if table is None:
        return None
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return table.take(place)
