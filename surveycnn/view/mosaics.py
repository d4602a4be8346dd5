"""The mosaics of a run: opened when they are looked at, with their pyramids, places on the sky and the balance of colours."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.catalogs.query import Catalog
from surveycnn.errors import CatalogError, InputError
from surveycnn.report.balance import read_balance
from surveycnn.report.layout import Layout
from surveycnn.report.pixels import Pixels, colour_bands, compass
from surveycnn.report.stamps import OpenChunks
from surveycnn.sky.wcs import pixel_positions, sky_positions
from surveycnn.view.kept import Kept
from surveycnn.view.pyramid import BLOCK_PX, Pyramid

KEPT_BYTES = 384 * 2**20
MOST_OPEN = 16
GAINS = {"shallow": 0.25, "report": 1.0, "deep": 4.0}
"""What the scale of the report's pictures is multiplied by."""
EDGE_POINTS = 9
"""Of each side of a rectangle of pixels on the sky."""


class Mosaics:
    """What a run has looked at, and with which colours."""

    def __init__(self, catalog: Catalog, open_chunks: OpenChunks):
        self._catalog, self._open_chunks = catalog, open_chunks
        self._bands = Layout.of(catalog).bands
        self._kept = Kept(KEPT_BYTES)
        self._open: OrderedDict[str, Pyramid] = OrderedDict()
        self._balance: dict[str, float] = {}
        self._balanced: set[str] = set()
        self._lock, self._balance_lock = threading.Lock(), threading.Lock()
        recorded = catalog.provenance.get("mosaics")
        self.names: tuple[str, ...] = tuple(recorded) if isinstance(recorded, dict) else ()
        if not self.names:
            raise CatalogError(f"the provenance of catalog {catalog.name!r} names no mosaics: there is nothing to look at")

    def __getitem__(self, name: str) -> Pyramid:
        """A mosaic.

        Raises
        ------
        UserError
            Where there is none of that name, or its pixels cannot be had.
        """
        if name not in self.names:
            raise InputError(f"there is no mosaic {name[:100]!r} in this run")
        with self._lock:
            if name not in self._open:
                self._open[name] = Pyramid(Pixels(self._open_chunks(name)), self._kept)
                if len(self._open) > MOST_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(name)
            return self._open[name]

    def describe(self, name: str) -> dict[str, Any]:
        """What the page needs to know to draw a mosaic."""
        pyramid = self[name]
        chunks, pixels = pyramid.pixels.chunks, pyramid.pixels
        default = [band for band in colour_bands(self._bands or pixels.bands) if band in pixels.bands] or pixels.bands[:1]
        if not default:
            raise InputError(f"no band of mosaic {name!r} is complete in the work directory: run the survey again")
        angle, is_east_left = compass(chunks)
        size = {"nx": pyramid.nx, "ny": pyramid.ny, "levels": pyramid.n_levels, "block": BLOCK_PX}
        shown = {"bands": list(pixels.bands), "colours": default if len(default) in (1, 3) else default[:1]}
        return {"name": name, **size, **shown, "scale": chunks.pixel_scale, "north": angle, "east_left": is_east_left}

    def balance(self, bands: Sequence[str]) -> dict[str, float]:
        """Factors of bands, as the report has them; the fluxes are read when a band is first asked for."""
        with self._balance_lock:
            missing = [band for band in dict.fromkeys(bands) if band not in self._balanced]
            if missing:
                self._balance |= read_balance(self._catalog, missing)
                self._balanced.update(missing)
            return {band: self._balance[band] for band in bands if band in self._balance}

    def picture(self, name: str, bands: Sequence[str], gain: str, level: int, row: int, col: int) -> np.ndarray:
        """(y, x, 3) uint8 of a block, the lowest y first.

        Raises
        ------
        InputError
            Where there are no such bands, scale or block.
        """
        pyramid = self[name]
        if len(bands) not in (1, 3) or not set(bands) <= set(pyramid.pixels.bands):
            raise InputError(f"bands are {list(bands)!r}, expected one or three of {', '.join(pyramid.pixels.bands)}")
        if gain not in GAINS:
            raise InputError(f"the scale is {gain!r}, expected {', '.join(GAINS)}")
        return pyramid.picture(bands, level, row, col, self.balance(bands), GAINS[gain])

    def sky(self, name: str, x: float, y: float) -> tuple[float, float]:
        """ICRS degrees of a pixel, NaN where it is not on the sky."""
        ra, dec = sky_positions(self[name].pixels.chunks.wcs, np.array([x]), np.array([y]))
        return float(ra[0]), float(dec[0])

    def pixel(self, name: str, ra: float, dec: float) -> tuple[float, float] | None:
        """Where a position is on a mosaic; None where it is not on it."""
        pyramid = self[name]
        found = pixel_positions(pyramid.pixels.chunks.wcs, np.array([ra]), np.array([dec]))
        x, y = (float(values[0]) for values in found)
        if not (-0.5 <= x <= pyramid.nx - 0.5 and -0.5 <= y <= pyramid.ny - 0.5):
            return None
        # the other side of the sky has pixels, too, in a tangential projection
        there, north = self.sky(name, x, y)
        return (x, y) if np.hypot((there - ra + 180) % 360 - 180, north - dec) < 1e-3 else None

    def outline(self, name: str, x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
        """(ra, dec) along the edges of a rectangle of pixels; empty where one of them is not on the sky."""
        along = np.linspace(0, 1, EDGE_POINTS)[:-1]
        x = np.concatenate([x0 + (x1 - x0) * along, np.full(along.size, x1), x1 + (x0 - x1) * along, np.full(along.size, x0)])
        y = np.concatenate([np.full(along.size, y0), y0 + (y1 - y0) * along, np.full(along.size, y1), y1 + (y0 - y1) * along])
        ra, dec = sky_positions(self[name].pixels.chunks.wcs, x, y)
        return list(zip(ra.tolist(), dec.tolist(), strict=True)) if np.isfinite(ra).all() and np.isfinite(dec).all() else []
