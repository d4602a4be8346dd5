"""Positions and fluxes of detected sources, measured at their peaks and nowhere else.

Nothing comes from the pixels that deblending gave to a source: one circular Kron aperture per source, from the detection image,
the same in every band. Positions are exact binary fractions relative to the peak, so the sums are bit-equal in any window that
holds the aperture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import sep

from surveycnn.catalogs.flags import flag_value
from surveycnn.sources.centroid import on_grid, windowed_centroids
from surveycnn.sources.detect import Detections

KRON_FACTOR = 2.5
"""Aperture radius in units of the first moment of the light (Kron 1980). Measured on simulated sources at a signal to noise of 25
and more: it holds 98 to 99 % of the light of a star and 92 to 96 % of an exponential disc, but 75 to 86 % of a de Vaucouleurs
profile, whose wings are under the noise."""

MIN_APERTURE_ARCSEC = 1.0
MIN_APERTURE_PX = 2.0
MAX_APERTURE_ARCSEC = 60.0
MAX_APERTURE_PX = 56.0
"""Less than the smallest halo (64 px), so that every aperture of a tile's own sources lies in its window."""

CENTROID_SIGMA_ARCSEC = 0.45
"""Of the Gaussian under which centroids are measured: that of a seeing of 1 arcsec."""

_PROFILE_GROWTH = 1.25
_FAINTEST_PROFILE = 0.3
_RISE = 0.95
_LEAST_GOOD_AREA = 0.5


class BandPixels(Protocol):
    """What is measured on: a :class:`surveycnn.sky.window.Window`, or :class:`Pixels` where there is no mosaic."""

    @property
    def image(self) -> np.ndarray:
        """(band, y, x) float32, nJy, sky subtracted; NaN = no data or masked."""

    @property
    def rms(self) -> np.ndarray:
        """(band, y, x) float32, nJy, 1 sigma per pixel; NaN = no data."""

    @property
    def masked(self) -> np.ndarray:
        """(band, y, x) bool, True where the user's mask says bad, as against no coverage."""

    @property
    def saturated(self) -> np.ndarray:
        """(band, y, x) bool."""

    @property
    def pixel_scale(self) -> float:
        """Arcsec per pixel."""

    @property
    def open_edges(self) -> tuple[bool, bool, bool, bool]:
        """Whether the sky goes on beyond the bottom, top, left and right edge; an aperture beyond is ``truncated``."""


@dataclass(frozen=True)
class Pixels:
    """Pixels without a mosaic around them, such as stamps: see :class:`BandPixels`."""

    image: np.ndarray
    rms: np.ndarray
    masked: np.ndarray
    saturated: np.ndarray
    pixel_scale: float
    open_edges: tuple[bool, bool, bool, bool] = (False, False, False, False)

    @classmethod
    def unmasked(
        cls, image: np.ndarray, rms: np.ndarray, pixel_scale: float, open_edges: tuple[bool, ...] = (False,) * 4
    ) -> Pixels:
        """Pixels of which none is masked or saturated; NaN in `image` (band, y, x) is no coverage."""
        nothing = np.zeros(image.shape, bool)
        return cls(image, rms, nothing, nothing, pixel_scale, open_edges)


@dataclass(frozen=True)
class DetectionImage:
    """Where the sources were found."""

    significance: np.ndarray
    """(y, x) float32 from :func:`surveycnn.sources.detect.detection_image`."""
    mask: np.ndarray
    """(y, x) bool, True where no band has data."""
    found: Detections | None = None
    """Everything that was detected on it, so that light of neighbours is left out; None: it is left in."""


@dataclass(frozen=True)
class Measured:
    """Measurements of the sources of a window, in the order in which they were given."""

    y: np.ndarray
    """(source,) float64, window pixels."""
    x: np.ndarray
    """(source,) float64, window pixels."""
    flux: np.ndarray
    """(band, source) float64, nJy, in the Kron-like aperture; NaN = no data."""
    flux_err: np.ndarray
    """(band, source) float64, nJy, 1 sigma from the noise map; NaN = no data."""
    flux_aper: np.ndarray
    """(band, source) float64, nJy, in the fixed aperture; NaN = no data."""
    flux_aper_err: np.ndarray
    """(band, source) float64, nJy."""
    flux_radius_px: np.ndarray
    """(source,) float64, radius of half the detection image's light in the aperture; NaN where that is not positive."""
    kron_radius_px: np.ndarray
    """(source,) float64, radius of the Kron-like aperture."""
    flags: np.ndarray
    """(source,) int32."""


