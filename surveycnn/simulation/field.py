"""What is on a stamp besides its object: neighbours from the counts of the sky, stars, and the defects of detectors."""

from __future__ import annotations

from collections.abc import Sequence

import galsim
import numpy as np

from surveycnn.simulation.conditions import PIXEL_SCALE_ARCSEC, STAMP_PX, Exposure
from surveycnn.simulation.galaxies import draw_disk, draw_elliptical, smooth_disk
from surveycnn.simulation.population import Galaxy, counts, draw_galaxy, draw_magnitude, draw_star_fluxes, galaxy_fluxes
from surveycnn.simulation.render import Component, Layers, sersic, shear_of

HALF_ARCSEC = STAMP_PX * PIXEL_SCALE_ARCSEC / 2.0
_BRIGHT, _FAINT = 18.0, 24.8
_grid = np.linspace(_BRIGHT, _FAINT, 200)
DENSITY_ARCMIN2 = float(np.trapezoid(counts(_grid), _grid))
"""Neighbours per arcmin2 brighter than i = 24.8."""


def simple_galaxy(
    rng: np.random.Generator, galaxy: Galaxy, bands: tuple[str, ...], y: float, x: float
) -> list[Component | Layers]:
    """A galaxy as one smooth profile: enough for what is faint or not looked at."""
    flux = galaxy_fluxes(galaxy, bands)
    if galaxy.is_red:
        shape = draw_elliptical(rng, galaxy)
        return [Component(sersic(shape.bulge_index, shape.bulge_radius, shape.bulge_axis_ratio, shape.angle, y, x), flux)]
    disk = draw_disk(rng, galaxy, features=0.0, bulge_fraction=0.0)
    return [Component(smooth_disk(disk).shift(x, y), flux)]


def star(flux: np.ndarray, y: float, x: float) -> Component:
    """A point source with (band,) fluxes in nJy."""
    return Component(galsim.Gaussian(sigma=1e-3).shift(x, y), flux)


def star_spikes(rng: np.random.Generator, flux: np.ndarray) -> list[Component | Layers]:
    """Four diffraction spikes and a halo of a star of (band,) fluxes at the origin, a few per cent of its light."""
    start, length = float(rng.uniform(0, 90)), float(rng.uniform(3.0, 9.0))
    spike = galsim.Exponential(half_light_radius=0.15 * length).shear(shear_of(0.05, 0.0))
    spikes = [Component(spike.rotate((start + 90.0 * k) * galsim.degrees), 0.015 * flux) for k in range(2)]
    return [*spikes, Component(galsim.Exponential(half_light_radius=length / 2.0), 0.03 * flux)]


def draw_neighbours(
    rng: np.random.Generator, bands: tuple[str, ...], *, avoid: float = 1.2, half: float = HALF_ARCSEC, boost: float = 1.0
) -> list[Component | Layers]:
    """Field galaxies and stars on a stamp, none of them within `avoid` arcsec of the centre.

    Parameters
    ----------
    boost
        Factor on the counts, for crowded places.
    """
    side = 2.0 * half + 1.0
    light: list[Component | Layers] = []
    for _ in range(int(rng.poisson(boost * DENSITY_ARCMIN2 * side**2 / 3600.0))):
        y, x = rng.uniform(-0.5 * side, 0.5 * side, 2)
        mag_i = draw_magnitude(rng, _BRIGHT, _FAINT)
        is_star = rng.uniform() < np.interp(mag_i, [18.0, 21.0, 24.0], [0.6, 0.35, 0.08])
        if np.hypot(y, x) < avoid:
            continue
        if is_star:
            light.append(star(draw_star_fluxes(rng, mag_i, bands), y, x))
        else:
            light += simple_galaxy(rng, draw_galaxy(rng, mag_i), bands, y, x)
    return light


def add_defects(rng: np.random.Generator, image: np.ndarray, exposures: Sequence[Exposure]) -> np.ndarray:
    """Image (band, y, x) with the defects that some stamps of a survey have: 2 % miss pixels (NaN), 1 % have a trail.

    Missing are columns, a bleeding or saturated blob, or everything beyond the edge of the mosaic, in one band or in all.
    """
    kind = rng.uniform()
    if kind < 0.02:
        return _with_missing(rng, image.copy())
    if kind < 0.03:
        return image + _trail(rng, image.shape, exposures)
    return image


def _with_missing(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    n_bands, ny, nx = image.shape
    missing = np.zeros((ny, nx), bool)
    kind = rng.integers(4)
    if kind == 0:  # bad columns
        start = rng.integers(0, nx - 3)
        missing[:, start : start + rng.integers(1, 4)] = True
    elif kind == 1:  # saturated core
        y, x = rng.uniform(0, ny), rng.uniform(0, nx)
        missing = np.hypot(*(np.ogrid[:ny, :nx][0] - y, np.ogrid[:ny, :nx][1] - x)) < rng.uniform(3.0, 12.0)
    else:  # edge of the mosaic
        width = int(rng.integers(2, ny // 2 - 6))
        missing[:width] = True
        missing = np.rot90(missing, int(rng.integers(4)))
    bands = slice(None) if kind > 1 or rng.uniform() < 0.5 else slice(*(lambda b: (b, b + 1))(int(rng.integers(n_bands))))
    image[bands, missing] = np.nan
    return image


def _trail(rng: np.random.Generator, shape: tuple[int, int, int], exposures: Sequence[Exposure]) -> np.ndarray:
    """A cosmic ray or a satellite in one band: a straight streak (band, y, x) in nJy."""
    n_bands, ny, nx = shape
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4) * nx
    y, x = np.mgrid[:ny, :nx]
    across = (x - nx / 2) * np.sin(angle) - (y - ny / 2) * np.cos(angle) - offset
    along = (x - nx / 2) * np.cos(angle) + (y - ny / 2) * np.sin(angle)
    length = rng.choice([rng.uniform(3.0, 15.0), 200.0])
    profile = np.exp(-0.5 * (across / rng.uniform(0.5, 2.0)) ** 2) * (np.abs(along - rng.uniform(-20, 20)) < length)
    streak = np.zeros(shape, np.float32)
    band = int(rng.integers(n_bands))
    streak[band] = profile * exposures[band].sigma * rng.uniform(5.0, 60.0)
    return streak
