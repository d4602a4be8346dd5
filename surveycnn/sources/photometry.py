"""Positions and fluxes of sources, measured in two circular apertures each, the same in every band.

One aperture is Kron-like, from the detection image; the other has a fixed size. In both, pixels that belong to other objects or
have no data are replaced by their mirror images (:mod:`surveycnn.sources.neighbours`). Positions are exact binary fractions
relative to the peak, so the sums are bit-equal in any window that holds the aperture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import sep

from surveycnn.catalogs.flags import flag_value, has_flag
from surveycnn.sources.centroid import on_grid, windowed_centroids
from surveycnn.sources.detect import Detections
from surveycnn.sources.kron import aperture_limits_px, disc_sums, half_light_radii, kron_radii
from surveycnn.sources.neighbours import Cells, Places, batches, labels_near, pixels_near

CENTROID_SIGMA_ARCSEC = 0.45
"""Of the Gaussian under which centroids are measured: that of a seeing of 1 arcsec."""

_LEAST_LIGHT = 0.4
"""Share of a source's light, taken for a Gaussian, that must lie on pixels with data or with a mirror image that has some. Not a
half: a source in a corner of the coverage has a quarter on each side of its centre, or a little less."""

_HALF_LIGHT_PER_SIGMA = 1.1774
"""Radius of half the light of a Gaussian in units of its sigma."""


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
    objects = _Objects.of(detection, pixels.open_edges)
    own = objects.at(y, x)
    flags = flags.astype(np.int32)
    if recentre:
        sigma_px = float(np.clip(CENTROID_SIGMA_ARCSEC / pixels.pixel_scale, 1.0, 4.0))
        y, x, converged = windowed_centroids(clean, y, x, sigma_px)
        flags[~converged] |= flag_value("no_centroid")
    else:
        y, x = on_grid(y), on_grid(x)
    places = Places(y, x, own)
    radius, half_light, reach = _radii(clean, detection.mask, objects, places, pixels.pixel_scale)
    fixed = np.full(y.size, aperture_arcsec / 2 / pixels.pixel_scale)
    flags[labels_near(places, np.maximum(reach, fixed), objects.segmentation, objects.unsure)] |= flag_value("truncated")
    for outside, name in zip(objects.edges(places, np.maximum(radius, fixed)), ("edge", "truncated"), strict=True):
        flags[outside] |= flag_value(name)
    sigma = np.where(np.isfinite(half_light), half_light, radius / 2) / _HALF_LIGHT_PER_SIGMA
    fluxes, bits = _fluxes(pixels, objects, places, np.stack([radius, fixed]), sigma)
    return Measured(y, x, *fluxes, half_light, radius, flags | bits)


@dataclass(frozen=True)
class _Objects:
    """Whose light the pixels of a detection image hold."""

    segmentation: np.ndarray
    """(y, x) int32, 0 = nobody's."""
    known: np.ndarray
    """(1 + object,) bool, False for number 0."""
    unsure: np.ndarray
    """(1 + object,) bool, True for objects that another window might show otherwise."""
    open_edges: tuple[bool, bool, bool, bool]

    @classmethod
    def of(cls, detection: DetectionImage, open_edges: tuple[bool, bool, bool, bool]) -> _Objects:
        if detection.found is None:
            return cls(np.zeros(detection.mask.shape, np.int32), np.zeros(1, bool), np.zeros(1, bool), open_edges)
        unsure = np.append(False, has_flag(detection.found.flags, "truncated"))
        return cls(detection.found.segmentation, np.arange(unsure.size) > 0, unsure, open_edges)

    def edges(self, places: Places, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether a circle (source,) goes beyond the mosaic, and whether beyond an edge of the window where the sky goes on."""
        y, x, (ny, nx) = places.y, places.x, self.segmentation.shape
        beyond = np.stack([y - radius < -0.5, y + radius > ny - 0.5, x - radius < -0.5, x + radius > nx - 0.5])
        is_open = np.array(self.open_edges)
        return beyond[~is_open].any(axis=0), beyond[is_open].any(axis=0)

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(source,) number of the object at positions in window pixels."""
        rows, cols = (
            np.clip(np.floor(centre + 0.5).astype(np.int64), 0, size - 1)
            for centre, size in zip((y, x), self.segmentation.shape, strict=True)
        )
        return self.segmentation[rows, cols]

    def cells(self, places: Places, radius: np.ndarray) -> Cells:
        """Cells that hold circles of `radius` (source,)."""
        return Cells.around(places, self.segmentation, radius.max(), ~self.edges(places, radius)[1])


def _radii(
    clean: np.ndarray, mask: np.ndarray, objects: _Objects, places: Places, pixel_scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radii (source,) of apertures and of half their light, px, and how far the pixels that they come from reach.

    Sources with pixels of others, or without data, in that reach are measured again with these pixels replaced.
    """
    radius, reach = kron_radii(clean, places.y, places.x, pixel_scale)
    half_light = half_light_radii(clean, places.y, places.x, radius)
    disturbed = labels_near(places, reach, objects.segmentation, objects.known)
    disturbed |= pixels_near(places, reach, mask) | objects.edges(places, reach)[0]
    again = np.flatnonzero(disturbed)
    largest = np.full(again.size, aperture_limits_px(pixel_scale)[1])
    for some in batches(largest):
        some = again[some]
        cells = objects.cells(places[some], largest[: some.size])
        _, (image,) = cells.replace(cells.cut(mask, True), cells.cut(clean, 0))
        image = cells.stack(image)
        radius[some], further = kron_radii(image, cells.y, cells.x, pixel_scale)
        half_light[some] = half_light_radii(image, cells.y, cells.x, radius[some])
        reach[some] = np.maximum(reach[some], further)
    return radius, half_light, reach


def _fluxes(
    pixels: BandPixels, objects: _Objects, places: Places, radii: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors (2 * aperture, band, source) in the apertures `radii` (aperture, source), and flag bits (source,).

    `sigma` (source,) is that of a Gaussian with as much light inside as the source, all in pixels.
    """
    y, x, outer = places.y, places.x, radii.max(axis=0)
    fluxes = np.full((2 * len(radii), len(pixels.image), y.size), np.nan)
    flags = np.zeros(y.size, np.int32)
    if y.size == 0:
        return fluxes, flags
    disturbed = labels_near(places, outer, objects.segmentation, objects.known) | np.any(objects.edges(places, outer), axis=0)
    layers = [_Layers.of(pixels, band) for band in range(len(pixels.image))]
    for band, layer in enumerate(layers):
        for number, radius in enumerate(radii):
            fluxes[2 * number : 2 * number + 2, band] = sep.sum_circle(layer.image, x, y, radius, err=layer.rms, subpix=0)[:2]
        disturbed |= pixels_near(places, outer, layer.bad)
        near = np.flatnonzero(pixels_near(places, outer, layer.saturated))
        some = disc_sums(layer.saturated.astype(np.float32), y[near], x[near], outer[near]) > 0
        flags[near[some]] |= flag_value("saturated")
    again = np.flatnonzero(disturbed)
    for some in batches(outer[again]):
        some = again[some]
        cells = objects.cells(places[some], outer[some])
        for band, layer in enumerate(layers):
            fluxes[:, band, some], bits = _replaced_fluxes(layer, cells, radii[:, some], sigma[some])
            flags[some] |= bits
    return fluxes, flags


@dataclass(frozen=True)
class _Layers:
    """Pixels of one band, all (y, x)."""

    image: np.ndarray
    rms: np.ndarray
    bad: np.ndarray
    masked: np.ndarray
    saturated: np.ndarray

    @classmethod
    def of(cls, pixels: BandPixels, band: int) -> _Layers:
        image, rms = np.ascontiguousarray(pixels.image[band]), np.ascontiguousarray(pixels.rms[band])
        bad = ~(np.isfinite(image) & np.isfinite(rms))
        return cls(image, rms, bad, pixels.masked[band], pixels.saturated[band])


def _replaced_fluxes(layers: _Layers, cells: Cells, radii: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors (2 * aperture, source) in `radii` (aperture, source), and flag bits (source,).

    Bad pixels without a mirror image are left out, and the flux is scaled by the share of a Gaussian source's light that is lost;
    NaN where that is too much. What lies beyond the window, where the sky goes on, is taken to be as bright as the rest.
    """
    bad = cells.cut(layers.bad, True)
    mirrored, (values, noise) = cells.replace(bad, cells.cut(layers.image, np.nan), cells.cut(layers.rms, np.nan))
    # a mirrored pixel counts twice with the same noise: 4 instead of 1 + 1 variances
    noise[mirrored] *= np.float32(np.sqrt(3))
    values, noise = cells.stack(values), cells.stack(noise)
    sums = [sep.sum_circle(values, cells.x, cells.y, radius, err=noise, subpix=0)[:2] for radius in radii]
    fluxes, flags = np.concatenate(sums), np.zeros(cells.y.size, np.int32)
    if not bad.any():
        return fluxes, flags
    lost = cells.stack((bad & ~mirrored & ~cells.unseen).astype(np.float32))
    unseen = cells.stack(cells.unseen.astype(np.float32))
    masked = cells.cut(layers.masked, False)
    on_user, on_gap = (cells.stack(bits.astype(np.float32)) for bits in (bad & masked, bad & ~masked & ~cells.outside))
    weight = cells.stack(cells.weight(sigma))
    for number, radius in enumerate(radii):
        share = 1 - disc_sums(lost * weight, cells.y, cells.x, radius) / disc_sums(weight, cells.y, cells.x, radius)
        share *= 1 - disc_sums(unseen, cells.y, cells.x, radius) / (np.pi * radius**2)
        fluxes[2 * number : 2 * number + 2] *= np.where(share >= _LEAST_LIGHT, 1 / np.maximum(share, _LEAST_LIGHT), np.nan)
        by_user, by_gap = (disc_sums(bits, cells.y, cells.x, radius) > 0 for bits in (on_user, on_gap))
        some = share > 0
        flags[share < _LEAST_LIGHT] |= flag_value("missing_band")
        flags[some & (by_user | by_gap)] |= flag_value("masked")
        flags[some & by_gap] |= flag_value("edge")
    return fluxes, flags
