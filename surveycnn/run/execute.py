"""Running many units of work on an executor: in batches, bounded, retried, and with a named end for every unit.

Serial, threads and Dask are all `concurrent.futures.Executor` objects here, so that one code path, and one set of tests,
serves all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

from surveycnn.errors import UserError
from surveycnn.run.batch import BATCH_SECONDS, BatchResult, Task, call_batch, reason_of

CHECK_SECONDS = 60.0
"""Silence after which the cluster is asked whether it still has workers."""

LOOK_SECONDS = 2.0
"""Interval at which workers that have come find work although no unit has ended."""

ATTEMPTS = 3
"""Times that a unit is tried before an exception is taken as final."""

MAX_BATCH = 128
"""Tasks in a batch at most, so that a future stays small."""


@dataclass(frozen=True)
class Outcome:
    """How one task ended."""

    task: Task
    state: str
    """``done``, ``failed`` (raised every time), ``lost`` (its worker died, or it hangs) or ``quarantined`` (again when alone)."""
    result: Any = None
    reason: str = ""
    """One line."""
    details: str = ""
    """Traceback."""
    hangs: bool = False
    """Whether it is lost because it took too long."""
    worker: dict[str, Any] = field(default_factory=dict)
    """Address of the worker where it did not go well, and what else is known of it; empty where it is none of Dask."""


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
    window: int | Callable[[], int],
    n_tasks: int | None = None,
    check: Callable[[], None] = lambda: None,
    limit: float | None = None,
    end_worker: Callable[[str], None] | None = None,
    spent: Callable[[float], None] = lambda seconds: None,
) -> Iterator[Outcome]:
    """Outcomes of `tasks`, in the order in which they end.

    Parameters
    ----------
    window
        Batches in flight at once, or a function that says so anew, as workers come and go: bounds the memory of the driver and
        the scheduler, however many tasks there are.
    n_tasks
        Number of `tasks` where it is known: near the end, batches leave something for every worker then.
    check
        Called whenever nothing has ended for a while, and where batches were dropped; raises where nothing ever will end.
    limit
        Seconds that a task may take before it is taken to hang, where there is an `end_worker`.
    end_worker
        Ends the worker process of an address, in which a task hangs. In this process nothing can end a task.
    spent
        Called with the seconds of each batch that has ended; 0 where its worker has taken them with it.

    Raises
    ------
    UserError
        At once, where a task finds that the user's input is wrong: trying again would not help.

    Notes
    -----
    A batch is one task as long as tasks take long; only where they prove to be short it grows. What is tried again is a batch
    of its own.

    A worker that dies takes all its running tasks with it, so its death says nothing of which one is to blame: those end as
    ``lost`` and are to be given to :func:`execute_alone` when nothing else runs. So does a task that hangs: another that holds
    a lock may be to blame.
    """
    width = window if callable(window) else lambda: window
    waiting = _Waiting(tasks, n_tasks, width)
    running: dict[Future, list[_Try]] = {}
    ended: SimpleQueue[Future] = SimpleQueue()
    silence = 0.0
    try:
        while True:
            while len(running) < width() and (batch := waiting.next_batch()):
                future = executor.submit(call_batch, tuple(one.task for one in batch), limit if end_worker else None)
                running[future] = batch
                future.add_done_callback(ended.put)
            if not running:
                return
            try:
                future = ended.get(timeout=min(LOOK_SECONDS, CHECK_SECONDS))
            except Empty:  # the window may be another one by now
                silence += LOOK_SECONDS
                if silence >= CHECK_SECONDS:
                    check()
                    silence = 0.0
                continue
            silence = 0.0
            batch = running.pop(future)
            if future.cancelled():
                check()  # the connection to the scheduler was lost; if it is there again, nothing has happened
                waiting.give_back(batch)
                continue
            outcomes = _outcomes(future, batch, waiting, end_worker, spent)
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


def execute_alone(
    executor: Executor,
    tasks: Iterable[Task],
    *,
    check: Callable[[], None] = lambda: None,
    limit: float | None = None,
    end_worker: Callable[[str], None] | None = None,
    spent: Callable[[float], None] = lambda seconds: None,
    tries: int = 1,
) -> Iterator[Outcome]:
    """Outcomes of `tasks`, one at a time: the one that loses its worker, or hangs, again is ``quarantined``.

    Parameters
    ----------
    tries
        Deaths that are taken as proof; more than one where others may run in the same workers all the same.
    """
    for task in tasks:
        for number in range(tries):
            (outcome,) = execute(executor, [task], window=1, check=check, limit=limit, end_worker=end_worker, spent=spent)
            if outcome.state != "lost" or outcome.hangs or number == tries - 1:
                yield replace(outcome, state="quarantined") if outcome.state == "lost" else outcome
                break


@dataclass(frozen=True)
class _Try:
    task: Task
    number: int
    """Counted from 1."""


class _Waiting:
    """Tasks that wait for a worker, and how many of them make a batch."""

    def __init__(self, tasks: Iterable[Task], n_tasks: int | None, window: Callable[[], int]):
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
            size = max(1, min(size, self._n_left // max(1, self._window())))
        batch = [self._returned.popleft() for _ in range(min(size, len(self._returned)))]
        batch += [_Try(task, 1) for task in islice(self._fresh, size - len(batch))]
        if self._n_left is not None:
            self._n_left -= len(batch)
        return batch

    def retry(self, one: _Try) -> None:
        """Take a task that has failed."""
        self._failed.append(_Try(one.task, one.number + 1))

    def give_back(self, batch: list[_Try]) -> None:
        """Take tasks that nobody has begun."""
        self._returned.extend(batch)
        if self._n_left is not None:
            self._n_left += len(batch)

    def learn(self, batch: list[_Try], n_begun: int, seconds: float) -> None:
        """Take what a batch did not begin; the next batches are to take :data:`BATCH_SECONDS`, and grow step by step."""
        self.give_back(batch[n_begun:])
        fitting = int(BATCH_SECONDS * n_begun / max(seconds, 1e-6))
        self._size = max(1, min(fitting, max(2 * n_begun, self._size), MAX_BATCH))


def _outcomes(
    future: Future,
    batch: list[_Try],
    waiting: _Waiting,
    end_worker: Callable[[str], None] | None,
    spent: Callable[[float], None],
) -> list[Outcome]:
    """How the tasks of `future`, which is done, ended: those that were begun."""
    error = future.exception()
    if error is None:
        result: BatchResult = future.result()
        spent(result.seconds)
        if result.stuck_worker and end_worker:
            end_worker(result.stuck_worker)
        waiting.learn(batch, len(result.ends), result.seconds)
        return [
            Outcome(one.task, "lost" if state == "hangs" else state, found, reason, details, state == "hangs", result.worker)
            for one, (state, found, reason, details) in zip(batch, result.ends, strict=False)
        ]
    if isinstance(error, UserError):
        raise error
    spent(0.0)
    reason, details = reason_of(error)
    if not is_lost_worker(error):
        return [Outcome(one.task, "failed", reason=reason, details=details) for one in batch]
    reason = f"its worker process died: out of memory, killed, or a crash ({type(error).__name__})"
    address = getattr(getattr(error, "last_worker", None), "address", None)
    worker = {"address": address} if address else {}
    return [Outcome(one.task, "lost", reason=reason, details=details, worker=worker) for one in batch]


def is_lost_worker(error: BaseException) -> bool:
    """Whether `error` says that a worker process died, not that the task raised."""
    # By name: the distributed library takes a second to import, and a serial run does not need it.
    return any(kind.__name__ in ("KilledWorker", "BrokenProcessPool") for kind in type(error).__mro__)
