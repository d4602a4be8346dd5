"""Facts of a run while it goes on: what of each stage is done, sources, failures, workers, and the time left at this rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from surveycnn.run.workers import WorkerLedger

UNITS = {"ingest": "images", "infer": "tiles"}
"""What is counted in a stage; the others are one step each."""
SHOWN_FAILURES = 3


@dataclass
class Stage:
    """Units of a stage; times are those of the tally's clock."""

    added: int = 0
    """Units that are known of by now."""
    expected: int | None = None
    """Units that there will be in all, where that is known."""
    done: int = 0
    begun: float | None = None
    ended: float | None = None

    @property
    def total(self) -> int:
        return self.added if self.expected is None else self.expected

    @property
    def is_through(self) -> bool:
        return self.begun is not None and self.done >= self.total

    def seconds(self, now: float) -> float:
        """Seconds that it has taken by now, or in all."""
        if self.begun is None:
            return 0.0
        return (now if self.ended is None else self.ended) - self.begun

    def seconds_left(self, now: float) -> float | None:
        """Seconds for what is left at the rate so far; None as long as nothing is done, and at the end."""
        if not self.done or self.is_through:
            return None
        return (self.total - self.done) * self.seconds(now) / self.done


class Tally:
    """Keeps count of what is reported to a progress; safe to call from several threads.

    Parameters
    ----------
    clock
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.stages: dict[str, Stage] = {}
        self.n_sources: int | None = None
        """Rows of the tiles that have run; None as long as none has."""
        self.n_failed = 0
        self.failures: list[str] = []
        """The last few, with their reason."""
        self._workers: WorkerLedger | None = None
        self.lock = threading.RLock()

    def add(self, stage: str, n_units: int) -> None:
        with self.lock:
            state = self.stages.setdefault(stage, Stage())
            state.added += n_units
            state.begun, state.ended = self.clock() if state.begun is None else state.begun, None

    def expect(self, stage: str, n_units: int) -> None:
        with self.lock:
            self.stages.setdefault(stage, Stage()).expected = n_units

    def advance(self, stage: str, n_units: int = 1) -> None:
        with self.lock:
            state = self.stages[stage]
            state.done += n_units
            if state.is_through:
                state.ended = self.clock()

    def found(self, n_sources: int) -> None:
        with self.lock:
            self.n_sources = (self.n_sources or 0) + n_sources

    def failed(self, text: str) -> None:
        """Count a failure, and keep it if it is one of the last."""
        with self.lock:
            self.n_failed += 1
            self.failures = [*self.failures, text][-SHOWN_FAILURES:]

    def watch(self, workers: WorkerLedger) -> None:
        self._workers = workers

    def findings(self) -> list[str]:
        """Sources and their rate, failures."""
        facts = []
        if self.n_sources is not None:
            facts.append(f"{self.n_sources} sources")
            seconds = self.stages["infer"].seconds(self.clock()) if "infer" in self.stages else 0.0
            if self.n_sources and seconds >= 1:
                facts.append(f"{self.n_sources / seconds:.3g}/s")
        return facts + ([f"{self.n_failed} failed"] if self.n_failed else [])

    def workers(self) -> list[str]:
        """Workers that are there, and those that were lost."""
        if self._workers is None:
            return []
        n, n_lost = self._workers.n_there, self._workers.n_lost
        return [f"{n} worker{'s' * (n != 1)}"] + ([f"{n_lost} lost"] if n_lost else [])


def count_text(name: str, stage: Stage) -> str:
    """How much of a stage is done.

    >>> count_text("infer", Stage(added=3, expected=8, done=2)), count_text("publish", Stage(added=1, done=1, begun=0.0))
    ('2 of 8 tiles', 'done')
    """
    if name in UNITS or stage.total > 1:
        return " ".join(filter(None, (f"{stage.done} of {stage.total}", UNITS.get(name))))
    return "done" if stage.is_through else ""


def time_text(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> time_text(4000.4)
    '1:06:40'
    """
    return str(timedelta(seconds=round(seconds)))


def left_text(stage: Stage, now: float) -> str:
    """Time that is left, empty where nobody can know."""
    left = stage.seconds_left(now)
    return "" if left is None else f"{time_text(left)} left"
