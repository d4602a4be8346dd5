"""Clusters: one seam, whatever stands behind it."""

from __future__ import annotations

import os

import pytest

from surveycnn.errors import ClusterError
from surveycnn.run.cluster import open_cluster
from surveycnn.run.execute import Task, execute
from surveycnn.run.machine import GPU_THREADS_PER_WORKER


def square(x: int) -> int:
    return x * x


def squares(word: str) -> list[int]:
    with open_cluster(word) as cluster:
        tasks = (Task(square, i) for i in range(6))
        return sorted(outcome.result for outcome in execute(cluster.executor, tasks, window=cluster.window))


@pytest.mark.parametrize("word", ["serial", "threads", "local", "local-small"])
def test_open_cluster__runs_tasks(word):
    assert squares(word) == [0, 1, 4, 9, 16, 25]


def test_open_cluster__joins_a_running_scheduler():
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as running:
        assert squares(running.scheduler_address) == [0, 1, 4, 9, 16, 25]
        assert squares(running.scheduler_address) == [0, 1, 4, 9, 16, 25], (
            "the first run has closed a cluster that was not its own"
        )


def test_open_cluster__without_a_scheduler_is_a_clear_message(monkeypatch):
    monkeypatch.setattr("surveycnn.run.cluster.CONNECT_TIMEOUT", "1s")
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'.*start it or correct `cluster`"):
        squares("tcp://127.0.0.1:9")


def test_local_cuda__starts_a_worker_per_gpu_with_its_own_device_first(monkeypatch):
    """The real class with workers that do not touch a device, as dask-cuda's own tests run it."""
    monkeypatch.setenv("DASK_CUDA_TEST_DISABLE_DEVICE_SPECIFIC", "1")
    monkeypatch.setenv("DASK_CUDA_TEST_SINGLE_GPU", "1")
    utils_test = pytest.importorskip("dask_cuda.utils_test", reason="dask-cuda has moved its test worker")
    from distributed import Client

    from surveycnn.run import local_cuda

    monkeypatch.setattr(local_cuda, "check_gpu", lambda: None)
    with (
        local_cuda.LocalCUDAWorkers(CUDA_VISIBLE_DEVICES=[0, 1], worker_class=utils_test.MockWorker) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        devices = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        threads = client.nthreads()
    assert sorted(devices.values()) == ["0,1", "1,0"]
    assert set(threads.values()) == {GPU_THREADS_PER_WORKER}


def test_open_cluster__waits_for_its_workers_as_long_as_the_file_says(tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_text("cluster_class: endless_queue.EndlessQueue\nwait_minutes: 0.02\n")
    with pytest.raises(
        ClusterError, match=r"has had no worker for 0\.02 minutes: look at its queue .*wait_minutes of a cluster file"
    ):
        squares(str(path))
