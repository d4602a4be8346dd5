"""Logs of workers: a file for each in the work directory, and the end of it beside a tile that failed."""

from __future__ import annotations

import ctypes
import json
import logging
import os
from pathlib import Path

import dask
import distributed  # noqa: F401  (its defaults have to be there before one of them is changed)
import pytest
import yaml
from fault_injection import wait_for

from surveycnn.run.batch import Task
from surveycnn.run.cluster import open_cluster
from surveycnn.run.execute import execute
from surveycnn.run.log_files import TAIL_LINES, log_path, read_log, worker_failure
from surveycnn.run.status import RunStatus, _whereabouts
from surveycnn.run.store import WorkStore


def complain(unit: int) -> int:
    logging.getLogger("somewhere").warning("odd pixels in %s\x1b[2J", unit)
    logging.getLogger("distributed.worker").error("memory is short")
    logging.getLogger("somewhere").info("all is well")
    raise RuntimeError(f"unit {unit}")


def crash(unit: int) -> None:
    ctypes.string_at(0)


def outcomes(cluster, function, n: int = 1):
    return list(execute(cluster.executor, [Task(function, i) for i in range(n)], window=1, **cluster.care(60.0)))


def test_open_cluster__workers_write_logs_and_failures_name_them(tmp_path):
    logs = tmp_path / "logs"
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), open_cluster("local-small", logs=logs) as cluster:
        (failed,) = outcomes(cluster, complain)
        found = worker_failure(logs, failed.worker)
        assert (found["worker"]["host"], found["worker"]["pid"]) == (os.uname().nodename, failed.worker["pid"])
        text = "\n".join(found["log_tail"])
        assert text.count("WARNING somewhere: odd pixels in 0\\x1b[2J") == 3, "each of the three tries says it"
        assert text.count("ERROR distributed.worker: memory is short") == 3
        assert "all is well" not in text
        assert found["log"] == f"logs/{log_path(logs, failed.worker['address']).name}"
        (lost,) = outcomes(cluster, crash)
        assert lost.state == "lost"
        found = worker_failure(logs, lost.worker)
        assert found["worker"]["pid"] == str(failed.worker["pid"]), "its log says which process it was"
        wait_for(lambda: cluster.workers.n_joined == 2)
    text = "\n".join(found["log_tail"])
    assert "Fatal Python error: Segmentation fault" in text
    assert "in crash" in text
    assert len(list(logs.iterdir())) == 2, "the one that was started in its place has a log too"


def test_open_cluster__goes_on_where_no_log_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with open_cluster("local-small", logs=tmp_path / "file" / "logs") as cluster:
        (failed,) = outcomes(cluster, complain)
    assert failed.reason == "RuntimeError: unit 0"
    assert set(worker_failure(tmp_path / "file" / "logs", failed.worker)) == {"worker"}


def test_read_log__is_bounded_and_of_no_file_is_nothing(tmp_path):
    assert read_log(tmp_path, "tcp://node1:1") == ({}, [])
    assert worker_failure(tmp_path, {}) == {}
    log_path(tmp_path, "tcp://node1:1").write_text("# worker address=tcp://node1:1 host=node1 pid=7\n" + "x" * 100 + "\n" * 5000)
    about, tail = read_log(tmp_path, "tcp://node1:1")
    assert about == {"address": "tcp://node1:1", "host": "node1", "pid": "7"}
    assert len(tail) == TAIL_LINES


def test_status__names_worker_and_log_while_it_is_there(tmp_path):
    store = WorkStore(tmp_path)
    failure = {"worker": {"host": "node1"}, "log": "logs/a.log"}
    assert _whereabouts(store, failure) == {"worker": {"host": "node1"}}
    store.log_path.mkdir()
    (store.log_path / "a.log").write_text("")
    assert _whereabouts(store, failure)["log"] == str(store.log_path / "a.log")
    assert json.dumps(RunStatus(problems=[_whereabouts(store, failure)]).as_dict())
    store.sweep_logs()
    assert store.log_path.exists(), "without a plan, nothing here is a run's"
    store.plan_path.write_text("{}")
    store.sweep_logs()
    assert not store.log_path.exists()


def hoard(unit: int) -> int:
    """Take memory until somebody ends this process."""
    kept = []
    while True:
        kept.append(bytearray(b"x" * 2**24))


@pytest.mark.slow  # Dask looks at the memory ten times a second, and starts a worker anew
def test_open_cluster__a_nanny_says_in_the_log_why_it_has_ended_a_worker(tmp_path):
    kwargs = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": "600MB"}
    tree = {"cluster_class": "surveycnn.run.local_cluster.LocalWorkers", "cluster_kwargs": kwargs}
    path = Path(tmp_path, "cluster.yaml")
    path.write_text(yaml.safe_dump(tree))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        open_cluster(str(path), logs=tmp_path / "logs") as cluster,
    ):
        (lost,) = outcomes(cluster, hoard)
    assert lost.state == "lost"
    assert any("exceeded 95% memory budget" in line for line in worker_failure(tmp_path / "logs", lost.worker)["log_tail"])
