"""Positions and fluxes of sources, measured in two circular apertures each, the same in every band.

One aperture is Kron-like, from the detection image; the other has a fixed size. In both, pixels that belong to other objects or
have no data are replaced by their mirror images (:mod:`surveycnn.sources.neighbours`). Positions are exact binary fractions
relative to the peak, so the sums are bit-equal in any window that holds the aperture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from surveycnn.catalogs.flags import flag_value, has_flag
from surveycnn.sources.centroid import CENTROID_REACH, on_grid, windowed_centroids
from surveycnn.sources.detect import EDGE_REACH_PX, Detections
from surveycnn.sources.fluxes import aperture_fluxes
from surveycnn.sources.kron import aperture_limits_px, half_light_radii, kron_radii
from surveycnn.sources.neighbours import Owners, Places, batches, grow, labels_near, pixels_near

CENTROID_SIGMA_ARCSEC = 0.45
"""Of the Gaussian under which centroids are measured: that of a seeing of 1 arcsec."""

GROWTH_ARCSEC = 0.4
"""How far the wings of objects are taken to reach beyond their pixels above the threshold. With 0, 0.4 and 0.6 arcsec the median
error of blended galaxies in i is -0.03, 0.00 and -0.01 mag on a simulated mosaic, the scatter 0.13, 0.11 and 0.11."""

_SMALL_CELL_PX = 20.0
_HALF_LIGHT_PER_SIGMA = 1.1774
"""Radius of half the light of a Gaussian in units of its sigma."""
_LEAST_SIGMA_PX = 0.5


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
        cls,
        image: np.ndarray,
        rms: np.ndarray,
        pixel_scale: float,
        open_edges: tuple[bool, bool, bool, bool] = (False, False, False, False),
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

    Pixels of other objects are replaced in both apertures. Of galaxies injected into blends of the HSC survey this brings the
    median error in i from -0.16 to -0.03 mag and the scatter from 0.21 to 0.11 in the Kron-like aperture, the scatter in the
    fixed one from 0.25 to 0.15.

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
    objects = _objects(detection, pixels)
    own = objects.at(y, x)
    flags = flags.astype(np.int32)
    sigma_px = float(np.clip(CENTROID_SIGMA_ARCSEC / pixels.pixel_scale, 1.0, 4.0))
    if recentre:
        y, x, converged = windowed_centroids(clean, y, x, sigma_px, detection.mask, objects.segmentation)
        flags[~converged] |= flag_value("no_centroid")
    else:
        y, x = on_grid(y), on_grid(x)
    places = Places(y, x, own)
    radius, half_light, reach = _radii(clean, detection.mask, objects, places, pixels.pixel_scale)
    fixed = np.full(y.size, aperture_arcsec / 2 / pixels.pixel_scale)
    reach = np.maximum(np.maximum(reach, fixed), CENTROID_REACH * sigma_px)
    flags[labels_near(places, reach, objects.segmentation, objects.unsure)] |= flag_value("truncated")
    for outside, name in zip(objects.edges(places, np.maximum(radius, fixed)), ("edge", "truncated"), strict=True):
        flags[outside] |= flag_value(name)
    sigma = np.maximum(np.where(np.isfinite(half_light), half_light, radius / 2) / _HALF_LIGHT_PER_SIGMA, _LEAST_SIGMA_PX)
    fluxes, bits = aperture_fluxes(pixels, objects, places, np.stack([radius, fixed]), sigma)
    flux, flux_err, flux_aper, flux_aper_err = fluxes
    return Measured(y, x, flux, flux_err, flux_aper, flux_aper_err, half_light, radius, flags | bits)


def measuring_reach_px(pixel_scale: float) -> int:
    """How far from a source its measurement looks: the largest aperture, what is grown into it, and what an edge may change."""
    return int(np.ceil(aperture_limits_px(pixel_scale)[1])) + _growth_px(pixel_scale) + EDGE_REACH_PX


def _growth_px(pixel_scale: float) -> int:
    return max(round(GROWTH_ARCSEC / pixel_scale), 1)


def _objects(detection: DetectionImage, pixels: BandPixels) -> Owners:
    """Whose light the pixels hold, as far as that is known."""
    if detection.found is None:
        return Owners(np.zeros(detection.mask.shape, np.int32), np.zeros(1, bool), np.zeros(1, bool), pixels.open_edges)
    unsure = np.append(False, has_flag(detection.found.flags, "truncated"))
    grown = grow(detection.found.segmentation, _growth_px(pixels.pixel_scale))
    return Owners(grown, np.arange(unsure.size) > 0, unsure, pixels.open_edges)


def _radii(
    clean: np.ndarray, mask: np.ndarray, objects: Owners, places: Places, pixel_scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radii (source,) of apertures and of half their light, px, and how far the pixels that they come from reach.

    Sources with pixels of others, or without data, in that reach are measured again with these pixels replaced.
    """
    radius, reach = kron_radii(clean, places.y, places.x, pixel_scale)
    half_light = half_light_radii(clean, places.y, places.x, radius)
    disturbed = labels_near(places, reach, objects.segmentation, objects.known)
    disturbed |= pixels_near(places, reach, mask) | objects.edges(places, reach)[0]
    again = np.flatnonzero(disturbed)
    largest = aperture_limits_px(pixel_scale)[1]
    # most reach not far: only those that reach further than a small cell are measured in a large one
    for limit in sorted({min(_SMALL_CELL_PX, largest), largest}):
        beyond = np.zeros(again.size, bool)
        for batch in batches(np.full(again.size, limit)):
            some = again[batch]
            cells = objects.cells(places[some], np.full(some.size, limit))
            _, (image,) = cells.replace(cells.cut(mask, True), cells.cut(clean, 0))
            image = cells.stack(image)
            radius[some], further = kron_radii(image, cells.y, cells.x, pixel_scale)
            half_light[some] = half_light_radii(image, cells.y, cells.x, radius[some])
            beyond[batch] = further > limit
            reach[some] = np.maximum(reach[some], np.where(beyond[batch], 0, further))
        again = again[beyond]
    return radius, half_light, reach
