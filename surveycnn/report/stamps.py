"""Colour pictures of candidates, cut from the chunk store of a run and stretched like those of Lupton et al. (2004)."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from astropy.visualization import make_lupton_rgb
from PIL import Image

from surveycnn.errors import InputError, UserError
from surveycnn.sky.background import evaluate_mesh
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.strips import MASKED

FIELD_ARCSEC = 25.6
"""Side of a picture; its inner half is about what the models see."""
MOST_PX = 192
"""Larger pictures are made smaller."""
STRETCH, SOFTENING, DARKEST = 8.0, 10.0, -0.5
"""Of the noise of the sky: where the stretch leaves the linear part, its Q, and what is black."""
QUALITY = 82
_NO_DATA = (68, 68, 76)

OpenChunks = Callable[[str], ChunkStore]
"""The chunk store of a mosaic; UserError where it cannot be had."""


@dataclass(frozen=True)
class Place:
    """Where a candidate is."""

    mosaic: str
    x: float
    y: float


@dataclass(frozen=True)
class Pictures:
    """Pictures of candidates, and why there are none of others."""

    uris: list[str | None]
    """WebP data, north and east as in the mosaic, the y axis upwards."""
    bands: tuple[str, ...]
    """Red, green and blue, or one band for grey."""
    reason: str
    """Why pictures are missing; empty where none is."""
    compass: dict[str, tuple[float, bool]]
    """Of each mosaic: angle in degrees of north, from up to the left, and whether east is to its left."""


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


def cut_pictures(
    places: Sequence[Place], bands: Sequence[str], open_chunks: OpenChunks, balance: Mapping[str, float] | None = None
) -> Pictures:
    """Pictures of sources.

    Parameters
    ----------
    bands
        From short to long wavelengths.
    balance
        Factor of each band: with the inverse of the fluxes of a typical source, that one is grey. The same for all pictures.
    """
    chosen, reasons = colour_bands(bands), list[str]()
    factors = np.array([(balance or {}).get(band, 1.0) for band in chosen])
    stores: dict[str, _Mosaic | None] = {}
    for mosaic in sorted({place.mosaic for place in places}):
        try:
            stores[mosaic] = _Mosaic(open_chunks(mosaic), chosen)
        except UserError as error:
            stores[mosaic] = None
            reasons.append(str(error))
    uris = [_picture(stores[place.mosaic], place, factors, reasons) for place in places]
    compass = {name: mosaic.compass for name, mosaic in stores.items() if mosaic is not None}
    return Pictures(uris, chosen, next(iter(reasons), ""), compass)


def _picture(mosaic: _Mosaic | None, place: Place, factors: np.ndarray, reasons: list[str]) -> str | None:
    if mosaic is None:
        return None
    try:
        return data_uri(colour(mosaic.cut(place), mosaic.noise, factors))
    except UserError as error:
        reasons.append(str(error))
        return None


class _Mosaic:
    """Pixels of a mosaic in the bands of the pictures."""

    def __init__(self, chunks: ChunkStore, wanted: Sequence[str]):
        self._chunks = chunks
        finished = chunks.finished_bands()
        present = [band for band in dict.fromkeys(wanted) if band in finished]
        if not present:
            raise InputError(
                f"mosaic {chunks.mosaic!r} has none of the bands {', '.join(dict.fromkeys(wanted))} in the work directory"
            )
        self._order = [chunks.bands.index(band) if band in present else None for band in wanted]
        # opened once: the pictures of a page are some hundred small reads
        self._image, self._bits = chunks.array("image"), chunks.array("bits")
        self._has_bits = any((chunks.band_record(band) or {}).get("has_bits") for band in present)
        self._sky, rms = np.asarray(chunks.array("sky")), np.asarray(chunks.array("rms"))
        self.noise = np.array([_median(rms[i]) if i is not None else 1.0 for i in self._order])
        self.compass = _compass(chunks)

    def cut(self, place: Place) -> np.ndarray:
        """(band, y, x) nJy per pixel around a position, NaN where there is nothing; all NaN in a band that is missing."""
        if not (-1e7 < place.x < 1e7 and -1e7 < place.y < 1e7):
            raise InputError(f"a source of mosaic {place.mosaic!r} has no position on it")
        size = max(int(round(FIELD_ARCSEC / self._chunks.pixel_scale)), 8)
        row, col = (int(np.floor(centre - (size - 1) / 2 + 0.5)) for centre in (place.y, place.x))
        cut = np.full((len(self._order), size, size), np.nan, np.float32)
        y0, y1, x0, x1 = max(row, 0), min(row + size, self._chunks.ny), max(col, 0), min(col + size, self._chunks.nx)
        if y0 < y1 and x0 < x1:
            pixels = self._read(y0, y1, x0, x1)
            for i, band in enumerate(self._order):
                if band is not None:
                    cut[i, y0 - row : y1 - row, x0 - col : x1 - col] = pixels[band]
        return cut

    def _read(self, y0: int, y1: int, x0: int, x1: int) -> dict[int, np.ndarray]:
        """Pixels of each band, sky subtracted, as :meth:`ChunkStore.read_window` gives them."""
        bands = sorted({band for band in self._order if band is not None})
        some = slice(bands[0], bands[-1] + 1), slice(y0, y1), slice(x0, x1)
        with undamaged(self._chunks.path):
            image = np.asarray(self._image[some])
            bits = np.asarray(self._bits[some]) if self._has_bits else None
        pixels = {}
        for band in bands:
            pixels[band] = image[band - bands[0]] - evaluate_mesh(self._sky[band], y0, y1, x0, x1, self._chunks.mesh_px)
            if bits is not None:
                pixels[band][(bits[band - bands[0]] & MASKED) > 0] = np.nan
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
    rgb[missing] = _NO_DATA
    return rgb[::-1]


def data_uri(rgb: np.ndarray) -> str:
    """WebP picture as the address of an image."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if max(picture.size) > MOST_PX:
        picture = picture.resize((MOST_PX, MOST_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if known.size else 1.0


def _compass(chunks: ChunkStore) -> tuple[float, bool]:
    """Angle of north in the middle of a mosaic, in degrees from up to the left, and whether east is to its left."""
    x, y = (chunks.nx - 1) / 2, (chunks.ny - 1) / 2
    ra, dec = (float(value) for value in chunks.wcs.all_pix2world(x, y, 0))
    step = -1e-3 if dec > 0 else 1e-3  # never over a pole
    points = chunks.wcs.all_world2pix([ra, ra + 1e-3 / max(np.cos(np.radians(dec)), 1e-3)], [dec + step, dec], 0)
    (north_x, east_x), (north_y, east_y) = points[0] - x, points[1] - y
    north_x, north_y = north_x * np.sign(step), north_y * np.sign(step)
    angle = round(float(np.degrees(np.arctan2(-north_x, north_y))), 1)
    return angle + 0.0, bool(north_x * east_y - north_y * east_x > 0)
