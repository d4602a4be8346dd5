"""Execution: every unit ends in one named way, whatever executes it; retries, lost workers, bounded window."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pytest

from surveycnn.errors import ClusterError, InputError
from surveycnn.run.execute import ATTEMPTS, SerialExecutor, Task, call_batch, execute, execute_alone


def square(x: int) -> int:
    return x * x


class Flaky:
    """Fails the first `n_failures` times for each unit."""

    def __init__(self, n_failures: int):
        self.n_failures = n_failures
        self.calls: Counter[int] = Counter()

    def __call__(self, unit: int) -> int:
        self.calls[unit] += 1
        if self.calls[unit] <= self.n_failures:
            raise RuntimeError(f"unit {unit}, call {self.calls[unit]}")
        return unit


@pytest.fixture(params=["serial", "threads"])
def executor(request):
    if request.param == "serial":
        yield SerialExecutor()
    else:
        with ThreadPoolExecutor(3) as pool:
            yield pool


def test_execute__gives_each_result_once(executor):
    outcomes = list(execute(executor, (Task(square, i) for i in range(20)), window=4))
    assert sorted(o.task.unit for o in outcomes) == list(range(20))
    assert all(o.state == "done" and o.result == o.task.unit**2 for o in outcomes)


def test_execute__of_nothing_is_nothing(executor):
    assert list(execute(executor, [], window=4)) == []


def test_execute__retries_what_raises(executor):
    flaky = Flaky(ATTEMPTS - 1)
    assert [o.state for o in execute(executor, [Task(flaky, i) for i in range(5)], window=2)] == ["done"] * 5
    assert set(flaky.calls.values()) == {ATTEMPTS}


def test_execute__gives_up_with_the_traceback(executor):
    (outcome,) = execute(executor, [Task(Flaky(ATTEMPTS), 3)], window=2)
    assert outcome.state == "failed"
    assert outcome.reason == "RuntimeError: unit 3, call 3"
    assert "in __call__" in outcome.details


def refuse(unit: int) -> None:
    raise InputError("the image is all NaN")


def test_execute__stops_at_a_users_mistake(executor):
    with pytest.raises(InputError, match="all NaN"):
        list(execute(executor, [Task(refuse, 0)], window=2))


def test_execute__keeps_to_the_window():
    class Counting(Executor):
        """Never starts more than it has been asked for; remembers the most that were open at once."""

        def __init__(self) -> None:
            self.pool, self.open, self.most = ThreadPoolExecutor(8), 0, 0
            self.lock = threading.Lock()

        def submit(self, fn, /, *args, **kwargs):
            with self.lock:
                self.open += 1
                self.most = max(self.most, self.open)
            return self.pool.submit(self._run, fn, *args)

        def _run(self, fn, *args):
            try:
                return fn(*args)
            finally:
                with self.lock:
                    self.open -= 1

    counting = Counting()
    drawn: list[int] = []

    def units():
        for i in range(50):
            drawn.append(i)
            yield Task(square, i)

    outcomes = execute(counting, units(), window=5)
    next(outcomes)
    assert len(drawn) <= 10
    assert len(list(outcomes)) == 49
    assert counting.most <= 5
    counting.pool.shutdown()


def die(unit: int) -> int:
    os._exit(1)


class Lost(Executor):
    """Stands for a cluster whose worker dies under the units in `poison`, and under their neighbours the first time."""

    def __init__(self, poison: set[int]):
        self.poison, self.seen = poison, set()

    def submit(self, fn, /, tasks):
        units = {task.unit for task in tasks}

        def run():
            if units & self.poison or not units <= self.seen:
                self.seen |= units
                raise BrokenProcessPool("a worker died")
            return fn(tasks)

        return SerialExecutor().submit(run)


def test_execute_alone__quarantines_only_the_guilty():
    executor = Lost(poison={2})
    lost = [o.task for o in execute(executor, [Task(square, i) for i in range(4)], window=2) if o.state == "lost"]
    assert len(lost) == 4
    states = {o.task.unit: o.state for o in execute_alone(executor, lost)}
    assert states == {0: "done", 1: "done", 2: "quarantined", 3: "done"}


class Cubes:
    """Raises for every seventh unit, the first time only for every fourteenth."""

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()

    def __call__(self, unit: int) -> int:
        self.calls[unit] += 1
        if unit % 7 == 0 and (unit % 14 or self.calls[unit] == 1):
            raise ValueError(f"no cube of {unit}")
        return unit**3


def ends(outcomes):
    return {outcome.task.unit: (outcome.state, outcome.result, outcome.reason) for outcome in outcomes}


def test_execute__in_batches_is_execute_one_by_one(executor, monkeypatch):
    batched, sizes = Cubes(), []

    class Noting(Executor):
        def submit(self, fn, /, tasks):
            sizes.append(len(tasks))
            return executor.submit(fn, tasks)

    found = ends(execute(Noting(), [Task(batched, i) for i in range(500)], window=4, n_tasks=500))
    assert max(sizes) > 20
    assert sizes[0] == 1
    monkeypatch.setattr("surveycnn.run.execute.MAX_BATCH", 1)
    one_by_one = Cubes()
    assert found == ends(execute(executor, [Task(one_by_one, i) for i in range(500)], window=4))
    assert batched.calls == one_by_one.calls
    assert found[7] == ("failed", None, "ValueError: no cube of 7")
    assert found[14] == ("done", 14**3, "")


def test_execute__leaves_something_for_every_worker_at_the_end():
    sizes = []

    class Noting(SerialExecutor):
        def submit(self, fn, /, tasks):
            sizes.append(len(tasks))
            return super().submit(fn, tasks)

    assert len(list(execute(Noting(), [Task(square, i) for i in range(300)], window=8, n_tasks=300))) == 300
    assert max(sizes) <= 300 // 8
    assert sizes[-8:] == [1] * 8


def test_call_batch__gives_back_what_it_has_not_begun(monkeypatch):
    tasks = [Task(square, i) for i in range(30)]
    assert len(call_batch(tuple(tasks)).ends) == 30
    assert len(call_batch(tuple(tasks), seconds=-1).ends) == 1
    monkeypatch.setattr(call_batch, "__defaults__", (-1,))
    assert sorted(outcome.result for outcome in execute(SerialExecutor(), tasks, window=3)) == [i * i for i in range(30)]


def test_call_batch__stops_at_a_users_mistake():
    with pytest.raises(InputError, match="all NaN"):
        call_batch((Task(square, 1), Task(refuse, 2), Task(square, 3)))


def test_execute__loses_all_of_a_batch_with_its_worker():
    class Mortal(SerialExecutor):
        """Loses its worker in the first batch with several tasks."""

        died = False

        def submit(self, fn, /, tasks):
            if len(tasks) > 1 and not self.died:
                self.died = True
                return super().submit(lambda: (_ for _ in ()).throw(BrokenProcessPool("a worker died")))
            return super().submit(fn, tasks)

    outcomes = list(execute(Mortal(), [Task(square, i) for i in range(40)], window=2))
    lost = [outcome.task for outcome in outcomes if outcome.state == "lost"]
    assert len(lost) >= 2
    again = list(execute_alone(SerialExecutor(), lost))
    done = [outcome.result for outcome in [*outcomes, *again] if outcome.state == "done"]
    assert sorted(done) == [i * i for i in range(40)]


def test_execute__of_a_result_that_cannot_travel_loses_that_one_alone():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = ends(execute(pool, [Task(unpicklable_or_square, i) for i in range(40)], window=2))
    assert [unit for unit, end in found.items() if end[0] != "done"] == [33]


def unpicklable_or_square(unit: int):
    return (lambda: unit) if unit == 33 else unit * unit


def test_execute__tells_a_dead_process_from_an_exception():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (outcome,) = execute(pool, [Task(die, 0)], window=1)
    assert outcome.state == "lost"


def test_execute__asks_the_cluster_when_nothing_ends(monkeypatch):
    class Gone(Executor):
        """Never finishes anything, like a cluster without workers."""

        def submit(self, fn, /, *args, **kwargs):
            return Future()

    def check() -> None:
        raise ClusterError("no worker is left")

    monkeypatch.setattr("surveycnn.run.execute.CHECK_SECONDS", 0.01)
    with pytest.raises(ClusterError, match="no worker is left"):
        list(execute(Gone(), [Task(square, 1)], window=1, check=check))
    with pytest.raises(ClusterError, match="no worker is left"):
        list(execute_alone(Gone(), [Task(square, 1)], check=check))
