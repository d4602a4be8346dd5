"""A window of a mosaic in memory: what one tile's worker computes on.

Made by :meth:`surveycnn.sky.chunks.ChunkStore.read_window`, used by detection, photometry and the models' stamps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.wcs import WCS


@dataclass(frozen=True)
class Window:
    """Pixels of all bands of a tile with its halo, sky subtracted."""

    mosaic: str
    y0: int
    """Mosaic row of pixel [0, 0]."""
    x0: int
    """Mosaic column of pixel [0, 0]."""
    ny: int
    """Height of the whole mosaic in pixels."""
    nx: int
    """Width of the whole mosaic in pixels."""
    bands: tuple[str, ...]
    image: np.ndarray
    """(band, y, x) float32, nJy, sky subtracted; NaN = no data or masked."""
    rms: np.ndarray
    """(band, y, x) float32, nJy, 1 sigma per pixel; NaN = no data."""
    masked: np.ndarray
    """(band, y, x) bool, True where the user's mask says bad, as against no coverage."""
    saturated: np.ndarray
    """(band, y, x) bool, True at and above the saturation level of the image."""
    wcs: WCS
    """Of the whole mosaic: its pixel (0, 0) is not the window's."""
    pixel_scale: float
    """Arcsec per pixel."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window in pixels."""
        return self.image.shape[1], self.image.shape[2]

    @property
    def open_edges(self) -> tuple[bool, bool, bool, bool]:
        """Whether the sky goes on beyond the bottom, top, left and right edge: True where the edge lies inside the mosaic."""
        height, width = self.shape
        return self.y0 > 0, self.y0 + height < self.ny, self.x0 > 0, self.x0 + width < self.nx

    def band_indices(self, bands: tuple[str, ...] | list[str]) -> list[int]:
        """Positions of `bands` along the first axis; a band that the window lacks is left out."""
        return [self.bands.index(band) for band in bands if band in self.bands]

    def select(self, bands: tuple[str, ...] | list[str]) -> Window:
        """This window with only `bands`, in that order."""
        index = [self.bands.index(band) for band in bands]
        return replace(
            self,
            bands=tuple(bands),
            image=self.image[index],
            rms=self.rms[index],
            masked=self.masked[index],
            saturated=self.saturated[index],
        )
