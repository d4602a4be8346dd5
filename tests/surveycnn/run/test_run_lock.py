"""One process at a time in a work directory, on file systems with locks and without."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from surveycnn.errors import ResumeError
from surveycnn.run import lock

HOLDS = """
import sys
from pathlib import Path
from surveycnn.run.lock import hold_folder

with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_hold_folder__refuses_a_second_process_until_the_first_is_gone(tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with pytest.raises(ResumeError, match=rf"is in use by process {first.pid} on .*: wait for that run"):
        lock.hold_folder(tmp_path).__enter__()
    first.kill()
    first.communicate()
    with lock.hold_folder(tmp_path), pytest.raises(ResumeError, match=f"process {os.getpid()} on"):
        lock.hold_folder(tmp_path).__enter__()


def test_hold_folder__of_which_the_file_is_removed_meanwhile(tmp_path, monkeypatch):
    """Whoever opened the file that its holder then removes locks the one that is there instead: else two would hold it."""
    locked = lock.fcntl.flock

    def removed_first(handle, how):
        if not (tmp_path / "seen").exists():
            (tmp_path / "seen").touch()
            (tmp_path / lock.LOCK).unlink()
        locked(handle, how)

    monkeypatch.setattr(lock.fcntl, "flock", removed_first)
    with lock.hold_folder(tmp_path):
        assert (tmp_path / lock.LOCK).read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"


@pytest.fixture
def no_locks(monkeypatch):
    """A network file system that has no locks."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)


def test_hold_folder__without_locks(tmp_path, no_locks):
    holder = tmp_path / lock.HOLDER
    with lock.hold_folder(tmp_path):
        assert holder.exists()
        with pytest.raises(ResumeError, match=r"process \d+ on .* \(its file system has no locks; if .* ended, remove '.*hold"):
            lock.hold_folder(tmp_path).__enter__()
    assert not holder.exists()


@pytest.mark.parametrize(("host", "is_taken_over"), [("here", True), ("elsewhere", False)])
def test_hold_folder__without_locks_after_a_kill(tmp_path, no_locks, host, is_taken_over):
    """On the same machine a dead process is seen to be dead; of one elsewhere nothing is known."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    name = os.uname().nodename if host == "here" else "another.machine"
    (tmp_path / lock.HOLDER).write_text(f"process {ended.pid} on {name}\n0123\n")
    if is_taken_over:
        with lock.hold_folder(tmp_path):
            assert f"process {os.getpid()} on" in (tmp_path / lock.HOLDER).read_text()
        assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]
    else:
        with pytest.raises(ResumeError, match=r"in use by process \d+ on another.machine"):
            lock.hold_folder(tmp_path).__enter__()
