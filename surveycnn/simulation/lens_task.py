"""Stamps for lens finders: detectable lenses, and what is mistaken for them.

The negatives are mixed as the best training set of HOLISMOKES XI (Canameras et al. 2024, A&A 692, A72, table 1):
spirals and rings, the deflectors alone, deflectors among blue satellites, groups, mergers and edge-on disks, stars and
artifacts, random field. Where they stand for a deflector, they have its magnitudes and colours, so that these alone do
not tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import galsim
import numpy as np

from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.field import draw_neighbours, simple_galaxy, star
from surveycnn.simulation.galaxies import draw_disk, draw_structure, galaxy_light
from surveycnn.simulation.lenses import draw_deflector, draw_lens, lens_light
from surveycnn.simulation.population import draw_galaxy, draw_magnitude, draw_star_fluxes, njy
from surveycnn.simulation.render import Component, Layers, Stamp, draw_light, shear_of
from surveycnn.simulation.spectra import colours

KINDS = ("lens", "spiral", "ring", "early_type", "satellites", "group", "merger", "edge_on", "star", "field")
"""Kinds of stamps; all but the first are negatives."""
_NEGATIVES = {
    "spiral": 0.22,
    "ring": 0.08,
    "early_type": 0.20,
    "satellites": 0.13,
    "group": 0.06,
    "merger": 0.05,
    "edge_on": 0.05,
    "star": 0.05,
    "field": 0.16,
}
TRUTH = ("theta_e", "mag_i", "radius", "magnification", "redshift", "redshift_source", "sigma_v", "mag_source_g")


def lens_stamp(rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float]) -> Stamp:
    """Image without noise (band, y, x), label and truth of one stamp; half of them are lenses."""
    bands = tuple(exposure.band for exposure in exposures)
    nothing = dict.fromkeys(TRUTH, np.nan)
    if rng.uniform() < 0.5:
        lens = draw_lens(rng, exposures)
        light, kind, truth = lens.light, "lens", nothing | lens.truth
    else:
        kind = str(rng.choice(list(_NEGATIVES), p=list(_NEGATIVES.values())))
        light, truth = draw_negative(rng, kind, bands), nothing
    light = light + draw_neighbours(rng, bands, avoid=2.0 if kind == "early_type" else 1.5)
    label = {"is_lens": np.bool_(kind == "lens")}
    return draw_light(light, exposures, centre=centre), label, truth | {"kind": kind}


def draw_negative(rng: np.random.Generator, kind: str, bands: tuple[str, ...]) -> list[Component | Layers]:
    """Light of one object that is no lens, of one of KINDS."""
    if kind in ("early_type", "satellites", "group"):
        return _early_type(rng, kind, bands)
    if kind == "star":
        return _star(rng, bands)
    if kind == "field":
        galaxy = draw_galaxy(rng, draw_magnitude(rng, 17.0, 24.0, slope=0.12))
        return galaxy_light(rng, galaxy, draw_structure(rng, galaxy), bands)
    if kind == "merger":
        return _close_pair(rng, bands)
    return _disk(rng, kind, bands)


def _early_type(rng: np.random.Generator, kind: str, bands: tuple[str, ...]) -> list[Component | Layers]:
    """A deflector that deflects nothing visible: alone, among blue satellites, or in a group of its like."""
    deflector = draw_deflector(rng)
    light: list[Component | Layers] = [*lens_light(deflector, bands, two_components=rng.uniform() < 0.3)]
    total = float(njy(deflector.mag_i))
    if kind == "satellites":
        for _ in range(int(rng.integers(1, 6))):
            y, x = _polar(rng, 0.7, 3.2)
            mag_i = float(np.clip(rng.normal(23.3, 0.9), 21.0, 25.0))
            satellite = draw_galaxy(rng, mag_i, redshift=float(rng.uniform(0.3, 1.8)), is_red=False)
            light += simple_galaxy(rng, satellite, bands, y, x)
    elif kind == "group":
        tint = colours(deflector.spectral_type, deflector.redshift, bands)
        for _ in range(int(rng.integers(2, 5))):
            y, x = _polar(rng, 1.2, 5.5)
            member = (
                lens_light(deflector, bands)[0].profile.dilate(rng.uniform(0.3, 0.8)).rotate(rng.uniform(0, 180) * galsim.degrees)
            )
            light.append(Component(member.shift(x, y), total * rng.uniform(0.1, 0.8) * tint))
    return light


def _disk(rng: np.random.Generator, kind: str, bands: tuple[str, ...]) -> list[Component | Layers]:
    """A red bulge in a blue disk with arms or a ring at the radii of Einstein rings, or a disk from the side."""
    mag_i = draw_deflector(rng).mag_i + 0.5
    galaxy = replace(draw_galaxy(rng, mag_i, is_red=False), radius=float(rng.uniform(0.8, 2.4)))
    if kind == "edge_on":
        structure = replace(draw_disk(rng, galaxy), inclination=float(rng.uniform(76.0, 90.0)))
        return galaxy_light(rng, galaxy, structure, bands)
    structure = draw_disk(rng, galaxy, max_inclination=55.0, bulge_fraction=float(rng.uniform(0.15, 0.75)))
    structure = replace(structure, bulge_radius=float(rng.uniform(0.3, 0.9)), clump_fraction=float(rng.uniform(0.05, 0.35)))
    if kind == "ring":
        ring = float(rng.uniform(0.6, 2.2)) / structure.scale_length
        structure = replace(structure, ring_fraction=float(rng.uniform(0.2, 0.5)), ring_radius=ring, arm_contrast=0.0)
    else:
        structure = replace(structure, arm_contrast=float(rng.uniform(0.5, 1.0)), ring_fraction=0.0)
    return galaxy_light(rng, galaxy, structure, bands)


def _close_pair(rng: np.random.Generator, bands: tuple[str, ...]) -> list[Component | Layers]:
    """Two galaxies within 2.5 arcsec, the second of any type."""
    mag_i = draw_deflector(rng).mag_i
    first = draw_galaxy(rng, mag_i)
    second = draw_galaxy(rng, mag_i + rng.uniform(0.2, 2.5), redshift=first.redshift)
    y, x = _polar(rng, 0.6, 2.5)
    light = galaxy_light(rng, first, draw_structure(rng, first), bands)
    return light + galaxy_light(rng, second, draw_structure(rng, second), bands, y, x)


def _star(rng: np.random.Generator, bands: tuple[str, ...]) -> list[Component | Layers]:
    """A star, alone or double, in half of the cases bright enough to have diffraction spikes and a halo."""
    mag_i = float(rng.uniform(16.5, 22.5))
    flux = draw_star_fluxes(rng, mag_i, bands)
    light: list[Component | Layers] = [star(flux, 0.0, 0.0)]
    if rng.uniform() < 0.4:
        y, x = _polar(rng, 0.5, 2.5)
        light.append(star(draw_star_fluxes(rng, mag_i + rng.uniform(0, 2), bands), y, x))
    if mag_i < 19.5:
        light += star_spikes(rng, flux)
    return light


def star_spikes(rng: np.random.Generator, flux: np.ndarray) -> list[Component | Layers]:
    """Four diffraction spikes and a halo of a star of (band,) fluxes at the origin, a few per cent of its light."""
    start, length = float(rng.uniform(0, 90)), float(rng.uniform(3.0, 9.0))
    spike = galsim.Exponential(half_light_radius=0.15 * length).shear(shear_of(0.05, 0.0))
    spikes = [Component(spike.rotate((start + 90.0 * k) * galsim.degrees), 0.015 * flux) for k in range(2)]
    return [*spikes, Component(galsim.Exponential(half_light_radius=length / 2.0), 0.03 * flux)]


def _polar(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """(y, x) at a random angle and a distance between `low` and `high` arcsec."""
    distance, angle = rng.uniform(low, high), rng.uniform(0.0, 2.0 * np.pi)
    return float(distance * np.sin(angle)), float(distance * np.cos(angle))
