"""One process at a time in a work directory.

The file ``lock`` is locked by the system, and free as soon as its process ends, however it ends. Where a network file system has
no locks, a file ``lock.holder`` stands for one: it outlives a process that is killed, and is taken over on the same machine only,
where the process can be looked for.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from surveycnn.errors import ResumeError

LOCK, HOLDER = "lock", "lock.holder"


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold `folder`, which exists.

    Raises
    ------
    ResumeError
        Where another process holds it.
    """
    path = folder / LOCK
    while True:
        with open(path, "a+", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                raise _refusal(folder, handle.read(), "") from None
            except OSError:
                with _hold_by_a_file(folder):
                    yield
                return
            if not _is_at(handle.fileno(), path):  # its holder has removed it just now, and another may have made a new one
                continue
            handle.truncate(0)
            handle.write(_own_name() + "\n")
            handle.flush()
            yield
            return


@contextmanager
def _hold_by_a_file(folder: Path) -> Iterator[None]:
    path, own = folder / HOLDER, f"{_own_name()}\n{uuid.uuid4().hex}\n"
    _remove_of_the_dead(path)
    try:
        with open(path, "x", encoding="utf-8") as handle:
            handle.write(own)
    except FileExistsError:
        advice = f" (its file system has no locks; if that process has ended, remove {str(path)!r})"
        raise _refusal(folder, _text(path), advice) from None
    try:
        yield
    finally:
        if _text(path) == own:
            path.unlink(missing_ok=True)


def _remove_of_the_dead(path: Path) -> None:
    """Remove the file of a process of this machine that is not there any more."""
    found = _text(path)
    name = found.partition("\n")[0].split()  # process PID on HOST
    if len(name) != 4 or name[3] != os.uname().nodename or not name[1].isdecimal():
        return
    try:
        os.kill(int(name[1]), 0)
    except ProcessLookupError:
        aside = path.with_name(f"{HOLDER}.{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            path.rename(aside)
            if _text(aside) != found:  # another process was faster, and this file is its own
                aside.rename(path)
            aside.unlink(missing_ok=True)
    except OSError:  # it lives, and is somebody else's
        pass


def _own_name() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}"


def _refusal(folder: Path, holder: str, advice: str) -> ResumeError:
    name = holder.partition("\n")[0].strip() or "another process"
    return ResumeError(
        f"work directory {str(folder)!r} is in use by {name}{advice}: wait for that run, stop it, or give another work_dir"
    )


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
