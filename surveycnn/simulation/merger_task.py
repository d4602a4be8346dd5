"""Stamps for merger finders: snapshots of simulated encounters, and galaxies that only look disturbed.

Positives are labelled with the time from the first pericentre (Koppula et al. 2021, arXiv 2102.05182). Networks otherwise
learn to count galaxies (Chudy et al. 2025, arXiv 2502.16603), so every negative takes the galaxy and the view of an encounter
whose tides could have been seen: projected pairs are its two disks at the same places with the same fluxes, but undisturbed
and at redshifts of their own; the others mostly have such a companion too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import galsim
import numpy as np

from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.encounters import LENGTH_UNIT_KPC, Encounter
from surveycnn.simulation.field import draw_neighbours
from surveycnn.simulation.galaxies import (
    bulge_colours,
    disk_colours,
    draw_disk,
    draw_structure,
    galaxy_light,
    smoothed,
    young_colours,
)
from surveycnn.simulation.interactions import View, draw_interaction, undisturbed_disk
from surveycnn.simulation.particles import CELL, Arms, Disk, disk_layers, draw_arms
from surveycnn.simulation.population import Galaxy, draw_galaxy, njy
from surveycnn.simulation.render import Component, Layers, Stamp, draw_light, sersic

MIXES = ("train", "sersic", "population")
"""About half mergers, half others; the same with each galaxy as a smooth profile; mergers alone, whether their tides show or
not."""
NEGATIVES = {"projected": 0.50, "group": 0.12, "isolated": 0.12, "single": 0.14, "irregular": 0.12}
"""Kinds of negatives and their shares."""
_COMPANION = 0.5
"""Chance of a projected companion beside the negatives that are about something else."""
_ANALYTIC = 0.4
"""Chance that an undisturbed galaxy is drawn as an image, with arms, bars and rings, and not from particles."""
TRUTH = ("redshift", "mag_i", "mass_ratio", "separation", "pericentre_kpc")

Light = list[Component | Layers]


class Painter:
    """Draws galaxies of one stamp; `smooth` ones keep their flux, place, size and shape, and nothing else."""

    def __init__(self, rng: np.random.Generator, bands: tuple[str, ...], smooth: bool):
        self.rng, self.bands, self.smooth = rng, bands, smooth

    def particles(self, disk: Disk, galaxy: Galaxy, share: float = 1.0) -> Light:
        """A disk of particles with a bulge in its middle, `share` of the light of `galaxy`."""
        rng, total = self.rng, share * float(njy(galaxy.mag_i))
        bulge = float(rng.beta(1.6, 5.0))
        radius = max(galaxy.radius * np.sqrt(share) * rng.uniform(0.2, 0.4), 0.05)
        y, x = map(float, disk.nucleus)
        profile = sersic(2.0, radius, rng.uniform(0.7, 1.0), rng.uniform(0, np.pi), y, x)
        arms = draw_arms(rng, 0.7 if not galaxy.is_red else 0.1)
        young = (0.15 + 0.4 * arms.contrast) * rng.uniform(0.6, 1.0) if not galaxy.is_red else 0.0
        fluxes = (
            (1.0 - bulge)
            * total
            * np.stack([(1.0 - young) * disk_colours(galaxy, self.bands), young * young_colours(galaxy, self.bands)])
        )
        return [self._disk(disk, fluxes, arms), Component(profile, bulge * total * bulge_colours(galaxy, self.bands))]

    def _disk(self, disk: Disk, fluxes: np.ndarray, arms: Arms) -> Component | Layers:
        clumpiness = float(self.rng.uniform(0.1, 0.8))
        layers = disk_layers(self.rng, disk, arms, clumpiness)
        if not self.smooth:
            return Layers(layers, fluxes, CELL)
        return Component(profile_of(disk), fluxes.sum(axis=0))

    def image(self, galaxy: Galaxy, y: float = 0.0, x: float = 0.0, *, irregular: bool = False) -> Light:
        """A galaxy with the structure of its kind, or an irregular one."""
        rng = self.rng
        structure = draw_disk(rng, galaxy, bulge_fraction=0.0) if irregular else draw_structure(rng, galaxy)
        if irregular:
            structure = replace(structure, clump_fraction=float(rng.uniform(0.4, 0.9)), lopsidedness=float(rng.uniform(0.2, 0.9)))
        return galaxy_light(rng, galaxy, smoothed(structure) if self.smooth else structure, self.bands, y, x)

    def undisturbed(self, encounter: Encounter, number: int, galaxy: Galaxy, place: np.ndarray) -> Light:
        """A galaxy that nobody disturbs at `place` (y, x) arcsec."""
        if self.rng.uniform() < _ANALYTIC:
            return self.image(galaxy, float(place[0]), float(place[1]))
        return self.particles(undisturbed_disk(self.rng, encounter, number, galaxy, place), galaxy)


def profile_of(disk: Disk) -> galsim.GSObject:
    """Exponential profile of flux 1 with the centroid and the second moments of a disk's particles."""
    places = disk.positions().astype(float)
    for _ in range(3):
        offsets = places - places.mean(axis=0)
        distance = np.hypot(offsets[:, 0], offsets[:, 1])
        places = places[distance < 3.0 * np.median(distance)]
    (yy, xy), (_, xx) = np.cov(places, rowvar=False)
    size, difference = xx + yy, np.hypot(xx - yy, 2.0 * xy)
    major, minor = np.sqrt(0.5 * (size + difference)), np.sqrt(max(0.5 * (size - difference), 1e-6))
    angle, (y, x) = 0.5 * np.arctan2(2.0 * xy, xx - yy), places.mean(axis=0)
    # The second moment along an axis of an exponential is 3 scale lengths squared; half-light radius 1.678 of them.
    return sersic(1.0, max(1.678 * major / np.sqrt(3.0), 0.05), minor / major, angle, float(y), float(x))


