"""Progress of a run on stderr: a live view on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from surveycnn.errors import printable
from surveycnn.run.tally import Tally, count_text, left_text, time_text
from surveycnn.run.workers import WorkerLedger


class Progress(Protocol):
    """What a run reports to; safe to call from several threads. :class:`Silent` is the base for one of your own."""

    def message(self, text: str) -> None: ...

    def add(self, stage: str, n_units: int) -> None:
        """`n_units` more units of `stage` are begun or wait for a worker."""

    def expect(self, stage: str, n_units: int) -> None:
        """`stage` will have `n_units` units in all, as far as is known now."""

    def advance(self, stage: str, n_units: int = 1) -> None: ...

    def found(self, n_sources: int) -> None:
        """A tile has given `n_sources` rows."""

    def failed(self, text: str) -> None:
        """A unit has failed for good: `text` says which and why."""

    def watch(self, workers: WorkerLedger) -> None:
        """`workers` says who is at work."""


class Silent:
    """Reports nothing."""

    def message(self, text: str) -> None:
        pass

    def add(self, stage: str, n_units: int) -> None:
        pass

    def expect(self, stage: str, n_units: int) -> None:
        pass

    def advance(self, stage: str, n_units: int = 1) -> None:
        pass

    def found(self, n_sources: int) -> None:
        pass

    def failed(self, text: str) -> None:
        pass

    def watch(self, workers: WorkerLedger) -> None:
        pass


class Lines:
    """Plain lines, at most one in `interval` seconds for each stage, and one when a stage is through."""

    def __init__(self, stream: TextIO | None = None, interval: float = 10.0, clock: Callable[[], float] = time.monotonic):
        self._stream = stream or sys.stderr
        self._interval = interval
        self._tally = Tally(clock)
        self._printed: dict[str, float] = {}
        self.expect, self.found, self.watch = self._tally.expect, self._tally.found, self._tally.watch

    def message(self, text: str) -> None:
        # one write for each line, so that lines of several threads do not run into each other
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()

    def failed(self, text: str) -> None:
        self._tally.failed(text)
        self.message(text)

    def add(self, stage: str, n_units: int) -> None:
        self._printed.setdefault(stage, self._tally.clock())
        self._tally.add(stage, n_units)

    def advance(self, stage: str, n_units: int = 1) -> None:
        with self._tally.lock:
            self._tally.advance(stage, n_units)
            now = self._tally.clock()
            if self._tally.stages[stage].is_through or now - self._printed[stage] >= self._interval:
                self._printed[stage] = now
                self.message(self._line(stage, now))

    def _line(self, name: str, now: float) -> str:
        stage = self._tally.stages[name]
        facts = [count_text(name, stage), *(self._tally.findings() if name == "infer" else [])]
        facts.append(f"after {time_text(stage.seconds(now))}" if stage.is_through else left_text(stage, now))
        facts += self._tally.workers() if name in ("ingest", "infer") else []
        return f"{name}: {', '.join(filter(None, facts))}"


def is_live(stream: TextIO) -> bool:
    """Whether `stream` is a terminal on which lines can be drawn anew."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown") and not os.environ.get("CI")


@contextmanager
def open_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """A live view where `stream` (default stderr) is a terminal, lines else."""
    stream = stream or sys.stderr
    if not is_live(stream):
        yield Lines(stream)
        return
    from surveycnn.run.live_view import open_view

    with open_view(stream) as view:
        yield view
