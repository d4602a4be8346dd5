"""Closing: an interrupted driver ends soon, whatever its workers are at, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fault_injection import children, wait_for

DRIVER = """
import ctypes, signal, sys, threading
from fault_injection import wait_for
from surveycnn.run.cluster import open_cluster

def stubborn(marker):
    "Hold the interpreter's lock in a call of C, as a network may."
    open(marker, "w").close()
    ctypes.PyDLL(None).sleep(600)

def interrupt(number, frame):
    raise KeyboardInterrupt

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with open_cluster(sys.argv[1]) as cluster:
            futures = [cluster.executor.submit(stubborn, f"{sys.argv[2]}/{i}") for i in range(2)]
            print("begun", flush=True)
            threading.Event().wait(600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_open_cluster__that_is_interrupted_leaves_no_process(tmp_path, number):
    """The signal goes to the whole group, as a terminal and Slurm send it."""
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "cluster.yaml").write_text(
        "cluster_class: surveycnn.run.local_cluster.LocalWorkers\ncluster_kwargs: {n_workers: 2, threads_per_worker: 1}\n"
    )
    (tmp_path / "begun").mkdir()
    tests = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(tests.parent), str(tests), os.environ.get("PYTHONPATH", "")])
    driver = subprocess.Popen(
        [sys.executable, "driver.py", "cluster.yaml", "begun"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len(list((tmp_path / "begun").iterdir())) == 2 or driver.poll() is not None)
        started = children(driver.pid)
        assert sum("spawn_main" in " ".join(process.cmdline()) for process in started) == 2
        os.killpg(driver.pid, number)
        out, err = driver.communicate(timeout=60)
        assert driver.returncode == 130, err
        assert out.split() == ["begun", "interrupted"]
        assert "Traceback" not in err
        wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in started), 10)
    finally:
        for process in [*children(driver.pid), driver] if driver.poll() is None else []:
            process.kill()
