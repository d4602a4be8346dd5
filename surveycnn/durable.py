"""Files that are there whole or not at all, whatever is killed and whenever the power goes."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.partial")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Temporary path beside `path` that is synced and renamed to it at the end, and removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = partial_path(path)
    try:
        yield temporary
        sync_path(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """A new name beside `path` for what will be renamed to it; :func:`remove_partials` knows it."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def remove_partials(folder: Path, *names: str) -> None:
    """Remove what processes that were killed have left of files in `folder`, of those called `names` only if any are given."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        found = _PARTIAL.fullmatch(entry.name)
        if found is not None and (not names or found["name"] in names):
            Path(entry.path).unlink(missing_ok=True)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as sorted, indented JSON, atomically; it is there before anything that is written later."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sync_path(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """The record that `write_json` wrote, or None where there is no readable one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync_path(Path(parent, name))
        sync_path(Path(parent))


def sync_path(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
