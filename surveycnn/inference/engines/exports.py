"""Networks exported for OpenVINO, kept in a folder of the user, so that the next process needs neither Keras nor TensorFlow.

The folder is ``$SURVEYCNN_CACHE``, else ``$XDG_CACHE_HOME/surveycnn``, else ``~/.cache/surveycnn``: packages may lie where nobody
may write. Where it cannot be written either, every process exports for itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import stat
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

EXPORT_VERSION = 1
"""Of what :func:`surveycnn.inference.engines.openvino.export` does; raised when the same network would be exported otherwise."""
KEEP_DAYS = 90
"""Days without use after which an entry is removed when a new one is written."""

_DIGESTS = "sha256.json"


class Export(NamedTuple):
    """A network in OpenVINO's format, for any batch size."""

    xml: bytes
    weights: bytes


def kept_export(model_sha256: str, export: Callable[[], Export]) -> Export:
    """The export of the network whose ``model.keras`` has that digest; made by `export` where none is kept, or a damaged one."""
    folder = _own_folder()
    if folder is None:
        return export()
    path = folder / f"{_key(model_sha256)}.zip"
    found = _read(path)
    if found is None:
        found = export()
        with contextlib.suppress(OSError):  # a full or read-only disk: the next process exports again
            _write(path, found)
    return found


def cache_root() -> Path:
    """Folder for what can be made anew at any time."""
    if os.environ.get("SURVEYCNN_CACHE"):
        return Path(os.environ["SURVEYCNN_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "surveycnn"


def _own_folder() -> Path | None:
    """Folder of the exports, if it is this user's and nobody else may write there: what is in it will be computed with."""
    folder = cache_root() / "networks"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status, above = folder.stat(), folder.parent.stat()
        owners = {status.st_uid, folder.lstat().st_uid}  # also of a link that leads to it
    except (OSError, RuntimeError):  # not to be made, or a home that is not known
        return None
    may_be_exchanged = above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX
    return folder if owners == {os.geteuid()} and not status.st_mode & 0o022 and not may_be_exchanged else None


def _key(model_sha256: str) -> str:
    parts = [str(EXPORT_VERSION), model_sha256, *(_version(name) for name in ("keras", "tensorflow", "openvino"))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # installed under another name, as tensorflow-cpu is
        return ""


def _read(path: Path) -> Export | None:
    """The entry at `path`; None where there is none, or its digests do not agree."""
    try:
        with zipfile.ZipFile(path) as archive:
            export = Export(*(archive.read(name) for name in Export._fields))
            digests = json.loads(archive.read(_DIGESTS))
        os.utime(path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return export if digests == _digests(export) else None


def _write(path: Path, export: Export) -> None:
    """Write an entry, which appears whole and replaces an older one, and remove those that nobody has used for long."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for name, content in zip(Export._fields, export, strict=True):
                    archive.writestr(name, content)
                archive.writestr(_DIGESTS, json.dumps(_digests(export)))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    for entry in path.parent.iterdir():
        with contextlib.suppress(OSError):  # removed by another process
            if entry.stat().st_mtime < time.time() - 86400 * KEEP_DAYS:
                entry.unlink()


def _digests(export: Export) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in zip(Export._fields, export, strict=True)}
