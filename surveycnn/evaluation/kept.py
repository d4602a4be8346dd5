"""What stays on disk so that an interrupted call goes on: arrays under a key of all that they depend on, sets by their digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.training.data import LabelledStamps

CHUNK = 2000
"""Stamps that are in memory at a time: 100 MB."""
N_DIGESTED = 64
"""Stamps at either end of a set that go into its digest."""

Arrays = dict[str, np.ndarray]


def pieces(data: LabelledStamps, size: int = CHUNK) -> Iterator[np.ndarray]:
    """The stamps (object, y, x, band) in order, at most `size` in memory."""
    for start in range(0, len(data), size):
        yield np.array(data.stamps[start : start + size])


def kept_arrays(folder: Path, name: str, key: str, make: Callable[[], Arrays]) -> Arrays:
    """Arrays that `make` gives, from the file that an earlier call has left in `folder` under the same name and key."""
    path = folder / f"{name}-{digest_of(key)[:16]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            return {column: arrays[column] for column in arrays.files}
    made: dict[str, Any] = make()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".npz.part")
    with temporary.open("wb") as file:
        np.savez(file, **made)
    os.replace(temporary, path)
    return made


def digest_of(*words: str) -> str:
    """Digest of words."""
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def digest_of_set(data: LabelledStamps) -> str:
    """Digest of a set's labels, truth and first and last stamps: a changed simulation changes it."""
    digest = hashlib.sha256(repr((data.stamps.shape, data.bands)).encode())
    for columns in (data.labels, data.truth):
        for name in sorted(columns):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(columns[name]).tobytes())
    for part in (data.stamps[:N_DIGESTED], data.stamps[-N_DIGESTED:]):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def digest_of_files(paths: Iterable[Path], *words: str) -> str:
    """Digest of the names and contents of files, and of further words."""
    digest = hashlib.sha256(" ".join(words).encode())
    for path in paths:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
