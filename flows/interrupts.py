"""Ctrl-C and SIGTERM end a run in order: one exception in the main thread, threads that stop at their next unit, a time limit.

SIGTERM comes from Slurm before a job's limit, from Prefect's workers at a cancellation, and from ``kill``.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from surveycnn.run.progress import Progress

INTERRUPTED = "interrupted; the same command goes on from here"
CLOSING_SECONDS = 25.0
"""Time for closing the cluster, for the last states in Prefect, and for the end of the process."""

_SIGNALS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last one comes where a terminal is closed; nohup has it ignored, and so it stays."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; Ctrl-C is a plain KeyboardInterrupt."""


class Stopped(KeyboardInterrupt):
    """Raised in the threads of a run that has been interrupted in the main thread."""


class Interrupts:
    """What the signals of this process do while a command runs."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        """Set from the first signal on."""
        self._is_said = False

    def __call__(self, number: int, frame: Any) -> None:
        if self.stopped.is_set():
            return  # the first is being followed; to break that off would leave more behind, not less
        self.stopped.set()
        logging.disable(logging.CRITICAL)  # libraries that report how they are cut off
        bound = threading.Timer(CLOSING_SECONDS, self.end)
        bound.daemon = True
        bound.start()
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def leave_saying_to_caller(self) -> None:
        """From now on the caller says that the command was interrupted."""
        self._is_said = True

    def end(self) -> None:
        """End the process: its workers end with their connection to it, and what is finished is in files of its own."""
        if not self._is_said:
            with suppress(OSError):  # the terminal may be gone
                print(f"surveycnn: {INTERRUPTED}", file=sys.stderr, flush=True)
        os._exit(130)

    def install(self) -> dict[int, Any]:
        """Take the signals over; returns what took them before."""
        # a shell has Ctrl-C ignored in what it starts in the background, and that is no reason not to end when it comes
        kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        return {number: signal.signal(number, self) for number in _SIGNALS if number not in kept}


_current: Interrupts | None = None


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Have Ctrl-C and SIGTERM raise KeyboardInterrupt once, and end the process within :data:`CLOSING_SECONDS` of it."""
    global _current
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = interrupts.install()
    _current = interrupts
    try:
        yield interrupts
    finally:
        _current = None
        interrupts.leave_saying_to_caller()
        if not interrupts.stopped.is_set():  # else a second Ctrl-C could still break off the end of the interpreter
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt where a flow that is called ends as Cancelled, or as Crashed by a signal."""
    from prefect.exceptions import CancelledRun, CrashedRun

    try:
        yield
    except CancelledRun as error:
        raise KeyboardInterrupt from error
    except CrashedRun as error:
        if stop_event().is_set():
            raise Terminated from error
        raise


def end_at_once() -> None:
    """End the process where a signal has stopped its command; all that it had open has to be closed."""
    if _current is not None and _current.stopped.is_set():
        _current.end()


def stop_event() -> threading.Event:
    """An event for a run, which is set from the first signal on."""
    return _current.stopped if _current is not None else threading.Event()


@contextmanager
def closing_at_signals(stopped: threading.Event) -> Iterator[None]:
    """Set `stopped` where a signal ends the body, and let nothing interrupt what is done about it afterwards.

    Prefect takes SIGTERM over while a flow runs. On the command line it is taken back here; in a process that Prefect's worker
    has started it stays Prefect's, which knows whether it means a cancellation.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _current.install() if _current is not None else {}
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            stopped.set()
            if _current is None:
                for number in _SIGNALS:
                    signal.signal(number, _let_pass)
        raise
    finally:
        if not stopped.is_set():
            for number, handler in before.items():
                signal.signal(number, handler)


def _let_pass(number: int, frame: Any) -> None:
    """A handler that does nothing, unlike SIG_IGN not inherited by processes that are started."""


class StoppableProgress:
    """Passes everything on to another progress, and raises in the threads that report to it once the run is interrupted."""

    def __init__(self, shown: Progress, stopped: threading.Event):
        self._shown, self._stopped = shown, stopped
        self.message: Callable[[str], None] = shown.message
        self.expect, self.found, self.failed, self.watch = shown.expect, shown.found, shown.failed, shown.watch

    def add(self, stage: str, n_units: int) -> None:
        self._check()
        self._shown.add(stage, n_units)

    def advance(self, stage: str, n_units: int = 1) -> None:
        self._shown.advance(stage, n_units)
        self._check()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Stopped
