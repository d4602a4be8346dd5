"""A mosaic at all scales, in blocks: level 0 from the chunk store, each coarser one the mean of 2 x 2 pixels of the finer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from surveycnn.errors import InputError
from surveycnn.report.pixels import Pixels, colour
from surveycnn.view.kept import Kept

BLOCK_PX = 256
"""Side of a block, and of a picture that is sent."""
DIRECT_LEVEL = 3
"""Blocks up to this level are made of the chunk store: 2048 px a side, a shard. Coarser ones are made of kept blocks."""


class Pyramid:
    """Blocks of a mosaic; level 0 has its pixels, level k is smaller by 2^k.

    Parameters
    ----------
    kept
        Where blocks are kept that cost much reading; it may be shared by mosaics.
    """

    def __init__(self, pixels: Pixels, kept: Kept):
        self.pixels = pixels
        self.ny, self.nx = pixels.chunks.ny, pixels.chunks.nx
        self.n_levels = 1 + max(0, int(np.ceil(np.log2(max(self.ny, self.nx) / BLOCK_PX))))
        self._kept = kept

    def shape(self, level: int) -> tuple[int, int]:
        """Rows and columns of pixels at a level."""
        return -(-self.ny // 2**level), -(-self.nx // 2**level)

    def block(self, band: str, level: int, row: int, col: int) -> np.ndarray:
        """(y, x) float32 nJy per pixel of the mosaic, sky subtracted, NaN where there is no data; smaller at the far edges.

        Raises
        ------
        InputError
            Where the level has no such block.
        """
        ny, nx = self.shape(level) if 0 <= level < self.n_levels else (0, 0)
        if not (0 <= row * BLOCK_PX < ny and 0 <= col * BLOCK_PX < nx):
            raise InputError(f"there is no block {row}, {col} at level {level} of mosaic {self.pixels.chunks.mosaic!r}")
        if level < DIRECT_LEVEL:
            return self._read(band, level, row, col)
        make = self._read if level == DIRECT_LEVEL else self._join
        return self._kept.get((self.pixels.chunks.path, band, level, row, col), lambda: make(band, level, row, col))

    def _read(self, band: str, level: int, row: int, col: int) -> np.ndarray:
        size = BLOCK_PX * 2**level
        y0, x0 = row * size, col * size
        image = self.pixels.read([band], y0, min(y0 + size, self.ny), x0, min(x0 + size, self.nx))[0]
        for _ in range(level):
            image = halved(image)
        return image

    def _join(self, band: str, level: int, row: int, col: int) -> np.ndarray:
        """A block of the four of the finer level."""
        ny, nx = (-(-side // BLOCK_PX) for side in self.shape(level - 1))
        rows, cols = range(2 * row, min(2 * row + 2, ny)), range(2 * col, min(2 * col + 2, nx))
        return halved(np.block([[self.block(band, level - 1, y, x) for x in cols] for y in rows]))

    def picture(
        self, bands: Sequence[str], level: int, row: int, col: int, balance: Mapping[str, float], gain: float = 1.0
    ) -> np.ndarray:
        """(y, x, 3) uint8 of a block, the row of the lowest y first, as the report draws its pictures.

        Parameters
        ----------
        bands
            Red, green and blue, or one for grey.
        balance
            Factors of the bands, 1 by default.
        gain
            By which all is made brighter before it is stretched.
        """
        image = np.stack([self.block(band, level, row, col) for band in bands])
        factors = np.array([balance.get(band, 1.0) for band in bands])
        return colour(image * np.float32(gain), self.pixels.noise(bands), factors)[::-1]


def halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, of those that are no NaN; half a pixel that is left over counts as one.

    >>> halved(np.array([[1, 3, np.nan], [5, np.nan, np.nan]], dtype=np.float32)).tolist()
    [[3.0, nan]]
    """
    ny, nx = image.shape
    if ny % 2 or nx % 2:
        image = np.pad(image, ((0, ny % 2), (0, nx % 2)), constant_values=np.nan)
    quarters = np.stack([image[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    mean = quarters.sum(axis=0) * np.float32(0.25)
    holes = np.isnan(mean)
    if holes.any():
        some = quarters[:, holes]
        known = np.isfinite(some).sum(axis=0)
        with np.errstate(invalid="ignore"):
            mean[holes] = np.nansum(some, axis=0) / np.where(known, known, np.nan)
    return mean
