"""Calls on the workers of a Dask cluster, as many at a time as there are threads, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from surveycnn.errors import CatalogError, UserError

N = TypeVar("N")
R = TypeVar("R")


def on_workers(client: Any, function: Callable[..., R], calls: Iterable[tuple[N, tuple[Any, ...]]]) -> Iterator[tuple[N, R]]:
    """Results of `function`, each with the name of its call.

    Parameters
    ----------
    client
        A ``distributed.Client``.
    calls
        Name and arguments of each call.

    Raises
    ------
    CatalogError
        Where a worker was lost, or met an error that is none of ours.
    """
    window = max(1, sum(client.nthreads().values())) + 1
    pending: deque[tuple[N, Any]] = deque()
    try:
        for name, arguments in calls:
            while len(pending) >= window:
                yield _settled(pending)
            pending.append((name, client.submit(function, *arguments, pure=False)))
        while pending:
            yield _settled(pending)
    finally:
        for _, future in pending:
            future.cancel()


def _settled(pending: deque[tuple[N, Any]]) -> tuple[N, Any]:
    name, future = pending[0]
    try:
        result = future.result()
    except UserError:
        raise
    except Exception as error:
        raise CatalogError(f"a Dask worker could not read the catalog ({type(error).__name__}: {error})") from error
    pending.popleft()
    return name, result
