"""Fluxes in circular apertures, in one band after the other; pixels of other objects or without data are replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import sep

from surveycnn.catalogs.flags import flag_value
from surveycnn.sources.kron import disc_sums
from surveycnn.sources.neighbours import Cells, Owners, Places, batches, labels_near, pixels_near

if TYPE_CHECKING:
    from surveycnn.sources.photometry import BandPixels

_LEAST_LIGHT = 0.4
"""Share of a source's light, taken for a Gaussian, that must lie on pixels with data or with a mirror image that has some. Not a
half: a source in a corner of the coverage has a quarter on each side of its centre, or a little less."""


def aperture_fluxes(
    pixels: BandPixels, objects: Owners, places: Places, radii: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and their errors in some apertures.

    Parameters
    ----------
    radii
        (aperture, source) pixels.
    sigma
        (source,) pixels, of the Gaussian that the light which cannot be seen is taken to follow.

    Returns
    -------
    fluxes
        (2 * aperture, band, source) nJy: flux and error of the first aperture, then of the next.
    flags
        (source,) int32, bits ``masked``, ``saturated``, ``edge`` and ``missing_band``.
    """
    outer = radii.max(axis=0)
    fluxes = np.full((2 * len(radii), len(pixels.image), outer.size), np.nan)
    flags = np.zeros(outer.size, np.int32)
    if outer.size == 0:
        return fluxes, flags
    bands = [_Band.of(pixels, number) for number in range(len(pixels.image))]
    disturbed = labels_near(places, outer, objects.segmentation, objects.known) | np.any(objects.edges(places, outer), axis=0)
    for band in bands:
        flags[_touches(band.saturated, places, outer)] |= flag_value("saturated")
        if band.is_missing:
            flags |= flag_value("missing_band")
        else:
            disturbed |= pixels_near(places, outer, band.bad)
    clear, others = np.flatnonzero(~disturbed), np.flatnonzero(disturbed)
    for number, band in enumerate(bands):
        if not band.is_missing:
            fluxes[:, number, clear] = _sums(band.image, band.rms, places[clear], radii[:, clear])
    for batch in batches(outer[others]):
        some = others[batch]
        cells = objects.cells(places[some], outer[some])
        for number, band in enumerate(bands):
            if not band.is_missing:
                fluxes[:, number, some], bits = _replaced_fluxes(band, cells, radii[:, some], sigma[some])
                flags[some] |= bits
    return fluxes, flags


@dataclass(frozen=True)
class _Band:
    """Pixels of one band, all (y, x)."""

    image: np.ndarray
    rms: np.ndarray
    bad: np.ndarray
    masked: np.ndarray
    saturated: np.ndarray
    is_missing: bool
    """Whether all pixels are bad."""

    @classmethod
    def of(cls, pixels: BandPixels, number: int) -> _Band:
        image, rms = (np.ascontiguousarray(layer[number]) for layer in (pixels.image, pixels.rms))
        bad = ~(np.isfinite(image) & np.isfinite(rms))
        return cls(image, rms, bad, pixels.masked[number], pixels.saturated[number], bool(bad.all()))


def _sums(image: np.ndarray, rms: np.ndarray, places: Places | Cells, radii: np.ndarray) -> np.ndarray:
    """Sums and their errors (2 * aperture, source) in circles of `radii` (aperture, source)."""
    if places.y.size == 0:
        return np.zeros((2 * len(radii), 0))
    return np.concatenate([sep.sum_circle(image, places.x, places.y, radius, err=rms, subpix=0)[:2] for radius in radii])


def _touches(pixels: np.ndarray, places: Places, radius: np.ndarray) -> np.ndarray:
    """Numbers of the sources whose circle holds a part of one of the `pixels` (y, x) bool."""
    near = np.flatnonzero(pixels_near(places, radius, pixels))
    if near.size == 0:
        return near
    return near[disc_sums(pixels.astype(np.float32), places.y[near], places.x[near], radius[near]) > 0]


def _replaced_fluxes(band: _Band, cells: Cells, radii: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors (2 * aperture, source) in `radii` (aperture, source), and flag bits (source,)."""
    bad = cells.cut(band.bad, True)
    mirrored, (values, noise) = cells.replace(bad, cells.cut(band.image, np.nan), cells.cut(band.rms, np.nan))
    # a mirrored pixel counts twice with the same noise: 4 instead of 1 + 1 variances
    noise[mirrored] *= np.float32(np.sqrt(3))
    fluxes = _sums(cells.stack(values), cells.stack(noise), cells, radii)
    flags = np.zeros(cells.y.size, np.int32)
    if not bad.any():
        return fluxes, flags
    masked = cells.cut(band.masked, False)
    on_user, on_gap = (cells.stack(bits.astype(np.float32)) for bits in (bad & masked, bad & ~masked & ~cells.outside))
    for number, (radius, share) in enumerate(zip(radii, _seen_light(cells, bad & ~mirrored, radii, sigma), strict=True)):
        is_seen = share >= _LEAST_LIGHT
        fluxes[2 * number : 2 * number + 2] *= np.where(is_seen, 1 / np.maximum(share, _LEAST_LIGHT), np.nan)
        by_user, by_gap = (disc_sums(bits, cells.y, cells.x, radius) > 0 for bits in (on_user, on_gap))
        flags[~is_seen] |= flag_value("missing_band")
        flags[(share > 0) & (by_user | by_gap)] |= flag_value("masked")
        flags[(share > 0) & by_gap] |= flag_value("edge")
    return fluxes, flags


def _seen_light(cells: Cells, lost: np.ndarray, radii: np.ndarray, sigma: np.ndarray) -> list[np.ndarray]:
    """Share (source,) of the light in each aperture that does not lie on `lost` pixels (source, row, col).

    The light is taken for a Gaussian. What lies beyond the window, where the sky goes on, is taken to be as bright as the rest.
    """
    weight = cells.stack(cells.weight(sigma))
    dark = cells.stack((lost & ~cells.unseen).astype(np.float32)) * weight
    unseen = cells.stack(cells.unseen.astype(np.float32))
    shares = []
    for radius in radii:
        share = 1 - disc_sums(dark, cells.y, cells.x, radius) / disc_sums(weight, cells.y, cells.x, radius)
        shares.append(share * (1 - disc_sums(unseen, cells.y, cells.x, radius) / (np.pi * radius**2)))
    return shares
