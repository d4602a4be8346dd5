"""Progress of a run on stderr: a live bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from surveycnn.errors import printable


class Progress(Protocol):
    """What a run reports to; safe to call from several threads."""

    def message(self, text: str) -> None: ...

    def add(self, stage: str, n_units: int) -> None:
        """`n_units` more units of `stage` are known of."""

    def advance(self, stage: str, n_units: int = 1) -> None: ...


class Silent:
    """Reports nothing."""

    def message(self, text: str) -> None:
        pass

    def add(self, stage: str, n_units: int) -> None:
        pass

    def advance(self, stage: str, n_units: int = 1) -> None:
        pass


class Lines:
    """Plain lines, at most one in `interval` seconds for each stage, and one when a stage is through."""

    def __init__(self, stream: TextIO | None = None, interval: float = 10.0):
        self._stream = stream or sys.stderr
        self._interval = interval
        self._stages: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def message(self, text: str) -> None:
        with self._lock:
            print(printable(text), file=self._stream, flush=True)

    def add(self, stage: str, n_units: int) -> None:
        with self._lock:
            now = time.monotonic()
            state = self._stages.setdefault(stage, [0, 0, now, now])
            state[1] += n_units

    def advance(self, stage: str, n_units: int = 1) -> None:
        with self._lock:
            state = self._stages[stage]
            state[0] += n_units
            now = time.monotonic()
            if state[0] == state[1] or now - state[3] >= self._interval:
                state[3] = now
                rate = state[0] / max(now - state[2], 1e-3)
                print(f"{stage}: {state[0]:.0f} of {state[1]:.0f}, {rate:.2f}/s", file=self._stream, flush=True)


class Bars:
    """Live bars of the `rich` library."""

    def __init__(self, display: Any):
        self._display = display
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def message(self, text: str) -> None:
        self._display.console.print(printable(text), markup=False, highlight=False)

    def add(self, stage: str, n_units: int) -> None:
        with self._lock:
            if stage not in self._tasks:
                self._tasks[stage] = self._display.add_task(stage, total=0)
            task = self._tasks[stage]
            self._display.update(task, total=self._display.tasks[task].total + n_units)

    def advance(self, stage: str, n_units: int = 1) -> None:
        self._display.advance(self._tasks[stage], n_units)


@contextmanager
def open_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Bars where `stream` (default stderr) is a terminal, lines else."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Display(*columns, console=Console(file=stream)) as display:
        yield Bars(display)
