"""A batch of short tasks as one call on a worker, an end for every task begun, and a limit on how long each may take.

Made and counted by :mod:`surveycnn.run.execute`, called in whatever process the executor has.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from surveycnn.errors import UserError
from surveycnn.full_disk import writing_into

BATCH_SECONDS = 0.25
"""What a batch should take, and after which it gives back what it has not begun: long beside the 2 ms that a future costs."""


@dataclass(frozen=True)
class Task:
    """One call to make: a picklable function and the unit that it is given."""

    function: Callable[[Any], Any]
    unit: Any
    folder: str = ""
    """Where it writes: what goes wrong there for want of room or permission is no fault of the task."""


End = tuple[str, Any, str, str]
"""State (``done``, ``failed`` or ``hangs``), result, reason and details of a task that was begun."""


@dataclass(frozen=True)
class BatchResult:
    """What a batch has come to; plain values, so that it travels whatever was raised."""

    ends: list[End]
    """Of the tasks that were begun, in their order."""
    seconds: float
    stuck_worker: str = ""
    """Address of the worker that the last of these tasks still keeps busy; it has to be ended."""
    worker: dict[str, Any] = field(default_factory=dict)
    """The worker process, where it is one of Dask and a task did not go well."""


def call_batch(tasks: tuple[Task, ...], limit: float | None = None, seconds: float = BATCH_SECONDS) -> BatchResult:
    """Make the calls one after another until `seconds` are over; the first is always made.

    Parameters
    ----------
    limit
        Seconds after which a call is taken to have no end: it ``hangs``, and the batch is over. None waits for ever.

    Raises
    ------
    UserError
        Of the first task that raises one: the run is over.
    """
    calls = _Calls(tasks, seconds)
    if limit is None:
        calls.make()
        return BatchResult(calls.ends, calls.seconds_taken, worker=_worker_of(calls.ends))
    stuck = calls.make_within(limit)
    ends = list(calls.ends)
    return BatchResult(ends, calls.seconds_taken, _worker_address() if stuck else "", _worker_of(ends))


class _Calls:
    """The calls of a batch, made here or in a thread that can be left behind."""

    def __init__(self, tasks: tuple[Task, ...], seconds: float):
        self.ends: list[End] = []
        self._tasks, self._seconds = tasks, seconds
        self._started = self._begun = time.perf_counter()
        self._error: BaseException | None = None

    @property
    def seconds_taken(self) -> float:
        return time.perf_counter() - self._started

    def make(self) -> None:
        for task in self._tasks:
            self._begun = time.perf_counter()
            try:
                with writing_into(task.folder) if task.folder else nullcontext():
                    self.ends.append(("done", task.function(task.unit), "", ""))
            except UserError:
                raise
            except Exception as error:
                self.ends.append(("failed", None, *reason_of(error)))
            if self.seconds_taken > self._seconds:
                break

    def make_within(self, limit: float) -> bool:
        """As `make`, in another thread; True where one call has taken longer than `limit` and is still at it."""
        thread = Thread(target=self._make, name="surveycnn-batch", daemon=True)
        thread.start()
        while thread.is_alive() and (left := self._begun + limit - time.perf_counter()) > 0:
            thread.join(left)
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident or 0)
            self.ends.append(("hangs", None, f"no end within {limit:g} s", "".join(traceback.format_stack(frame))))
            return True
        if self._error is not None:
            raise self._error
        return False

    def _make(self) -> None:
        try:
            self.make()
        except BaseException as error:
            self._error = error


def _worker_of(ends: list[End]) -> dict[str, Any]:
    """What is known of this worker process, where one of `ends` calls for it."""
    if all(end[0] == "done" for end in ends) or not (address := _worker_address()):
        return {}
    from surveycnn.run.log_files import worker_record

    return worker_record(address)


def _worker_address() -> str:
    """Address of the Dask worker whose thread this is; empty in another process."""
    if "distributed" not in sys.modules:
        return ""
    from distributed import get_worker

    try:
        return get_worker().address
    except ValueError:
        return ""


def reason_of(error: BaseException) -> tuple[str, str]:
    """One line about an exception, and its traceback."""
    first = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    return first, "".join(traceback.format_exception(error))
