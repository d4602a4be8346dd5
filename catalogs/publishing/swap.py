"""Replaces the entries of a catalog folder all together, so that a kill at any moment leaves the old catalog or the new one.

The folder also holds the work of the run, so it cannot be renamed as a whole. The new entries are gathered in one staging folder
beside the old ones; renaming that folder to READY is the one step that decides; moving its entries out of it can be repeated by
whoever comes next (:func:`finish`).

    .publish-staging/   being written          a kill leaves rubbish, the old catalog is whole
    .publish-ready/     complete, decided      a kill leaves work for `finish`
    .publish-old/       entries replaced       removed when all are there, and only then READY

Whoever writes the staging folder holds its file LOCK, whoever moves entries out of READY the list of them, ENTRIES. These are
files, as network file systems lock no folders; a lock goes with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from surveycnn.durable import sync_path, sync_tree
from surveycnn.errors import CatalogError

STAGING = ".publish-staging"
READY = ".publish-ready"
OLD = ".publish-old"
ENTRIES = "entries.json"
"""Names of the new entries, inside READY; without it the entries have all been moved."""
LOCK = "lock"
"""Inside the staging folder; held while it is written."""
PATIENCE_SECONDS = 30.0
"""Where files cannot be locked: what a publisher who is still alive gets to move its entries."""
_TRIES = 20

T = TypeVar("T")


@contextmanager
def replace_entries(out_dir: Path, managed: tuple[str, ...]) -> Iterator[Path]:
    """Staging folder whose entries replace those of `out_dir` when the block ends without an exception.

    Parameters
    ----------
    out_dir
        Folder of the catalog, made if missing.
    managed
        Every name that a catalog may have: those that the new one lacks are removed, other names are never touched.

    Raises
    ------
    CatalogError
        Where another process publishes into `out_dir`.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    finish(out_dir)
    with _new_staging(out_dir) as staging:
        try:
            yield staging
            names = sorted(path.name for path in staging.iterdir() if path.name != LOCK)
            removed = [name for name in managed if name not in names]
            (staging / ENTRIES).write_text(json.dumps({"new": names, "removed": removed}))
            sync_tree(staging)
            finish(out_dir)
            _remove(out_dir / OLD)
        except BaseException:
            _remove(staging)
            raise
        staging.rename(out_dir / READY)
    sync_path(out_dir)
    finish(out_dir)


@contextmanager
def _new_staging(out_dir: Path) -> Iterator[Path]:
    """The staging folder, locked and empty; what a publisher has left who was killed is removed."""
    staging = out_dir / STAGING
    while True:
        staging.mkdir(exist_ok=True)
        try:
            handle = (staging / LOCK).open("a")
        except FileNotFoundError:  # another publisher was done with the folder just now
            continue
        with handle:
            try:
                _lock(handle, wait=False)
            except BlockingIOError:
                raise CatalogError(
                    f"another process publishes into {str(out_dir)!r}: wait for it, or give another output"
                ) from None
            if _is_at(handle, staging / LOCK):
                for entry in staging.iterdir():
                    if entry.name != LOCK:
                        _remove(entry)
                yield staging
                return


def finish(out_dir: Path) -> bool:
    """Complete a replacement that was decided but interrupted; True where there was one. Safe to call at any time.

    Raises
    ------
    CatalogError
        Where one was interrupted in a folder in which this process cannot write.
    """
    ready = out_dir / READY
    if not ready.is_dir():
        return False
    try:
        _move_if_any(out_dir)
    except OSError as error:
        _wait_for_a_publisher(ready)
        if ready.is_dir():
            raise CatalogError(
                f"publishing into {str(out_dir)!r} was interrupted, and this process cannot complete it ({error.strerror}): run "
                "`surveycnn verify` on it where and as whom it can be written"
            ) from error
    return True


def read_settled(out_dir: Path, read: Callable[[], T]) -> T:
    """What `read` returns of a catalog that has not been replaced while it was read; called again where it has.

    Raises
    ------
    CatalogError
        Where the catalog is replaced faster than it can be read.
    """
    for _ in range(_TRIES):
        finish(out_dir)
        before = _identity(out_dir)
        try:
            result = read()
        except Exception:  # of any kind, where files go while they are read; raised where none has gone
            if _identity(out_dir) == before:
                raise
            continue
        if _identity(out_dir) == before:
            return result
    raise CatalogError(f"the catalog in {str(out_dir)!r} is being replaced all the time: try again later")


def _identity(out_dir: Path) -> set[tuple[str, int]]:
    """Names and inodes of what is in the folder, its staging folder left out."""
    try:
        return {(entry.name, entry.inode()) for entry in os.scandir(out_dir) if entry.name != STAGING}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _move_if_any(out_dir: Path) -> None:
    ready = out_dir / READY
    try:
        handle = (ready / ENTRIES).open("r+")
    except FileNotFoundError:  # all are where they belong
        pass
    else:
        with handle:
            if not _lock(handle, wait=True):
                _wait_for_a_publisher(ready)
            if _is_at(handle, ready / ENTRIES):
                _move_entries(out_dir, json.load(handle))
    with contextlib.suppress(OSError):  # gone already, or the next one has been decided
        ready.rmdir()


def _move_entries(out_dir: Path, entries: dict[str, list[str]]) -> None:
    ready, old = out_dir / READY, out_dir / OLD
    old.mkdir(exist_ok=True)
    for name in entries["removed"]:
        _retire(out_dir / name, old)
    for name in entries["new"]:
        if (ready / name).exists():  # else an earlier call has moved it
            _retire(out_dir / name, old)
            (ready / name).rename(out_dir / name)
    sync_path(out_dir)
    _remove(old)
    (ready / LOCK).unlink(missing_ok=True)
    (ready / ENTRIES).unlink()


def _lock(handle: IO[str], wait: bool) -> bool:
    """Lock a file that is open for writing; False where its file system has no locks.

    Raises
    ------
    BlockingIOError
        Where another process has it, and this one does not `wait`.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(handle: IO[str], path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _wait_for_a_publisher(ready: Path) -> None:
    """Give whoever may be moving the entries of `ready` the time for it."""
    until = time.monotonic() + PATIENCE_SECONDS
    while ready.is_dir() and time.monotonic() < until:
        time.sleep(0.05)


def _retire(path: Path, old: Path) -> None:
    """Move `path`, if it is there, into `old`."""
    if os.path.lexists(path):
        _remove(old / path.name)
        path.rename(old / path.name)


def _remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
