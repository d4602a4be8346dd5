"""The files of a model package, looked through without unpacking or running any of them: digests, entries, layers, arrays.

A package may come from a stranger who signed its card himself. What is loaded is made of the very bytes that were checked here.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from surveycnn.errors import ModelError
from surveycnn.models.network_config import checked_config
from surveycnn.models.weights_file import stored_values

MODEL_FILE = "model.keras"
GOLDEN_FILE = "golden.npz"
CONFIG_ENTRY, WEIGHTS_ENTRY, METADATA_ENTRY = "config.json", "model.weights.h5", "metadata.json"

_KERAS_ENTRIES = {METADATA_ENTRY, CONFIG_ENTRY, WEIGHTS_ENTRY}
_MAX_BYTES = 1 << 30
"""Of a file, and of what it unpacks to."""
_MAX_RATIO = 100
"""A zip entry that unpacks to more than this many times its size is a bomb, not a network."""
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)
"""What Python's zipfile raises on bytes that are none."""


def file_findings(
    folder: Path, sha256: Mapping[str, str], golden_entries: set[str], further: Mapping[str, set[str] | None] | None = None
) -> list[str]:
    """What is wrong with the files of a package whose card has these digests.

    Parameters
    ----------
    further
        Entries of the files beside the network and its golden file; None for another network.
    """
    findings = []
    for name, entries in ({MODEL_FILE: None, GOLDEN_FILE: golden_entries} | dict(further or {})).items():
        try:
            if entries is None:
                checked_network(folder, name, sha256)
            else:
                checked_entries(folder, name, sha256, entries)
        except ModelError as error:
            findings.append(str(error))
    return findings


def checked_network(folder: Path, name: str, sha256: Mapping[str, str]) -> tuple[dict[str, bytes], int]:
    """Entries of a Keras file whose digest, layers and arrays are as they should be, and the number of values in its weights.

    Raises
    ------
    ModelError
        With the first thing that is wrong.
    """
    entries = checked_entries(folder, name, sha256, _KERAS_ENTRIES)
    entries[CONFIG_ENTRY] = checked_config(name, entries[CONFIG_ENTRY])
    return entries, stored_values(f"{name}: {WEIGHTS_ENTRY}", entries[WEIGHTS_ENTRY])


def checked_entries(folder: Path, name: str, sha256: Mapping[str, str], allowed: set[str]) -> dict[str, bytes]:
    """Bytes of the entries of a zip file whose digest agrees and which has exactly the `allowed` entries.

    Raises
    ------
    ModelError
        With the first thing that is wrong.
    """
    content = read_bounded(Path(folder) / name, _MAX_BYTES)
    if name not in sha256:
        raise ModelError(f"the card has no sha256 of {name}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256[name]:
        raise ModelError(f"{name} has sha256 {digest[:12]}..., the card says {sha256[name][:12]}...")
    return _zip_entries(name, content, allowed)


def read_bounded(path: Path, limit: int) -> bytes:
    """Bytes of a regular file of a package, opened once, so that what was measured is what is read.

    Raises
    ------
    ModelError
        Where it is missing, no regular file (a pipe would wait for ever), or larger than `limit` bytes.
    """
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{path.name} is no regular file")
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise ModelError(f"{path.name} is missing") from None
    except IsADirectoryError:
        raise ModelError(f"{path.name} is no regular file") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from None
    if len(content) > limit:
        raise ModelError(f"{path.name} has more than {limit} bytes")
    return content


def _zip_entries(name: str, content: bytes, allowed: set[str]) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_entries(name, archive.infolist(), len(content), allowed)
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except ZIP_ERRORS as error:
        raise ModelError(f"{name}: not a zip file: {error}") from error


def _check_entries(name: str, infos: list[zipfile.ZipInfo], n_bytes: int, allowed: set[str]) -> None:
    names = sorted(info.filename for info in infos)
    if names != sorted(allowed):
        shown = [entry[:80] for entry in names[:10]]
        raise ModelError(f"{name}: entries are {shown}, expected {sorted(allowed)}")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > _MAX_BYTES or any(info.file_size > _MAX_RATIO * max(info.compress_size, 1024) for info in infos):
        raise ModelError(f"{name}: unpacks to {unpacked} bytes from {n_bytes}: too much for a network")
    if any(info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        raise ModelError(f"{name}: entries are encrypted or packed in another way than zip's deflate")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
