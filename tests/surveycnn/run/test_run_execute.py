"""Execution: every unit ends in one named way, whatever executes it; retries, lost workers, bounded window."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pytest
from fault_injection import Faulty, hang, square

from surveycnn.errors import ClusterError, InputError
from surveycnn.run.batch import Task, call_batch
from surveycnn.run.execute import ATTEMPTS, SerialExecutor, execute, execute_alone


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

    def submit(self, fn, /, tasks, limit):
        units = {task.unit for task in tasks}

        def run():
            if units & self.poison or not units <= self.seen:
                self.seen |= units
                raise BrokenProcessPool("a worker died")
            return fn(tasks, limit)

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
        def submit(self, fn, /, tasks, limit):
            sizes.append(len(tasks))
            return executor.submit(fn, tasks, limit)

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
        def submit(self, fn, /, tasks, limit):
            sizes.append(len(tasks))
            return super().submit(fn, tasks, limit)

    assert len(list(execute(Noting(), [Task(square, i) for i in range(300)], window=8, n_tasks=300))) == 300
    assert max(sizes) <= 300 // 8
    assert sizes[-8:] == [1] * 8


def test_call_batch__gives_back_what_it_has_not_begun(monkeypatch):
    tasks = [Task(square, i) for i in range(30)]
    assert len(call_batch(tuple(tasks)).ends) == 30
    assert len(call_batch(tuple(tasks), seconds=-1).ends) == 1
    monkeypatch.setattr(call_batch, "__defaults__", (None, -1))
    assert sorted(outcome.result for outcome in execute(SerialExecutor(), tasks, window=3)) == [i * i for i in range(30)]


def test_call_batch__stops_at_a_users_mistake():
    with pytest.raises(InputError, match="all NaN"):
        call_batch((Task(square, 1), Task(refuse, 2), Task(square, 3)))


def test_execute__loses_all_of_a_batch_with_its_worker():
    class Mortal(SerialExecutor):
        """Loses its worker in the first batch with several tasks."""

        died = False

        def submit(self, fn, /, tasks, limit):
            if len(tasks) > 1 and not self.died:
                self.died = True
                return super().submit(lambda: (_ for _ in ()).throw(BrokenProcessPool("a worker died")))
            return super().submit(fn, tasks, limit)

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


def test_call_batch__leaves_a_call_that_hangs_and_says_where():
    tasks = tuple(Task(Faulty(square, hang, frozenset([2])), i) for i in range(4))
    found = call_batch(tasks, limit=0.2)
    assert [end[0] for end in found.ends] == ["done", "done", "hangs"]
    assert found.ends[2][2] == "no end within 0.2 s"
    assert "in hang" in found.ends[2][3]
    assert found.stuck_worker == "", "this is no Dask worker"


def test_call_batch__with_a_limit_is_the_same_where_nothing_hangs():
    tasks = tuple(Task(Flaky(1), i) for i in range(3))
    with_limit, without = call_batch(tasks, limit=60), call_batch(tuple(Task(Flaky(1), i) for i in range(3)))
    assert [end[:3] for end in with_limit.ends] == [end[:3] for end in without.ends]
    with pytest.raises(InputError, match="all NaN"):
        call_batch((Task(refuse, 2),), limit=60)


def test_execute__takes_again_what_was_dropped():
    """The connection to a scheduler is lost and found: what was handed out is forgotten there."""

    class Forgets(SerialExecutor):
        n_calls = 0

        def submit(self, fn, /, *args):
            self.n_calls += 1
            if self.n_calls not in (2, 3):
                return super().submit(fn, *args)
            future: Future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    asked: list[int] = []
    found = ends(execute(Forgets(), [Task(square, i) for i in range(6)], window=2, n_tasks=6, check=lambda: asked.append(1)))
    assert found == {i: ("done", i * i, "") for i in range(6)}
    assert len(asked) == 2


def test_execute_alone__takes_a_few_deaths_where_others_run():
    def states(n_deaths: int, tries: int) -> list[str]:
        left = [n_deaths]

        class Dies(SerialExecutor):
            def submit(self, fn, /, *args):
                left[0] -= 1
                if left[0] < 0:
                    return super().submit(fn, *args)
                return super().submit(lambda: (_ for _ in ()).throw(BrokenProcessPool("a worker died")))

        return [outcome.state for outcome in execute_alone(Dies(), [Task(square, 3)], tries=tries)]

    assert states(2, tries=3) == ["done"]
    assert states(3, tries=3) == ["quarantined"]


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
