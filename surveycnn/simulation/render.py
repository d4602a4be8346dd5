"""From light to pixels: components of the sky, convolved with each band's PSF, with noise on top.

A component has one shape and a flux per band (:class:`Component`), or several layers of different colour
(:class:`Layers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import galsim
import numpy as np

from surveycnn.simulation.conditions import PIXEL_SCALE_ARCSEC, STAMP_PX, Exposure, draw_noise
from surveycnn.simulation.fourier import KGrid, images_of, k_grid, maps_transform, profile_transform

_GSPARAMS = galsim.GSParams(maxk_threshold=1e-3)
_SERSIC_EDGE = 8.0
"""Half-light radii at which Sersic profiles end: wings without end would need grids ten times as large."""


Stamp = tuple[np.ndarray, dict[str, Any], dict[str, Any]]
"""What a task draws: image (band, y, x) in nJy, labels, truth."""


@dataclass(frozen=True)
class Component:
    """Light of one shape: an analytic profile of flux 1, in arcsec from the centre of the stamp."""

    profile: galsim.GSObject
    flux: np.ndarray
    """(band,) nJy."""


@dataclass(frozen=True)
class Layers:
    """Light of several shapes on one grid, each with its own colour."""

    maps: np.ndarray
    """(layer, y, x), each of sum 1 (or 0 where nothing shines)."""
    flux: np.ndarray
    """(layer, band) nJy."""
    scale: float
    """Size of a grid cell, arcsec."""
    y: float = 0.0
    """Position of the grid's centre from the centre of the stamp, arcsec."""
    x: float = 0.0


def psf_of(exposure: Exposure) -> galsim.GSObject:
    """PSF of flux 1 with the astrometric shift of the band."""
    moffat = _unit_moffat(_rounded_beta(exposure)).dilate(exposure.fwhm)
    return moffat.shear(g1=exposure.e1, g2=exposure.e2).shift(exposure.shift_x, exposure.shift_y)


def _rounded_beta(exposure: Exposure) -> float:
    return round(4.0 * exposure.beta) / 4.0


@lru_cache(maxsize=32)
def _unit_moffat(beta: float) -> galsim.Moffat:
    """Moffat of FWHM 1, cut at 6 FWHM: GalSim tabulates its transform once, which takes longer than drawing a stamp with it."""
    return galsim.Moffat(beta=beta, fwhm=1.0, trunc=6.0, gsparams=_GSPARAMS)


def draw_light(
    light: Sequence[Component | Layers],
    exposures: Sequence[Exposure],
    *,
    size: int | None = None,
    scale: float | None = None,
    centre: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Image (band, y, x) float32 in nJy without noise.

    Parameters
    ----------
    size
        Pixels along a side; None takes those of a stamp, with a margin to resample it where the detector has other pixels.
    scale
        arcsec per pixel; None takes that of the exposures.
    centre
        (y, x) in pixels of the sky's origin from the middle of the image.
    """
    scale = exposures[0].pixel_scale if scale is None else scale
    size = stamp_size_of(scale) if size is None else size
    if not light:
        return np.zeros((len(exposures), size, size), np.float32)
    # Steps of a twentieth: stamps of like seeing share a grid.
    grid = k_grid(size, scale, np.ceil(20.0 * max(_max_k(exposure) for exposure in exposures)) / 20.0)
    sky = np.zeros((len(exposures), len(grid.ky), len(grid.kx)), np.complex64)
    for part in light:
        _add_part(sky, part, grid)
    for index, exposure in enumerate(exposures):
        psf = profile_transform(psf_of(exposure), grid)
        psf *= grid.pixel
        sky[index] *= psf
    return images_of(sky, grid, centre)


def stamp_size_of(scale: float) -> int:
    """Even number of pixels of `scale` arcsec that hold a stamp, and what its resampling reads beside it."""
    if scale == PIXEL_SCALE_ARCSEC:
        return STAMP_PX
    return 2 * int(np.ceil((STAMP_PX * PIXEL_SCALE_ARCSEC / scale + 6.0) / 2.0))


def _add_part(sky: np.ndarray, part: Component | Layers, grid: KGrid) -> None:
    """Add the transform of a part of the light to that of the sky, (band, ky, kx), in place."""
    if isinstance(part, Component):
        fluxes, transforms = part.flux[None], profile_transform(part.profile, grid)[None]
    else:
        shining = part.maps.any(axis=(1, 2))  # a galaxy of an encounter may have left the grid
        fluxes, maps = part.flux[shining], part.maps[shining].astype(np.float32, copy=False)
        transforms = maps_transform(maps, part.scale, grid, part.y, part.x)
    for flux, transform in zip(fluxes, transforms, strict=True):
        for index in range(len(sky)):
            sky[index] += np.float32(flux[index]) * transform


def _max_k(exposure: Exposure) -> float:
    """Wave number per arcsec beyond which a PSF passes less than a thousandth."""
    ellipticity = min(float(np.hypot(exposure.e1, exposure.e2)), 0.9)
    minor_axis = exposure.fwhm * np.sqrt((1.0 - ellipticity) / (1.0 + ellipticity))
    return float(_unit_moffat(_rounded_beta(exposure)).maxk / minor_axis)


def observe(rng: np.random.Generator, model: np.ndarray, exposures: Sequence[Exposure]) -> np.ndarray:
    """Image (band, y, x) float32 in nJy as a survey would deliver it: zero-point error, noise and a residue of sky."""
    observed = np.empty_like(model)
    for index, exposure in enumerate(exposures):
        bright = model[index] * exposure.gain
        observed[index] = bright + draw_noise(rng, bright, exposure) + exposure.sky_residual
    return observed


def shear_of(axis_ratio: float, angle: float) -> galsim.Shear:
    """Shear that gives a round profile the axis ratio, major axis at `angle` radian from x to y."""
    return galsim.Shear(q=max(float(axis_ratio), 0.05), beta=float(angle) * galsim.radians)


def sersic(n: float, radius: float, axis_ratio: float, angle: float, y: float = 0.0, x: float = 0.0) -> galsim.GSObject:
    """Sersic profile of flux 1, half-light radius `radius` arcsec along the major axis."""
    # GalSim builds a table per index: steps of a half keep a handful of them.
    index = float(np.clip(np.round(2.0 * n) / 2.0, 0.5, 6.0))
    area_radius = radius * np.sqrt(max(axis_ratio, 0.05))
    profile = galsim.Sersic(n=index, half_light_radius=area_radius, trunc=_SERSIC_EDGE * area_radius)
    return profile.shear(shear_of(axis_ratio, angle)).shift(x, y)
