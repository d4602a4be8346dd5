"""Upkeep of a Dask cluster that a run has started: workers that are lost are replaced, and it is closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

REVIVE_SECONDS = 2.0
"""Interval at which workers are looked after."""


@contextmanager
def closed_at_end(cluster: Any) -> Iterator[Any]:
    """A Dask cluster, closed afterwards; a worker that takes too long for that ends with this process, and harms no result."""
    cluster.__enter__()
    try:
        yield cluster
    finally:
        with suppress(TimeoutError, OSError):
            cluster.__exit__(None, None, None)


@contextmanager
def revived(cluster: Any) -> Iterator[Any]:
    """`cluster`, a LocalCluster, whose workers are started again where their nannies have given up.

    A nanny gives up on a worker that dies within its first moment, which a tile that kills its worker at once can bring about;
    without this such a tile would cost a worker for good at every try.
    """
    from distributed import Status

    def replace_lost() -> None:
        for name, nanny in list(cluster.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                cluster.workers.pop(name, None)
        if len(cluster.workers) < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))

    def look() -> None:
        while not over.wait(REVIVE_SECONDS):
            cluster.loop.add_callback(replace_lost)

    over = Event()
    thread = Thread(target=look, name="surveycnn-revive", daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        over.set()
        thread.join()
