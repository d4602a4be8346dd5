"""Replaces the entries of a catalog folder all together, so that a kill at any moment leaves the old catalog or the new one.

The folder also holds the work of the run, so it cannot be renamed as a whole. The new entries are gathered in one staging folder
beside the old ones; renaming that folder to READY is the one step that decides; moving its entries out of it can be repeated by
whoever comes next (:func:`finish`).

    .publish-staging/   being written          a kill leaves rubbish, the old catalog is whole
    .publish-ready/     complete, decided      a kill leaves work for `finish`
    .publish-old/       entries replaced       removed at the end
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STAGING = ".publish-staging"
READY = ".publish-ready"
OLD = ".publish-old"
ENTRIES = "entries.json"
"""Names of the new entries, inside the staging folder; without it the entries have all been moved."""


@contextmanager
def replace_entries(out_dir: Path, managed: tuple[str, ...]) -> Iterator[Path]:
    """Staging folder whose entries replace those of `out_dir` when the block ends without an exception.

    Parameters
    ----------
    out_dir
        Folder of the catalog, made if missing.
    managed
        Every name that a catalog may have: those that the new one lacks are removed, other names are never touched.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    finish(out_dir)
    staging = out_dir / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        names = sorted(path.name for path in staging.iterdir())
        removed = [name for name in managed if name not in names]
        (staging / ENTRIES).write_text(json.dumps({"new": names, "removed": removed}))
        sync_tree(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    staging.rename(out_dir / READY)
    _sync(out_dir)
    finish(out_dir)


def finish(out_dir: Path) -> bool:
    """Complete a replacement that was decided but interrupted; True where there was one. Safe to call at any time."""
    ready, old = out_dir / READY, out_dir / OLD
    if not ready.is_dir() and not old.is_dir():
        return False
    with _locked(out_dir):
        decided = ready.is_dir()
        if decided:
            _move_entries(out_dir, ready, old)
            shutil.rmtree(ready)
        shutil.rmtree(old, ignore_errors=True)
    return decided


def _move_entries(out_dir: Path, ready: Path, old: Path) -> None:
    if (ready / ENTRIES).is_file():
        entries = json.loads((ready / ENTRIES).read_text())
        old.mkdir(exist_ok=True)
        for name in entries["removed"]:
            _retire(out_dir / name, old)
        for name in entries["new"]:
            if (ready / name).exists():  # else an earlier call has moved it
                _retire(out_dir / name, old)
                (ready / name).rename(out_dir / name)
        _sync(out_dir)
        (ready / ENTRIES).unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a reader that finds the replacement half done from moving entries beside the publisher, who is still at it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # network file systems may refuse to lock a folder
            pass
        yield
    finally:
        os.close(descriptor)


def _retire(path: Path, old: Path) -> None:
    """Move `path`, if it is there, into `old`."""
    if path.exists():
        retired = old / path.name
        if retired.is_dir():
            shutil.rmtree(retired)
        path.rename(retired)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
