"""Processes of a run: the driver, and for a cluster of one's own the scheduler and workers, started again as they end.

Whoever starts a scheduler again is not the survey's business: systemd, Slurm or Kubernetes; here it is a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

N_WORKERS = 2
_WATCH_SECONDS = 0.2


def run_environment(folder: Path, allowed_failures: int) -> dict[str, str]:
    """Environment of all processes of a round.

    Parameters
    ----------
    allowed_failures
        Deaths of its worker after which Dask gives up on a task; with 0 the run has to settle them itself.
    """
    return os.environ | {
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures),
        "OMP_NUM_THREADS": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(folder / "prefect"),
        "SURVEYCNN_CACHE": str(folder / "cache"),
    }


class Process:
    """A command in a process group of its own; what it prints goes to a file."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path):
        self.log = log
        with log.open("ab") as stream:
            stream.write(f"\n-- {' '.join(command)}\n".encode())
            stream.flush()
            self._popen = subprocess.Popen(
                command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.pid = self._popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def wait(self, seconds: float) -> int | None:
        """Exit code, or None where it still runs after `seconds`."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def workers(self) -> list[int]:
        """Process numbers of the workers below it."""
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        found = []
        for child in children:
            with contextlib.suppress(psutil.Error):
                if "multiprocessing.spawn" in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def end_group(self) -> None:
        """Kill what is left of the group: the process, and servers that it has started and not outlived."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


class OwnCluster:
    """A Dask scheduler and workers of separate processes; any that ends is started again."""

    def __init__(self, environment: dict[str, str], folder: Path):
        self._environment, self._folder = environment, folder
        self._port = _free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._closing = threading.Event()
        self._processes = [self._start(index) for index in range(1 + N_WORKERS)]
        self._watch = threading.Thread(target=self._keep_alive, name="soak-supervisor", daemon=True)
        self._watch.start()

    def _start(self, index: int) -> Process:
        """The scheduler (0) or a worker."""
        common = ["--no-dashboard"]
        command = ["scheduler", "--host", "127.0.0.1", "--port", str(self._port), *common]
        if index:
            scratch = str(self._folder / f"worker{index}")
            command = ["worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--local-directory", scratch, *common]
        name = f"worker{index}" if index else "scheduler"
        return Process([sys.executable, "-m", "dask", *command], self._environment, self._folder / f"{name}.log")

    def _keep_alive(self) -> None:
        while not self._closing.wait(_WATCH_SECONDS):
            for index, process in enumerate(self._processes):
                if not process.alive():
                    process.end_group()
                    self._processes[index] = self._start(index)

    @property
    def scheduler(self) -> int:
        return self._processes[0].pid

    def workers(self) -> list[int]:
        """Process numbers of the workers, and of the nannies that watch them."""
        nannies = self._processes[1:]
        return [pid for nanny in nannies for pid in nanny.workers()] + [nanny.pid for nanny in nannies if nanny.alive()]

    def close(self) -> None:
        self._closing.set()
        self._watch.join()
        for process in self._processes:
            process.end_group()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False where the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