def merger_stamp(
    rng: np.random.Generator,
    exposures: Sequence[Exposure],
    centre: tuple[float, float],
    encounter: Encounter,
    number: int,
    mix: str = MIXES[0],
) -> Stamp:
    """Image without noise (band, y, x), labels and truth of one stamp; half of them are mergers, or all in `population`."""
    bands = tuple(exposure.band for exposure in exposures)
    galaxy, view, tides = draw_interaction(rng, encounter, exposures, detectable=mix != "population")
    is_merger = mix == "population" or (tides.is_detectable and bool(rng.uniform() < 0.58))
    kind = "merger" if is_merger else str(rng.choice(list(NEGATIVES), p=list(NEGATIVES.values())))
    painter = Painter(rng, bands, smooth=mix == "sersic")
    if is_merger:
        light = encounter_light(rng, view, galaxy, bands, painter)
    else:
        light = _negative_light(painter, kind, view, encounter, galaxy)
    light += draw_neighbours(rng, bands, avoid=1.5)
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
        "tidal_fraction": tides.fraction if is_merger else np.nan,
        "tidal_sn": tides.sn if is_merger else np.nan,
        "is_detectable": tides.is_detectable and is_merger,
        "kind": kind,
    }
    return draw_light(light, exposures, centre=centre), labels, truth


def encounter_light(
    rng: np.random.Generator, view: View, galaxy: Galaxy, bands: tuple[str, ...], painter: Painter | None = None
) -> Light:
    """Both disks with their own colours, bulges, and young stars at the first nucleus."""
    painter = painter or Painter(rng, bands, smooth=False)
    ratio = _flux_ratio(rng, view)
    light: Light = []
    for k, share in enumerate((1.0 / (1.0 + ratio), ratio / (1.0 + ratio))):
        member = galaxy if k == 0 else draw_galaxy(rng, galaxy.mag_i, redshift=galaxy.redshift)
        light += painter.particles(view.disks[k], replace(member, mag_i=galaxy.mag_i, radius=galaxy.radius), share)
    burst = float(rng.uniform(0.0, 0.15)) * njy(galaxy.mag_i) * young_colours(galaxy, bands)
    knot = galsim.Gaussian(half_light_radius=max(0.25 * galaxy.radius, 0.05))
    y, x = view.nuclei[0]
    return [*light, Component(knot.shift(float(x), float(y)), burst)]


def _flux_ratio(rng: np.random.Generator, view: View) -> float:
    """Second over first galaxy: mass ratio with the scatter of the mass-to-light ratios."""
    return float(np.clip(view.mass_ratio * 10 ** rng.normal(0.0, 0.15), 0.05, 1.5))


def _negative_light(painter: Painter, kind: str, view: View, encounter: Encounter, galaxy: Galaxy) -> Light:
    """Light of what is no merger, as bright as `galaxy` in all where it is a pair."""
    rng = painter.rng
    first, second = view.nuclei
    if kind == "projected":
        main, other = _shared(rng, view, galaxy)
        return painter.undisturbed(encounter, 0, main, first) + painter.undisturbed(encounter, 1, other, second)
    if kind == "group":
        return _group_light(painter, view, encounter, galaxy)
    has_companion = bool(rng.uniform() < _COMPANION)
    main, other = _shared(rng, view, galaxy) if has_companion else (galaxy, galaxy)
    if kind == "isolated":
        light = painter.particles(undisturbed_disk(rng, encounter, 0, main, first), main)
    else:
        light = painter.image(
            replace(main, is_red=False) if kind == "irregular" else main, *map(float, first), irregular=kind == "irregular"
        )
    return light + (painter.undisturbed(encounter, 1, other, second) if has_companion else [])


def _shared(rng: np.random.Generator, view: View, galaxy: Galaxy) -> tuple[Galaxy, Galaxy]:
    """`galaxy` and another one behind or before it, sharing its light as the two of the encounter would."""
    ratio = _flux_ratio(rng, view)
    fainter, other = 2.5 * np.log10(1.0 + ratio), -2.5 * np.log10(ratio / (1.0 + ratio))
    main = replace(galaxy, mag_i=galaxy.mag_i + float(fainter))
    return main, draw_galaxy(rng, galaxy.mag_i + float(other))


def _group_light(painter: Painter, view: View, encounter: Encounter, galaxy: Galaxy) -> Light:
    """`galaxy` with two to four undisturbed companions at its redshift, the first of them where the encounter has its second
    one."""
    rng = painter.rng
    n = int(rng.integers(2, 5))
    shares = rng.dirichlet(np.full(n, 2.0)) * rng.uniform(0.3, 0.7)
    light = painter.undisturbed(encounter, 0, _with_share(galaxy, 1.0 - shares.sum()), view.nuclei[0])
    for index, share in enumerate(shares):
        distance, angle = rng.uniform(1.5, 6.0), rng.uniform(0.0, 2.0 * np.pi)
        place = view.nuclei[1] if index == 0 else view.nuclei[0] + distance * np.array([np.sin(angle), np.cos(angle)])
        member = _with_share(galaxy, share)
        light += painter.undisturbed(encounter, 1, draw_galaxy(rng, member.mag_i, redshift=galaxy.redshift), place)
    return light


def _with_share(galaxy: Galaxy, share: float) -> Galaxy:
    return replace(galaxy, mag_i=galaxy.mag_i - 2.5 * float(np.log10(share)))
