"""Workers that come and go: the ledger, the window that follows them, and their replacement."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import dask
import distributed  # noqa: F401  (its defaults have to be there before one of them is changed)
import psutil
import pytest
import yaml
from fault_injection import TESTS, own_cluster, square, wait_for

from surveycnn.errors import ClusterError
from surveycnn.run import upkeep, watch
from surveycnn.run.batch import Task
from surveycnn.run.cluster import Cluster, open_cluster
from surveycnn.run.execute import SerialExecutor, execute
from surveycnn.run.warmup import WarmUp
from surveycnn.run.workers import WorkerLedger


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ledger__counts_what_was_paid_within_the_stages():
    clock = Clock()
    ledger = WorkerLedger(clock)
    for second, happens in {
        0: lambda: ledger.join("a", "0", 4),
        10: lambda: ledger.join("b", "1", 2, 8 * 2**30),
        20: lambda: ledger.leave("a", is_lost=True),
        30: lambda: ledger.join("c", "2", 2),
        35: lambda: ledger.leave("c", is_lost=False),
        40: lambda: ledger.add_busy(44.0),
    }.items():
        clock.now = second
        happens()
    spans = [(5, 15), (12, 25), (33, 40)]
    # a: 5 to 20; b: 10 to 25 and 33 to 40; c: 33 to 35
    assert ledger.paid(spans) == (15 + 22 + 2, 4 * 15 + 2 * 22 + 2 * 2)
    assert ledger.on_average([(0, 20)]) == (1.5, (4 * 20 + 2 * 10) / 20)
    assert ledger.on_average([]) == (0, 0)
    assert (ledger.n_there, ledger.n_threads_there) == (1, 2)
    assert ledger.record(spans) == {
        "joined": 3,
        "left": 1,
        "lost": 1,
        "most_at_once": 2,
        "paid_worker_seconds": 39,
        "paid_thread_seconds": 108,
        "busy_thread_seconds": 44,
        "efficiency": 0.4074,
    }


def test_ledger__takes_a_worker_once():
    ledger = WorkerLedger()
    assert ledger.join("a", "0", 2) is ledger.join("a", "0", 2)
    assert ledger.leave("nobody", is_lost=True) is None
    assert (ledger.n_joined, ledger.n_threads_there, ledger.record([])["efficiency"]) == (1, 2, None)


def test_window__follows_what_is_there_and_what_is_wanted():
    def cluster(wanted: int) -> Cluster:
        return Cluster("dask", SerialExecutor(), 4, None, "", lambda function: None, wanted_workers=wanted)

    first = cluster(wanted=16)
    first.workers.join("a", "0", 4)
    assert first.window == 2 * 16 * 4, "the others wait in the queue, and are to find work when they come"
    open_ended = cluster(wanted=0)
    assert open_ended.window == 2
    for number in range(3):
        open_ended.workers.join(str(number), "", 4)
    assert open_ended.window == 2 * 3 * 4
    open_ended.workers.leave("2", is_lost=True)
    assert open_ended.window == 2 * 2 * 4
    assert cluster(wanted=10**6).window <= 20_000


def test_execute__asks_for_the_window_again():
    width, sizes = [1], []

    class Noting(SerialExecutor):
        def submit(self, fn, /, tasks, limit):
            sizes.append(width[0])
            width[0] = 4
            return super().submit(fn, tasks, limit)

    outcomes = execute(Noting(), [Task(square, i) for i in range(9)], window=lambda: width[0])
    next(outcomes)
    assert sizes == [1, 4, 4, 4]
    assert len(list(outcomes)) == 8


@dataclass(frozen=True)
class Meets:
    """Waits until a file is there, if one is named, and gives back the process that it is in."""

    folder: Path
    gate: str = ""

    def __call__(self, unit: int) -> int:
        (self.folder / f"begun-{unit}-{os.getpid()}").touch()
        if self.gate:
            wait_for((self.folder / self.gate).exists)
        return os.getpid()


def pids(folder: Path) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in folder.glob("begun-*")]


def local_file(folder: Path, n_workers: int, **more) -> str:
    kwargs = {"n_workers": n_workers, "threads_per_worker": 1}
    tree = {"cluster_class": "surveycnn.run.local_cluster.LocalWorkers", "cluster_kwargs": kwargs} | more
    (folder / "cluster.yaml").write_text(yaml.safe_dump(tree))
    return str(folder / "cluster.yaml")


def ends(cluster, tasks):
    return list(execute(cluster.executor, tasks, window=lambda: cluster.window, **cluster.care(60.0)))


def test_open_cluster__a_worker_that_joins_late_finds_work(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "SAY_SECONDS", 0.0)
    said: list[str] = []
    with own_cluster(1, "--no-nanny") as own, open_cluster(own.address, say=said.append, judge=lambda one: "small") as cluster:
        assert cluster.window == 2
        outcomes = execute(cluster.executor, tasks := [Task(Meets(tmp_path, "go"), i) for i in range(40)],
                           window=lambda: cluster.window, **cluster.care(60.0))  # fmt: skip
        own.add_worker("--no-nanny")
        wait_for(lambda: cluster.workers.n_there == 2)
        assert cluster.window == 4
        (tmp_path / "go").touch()
        found = list(outcomes)
        assert len(found) == len(tasks)
        assert {outcome.state for outcome in found} == {"done"}
        assert len({outcome.result for outcome in found}) == 2
        assert "small" in said
        wait_for(lambda: "workers: 1 joined; 2 are there" in said)
        record = cluster.workers.record([(0, 1e9)])
    assert (record["joined"], record["left"], record["lost"], record["most_at_once"]) == (2, 0, 0, 2)
    assert record["busy_thread_seconds"] > 0


def test_execute__a_worker_that_retires_costs_no_mark_and_one_that_is_killed_a_try(tmp_path):
    """As at the end of a lifetime, and as without one: in both cases each task ends well, once."""
    with own_cluster(2, "--no-nanny") as own, open_cluster(own.address) as cluster:
        wait_for(lambda: len(cluster.executor.workers()) == 2)
        outcomes = execute(cluster.executor, [Task(Meets(tmp_path, "go"), i) for i in range(20)],
                           window=lambda: cluster.window, **cluster.care(60.0))  # fmt: skip
        taken = []
        reader = threading.Thread(target=lambda: taken.extend(outcomes))
        reader.start()
        wait_for(lambda: len(set(pids(tmp_path))) == 2)
        own.add_worker("--no-nanny")
        wait_for(lambda: cluster.workers.n_there == 3)
        retired = next(iter(cluster.workers.addresses))
        processes_of = cluster.executor._client.run(os.getpid)
        cluster.executor._client.retire_workers([retired])
        wait_for(lambda: retired not in cluster.workers.addresses)
        (tmp_path / "go").touch()
        os.kill(processes_of[next(iter(cluster.workers.addresses))], signal.SIGKILL)
        reader.join(60)
        assert sorted(outcome.task.unit for outcome in taken) == list(range(20))
        assert {outcome.state for outcome in taken} == {"done"}
        wait_for(lambda: cluster.workers.n_lost == 1)
        record = cluster.workers.record([(0, 1e9)])
    assert (record["joined"], record["left"], record["lost"]) == (3, 1, 1)


def test_kept_up__workers_of_a_fixed_scale_come_back_whatever_became_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.2)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 20}),
        open_cluster(local_file(tmp_path, 2)) as cluster,
    ):
        wait_for(lambda: cluster.workers.n_there == 2)
        first = cluster.workers.addresses
        for child in psutil.Process().children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        wait_for(lambda: cluster.workers.n_there == 2 and not cluster.workers.addresses & first)
        nannies = list(cluster.executor._client.cluster.workers.values())
        for nanny in nannies:  # as after a worker that died in its first moment
            cluster.executor._client.sync(nanny.close)
        wait_for(lambda: cluster.workers.n_joined >= 6 and cluster.workers.n_there == 2)
        assert sorted(outcome.result for outcome in ends(cluster, [Task(square, i) for i in range(9)])) == [
            i * i for i in range(9)
        ]


def test_kept_up__gives_up_where_no_worker_ever_starts(tmp_path, monkeypatch):
    """A batch system that refuses each job: the run ends with what it says, instead of asking for ever."""
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.05)
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid account' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    kwargs = {"cores": 1, "memory": "1GB", "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    tree = {"cluster_class": "dask_jobqueue.SLURMCluster", "cluster_kwargs": kwargs, "n_jobs": 2}
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ClusterError, match=r"were started 3 times and have not ended a single tile .* invalid account"):
        with open_cluster(str(tmp_path / "slurm.yaml")):
            pass


def test_open_cluster__says_where_the_dashboard_is():
    pytest.importorskip("bokeh")
    said: list[str] = []
    with open_cluster("local-small", say=said.append):
        pass
    assert len(said) == 1
    assert said[0].startswith("dashboard http://127.0.0.1:")
    assert not said[0].endswith(":0")


def test_open_cluster__adapts_to_the_work(tmp_path):
    adapt = {"minimum": 1, "maximum": 2, "interval": "100ms", "target_duration": "100ms", "wait_count": 1}
    with open_cluster(local_file(tmp_path, 1, adapt_kwargs=adapt)) as cluster:
        assert cluster.window == 2 * 2, "what it may grow to"
        tasks = [Task(Meets(tmp_path, "go"), i) for i in range(6)]
        outcomes = execute(cluster.executor, tasks, window=lambda: cluster.window, **cluster.care(60.0))
        reader = threading.Thread(target=lambda: found.extend(outcomes))
        found: list = []
        reader.start()
        wait_for(lambda: cluster.workers.n_there == 2)
        (tmp_path / "go").touch()
        reader.join(60)
        assert {outcome.state for outcome in found} == {"done"}
        wait_for(lambda: cluster.workers.n_there == 1)
        record = cluster.workers.record([(0, 1e9)])
    assert (record["most_at_once"], record["lost"]) == (2, 0)
    assert record["left"] >= 1


@pytest.mark.parametrize("word", ["threads", "local-small"])
def test_stop__ends_the_waiting_of_other_threads(tmp_path, word):
    """As when one of many mosaics is interrupted: the threads of the others would wait for their tiles else."""
    with open_cluster(word) as cluster:
        tasks = [Task(Meets(tmp_path, "go"), i) for i in range(50)]
        ended: list[str] = []

        def wait() -> None:
            try:
                list(execute(cluster.executor, tasks, window=lambda: cluster.window, **cluster.care(60.0)))
            except ClusterError as error:
                ended.append(str(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: pids(tmp_path))
        cluster.stop()
        waiting.join(60)
        (tmp_path / "go").touch()
    assert len(ended) == 1
    assert "the run was stopped" in ended[0]
    assert len(pids(tmp_path)) < 50


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its local jobs leave their pipes open
def test_kept_up__a_job_that_ends_at_its_walltime_is_submitted_again(tmp_path, monkeypatch):
    """A job of two workers, which Dask would not miss: it knows jobs by another name than their workers."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    kwargs = {
        "cores": 2,
        "processes": 2,
        "memory": "4GB",
        "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
    }
    kwargs |= {"local_directory": str(tmp_path), "worker_extra_args": ["--no-dashboard"]}
    tree = {"cluster_class": "dask_jobqueue.local.LocalCluster", "cluster_kwargs": kwargs, "n_jobs": 1}
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.2)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "500ms"}),
        open_cluster(str(tmp_path / "jobs.yaml")) as cluster,
    ):
        assert cluster.wanted_workers == 2
        wait_for(lambda: cluster.workers.n_there == 2)
        first = cluster.workers.addresses
        (job,) = (child for child in psutil.Process().children() if "dask_worker" in " ".join(child.cmdline()))
        for process in [job, *job.children(recursive=True)]:
            process.kill()
        wait_for(lambda: cluster.workers.n_joined == 4 and cluster.workers.n_there == 2 and not cluster.workers.addresses & first)
        assert {outcome.state for outcome in ends(cluster, [Task(square, i) for i in range(9)])} == {"done"}
        record = cluster.workers.record([(0, 1e9)])
    assert (record["joined"], record["lost"]) == (4, 2)


class StubClient:
    """Takes the place of a client whose scheduler says what a test wants to hear."""

    def subscribe_topic(self, topic: str, handler: object) -> None:
        pass


def test_watch__of_a_worker_that_leaves_while_the_scheduler_is_asked():
    """The answer still has it; it must not come back to life."""
    heard: list[watch.Watch] = []

    def ask() -> dict[str, dict]:
        heard[0]._hear((0.0, {"action": "remove-worker", "worker": "tcp://a", "expected": True}))
        return {"tcp://a": {"name": "a", "nthreads": 2}}

    ledger = WorkerLedger()
    ledger.join("tcp://a", "a", 2)
    heard.append(watch.Watch(StubClient(), ledger, ask))
    heard[0].look()
    assert (ledger.n_joined, ledger.n_there, ledger.n_lost) == (1, 0, 0)


def test_register__where_workers_lack_the_package():
    from surveycnn.run.plugins import register

    class Other:
        def register_plugin(self, plugin: object) -> None:
            raise ModuleNotFoundError("No module named 'surveycnn'")

    with pytest.raises(
        ClusterError, match=r"a worker cannot import what the run needs \(No module named 'surveycnn'\): install surveycnn"
    ):
        register(Other(), WarmUp(square))
