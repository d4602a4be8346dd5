"""The objects of a simulated mosaic: field galaxies and stars after the counts, and the lenses and mergers that are planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surveycnn.simulation.arcs import Lens, draw_lens
from surveycnn.simulation.conditions import PIXEL_SCALE_ARCSEC, Exposure
from surveycnn.simulation.encounters import run_encounter
from surveycnn.simulation.field import simple_galaxy, star
from surveycnn.simulation.galaxies import draw_structure, galaxy_light
from surveycnn.simulation.interactions import View, draw_view, tides_of
from surveycnn.simulation.merger_task import encounter_light
from surveycnn.simulation.population import Galaxy, counts, draw_galaxy, draw_magnitude, draw_star_fluxes
from surveycnn.simulation.render import Component, Layers

FIELD_BRIGHT, FIELD_FAINT = 17.0, 24.5
_STRUCTURED_TO = 21.5
"""i magnitude to which field galaxies get bulges, arms and bars."""
_STARS_ARCMIN2 = 2.5
_CLEAR_TIDES = 0.24
"""Fraction of the light that the tides of a planted merger have moved."""
_KEEP_FREE_ARCSEC = 4.0
"""Around a planted object, where no other is drawn."""


@dataclass(frozen=True)
class SceneObject:
    """One object of a mosaic."""

    y: float
    """0-based pixel centres."""
    x: float
    kind: str
    """galaxy, star, lens or merger."""
    light: list[Component | Layers]
    size_px: int
    """Of the stamp on which it is drawn."""
    mag_i: float
    """Of a lens, that of the deflector."""
    redshift: float
    """Of a lens, that of the deflector; NaN for stars."""
    radius: float
    """Half-light radius, arcsec; 0 for stars."""
    theta_e: float = np.nan
    """Einstein radius, arcsec."""
    time_myr: float = np.nan
    """Of a merger, since the first pericentre."""


def draw_field(
    rng: np.random.Generator, bands: tuple[str, ...], ny: int, nx: int, density: float, keep_free: np.ndarray
) -> list[SceneObject]:
    """Galaxies to i = 24.5 and stars, uniformly over the mosaic but for the surroundings of `keep_free` (n, 2) y, x."""
    area = ny * nx * (PIXEL_SCALE_ARCSEC / 60.0) ** 2
    grid = np.linspace(FIELD_BRIGHT, FIELD_FAINT, 200)
    n_galaxies = int(rng.poisson(density * area * np.trapezoid(counts(grid), grid)))
    n_stars = int(rng.poisson(density * area * _STARS_ARCMIN2))
    objects = []
    for index in range(n_galaxies + n_stars):
        y, x = rng.uniform(0.0, ny - 1.0), rng.uniform(0.0, nx - 1.0)
        thing = _field_galaxy(rng, bands, y, x) if index < n_galaxies else _field_star(rng, bands, y, x)
        distance = np.hypot(keep_free[:, 0] - y, keep_free[:, 1] - x) if len(keep_free) else np.array([np.inf])
        if distance.min() * PIXEL_SCALE_ARCSEC > _KEEP_FREE_ARCSEC:
            objects.append(thing)
    return objects


def _field_galaxy(rng: np.random.Generator, bands: tuple[str, ...], y: float, x: float) -> SceneObject:
    mag_i = draw_magnitude(rng, FIELD_BRIGHT, FIELD_FAINT)
    galaxy = draw_galaxy(rng, mag_i)
    if mag_i < _STRUCTURED_TO:
        light = galaxy_light(rng, galaxy, draw_structure(rng, galaxy), bands)
    else:
        light = simple_galaxy(rng, galaxy, bands, 0.0, 0.0)
    return SceneObject(y, x, "galaxy", light, stamp_size(mag_i, galaxy.radius), mag_i, galaxy.redshift, galaxy.radius)


def _field_star(rng: np.random.Generator, bands: tuple[str, ...], y: float, x: float) -> SceneObject:
    mag_i = float(rng.uniform(16.0, 23.0))
    light: list[Component | Layers] = [star(draw_star_fluxes(rng, mag_i, bands), 0.0, 0.0)]
    return SceneObject(y, x, "star", light, stamp_size(mag_i, 0.3), mag_i, np.nan, 0.0)


def stamp_size(mag_i: float, radius: float) -> int:
    """Even number of pixels that holds what of an object can be seen above the noise: more for the bright and the large."""
    half_arcsec = 3.0 + radius * np.interp(mag_i, [17.0, 20.0, 24.0], [14.0, 10.0, 5.0])
    half_arcsec += np.interp(mag_i, [17.0, 22.0], [4.0, 0.0])
    return 2 * int(np.clip(half_arcsec / PIXEL_SCALE_ARCSEC, 16, 160))


def plant_lenses(rng: np.random.Generator, exposures: Sequence[Exposure], places: np.ndarray) -> list[SceneObject]:
    """A bright lens with arcs that nobody can miss at each of the `places` (n, 2) y, x."""
    objects = []
    for y, x in places:
        lens = _clear_lens(rng, exposures)
        truth = lens.truth
        size = stamp_size(truth["mag_i"], truth["radius"])
        about = (truth["mag_i"], truth["redshift"], truth["radius"], truth["theta_e"])
        objects.append(SceneObject(float(y), float(x), "lens", lens.light, size, *about))
    return objects


def _clear_lens(rng: np.random.Generator, exposures: Sequence[Exposure]) -> Lens:
    while True:
        lens = draw_lens(rng, exposures, clear=1.8)
        truth = lens.truth
        if truth["theta_e"] > 1.2 and truth["magnification"] > 5.0 and 17.5 < truth["mag_i"] < 20.0:
            return lens


def plant_mergers(rng: np.random.Generator, exposures: Sequence[Exposure], places: np.ndarray) -> list[SceneObject]:
    """A large, bright merger with tails at each of the `places` (n, 2) y, x."""
    bands, objects = tuple(exposure.band for exposure in exposures), []
    for y, x in places:
        galaxy, view = _clear_merger(rng, exposures)
        light = encounter_light(rng, view, galaxy, bands)
        about = (galaxy.mag_i, galaxy.redshift, galaxy.radius)
        objects.append(SceneObject(float(y), float(x), "merger", light, 120, *about, time_myr=view.time_myr))
    return objects


def _clear_merger(rng: np.random.Generator, exposures: Sequence[Exposure]) -> tuple[Galaxy, View]:
    """A spiral seen 30 to 300 Myr after the passage of a companion of at least a fifth of its mass, with tides that nobody
    can miss."""
    encounter = run_encounter(rng)
    while True:
        mag_i = float(rng.uniform(17.0, 18.8))
        galaxy = draw_galaxy(rng, mag_i, redshift=float(rng.uniform(0.06, 0.2)), is_red=False)
        view = draw_view(rng, encounter, galaxy, float(rng.uniform(30.0, 300.0)), centred=True) if galaxy.radius > 0.9 else None
        if view is not None and tides_of(view, galaxy, exposures).fraction > _CLEAR_TIDES:
            return galaxy, view
        if rng.uniform() < 0.02 or encounter.mass_ratio < 0.2:  # not all encounters disturb their disks
            encounter = run_encounter(rng)
