"""The rows of one row of tile cores, core beside core, until the last of them is there.

Images come in full-width rows, shards are squares: what lies between waits in memory, or on disk where the mosaic is wide, so
that the memory of an ingest hardly follows the mosaic's width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.sky.strips import Strip

MAX_BYTES_IN_MEMORY = 128 * 2**20
"""Largest row of cores of an image that waits in memory: cores of 2048 px of a mosaic of 16,000 px."""

_DTYPES: dict[str, np.dtype[Any]] = {"image": np.dtype("f4"), "weight": np.dtype("f4"), "bits": np.dtype("u1")}

Cores = Iterator[tuple[int, dict[str, np.ndarray]]]


class CoreRow:
    """Takes strips and gives the tile cores of a mosaic, row by row of cores."""

    def __init__(self, ny: int, nx: int, core_px: int, folder: Path, max_bytes: int = MAX_BYTES_IN_MEMORY):
        self._ny, self._nx, self._core_px = ny, nx, core_px
        n_pixels = min(core_px, ny) * nx
        in_memory = n_pixels * _DTYPES["image"].itemsize <= max_bytes
        self._pieces: dict[str, _InMemory | _OnDisk] = {
            name: _InMemory(n_pixels, dtype) if in_memory else _OnDisk(folder, dtype) for name, dtype in _DTYPES.items()
        }
        self._y0 = self._n_rows = 0
        self._has_weight = False

    def __enter__(self) -> CoreRow:
        return self

    def __exit__(self, *exc: object) -> None:
        for pieces in self._pieces.values():
            pieces.close()

    def append(self, strip: Strip) -> Iterator[tuple[int, Cores]]:
        """Add a strip; yields (y0, cores) of each row of cores that it completes, and each core as (x0, arrays by name).

        The arrays are good until the next strip is added.
        """
        self._has_weight = strip.weight is not None
        arrays = {"image": strip.image, "weight": strip.weight, "bits": strip.bits}
        start, height = 0, strip.image.shape[0]
        while start < height:
            row_height = min(self._core_px, self._ny - self._y0)
            stop = min(start + row_height - self._n_rows, height)
            for name, values in arrays.items():
                if values is not None:
                    self._put(name, values[start:stop], row_height)
            self._n_rows += stop - start
            if self._n_rows == row_height:
                yield self._y0, self._cores(row_height)
                self._y0, self._n_rows = self._y0 + row_height, 0
            start = stop

    def _put(self, name: str, rows: np.ndarray, height: int) -> None:
        for x0 in range(0, self._nx, self._core_px):
            piece = rows[:, x0 : x0 + self._core_px]
            self._pieces[name].put(x0 * height + self._n_rows * piece.shape[1], piece)

    def _cores(self, height: int) -> Cores:
        names = [name for name in _DTYPES if name != "weight" or self._has_weight]
        for x0 in range(0, self._nx, self._core_px):
            width = min(self._core_px, self._nx - x0)
            yield x0, {name: self._pieces[name].get(x0 * height, (height, width)) for name in names}


class _InMemory:
    """Pixels one after the other in memory."""

    def __init__(self, n_pixels: int, dtype: np.dtype[Any]):
        self._pixels = np.empty(n_pixels, dtype)

    def put(self, start: int, piece: np.ndarray) -> None:
        self._pixels[start : start + piece.size].reshape(piece.shape)[:] = piece

    def get(self, start: int, shape: tuple[int, int]) -> np.ndarray:
        return self._pixels[start : start + shape[0] * shape[1]].reshape(shape)

    def close(self) -> None:
        pass


class _OnDisk:
    """Pixels one after the other in a file without a name; not mapped, as mapped pages count as memory of the worker."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]):
        self._file, self._dtype = tempfile.TemporaryFile(dir=folder, prefix=".ingest-"), dtype

    def put(self, start: int, piece: np.ndarray) -> None:
        self._file.seek(start * self._dtype.itemsize)
        self._file.write(np.ascontiguousarray(piece).data)

    def get(self, start: int, shape: tuple[int, int]) -> np.ndarray:
        self._file.seek(start * self._dtype.itemsize)
        pixels = np.empty(shape, self._dtype)
        self._file.readinto(pixels.data.cast("B"))  # type: ignore[attr-defined]
        return pixels

    def close(self) -> None:
        self._file.close()
