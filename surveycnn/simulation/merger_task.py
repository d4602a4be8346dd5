"""Stamps for merger finders: snapshots of simulated encounters, and galaxies that only look disturbed.

Positives are labelled with the time from the first pericentre (Koppula et al. 2021, arXiv 2102.05182). Negatives are
the same disks run in isolation, projected pairs with the separations and flux ratios of the positives at redshifts of
their own (Chudy et al. 2025 show that networks otherwise learn to count galaxies), single spirals, barred and early
types, irregulars, and crowded fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import galsim
import numpy as np
from scipy import ndimage

from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.cosmology import kpc_per_arcsec
from surveycnn.simulation.encounters import (
    DISK_SCALE,
    LENGTH_UNIT_KPC,
    TIME_UNIT_MYR,
    Encounter,
    random_rotation,
)
from surveycnn.simulation.field import draw_neighbours
from surveycnn.simulation.galaxies import bulge_colours, disk_colours, draw_disk, draw_structure, galaxy_light, young_colours
from surveycnn.simulation.population import Galaxy, absolute_magnitude, draw_galaxy, draw_magnitude, njy
from surveycnn.simulation.render import Component, Layers, Stamp, draw_light, sersic

MIN_TIME_MYR, MAX_TIME_MYR = -80.0, 480.0
MAX_SEPARATION = 5.6
"""Of the nuclei of a positive: both stand on the stamp, arcsec."""
_NEGATIVES = {"isolated": 0.18, "projected": 0.32, "single": 0.32, "irregular": 0.10, "crowded": 0.08}
_GRID, _CELL = 100, 0.15
TRUTH = ("redshift", "mag_i", "mass_ratio", "separation", "pericentre_kpc")


@dataclass(frozen=True)
class View:
    """A snapshot as seen from somewhere, scaled to a galaxy on the sky."""

    time_myr: float
    disks: np.ndarray
    """(2, particle, 2) y, x in arcsec from the first nucleus."""
    nuclei: np.ndarray
    """(2, 2) y, x in arcsec."""
    mass_ratio: float

    @property
    def separation(self) -> float:
        return float(np.hypot(*(self.nuclei[1] - self.nuclei[0])))


def merger_stamp(
    rng: np.random.Generator, exposures: Sequence[Exposure], centre: tuple[float, float], encounter: Encounter, number: int
) -> Stamp:
    """Image without noise (band, y, x), labels and truth of one stamp; half of them are mergers."""
    bands = tuple(exposure.band for exposure in exposures)
    galaxy = draw_galaxy(rng, draw_magnitude(rng, 16.5, 23.0, slope=0.04), is_red=bool(rng.uniform() < 0.1))
    view = draw_view(rng, encounter, galaxy)
    is_merger = bool(rng.uniform() < 0.5)
    kind = "merger" if is_merger else str(rng.choice(list(_NEGATIVES), p=list(_NEGATIVES.values())))
    light = encounter_light(rng, view, galaxy, bands) if is_merger else _negative_light(rng, kind, view, encounter, galaxy, bands)
    light += draw_neighbours(rng, bands, avoid=1.5, boost=4.0 if kind == "crowded" else 1.0)
    labels = {
        "is_merger": np.bool_(is_merger),
        "time_myr": np.float32(view.time_myr if is_merger else np.nan),
        "encounter": np.int64(number),
    }
    truth = {
        "redshift": galaxy.redshift,
        "mag_i": galaxy.mag_i,
        "mass_ratio": view.mass_ratio if is_merger else np.nan,
        "separation": view.separation if is_merger or kind == "projected" else np.nan,
        "pericentre_kpc": encounter.pericentre * LENGTH_UNIT_KPC if is_merger else np.nan,
        "kind": kind,
    }
    return draw_light(light, exposures, centre=centre), labels, truth


def draw_view(rng: np.random.Generator, encounter: Encounter, galaxy: Galaxy) -> View:
    """A snapshot from a random side with both nuclei on the stamp, scaled to the size and mass of `galaxy`."""
    kpc = kpc_per_arcsec(galaxy.redshift)
    scale = float(np.clip(galaxy.radius / 1.678 * kpc / (DISK_SCALE * LENGTH_UNIT_KPC), 0.3, 3.0))
    m_abs = absolute_magnitude(galaxy.mag_i, galaxy.redshift, galaxy.spectral_type)
    mass = float(np.clip(10 ** (-0.4 * (m_abs + 21.5)), 0.02, 5.0))
    time_unit = float(np.clip(TIME_UNIT_MYR * np.sqrt(scale**3 / mass), 0.6 * TIME_UNIT_MYR, 1.8 * TIME_UNIT_MYR))
    times = encounter.time * time_unit
    possible = np.flatnonzero((times >= MIN_TIME_MYR) & (times <= MAX_TIME_MYR))
    arcsec = scale * LENGTH_UNIT_KPC / kpc
    for _ in range(20):
        snapshot, turn = int(rng.choice(possible)), random_rotation(rng)[:2].astype(np.float32)
        nuclei = encounter.centres[snapshot] @ turn.T * arcsec
        if np.hypot(*(nuclei[1] - nuclei[0])) < MAX_SEPARATION:
            break
    origin = nuclei[0] if rng.uniform() < 0.8 else nuclei[1] if rng.uniform() < 0.5 else nuclei.mean(axis=0)
    disks = encounter.particles[snapshot] @ turn.T * np.float32(arcsec)
    return View(float(times[snapshot]), disks - origin, nuclei - origin, encounter.mass_ratio)


def particle_map(positions: np.ndarray) -> np.ndarray:
    """Light (y, x) of particles at `positions` (particle, 2), arcsec; sum = share of the particles on the grid.

    Each particle is spread over a Gaussian as wide as its neighbours are far, so that dense parts stay sharp and tails smooth.
    """
    index = np.floor(positions / _CELL + _GRID / 2.0).astype(np.int64)
    inside = ((index >= 0) & (index < _GRID)).all(axis=1)
    flat = index[inside, 0] * _GRID + index[inside, 1]
    numbers = np.bincount(flat, minlength=_GRID**2).reshape(_GRID, _GRID).astype(np.float32)
    density = ndimage.gaussian_filter(numbers, 2.0).ravel()[flat]
    level = np.clip(np.round(np.log2(np.sqrt(3.0 / np.maximum(density, 1e-3)))), 0, 3).astype(int)
    light = np.zeros((_GRID, _GRID), np.float32)
    for step in range(4):
        part = np.bincount(flat[level == step], minlength=_GRID**2).reshape(_GRID, _GRID).astype(np.float32)
        light += ndimage.gaussian_filter(part, 0.8 * 2.0**step, mode="constant")
    return light / np.float32(len(positions))


def encounter_light(rng: np.random.Generator, view: View, galaxy: Galaxy, bands: tuple[str, ...]) -> list[Component | Layers]:
    """Both disks with their own colours, bulges, and young stars at the nuclei after the passage."""
    ratio = float(np.clip(view.mass_ratio * 10 ** rng.normal(0.0, 0.15), 0.05, 1.5))
    light: list[Component | Layers] = []
    for k, share in enumerate((1.0 / (1.0 + ratio), ratio / (1.0 + ratio))):
        member = galaxy if k == 0 else draw_galaxy(rng, galaxy.mag_i, redshift=galaxy.redshift)
        light += disk_of_particles(rng, view.disks[k], view.nuclei[k], replace(member, radius=galaxy.radius), share, bands)
    if view.time_myr > 0.0:
        burst = float(rng.uniform(0.0, 0.2)) * njy(galaxy.mag_i) * young_colours(galaxy, bands)
        knot = galsim.Gaussian(half_light_radius=max(0.25 * galaxy.radius, 0.05))
        light.append(Component(knot.shift(float(view.nuclei[0, 1]), float(view.nuclei[0, 0])), burst))
    return light


def disk_of_particles(
    rng: np.random.Generator, positions: np.ndarray, nucleus: np.ndarray, galaxy: Galaxy, share: float, bands: tuple[str, ...]
) -> list[Component | Layers]:
    """A disk of simulated particles with a bulge in its middle, `share` of the light of `galaxy`."""
    total = share * float(njy(galaxy.mag_i))
    bulge = float(rng.beta(1.6, 5.0))
    radius = max(galaxy.radius * np.sqrt(share) * rng.uniform(0.2, 0.4), 0.05)
    profile = sersic(2.0, radius, rng.uniform(0.7, 1.0), rng.uniform(0, np.pi), float(nucleus[0]), float(nucleus[1]))
    disk = Layers(particle_map(positions)[None], ((1.0 - bulge) * total * disk_colours(galaxy, bands))[None], _CELL)
    return [disk, Component(profile, bulge * total * bulge_colours(galaxy, bands))]


def _negative_light(
    rng: np.random.Generator, kind: str, view: View, encounter: Encounter, galaxy: Galaxy, bands: tuple[str, ...]
) -> list[Component | Layers]:
    """Light of one object that is no merger."""
    if kind == "isolated":
        return _isolated_light(rng, encounter, galaxy, bands)
    if kind == "irregular":
        structure = replace(
            draw_disk(rng, galaxy, bulge_fraction=0.0), clump_fraction=0.6, lopsidedness=float(rng.uniform(0.2, 0.8))
        )
        return galaxy_light(rng, replace(galaxy, is_red=False), structure, bands)
    use_particles = kind == "projected" and rng.uniform() < 0.5
    first = _isolated_light if use_particles else lambda r, _, g, b: galaxy_light(r, g, draw_structure(r, g), b)
    light = first(rng, encounter, galaxy, bands)
    if kind == "projected":
        ratio = float(np.clip(view.mass_ratio * 10 ** rng.normal(0.0, 0.15), 0.05, 1.5))
        other = draw_galaxy(rng, galaxy.mag_i - 2.5 * np.log10(ratio))
        y, x = view.nuclei[1] - view.nuclei[0]
        light += galaxy_light(rng, other, draw_structure(rng, other), bands, float(y), float(x))
    return light


def _isolated_light(
    rng: np.random.Generator, encounter: Encounter, galaxy: Galaxy, bands: tuple[str, ...]
) -> list[Component | Layers]:
    """The encounter's first disk as it would be without the encounter."""
    arcsec = np.float32(galaxy.radius / 1.678 / DISK_SCALE)
    snapshot = encounter.isolated[int(rng.integers(len(encounter.isolated) // 4, len(encounter.isolated)))]
    positions = snapshot @ random_rotation(rng)[:2].astype(np.float32).T * arcsec
    return disk_of_particles(rng, positions, np.zeros(2), galaxy, 1.0, bands)
