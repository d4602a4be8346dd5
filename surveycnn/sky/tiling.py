"""Tiles of a mosaic: cores that share no pixel, and the halo around each, in integer pixels only.

Everything downstream (chunk store, detection, ownership of sources) speaks of the sky in these tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from surveycnn.errors import ConfigError


@dataclass(frozen=True, order=True)
class Tile:
    """One core of a mosaic and its halo; all bounds are half-open, in 0-based mosaic pixels.

    ::

        oy1 +-------------------+
            |  halo             |     outer: what is read
         y1 |    +---------+    |     core: what this tile owns
            |    |  core   |    |
         y0 |    +---------+    |     at the edge of the mosaic the halo is clipped
            |                   |
        oy0 +-------------------+
           ox0   x0       x1   ox1

    Examples
    --------
    >>> tile = TileGrid("m1", ny=1000, nx=700, core_px=512, halo_px=64).tile(1, 1)
    >>> tile.name, tile.core, tile.outer
    ('r0001_c0001', (slice(512, 1000, None), slice(512, 700, None)), (slice(448, 1000, None), slice(448, 700, None)))
    """

    mosaic: str
    row: int
    col: int
    y0: int
    y1: int
    x0: int
    x1: int
    halo: int
    """Width of the halo in pixels, before clipping."""
    ny: int
    """Height of the mosaic in pixels."""
    nx: int
    """Width of the mosaic in pixels."""

    @property
    def oy0(self) -> int:
        return max(self.y0 - self.halo, 0)

    @property
    def oy1(self) -> int:
        return min(self.y1 + self.halo, self.ny)

    @property
    def ox0(self) -> int:
        return max(self.x0 - self.halo, 0)

    @property
    def ox1(self) -> int:
        return min(self.x1 + self.halo, self.nx)

    @property
    def core(self) -> tuple[slice, slice]:
        """Slices (y, x) of the core in the mosaic."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def outer(self) -> tuple[slice, slice]:
        """Slices (y, x) of core and halo in the mosaic."""
        return slice(self.oy0, self.oy1), slice(self.ox0, self.ox1)

    @property
    def name(self) -> str:
        return f"r{self.row:04d}_c{self.col:04d}"

    def owns(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Boolean array, True where the peak pixel (`y`, `x`), in mosaic pixels, lies in the core."""
        y, x = np.asarray(y), np.asarray(x)
        return (y >= self.y0) & (y < self.y1) & (x >= self.x0) & (x < self.x1)


@dataclass(frozen=True)
class TileGrid:
    """All tiles of one mosaic, row by row; every pixel lies in exactly one core.

    The last row and column hold what is left over, as smaller tiles.

    Examples
    --------
    >>> grid = TileGrid("m1", ny=1000, nx=700, core_px=512, halo_px=64)
    >>> len(grid), [tile.name for tile in grid]
    (4, ['r0000_c0000', 'r0000_c0001', 'r0001_c0000', 'r0001_c0001'])
    """

    mosaic: str
    ny: int
    nx: int
    core_px: int
    halo_px: int

    def __post_init__(self) -> None:
        if self.ny < 1 or self.nx < 1:
            raise ConfigError(f"mosaic {self.mosaic!r} has shape ({self.ny}, {self.nx}): both must be at least 1 pixel")
        if self.core_px < 1:
            raise ConfigError(f"tiling.core_px is {self.core_px!r}, expected at least 1 pixel")
        if self.halo_px < 0:
            raise ConfigError(f"tiling.halo_px is {self.halo_px!r}, expected 0 or more pixels")

    @property
    def n_rows(self) -> int:
        return -(-self.ny // self.core_px)

    @property
    def n_cols(self) -> int:
        return -(-self.nx // self.core_px)

    def __len__(self) -> int:
        return self.n_rows * self.n_cols

    def __iter__(self) -> Iterator[Tile]:
        for row in range(self.n_rows):
            for col in range(self.n_cols):
                yield self.tile(row, col)

    def tile(self, row: int, col: int) -> Tile:
        """Tile in `row` and `col`, both counted from 0 at pixel (0, 0)."""
        if not (0 <= row < self.n_rows and 0 <= col < self.n_cols):
            raise IndexError(f"tile ({row}, {col}) is outside the {self.n_rows} x {self.n_cols} tiles of {self.mosaic!r}")
        y0, x0 = row * self.core_px, col * self.core_px
        y1, x1 = min(y0 + self.core_px, self.ny), min(x0 + self.core_px, self.nx)
        return Tile(self.mosaic, row, col, y0, y1, x0, x1, self.halo_px, self.ny, self.nx)
