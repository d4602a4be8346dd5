"""Colour pictures of candidates, cut from the chunk store of a run and stretched like those of Lupton et al. (2004)."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from surveycnn.errors import InputError, UserError
from surveycnn.report.pixels import Pixels, colour, colour_bands, compass
from surveycnn.sky.chunks import ChunkStore

FIELD_ARCSEC = 25.6
"""Side of a picture; its inner half is about what the models see."""
MOST_PX = 192
"""Larger pictures are made smaller."""
QUALITY = 82

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
        self._pixels, self._wanted = Pixels(chunks), tuple(wanted)
        if not set(wanted) & set(self._pixels.bands):
            raise InputError(
                f"mosaic {chunks.mosaic!r} has none of the bands {', '.join(dict.fromkeys(wanted))} in the work directory"
            )
        self.noise = self._pixels.noise(wanted)
        self.compass = compass(chunks)

    def cut(self, place: Place) -> np.ndarray:
        """(band, y, x) nJy per pixel around a position, NaN where there is nothing; all NaN in a band that is missing."""
        chunks = self._pixels.chunks
        if not (-1e7 < place.x < 1e7 and -1e7 < place.y < 1e7):
            raise InputError(f"a source of mosaic {place.mosaic!r} has no position on it")
        size = max(int(round(FIELD_ARCSEC / chunks.pixel_scale)), 8)
        row, col = (int(np.floor(centre - (size - 1) / 2 + 0.5)) for centre in (place.y, place.x))
        cut = np.full((len(self._wanted), size, size), np.nan, np.float32)
        y0, y1, x0, x1 = max(row, 0), min(row + size, chunks.ny), max(col, 0), min(col + size, chunks.nx)
        if y0 < y1 and x0 < x1:
            cut[:, y0 - row : y1 - row, x0 - col : x1 - col] = self._pixels.read(self._wanted, y0, y1, x0, x1)
        return cut


def data_uri(rgb: np.ndarray) -> str:
    """WebP picture as the address of an image."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if max(picture.size) > MOST_PX:
        picture = picture.resize((MOST_PX, MOST_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