def measure_sources(
    pixels: BandPixels,
    detection: DetectionImage,
    y: np.ndarray,
    x: np.ndarray,
    flags: np.ndarray,
    *,
    aperture_arcsec: float = 2.0,
    recentre: bool = True,
) -> Measured:
    """Centroids, apertures and fluxes of sources.

    Parameters
    ----------
    y, x
        (source,) window pixels: peaks (whole numbers), or positions if not `recentre`.
    flags
        (source,) bits that are known, to which ``masked``, ``saturated``, ``edge``, ``missing_band``, ``truncated`` and
        ``no_centroid`` are added.
    aperture_arcsec
        Diameter of the fixed aperture.
    recentre
        False measures at the given positions, rounded to 1 / 8192 px as centroids are.
    """
    clean = np.ascontiguousarray(np.where(detection.mask, np.float32(0), detection.significance), dtype=np.float32)
    flags = flags.astype(np.int32)
    if recentre:
        sigma_px = float(np.clip(CENTROID_SIGMA_ARCSEC / pixels.pixel_scale, 1.0, 4.0))
        y, x, converged = windowed_centroids(clean, y, x, sigma_px)
        flags[~converged] |= flag_value("no_centroid")
    else:
        y, x = on_grid(y), on_grid(x)
    radius = kron_radii(clean, y, x, pixels.pixel_scale)
    half_light = _half_light_radii(clean, y, x, radius)
    fixed = np.full(y.size, aperture_arcsec / 2 / pixels.pixel_scale)
    flags |= _edge_flags(y, x, np.maximum(radius, fixed), clean.shape, pixels.open_edges)
    fluxes = np.full((4, len(pixels.image), y.size), np.nan)
    for band, (image, rms, masked) in enumerate(zip(pixels.image, pixels.rms, pixels.masked, strict=True)):
        for row, aperture in ((0, radius), (2, fixed)):
            fluxes[row, band], fluxes[row + 1, band], bits = _band_flux(image, rms, masked, y, x, aperture)
            flags |= bits
    return Measured(y, x, *fluxes, half_light, radius, flags)


def aperture_limits_px(pixel_scale: float) -> tuple[float, float]:
    """Smallest and largest aperture radius in pixels.

    >>> aperture_limits_px(0.2)
    (5.0, 56.0)
    """
    smallest = max(MIN_APERTURE_ARCSEC / pixel_scale, MIN_APERTURE_PX)
    return min(smallest, MAX_APERTURE_PX), min(max(MAX_APERTURE_ARCSEC / pixel_scale, smallest), MAX_APERTURE_PX)


def kron_radii(image: np.ndarray, y: np.ndarray, x: np.ndarray, pixel_scale: float) -> np.ndarray:
    """(source,) radii in pixels of circular Kron apertures on the detection `image` (y, x), within the limits."""
    smallest, largest = aperture_limits_px(pixel_scale)
    extent = _profile_extents(image, y, x, smallest, largest)
    if y.size == 0:
        return extent
    moment, _ = sep.kron_radius(image, x, y, 1.0, 1.0, 0.0, extent)
    moment = np.where(np.isfinite(moment) & (moment > 0), moment, 0)
    return np.clip(KRON_FACTOR * moment, smallest, largest)


def _profile_extents(image: np.ndarray, y: np.ndarray, x: np.ndarray, smallest: float, largest: float) -> np.ndarray:
    """(source,) radius at which the mean light of a ring is below 0.3 sigma per pixel or stops falling (a neighbour)."""
    extent = np.full(y.size, smallest)
    active = np.arange(y.size)
    outer, inside = smallest, _disc_sums(image, y, x, smallest)
    before = inside / (np.pi * smallest**2)
    while active.size and outer < largest:
        inner, outer = outer, min(outer * _PROFILE_GROWTH, largest)
        total = _disc_sums(image, y[active], x[active], outer)
        level = (total - inside) / (np.pi * (outer**2 - inner**2))
        goes_on = (level > _FAINTEST_PROFILE) & (level < _RISE * before)
        active, inside, before = active[goes_on], total[goes_on], level[goes_on]
        extent[active] = outer
    return extent


