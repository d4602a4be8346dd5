"""Names of sources: a 63-bit number made of the mosaic and the peak pixel, the same however the mosaic is cut.

::

    bit 62 ........ 34 33 ............ 0
        mosaic (29)    peak y * nx + x, or the row of a source in the user's table
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from surveycnn.errors import ConfigError, InputError

PIXEL_BITS = 34
MOSAIC_BITS = 29


def mosaic_key(mosaic: str) -> int:
    """29-bit number of a mosaic's id, from its sha256."""
    return int.from_bytes(hashlib.sha256(mosaic.encode()).digest()[:8], "big") >> (64 - MOSAIC_BITS)


def check_mosaic_keys(mosaics: Sequence[str]) -> None:
    """Raise ConfigError where two mosaic ids would give the same source ids (1 in 1000 surveys of 1000 mosaics)."""
    seen: dict[int, str] = {}
    for mosaic in mosaics:
        other = seen.setdefault(mosaic_key(mosaic), mosaic)
        if other != mosaic:
            raise ConfigError(f"mosaic ids {other!r} and {mosaic!r} give the same source numbers: rename one of them")


def source_ids(mosaic: str, peak_y: np.ndarray, peak_x: np.ndarray, ny: int, nx: int) -> np.ndarray:
    """Source numbers (int64) from peak pixels in mosaic coordinates.

    Raises
    ------
    InputError
        Where the mosaic has 2^34 pixels or more.

    Examples
    --------
    >>> ids = source_ids("m1", np.array([0, 2]), np.array([5, 1]), 10, 10)
    >>> ids - (mosaic_key("m1") << PIXEL_BITS)
    array([ 5, 21])
    """
    check_mosaic_size(mosaic, ny, nx)
    pixel = np.asarray(peak_y, np.int64) * nx + np.asarray(peak_x, np.int64)
    return np.int64(mosaic_key(mosaic) << PIXEL_BITS) + pixel


def row_ids(mosaic: str, row: np.ndarray) -> np.ndarray:
    """Source numbers (int64) of the sources of a user's table, by their 0-based rows in it.

    >>> row_ids("m1", np.array([7])) - (mosaic_key("m1") << PIXEL_BITS)
    array([7])
    """
    return np.int64(mosaic_key(mosaic) << PIXEL_BITS) + np.asarray(row, np.int64)


def check_mosaic_size(mosaic: str, ny: int, nx: int) -> None:
    """Raise InputError where a mosaic has too many pixels for a source number."""
    if ny * nx >= 1 << PIXEL_BITS:
        raise InputError(f"mosaic {mosaic!r} has {ny} x {nx} pixels, more than {1 << PIXEL_BITS}: cut it into several mosaics")
