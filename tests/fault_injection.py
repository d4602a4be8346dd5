"""Faults on purpose: calls that raise, hang, kill their process or find the disk full, at chosen units and tries; processes that
are killed at a chosen moment; files that are cut or have bits flipped; a cluster of own processes, and a disk that is full soon.

What travels to workers is picklable and found by them in this module, which imports nothing that takes time: a worker imports it
anew after each death.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent


def raise_error() -> None:
    raise RuntimeError("bad memory")


def hang() -> None:
    """Never come back; nothing but the end of the process ends this."""
    threading.Event().wait(3600)


def kill_process() -> None:
    """End this process as the kernel does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk() -> None:
    """What a write to a full disk raises, raised by a write to a full disk."""
    with open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")


def use_up_quota() -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@dataclass(frozen=True)
class Faulty:
    """A picklable function that meets a fault at some units before it is called."""

    function: Callable[[Any], Any]
    fault: Callable[[], None]
    at: frozenset[Any]
    """Units, or names of tiles."""
    tries: int = 10**9
    """Times that each of these units meets the fault; the next try goes well."""
    folder: str = ""
    """Where tries are counted, one file each, for all processes; needed where `tries` is given."""

    def __call__(self, unit: Any) -> Any:
        name = getattr(getattr(unit, "tile", unit), "name", unit)
        if name in self.at and (not self.folder or self._count(name) < self.tries):
            self.fault()
        return self.function(unit)

    def _count(self, name: Any) -> int:
        """Times that this unit was begun before."""
        earlier = tries_of(self.folder, name)
        Path(self.folder, f"{name}.{earlier}").touch()
        return earlier

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "function":  # while it is unpickled it has none
            raise AttributeError(name)
        return getattr(self.function, name)


def tries_of(folder: str | Path, name: Any) -> int:
    """Times that a unit of a :class:`Faulty` was begun."""
    return len(list(Path(folder).glob(f"{name}.*")))


def square(number: int) -> int:
    return number * number


def inject(monkeypatch: Any, fault: Callable[[], None], *tiles: str, models: bool = True, **options: Any) -> None:
    """Let the tiles of these names meet a fault in the runs of this test, in whatever process they run.

    Without `models` all tiles are searched and measured only, and workers load nothing that takes seconds.
    """
    from surveycnn.run.session import Session

    healthy = Session.tile_function

    def faulty(session: Any, mosaic: Any) -> Faulty:
        function = healthy(session, mosaic)
        return Faulty(function if models else replace(function, models=()), fault, frozenset(tiles), **options)

    monkeypatch.setattr(Session, "tile_function", faulty)


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What `condition` gives once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {condition}"
        time.sleep(0.01)
    return found


def kill_when(start: Callable[[], subprocess.Popen[Any]], condition: Callable[[], Any], tries: int = 5) -> None:
    """SIGKILL the process of `start` as soon as `condition` is true; one that ended unseen is started again."""
    for _ in range(tries):
        process = start()
        wait_for(lambda process=process: condition() or process.poll() is not None)
        if process.poll() is None:
            process.kill()
            process.wait()
            return
    raise AssertionError("the process ended before it could be killed")


def n_files(folder: Path, pattern: str = "*.parquet") -> int:
    """Files below `folder`, those that are being written not counted."""
    return sum(not path.name.startswith(".") for path in folder.rglob(pattern))


def truncate(path: Path, n_bytes: int) -> None:
    """Keep the first `n_bytes` of a file; fewer than none cuts off the end."""
    path.write_bytes(path.read_bytes()[:n_bytes])


def flip_bits(path: Path, at: float | int = 0.5, mask: int = 0xFF) -> None:
    """Flip the bits of `mask` in one byte: at a share of the file's length, or at an offset."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content)) if isinstance(at, float) else at] ^= mask
    path.write_bytes(content)


def children(pid: int | None = None, name: str = "") -> list[Any]:
    """Living processes below `pid` (this process by default) whose command line holds `name`."""
    import psutil

    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE and name in " ".join(process.cmdline()):
                found.append(process)
    return found


@dataclass
class OwnCluster:
    """A Dask scheduler and workers as processes of their own, as on somebody's machines."""

    scheduler: subprocess.Popen[Any]
    address: str
    workers: list[subprocess.Popen[Any]] = field(default_factory=list)

    def add_worker(self, *options: str) -> None:
        """One more worker process of one thread, with a nanny unless ``--no-nanny`` is among the options."""
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--death-timeout", "10"]
        self.workers.append(_start([*command, "--no-dashboard", "--host", "127.0.0.1", *options]))


@contextmanager
def own_cluster(n_workers: int = 1, *worker_options: str) -> Iterator[OwnCluster]:
    """A cluster that can be harmed; all its processes are gone at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    cluster = OwnCluster(_start([*command, "--no-dashboard"]), f"tcp://127.0.0.1:{port}")
    try:
        for _ in range(n_workers):
            cluster.add_worker(*worker_options)
        wait_for(lambda: _listens(port))
        yield cluster
    finally:
        started = [cluster.scheduler, *cluster.workers]
        with suppress(Exception):
            started += [child for worker in cluster.workers for child in children(worker.pid)]
        for process in started:
            with suppress(Exception):
                process.kill()
        for process in started:
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start(command: list[str]) -> subprocess.Popen[Any]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.DEVNULL)


@contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[Path]:
    """`folder`, made, as a disk of its own with room for `n_bytes`; a test is skipped where that may not be mounted."""
    import pytest

    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
