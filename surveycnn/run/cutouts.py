"""Pixels around the rows of a catalog, cut from the chunk stores of its run: arrays in nJy with a WCS, and colour pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from astropy.wcs import WCS, Sip

from surveycnn.catalogs.query import Catalog
from surveycnn.errors import CatalogError
from surveycnn.report.balance import read_balance
from surveycnn.report.layout import Layout
from surveycnn.report.pixels import Pixels, colour, colour_bands
from surveycnn.run.catalog_pixels import chunks_of

SIZE_ARCSEC = 12.8
"""What the models see of a source: 64 px of 0.2 arcsec."""
MOST_ARCSEC = 600.0
_NEEDED = ("source_id", "mosaic", "y", "x")


@dataclass(frozen=True, eq=False, repr=False)
class Cutout:
    """Pixels around one source, on the pixel grid of its mosaic."""

    source_id: int
    bands: tuple[str, ...]
    pixels: np.ndarray
    """(band, y, x) float32 nJy per pixel, sky subtracted; NaN = no data, masked, or beyond the mosaic."""
    wcs: WCS
    """Of `pixels`: 0-based x and y."""
    pixel_scale: float
    """In arcsec."""
    noise: np.ndarray
    """(band,) median noise of a pixel of the mosaic in nJy."""
    _balance: Callable[[], dict[str, float]]

    def __getitem__(self, band: str) -> np.ndarray:
        """Pixels (y, x) of a band."""
        if band not in self.bands:
            raise CatalogError(f"the cutout has no band {band!r}: it has {', '.join(self.bands)}")
        return self.pixels[self.bands.index(band)]

    @property
    def rgb(self) -> np.ndarray:
        """(y, x, 3) uint8 picture as in the report, y upwards: ``imshow(cutout.rgb, origin="lower")``."""
        chosen = [self.bands.index(band) for band in colour_bands(self.bands)]
        factors = np.array([self._balance().get(self.bands[i], 1.0) for i in chosen])
        return colour(self.pixels[chosen], self.noise[chosen], factors)[::-1]

    def __repr__(self) -> str:
        ny, nx = self.pixels.shape[1:]
        return f"<cutout of source {self.source_id}: {' '.join(self.bands)}, {ny} x {nx} px of {self.pixel_scale:.4g} arcsec>"


def cutouts(catalog: Catalog, size_arcsec: float = SIZE_ARCSEC, bands: Sequence[str] | None = None) -> Iterator[Cutout]:
    """Cutouts of the rows of a catalog, one after another in the order of its rows.

    Parameters
    ----------
    catalog
        Of a run whose work directory is still there. Select first: each row costs some milliseconds.
    size_arcsec
        Side of the square.
    bands
        Names of bands; by default all with fluxes, from short to long wavelengths. NaN where a mosaic lacks one.

    Raises
    ------
    CatalogError
        Where rows have no place on a mosaic, the size is no angle from 0 to 600 arcsec, no mosaic has such a band, or the work
        directory is gone or of another run.

    Examples
    --------
    >>> for cutout in cutouts(catalog.top(9, by="lens_logit")):  # doctest: +SKIP
    ...     axes.imshow(cutout.rgb, origin="lower")
    """
    missing = [name for name in _NEEDED if name not in catalog.published_columns]
    if missing or catalog.path is None:
        raise CatalogError(
            f"catalog {catalog.name!r} has no {', '.join(missing) or 'folder'}: cutouts need the catalog of a run; "
            "take the rows of a cross-match with catalog.ids(...)"
        )
    if not 0 < size_arcsec <= MOST_ARCSEC:
        raise CatalogError(f"cutouts: size_arcsec is {size_arcsec!r}, expected more than 0 and at most {MOST_ARCSEC:g}")
    whole = replace(catalog, steps=(), _selected=None)
    known = Layout.of(whole).bands
    wanted = known if bands is None else tuple(bands)
    unknown = [band for band in wanted if band not in known]
    if unknown or not wanted:
        raise CatalogError(f"cutouts: no band {', '.join(map(repr, unknown))} in the catalog: it has {', '.join(known)}")
    return _cut_all(catalog, size_arcsec, wanted, cache(lambda: read_balance(whole, colour_bands(wanted))))


def _cut_all(
    catalog: Catalog, size_arcsec: float, bands: tuple[str, ...], balance: Callable[[], dict[str, float]]
) -> Iterator[Cutout]:
    assert catalog.path is not None
    open_chunks, mosaics = chunks_of(catalog.path), dict[str, Pixels]()
    for table in catalog.scan(list(_NEEDED)):
        for row in table.to_pylist():
            name = str(row["mosaic"])
            if name not in mosaics:
                mosaics[name] = Pixels(open_chunks(name))
            yield _cut(mosaics[name], row["source_id"], row["y"], row["x"], size_arcsec, bands, balance)


def _cut(
    mosaic: Pixels,
    source_id: int,
    y: float,
    x: float,
    size_arcsec: float,
    bands: tuple[str, ...],
    balance: Callable[[], dict[str, float]],
) -> Cutout:
    chunks = mosaic.chunks
    size = max(round(size_arcsec / chunks.pixel_scale), 1)
    y0, x0 = (int(np.floor(centre - (size - 1) / 2 + 0.5)) for centre in (y, x))
    pixels = np.full((len(bands), size, size), np.nan, np.float32)
    bottom, top, left, right = max(y0, 0), min(y0 + size, chunks.ny), max(x0, 0), min(x0 + size, chunks.nx)
    if bottom < top and left < right:
        inside = mosaic.read(bands, bottom, top, left, right)
        pixels[:, bottom - y0 : top - y0, left - x0 : right - x0] = inside
    return Cutout(int(source_id), bands, pixels, _shifted(chunks.wcs, y0, x0), chunks.pixel_scale, mosaic.noise(bands), balance)


def _shifted(wcs: WCS, y0: int, x0: int) -> WCS:
    """WCS whose pixel (0, 0) is the pixel (y0, x0) of `wcs`, which may lie outside of the image."""
    moved = deepcopy(wcs)
    moved.wcs.crpix = moved.wcs.crpix - np.array([x0, y0])
    if moved.sip is not None:
        sip = moved.sip
        moved.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, sip.crpix - np.array([x0, y0]))
    return moved