def _disc_sums(image: np.ndarray, y: np.ndarray, x: np.ndarray, radius: float | np.ndarray) -> np.ndarray:
    """(source,) sums of `image` in circles, with exact overlap at the rims."""
    if y.size == 0:
        return np.zeros(0)
    return sep.sum_circle(image, x, y, radius, subpix=0)[0]


def _half_light_radii(image: np.ndarray, y: np.ndarray, x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    if y.size == 0:
        return np.zeros(0)
    half, _ = sep.flux_radius(image, x, y, radius, 0.5)
    positive = _disc_sums(image, y, x, radius) > 0
    return np.where(positive & np.isfinite(half) & (half > 0), half, np.nan)


def _edge_flags(
    y: np.ndarray, x: np.ndarray, radius: np.ndarray, shape: tuple[int, int], open_edges: tuple[bool, bool, bool, bool]
) -> np.ndarray:
    """(source,) ``edge`` where the aperture leaves the mosaic, ``truncated`` where it only leaves the window."""
    beyond = [y - radius < -0.5, y + radius > shape[0] - 0.5, x - radius < -0.5, x + radius > shape[1] - 0.5]
    flags = np.zeros(y.size, np.int32)
    for outside, is_open in zip(beyond, open_edges, strict=True):
        flags[outside] |= flag_value("truncated" if is_open else "edge")
    return flags


def _band_flux(
    image: np.ndarray, rms: np.ndarray, masked: np.ndarray, y: np.ndarray, x: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flux, error and flag bits (source,) of one band.

    Pixels without data are left out, and the flux is scaled by the area that is lost; NaN where that is more than half.
    """
    flags = np.zeros(y.size, np.int32)
    if y.size == 0:
        return np.zeros(0), np.zeros(0), flags
    bad = ~(np.isfinite(image) & np.isfinite(rms))
    any_bad = bool(bad.any())
    data = np.where(bad, np.float32(0), image) if any_bad else np.ascontiguousarray(image)
    noise = np.where(bad, np.float32(0), rms) if any_bad else np.ascontiguousarray(rms)
    flux, error, _ = sep.sum_circle(data, x, y, radius, err=noise, subpix=0)
    leaves = _edge_flags(y, x, radius, image.shape, (False, False, False, False)) != 0
    touched = np.flatnonzero(leaves | _touches(bad, y, x, radius)) if any_bad else np.flatnonzero(leaves)
    if touched.size == 0:
        return flux, error, flags
    yt, xt, rt = y[touched], x[touched], radius[touched]
    full = np.pi * rt**2
    good = _disc_sums((~bad).astype(np.float32), yt, xt, rt) / full
    by_user = _disc_sums((bad & masked).astype(np.float32), yt, xt, rt) / full
    by_coverage = _disc_sums((bad & ~masked).astype(np.float32), yt, xt, rt) / full
    usable = good >= _LEAST_GOOD_AREA
    scale = np.where(usable, 1 / np.maximum(good, _LEAST_GOOD_AREA), np.nan)
    flux[touched] *= scale
    error[touched] *= scale
    some = good > 0
    flags[touched[~usable]] |= flag_value("missing_band")
    flags[touched[some & (by_user + by_coverage > 0)]] |= flag_value("masked")
    flags[touched[some & (by_coverage > 0)]] |= flag_value("edge")
    return flux, error, flags


def _touches(bad: np.ndarray, y: np.ndarray, x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """(source,) True where the square around the aperture holds a bad pixel; from sums over the area, so it costs a few reads."""
    table = np.zeros((bad.shape[0] + 1, bad.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(bad, axis=0, dtype=np.int32), axis=1, out=table[1:, 1:])
    reach = np.ceil(radius).astype(np.int64) + 1
    middle_y, middle_x = np.round(y).astype(np.int64), np.round(x).astype(np.int64)
    y0, y1 = np.clip(middle_y - reach, 0, bad.shape[0]), np.clip(middle_y + reach + 1, 0, bad.shape[0])
    x0, x1 = np.clip(middle_x - reach, 0, bad.shape[1]), np.clip(middle_x + reach + 1, 0, bad.shape[1])
    return table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0] > 0
