"""Ledger of a run's workers: when each joined and left, what was paid for and what of it was busy.

Kept by whoever opens a cluster; :mod:`surveycnn.run.watch` fills it on Dask. It answers at once with any number of workers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Span = tuple[float, float]
"""From and to, by :func:`time.perf_counter`."""


@dataclass
class Presence:
    """A worker process from when it joined until it left."""

    address: str
    name: str
    n_threads: int
    memory_limit: int | None
    """Bytes; None where nothing limits it."""
    joined: float
    left: float | None = None
    is_lost: bool = False
    """Whether it left without a word: killed, crashed, or cut off."""

    def seconds_in(self, spans: Iterable[Span], now: float) -> float:
        """Seconds that it was there within `spans`, which do not overlap."""
        end = now if self.left is None else self.left
        return sum(max(0.0, min(stop, end) - max(start, self.joined)) for start, stop in spans)


class WorkerLedger:
    """Who was there when; safe to use from several threads.

    Parameters
    ----------
    clock
        Seconds of the same clock as the spans that are asked for.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._there: dict[str, Presence] = {}
        self._gone: list[Presence] = []
        self._lock = threading.Lock()
        self.n_threads_there = 0
        """Threads of the workers that are there now."""
        self.most_at_once = 0
        self.busy_thread_seconds = 0.0
        """Seconds of calls that have come back, added over threads."""
        self.n_ended = 0
        """Batches that have come back, or have ended with their worker."""

    def join(self, address: str, name: str, n_threads: int, memory_limit: int | None = None, at: float | None = None) -> Presence:
        """A worker is there."""
        with self._lock:
            if address in self._there:
                return self._there[address]
            presence = Presence(address, name, n_threads, memory_limit or None, self._clock() if at is None else at)
            self._there[address] = presence
            self.n_threads_there += n_threads
            self.most_at_once = max(self.most_at_once, len(self._there))
            return presence

    def leave(self, address: str, *, is_lost: bool) -> Presence | None:
        """A worker is gone; None where it was not there."""
        with self._lock:
            presence = self._there.pop(address, None)
            if presence is not None:
                presence.left, presence.is_lost = self._clock(), is_lost
                self.n_threads_there -= presence.n_threads
                self._gone.append(presence)
            return presence

    def add_busy(self, seconds: float) -> None:
        """A batch has ended, after so many seconds on a thread of a worker."""
        with self._lock:
            self.n_ended += 1
            self.busy_thread_seconds += seconds

    @property
    def n_there(self) -> int:
        return len(self._there)

    @property
    def n_joined(self) -> int:
        return len(self._there) + len(self._gone)

    @property
    def n_lost(self) -> int:
        return sum(presence.is_lost for presence in list(self._gone))

    @property
    def addresses(self) -> set[str]:
        with self._lock:
            return set(self._there)

    def presences(self) -> list[Presence]:
        """All that were ever there."""
        with self._lock:
            return [*self._gone, *self._there.values()]

    def paid(self, spans: Iterable[Span]) -> tuple[float, float]:
        """Seconds of workers, and of their threads, within `spans`."""
        spans, now = merged(spans), self._clock()
        seconds = [(presence.seconds_in(spans, now), presence.n_threads) for presence in self.presences()]
        return sum(one for one, _ in seconds), sum(one * n_threads for one, n_threads in seconds)

    def on_average(self, spans: Iterable[Span]) -> tuple[float, float]:
        """Workers, and threads of all of them, that were there within `spans`; zero where there are none."""
        spans = merged(spans)
        total = sum(stop - start for start, stop in spans)
        workers, threads = self.paid(spans)
        return (workers / total, threads / total) if total else (0.0, 0.0)

    def record(self, spans: Iterable[Span]) -> dict[str, Any]:
        """Plain values: `paid` while the workers were there within `spans`, `busy` in calls that came back.

        ``efficiency`` is busy over paid thread-seconds; None where nothing was paid.
        """
        worker_seconds, thread_seconds = self.paid(spans)
        n_lost, n_left = self.n_lost, len(self._gone)
        return {
            "joined": self.n_joined,
            "left": n_left - n_lost,
            "lost": n_lost,
            "most_at_once": self.most_at_once,
            "paid_worker_seconds": round(worker_seconds, 3),
            "paid_thread_seconds": round(thread_seconds, 3),
            "busy_thread_seconds": round(self.busy_thread_seconds, 3),
            "efficiency": float(f"{self.busy_thread_seconds / thread_seconds:.4g}") if thread_seconds else None,
        }


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union of `spans` in pieces that do not overlap.

    >>> merged([(5, 6), (0, 2), (1, 3)])
    [(0, 3), (5, 6)]
    """
    pieces: list[Span] = []
    for start, stop in sorted(spans):
        if pieces and start <= pieces[-1][1]:
            pieces[-1] = pieces[-1][0], max(stop, pieces[-1][1])
        else:
            pieces.append((start, stop))
    return pieces
