"""Running many units of work on an executor: in batches, bounded, retried, and with a named end for every unit.

Serial, threads and Dask are all `concurrent.futures.Executor` objects here, so that one code path, and one set of tests,
serves all of them.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

from surveycnn.errors import UserError

CHECK_SECONDS = 60.0
"""Silence after which the cluster is asked whether it still has workers."""

ATTEMPTS = 3
"""Times that a unit is tried before an exception is taken as final."""

BATCH_SECONDS = 0.25
"""What a batch should take, and after which it gives back what it has not begun: long beside the 2 ms that a future costs."""

MAX_BATCH = 128
"""Tasks in a batch at most, so that a future stays small."""


@dataclass(frozen=True)
class Task:
    """One call to make: a picklable function and the unit that it is given."""

    function: Callable[[Any], Any]
    unit: Any


@dataclass(frozen=True)
class Outcome:
    """How one task ended."""

    task: Task
    state: str
    """``done``, ``failed`` (raised every time), ``lost`` (its worker died) or ``quarantined`` (again when it ran alone)."""
    result: Any = None
    reason: str = ""
    """One line."""
    details: str = ""
    """Traceback."""


@dataclass(frozen=True)
class BatchResult:
    """What a batch has come to; plain values, so that it travels whatever was raised."""

    ends: list[tuple[str, Any, str, str]]
    """State, result, reason and details of each task that was begun, in their order."""
    seconds: float


def call_batch(tasks: tuple[Task, ...], seconds: float = BATCH_SECONDS) -> BatchResult:
    """Make the calls one after another until `seconds` are over; the first is always made.

    Raises
    ------
    UserError
        Of the first task that raises one: the run is over.
    """
    started = time.perf_counter()
    ends = []
    for task in tasks:
        try:
            ends.append(("done", task.function(task.unit), "", ""))
        except UserError:
            raise
        except Exception as error:
            ends.append(("failed", None, *_reason(error)))
        if time.perf_counter() - started > seconds:
            break
    return BatchResult(ends, time.perf_counter() - started)


class SerialExecutor(Executor):
    """Runs each call at once in the calling thread: the default for small runs and for debuggers."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def execute(
    executor: Executor,
    tasks: Iterable[Task],
    *,
    window: int,
    n_tasks: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Outcomes of `tasks`, in the order in which they end.

    Parameters
    ----------
    window
        Batches in flight at once: bounds the memory of the driver and the scheduler, however many tasks there are.
    n_tasks
        Number of `tasks` where it is known: near the end, batches leave something for every worker then.
    check
        Called whenever nothing has ended for a while; raises where nothing ever will.

    Raises
    ------
    UserError
        At once, where a task finds that the user's input is wrong: trying again would not help.

    Notes
    -----
    A batch is one task as long as tasks take long; only where they prove to be short it grows. What is tried again is a batch
    of its own.

    A worker that dies takes all its running tasks with it, so its death says nothing of which one is to blame: those end as
    ``lost`` and are to be given to :func:`execute_alone` when nothing else runs.
    """
    waiting = _Waiting(tasks, n_tasks, window)
    running: dict[Future, list[_Try]] = {}
    ended: SimpleQueue[Future] = SimpleQueue()
    try:
        while True:
            while len(running) < window and (batch := waiting.next_batch()):
                future = executor.submit(call_batch, tuple(one.task for one in batch))
                running[future] = batch
                future.add_done_callback(ended.put)
            if not running:
                return
            try:
                future = ended.get(timeout=CHECK_SECONDS)
            except Empty:
                check()
                continue
            batch = running.pop(future)
            outcomes = _outcomes(future, batch, waiting)
            # Dask computes a result again that is lost with its worker while anybody still holds the future.
            del future
            for one, outcome in zip(batch, outcomes, strict=False):
                if outcome.state == "failed" and one.number < ATTEMPTS:
                    waiting.retry(one)
                else:
                    yield outcome
    finally:
        for future in running:
            future.cancel()


def execute_alone(executor: Executor, tasks: Iterable[Task], *, check: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
    """Outcomes of `tasks`, one at a time: the one that kills its worker again is ``quarantined``."""
    for task in tasks:
        for outcome in execute(executor, [task], window=1, check=check):
            yield replace(outcome, state="quarantined") if outcome.state == "lost" else outcome


@dataclass(frozen=True)
class _Try:
    task: Task
    number: int
    """Counted from 1."""


class _Waiting:
    """Tasks that wait for a worker, and how many of them make a batch."""

    def __init__(self, tasks: Iterable[Task], n_tasks: int | None, window: int):
        self._fresh = iter(tasks)
        self._returned: deque[_Try] = deque()
        self._failed: deque[_Try] = deque()
        self._n_left, self._window = n_tasks, window
        self._size = 1

    def next_batch(self) -> list[_Try]:
        """Tasks for one future; none when nothing waits."""
        if self._failed:
            # alone: whatever it does, it does to no other
            return [self._failed.popleft()]
        size = self._size
        if self._n_left is not None:
            size = max(1, min(size, self._n_left // self._window))
        batch = [self._returned.popleft() for _ in range(min(size, len(self._returned)))]
        batch += [_Try(task, 1) for task in islice(self._fresh, size - len(batch))]
        if self._n_left is not None:
            self._n_left -= len(batch)
        return batch

    def retry(self, one: _Try) -> None:
        """Take a task that has failed."""
        self._failed.append(_Try(one.task, one.number + 1))

    def learn(self, batch: list[_Try], n_begun: int, seconds: float) -> None:
        """Take what a batch did not begin; the next batches are to take :data:`BATCH_SECONDS`, and grow step by step."""
        self._returned.extend(batch[n_begun:])
        if self._n_left is not None:
            self._n_left += len(batch) - n_begun
        fitting = int(BATCH_SECONDS * n_begun / max(seconds, 1e-6))
        self._size = max(1, min(fitting, max(2 * n_begun, self._size), MAX_BATCH))


def _outcomes(future: Future, batch: list[_Try], waiting: _Waiting) -> list[Outcome]:
    """How the tasks of `future`, which is done, ended: those that were begun."""
    error = future.exception()
    if error is None:
        result: BatchResult = future.result()
        waiting.learn(batch, len(result.ends), result.seconds)
        return [Outcome(one.task, *end) for one, end in zip(batch, result.ends, strict=False)]
    if isinstance(error, UserError):
        raise error
    state = "lost" if is_lost_worker(error) else "failed"
    reason, details = _reason(error)
    return [Outcome(one.task, state, reason=reason, details=details) for one in batch]


def _reason(error: BaseException) -> tuple[str, str]:
    """One line about an exception, and its traceback."""
    first = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    return first, "".join(traceback.format_exception(error))


def is_lost_worker(error: BaseException) -> bool:
    """Whether `error` says that a worker process died, not that the task raised."""
    # By name: the distributed library takes a second to import, and a serial run does not need it.
    return any(kind.__name__ in ("KilledWorker", "BrokenProcessPool") for kind in type(error).__mro__)
