"""Running many units of work on an executor: bounded, retried, and with a named end for every unit.

Serial, threads and Dask are all `concurrent.futures.Executor` objects here, so that one code path, and one set of tests,
serves all of them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from surveycnn.errors import UserError

CHECK_SECONDS = 60.0
"""Silence after which the cluster is asked whether it still has workers."""

ATTEMPTS = 3
"""Times that a unit is tried before an exception is taken as final."""


@dataclass(frozen=True)
class Task:
    """One call to make: a picklable function and the unit that it is given."""

    function: Callable[[Any], Any]
    unit: Any


def call(task: Task) -> Any:
    """Make the call."""
    return task.function(task.unit)


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
    executor: Executor, tasks: Iterable[Task], *, window: int, check: Callable[[], None] = lambda: None
) -> Iterator[Outcome]:
    """Outcomes of `tasks`, in the order in which they end.

    Parameters
    ----------
    window
        Tasks in flight at once: bounds the memory of the driver and the scheduler, however many tasks there are.
    check
        Called whenever nothing has ended for a while; raises where nothing ever will.

    Raises
    ------
    UserError
        At once, where a task finds that the user's input is wrong: trying again would not help.

    Notes
    -----
    A worker that dies takes all its running tasks with it, so its death says nothing of which one is to blame: those end as
    ``lost`` and are to be given to :func:`execute_alone` when nothing else runs.
    """
    tasks = iter(tasks)
    running: dict[Future, tuple[Task, int]] = {}
    try:
        while True:
            for task in islice(tasks, window - len(running)):
                running[executor.submit(call, task)] = (task, 1)
            if not running:
                return
            ended, _ = wait(running, timeout=CHECK_SECONDS, return_when=FIRST_COMPLETED)
            if not ended:
                check()
            settled = [(_outcome(future, running[future][0]), running.pop(future)[1]) for future in ended]
            # Dask computes a result again that is lost with its worker while anybody still holds the future.
            ended.clear()
            for outcome, n_tries in settled:
                if outcome.state == "failed" and n_tries < ATTEMPTS:
                    running[executor.submit(call, outcome.task)] = (outcome.task, n_tries + 1)
                else:
                    yield outcome
    finally:
        for future in running:
            future.cancel()


def execute_alone(executor: Executor, tasks: Iterable[Task], *, check: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
    """Outcomes of `tasks`, one at a time: the one that kills its worker again is ``quarantined``."""
    for task in tasks:
        for _ in range(ATTEMPTS):
            future = executor.submit(call, task)
            while not wait([future], timeout=CHECK_SECONDS).done:
                check()
            outcome = _outcome(future, task)
            if outcome.state != "failed":
                break
        yield replace(outcome, state="quarantined") if outcome.state == "lost" else outcome


def _outcome(future: Future, task: Task) -> Outcome:
    """How `future`, which is done, ended."""
    error = future.exception()
    if error is None:
        return Outcome(task, "done", future.result())
    if isinstance(error, UserError):
        raise error
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    details = "".join(traceback.format_exception(error))
    return Outcome(task, "lost" if is_lost_worker(error) else "failed", reason=reason, details=details)


def is_lost_worker(error: BaseException) -> bool:
    """Whether `error` says that a worker process died, not that the task raised."""
    # By name: the distributed library takes a second to import, and a serial run does not need it.
    return any(kind.__name__ in ("KilledWorker", "BrokenProcessPool") for kind in type(error).__mro__)
