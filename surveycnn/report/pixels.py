"""Pixels of a mosaic as pictures show them: sky subtracted, the stretch of Lupton et al. (2004), the colours of three bands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from astropy.visualization import make_lupton_rgb

from surveycnn.errors import InputError
from surveycnn.sky.background import evaluate_mesh
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.strips import MASKED
from surveycnn.sky.wcs import pixel_positions, sky_positions

STRETCH, SOFTENING, DARKEST = 8.0, 10.0, -0.5
"""Of the noise of the sky: where the stretch leaves the linear part, its Q, and what is black."""
NO_DATA = (68, 68, 76)


def colour_bands(bands: Sequence[str], wanted: Sequence[str] = ("g", "r", "i")) -> tuple[str, ...]:
    """Bands for red, green and blue of those that there are, which go from short to long wavelengths; one for grey.

    >>> colour_bands(["u", "g", "r", "i", "Z"]), colour_bands(["g", "z"]), colour_bands(["VIS"])
    (('i', 'r', 'g'), ('z', 'g', 'g'), ('VIS',))
    """
    if set(wanted) <= set(bands):
        return tuple(reversed(wanted))
    if len(bands) < 2:
        return tuple(bands)
    return bands[-1], bands[(len(bands) - 1) // 2], bands[0]


class Pixels:
    """Pixels of a mosaic, and the noise of its sky."""

    def __init__(self, chunks: ChunkStore):
        self.chunks = chunks
        self.bands = chunks.finished_bands()
        # opened once: the pictures of a page are some hundred small reads
        self._image, self._bits = chunks.array("image"), chunks.array("bits")
        self._with_bits = {band for band in self.bands if (chunks.band_record(band) or {}).get("has_bits")}
        self._sky, self._rms = np.asarray(chunks.array("sky")), np.asarray(chunks.array("rms"))

    def noise(self, bands: Sequence[str]) -> np.ndarray:
        """(band,) median noise of a pixel in nJy, 1 in a band that is missing."""
        return np.array([_median(self._rms[self.chunks.bands.index(band)]) if band in self.bands else 1.0 for band in bands])

    def read(self, bands: Sequence[str], y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """(band, y, x) nJy per pixel as :meth:`ChunkStore.read_window` gives them, all NaN in a band that is missing."""
        pixels = np.full((len(bands), y1 - y0, x1 - x0), np.nan, np.float32)
        present = sorted({self.chunks.bands.index(band) for band in bands if band in self.bands})
        if not present:
            return pixels
        some = slice(present[0], present[-1] + 1), slice(y0, y1), slice(x0, x1)
        with undamaged(self.chunks.path):
            image = np.asarray(self._image[some])
            bits = np.asarray(self._bits[some]) if self._with_bits.intersection(bands) else None
        for i, band in enumerate(bands):
            if band in self.bands:
                place = self.chunks.bands.index(band)
                sky = evaluate_mesh(self._sky[place], y0, y1, x0, x1, self.chunks.mesh_px)
                np.subtract(image[place - present[0]], sky, out=pixels[i])
                if bits is not None:
                    pixels[i][(bits[place - present[0]] & MASKED) > 0] = np.nan
        return pixels


@contextmanager
def undamaged(path: str) -> Iterator[None]:
    """Turn what Zarr raises on damaged pixels into a message."""
    try:
        yield
    except Exception as error:
        raise InputError(f"the pixels in {path!r} cannot be read ({type(error).__name__}): they are damaged") from error


def colour(image: np.ndarray, noise: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(y, x, 3) uint8 picture, y upwards.

    Parameters
    ----------
    image
        (band, y, x), red, green, blue or one band.
    noise, factors
        (band,) noise per pixel, by whose mean the stretch is chosen, and the factors of the colours.
    """
    scaled = image * (factors / np.mean(noise * factors))[:, None, None]
    bands = [scaled[min(i, len(scaled) - 1)] for i in range(3)]
    missing = np.all(np.isnan(bands), axis=0)
    filled = [np.nan_to_num(band, nan=0.0, posinf=0.0, neginf=0.0) for band in bands]
    rgb = make_lupton_rgb(*filled, minimum=DARKEST, stretch=STRETCH, Q=SOFTENING)
    rgb[missing] = NO_DATA
    return rgb[::-1]


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if known.size else 1.0


def compass(chunks: ChunkStore) -> tuple[float, bool]:
    """Angle of north in the middle of a mosaic, in degrees from up to the left, and whether east is to its left."""
    x, y = (chunks.nx - 1) / 2, (chunks.ny - 1) / 2
    ra, dec = (float(values[0]) for values in sky_positions(chunks.wcs, np.array([x]), np.array([y])))
    step = -1e-3 if dec > 0 else 1e-3  # never over a pole
    east = ra + 1e-3 / max(np.cos(np.radians(dec)), 1e-3)
    points = pixel_positions(chunks.wcs, np.array([ra, east % 360]), np.array([dec + step, dec]))
    (north_x, east_x), (north_y, east_y) = points[0] - x, points[1] - y
    north_x, north_y = north_x * np.sign(step), north_y * np.sign(step)
    angle = round(float(np.degrees(np.arctan2(-north_x, north_y))), 1)
    return angle + 0.0, bool(north_x * east_y - north_y * east_x > 0)
