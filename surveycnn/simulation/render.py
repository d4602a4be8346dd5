"""From light to pixels: components of the sky, convolved with each band's PSF by GalSim, with noise and defects on top.

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

_GSPARAMS = galsim.GSParams(maximum_fft_size=8192, folding_threshold=5e-3, maxk_threshold=2e-3)
_DIFFUSION = galsim.Gaussian(sigma=0.01)
"""A trace of charge diffusion: with an object of soft edges in it, GalSim convolves by FFT whatever the others are."""
_SERSIC_EDGE = 8.0
"""Half-light radii at which Sersic profiles end: wings without end would need FFTs ten times as large."""


Stamp = tuple[np.ndarray, dict[str, Any], dict[str, Any]]
"""What a task draws: image (band, y, x) in nJy, labels, truth."""


@dataclass(frozen=True)
class Component:
    """Light of one shape: an analytic profile of flux 1, in arcsec from the centre of the stamp."""

    profile: galsim.GSObject
    flux: np.ndarray
    """(band,) nJy."""

    def in_band(self, index: int) -> galsim.GSObject:
        return self.profile.withFlux(float(self.flux[index]))


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

    def in_band(self, index: int) -> galsim.GSObject:
        total = np.tensordot(self.flux[:, index], self.maps, axes=1).astype(np.float32)
        if not total.any():  # a galaxy of an encounter that left the grid; GalSim has no image without flux
            return galsim.Gaussian(sigma=self.scale, flux=0.0)
        image = galsim.Image(np.ascontiguousarray(total), scale=self.scale)
        profile = galsim.InterpolatedImage(
            image,
            x_interpolant="linear",
            k_interpolant="quintic",
            flux=float(total.sum()),
            calculate_stepk=False,  # searching the grid for them costs more than the drawing
            calculate_maxk=False,
            _force_maxk=np.pi / self.scale,
        )
        return profile.shift(self.x, self.y)


def psf_of(exposure: Exposure) -> galsim.GSObject:
    """PSF of flux 1 with the astrometric shift of the band."""
    moffat = _unit_moffat(round(4.0 * exposure.beta) / 4.0).dilate(exposure.fwhm)
    return moffat.shear(g1=exposure.e1, g2=exposure.e2).shift(exposure.shift_x, exposure.shift_y)


@lru_cache(maxsize=32)
def _unit_moffat(beta: float) -> galsim.Moffat:
    """Moffat of FWHM 1, cut at 6 FWHM: GalSim tabulates its transform once, which takes longer than drawing a stamp with it."""
    return galsim.Moffat(beta=beta, fwhm=1.0, trunc=6.0, gsparams=_GSPARAMS)


def draw_light(
    light: Sequence[Component | Layers],
    exposures: Sequence[Exposure],
    *,
    size: int = STAMP_PX,
    scale: float = PIXEL_SCALE_ARCSEC,
    centre: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Image (band, y, x) float32 in nJy without noise.

    Parameters
    ----------
    centre
        (y, x) in pixels of the sky's origin from the middle of the image.
    """
    image = np.zeros((len(exposures), size, size), np.float32)
    if not light:
        return image
    for index, exposure in enumerate(exposures):
        total = galsim.Add([part.in_band(index) for part in light])
        convolved = galsim.Convolve([total, psf_of(exposure), _DIFFUSION], gsparams=_GSPARAMS)
        drawn = convolved.drawImage(nx=size, ny=size, scale=scale, offset=(centre[1], centre[0]))
        image[index] = drawn.array
    return image


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
