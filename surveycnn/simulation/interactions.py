"""Encounters as they are seen on the sky: a snapshot from some side, scaled to a galaxy, and how much the tides show.

A positive of a training set needs tides that can be seen, as a lens needs arcs that can (:mod:`surveycnn.simulation.arcs`): a
pair whose disks are not disturbed looks like two galaxies in one line of sight, and only redshifts tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.cosmology import kpc_per_arcsec
from surveycnn.simulation.encounters import (
    DISK_SCALE,
    LENGTH_UNIT_KPC,
    TIME_UNIT_MYR,
    Encounter,
    disk_scale,
    random_rotation,
)
from surveycnn.simulation.galaxies import disk_colours
from surveycnn.simulation.particles import Disk
from surveycnn.simulation.population import Galaxy, absolute_magnitude, draw_galaxy, draw_magnitude, njy

MAX_TIME_MYR = 400.0
"""Mergers are seen from the first pericentre to so much later: before it, their disks are those of any two galaxies."""
MAX_SEPARATION = 5.6
"""Of the nuclei of a pair: both stand on the stamp, arcsec."""
MIN_TIDAL_FRACTION, MIN_TIDAL_SN = 0.16, 60.0
BRIGHTEST, FAINTEST = 16.0, 21.5
"""i magnitudes."""
_HALF_ARCSEC = 7.2
_CELL_FWHM = 1.25
"""Cells in which the light is compared, over the seeing."""
_MIN_RADIUS_FWHM = 0.7
"""Half-light radius over the seeing of the smallest galaxies whose tides are looked for."""
_EVERY = 3
"""Of the particles, those that are counted for the tides."""
_N_TRIES = 60


@dataclass(frozen=True)
class View:
    """A snapshot as seen from somewhere, scaled to a galaxy on the sky."""

    time_myr: float
    disks: tuple[Disk, Disk]
    """The two galaxies."""
    undisturbed: tuple[Disk, Disk]
    """The same at the same places, had each of them stayed alone."""
    mass_ratio: float

    @property
    def nuclei(self) -> np.ndarray:
        """(2, 2) y, x in arcsec from the centre of the stamp."""
        return np.stack([disk.nucleus for disk in self.disks])

    @property
    def separation(self) -> float:
        """Of the nuclei, arcsec."""
        return float(np.hypot(*(self.nuclei[1] - self.nuclei[0])))


@dataclass(frozen=True)
class Tides:
    """How much of the light the encounter has moved, and how well that shows."""

    fraction: float
    """Of the light, in cells a little wider than the seeing, away from the nuclei, where even a bright bulge hides nothing: half
    the sum of the absolute differences to the undisturbed galaxies."""
    sn: float
    """S/N of these differences in the best band."""

    @property
    def strength(self) -> float:
        """Grows to 1, from where on the tides are detectable."""
        return min(self.fraction / MIN_TIDAL_FRACTION, 1.0) * min(self.sn / MIN_TIDAL_SN, 1.0)

    @property
    def is_detectable(self) -> bool:
        return self.fraction >= MIN_TIDAL_FRACTION and self.sn >= MIN_TIDAL_SN


def draw_interaction(
    rng: np.random.Generator, encounter: Encounter, exposures: Sequence[Exposure], *, detectable: bool = True
) -> tuple[Galaxy, View, Tides]:
    """A galaxy of the sky in a snapshot of `encounter`, at a time uniform between 0 and `MAX_TIME_MYR`.

    Where `detectable`, galaxies and sides are drawn until the tides show; encounters that hardly disturb their disks give the
    best of many draws, which the caller has to look at.
    """
    tries, found = 0, None
    resolved = _MIN_RADIUS_FWHM * min(exposure.fwhm for exposure in exposures) if detectable else 0.0
    while found is None or (detectable and not found[2].is_detectable and tries < _N_TRIES):
        if tries % 10 == 0:
            time_myr = float(rng.uniform(0.0, MAX_TIME_MYR))
        tries += 1
        galaxy = draw_galaxy(rng, draw_magnitude(rng, BRIGHTEST, FAINTEST, slope=0.1), is_red=bool(rng.uniform() < 0.1))
        if galaxy.radius < resolved:
            continue
        view = draw_view(rng, encounter, galaxy, time_myr)
        if view is not None:
            tides = tides_of(view, galaxy, exposures)
            if found is None or tides.strength > found[2].strength:
                found = galaxy, view, tides
    return found


def scales_of(galaxy: Galaxy) -> tuple[float, float]:
    """arcsec per unit of length and Myr per unit of time of an encounter whose first galaxy is `galaxy`.

    The disk sets the length; the time is length over velocity, and velocity goes as the fourth root of the luminosity (Tully
    & Fisher 1977, A&A 54, 661), as the encounters' galaxies are those of the Milky Way's kind.
    """
    kpc = kpc_per_arcsec(galaxy.redshift)
    length = float(np.clip(galaxy.radius / 1.678 * kpc / (DISK_SCALE * LENGTH_UNIT_KPC), 0.3, 3.0))
    m_abs = absolute_magnitude(galaxy.mag_i, galaxy.redshift, galaxy.spectral_type)
    velocity = 10 ** (-0.1 * (m_abs + 21.5))
    return length * LENGTH_UNIT_KPC / kpc, TIME_UNIT_MYR * float(np.clip(length / velocity, 0.7, 1.5))


def draw_view(
    rng: np.random.Generator, encounter: Encounter, galaxy: Galaxy, time_myr: float, *, centred: bool = False
) -> View | None:
    """The snapshot nearest to `time_myr` from a random side, scaled to `galaxy`; None where a nucleus falls off the stamp.

    The origin is the first nucleus where `centred`, else now and then the second or the middle, as a detection finds them.
    """
    arcsec, time_unit = scales_of(galaxy)
    snapshot = int(np.abs(encounter.time * time_unit - time_myr).argmin())
    turn = random_rotation(rng)[:2].astype(np.float32)
    nuclei = encounter.centres[snapshot] @ turn.T * arcsec
    if np.hypot(*(nuclei[1] - nuclei[0])) > MAX_SEPARATION:
        return None
    if centred or rng.uniform() < 0.8:
        nuclei = nuclei - nuclei[0]
    else:
        nuclei = nuclei - (nuclei[1] if rng.uniform() < 0.5 else nuclei.mean(axis=0))
    place = encounter.particles[snapshot] - encounter.centres[snapshot][:, None].astype(np.float32)
    disks, undisturbed = (
        tuple(_projected(encounter, k, offsets[k], turn, nuclei[k], arcsec) for k in (0, 1))
        for offsets in (place, encounter.undisturbed[snapshot])
    )
    time = float(encounter.time[snapshot] * time_unit)
    return View(time, disks, undisturbed, encounter.mass_ratio)  # type: ignore[arg-type]


def _projected(
    encounter: Encounter, number: int, offsets: np.ndarray, turn: np.ndarray, nucleus: np.ndarray, arcsec: float
) -> Disk:
    """A disk of particles at `offsets` (particle, 3) from its nucleus, seen from the side `turn` (2, 3)."""
    scale = disk_scale(1.0 if number == 0 else encounter.mass_ratio)
    axes = encounter.planes[number][:, :2].astype(np.float32) / np.float32(scale)
    return Disk(offsets, axes, turn * np.float32(arcsec), nucleus)


def undisturbed_disk(rng: np.random.Generator, encounter: Encounter, number: int, galaxy: Galaxy, nucleus: np.ndarray) -> Disk:
    """A disk of `encounter` that stayed alone, from any side, as large as `galaxy` is, at `nucleus` (y, x) arcsec."""
    snapshot = encounter.undisturbed[int(rng.integers(len(encounter.undisturbed) // 4, len(encounter.undisturbed))), number]
    arcsec = galaxy.radius / 1.678 / disk_scale(1.0 if number == 0 else encounter.mass_ratio)
    return _projected(encounter, number, snapshot, random_rotation(rng)[:2].astype(np.float32), nucleus, arcsec)


def tides_of(view: View, galaxy: Galaxy, exposures: Sequence[Exposure]) -> Tides:
    """What the encounter has moved on the stamp."""
    cell = _CELL_FWHM * min(exposure.fwhm for exposure in exposures)
    shares = (1.0 / (1.0 + view.mass_ratio), view.mass_ratio / (1.0 + view.mass_ratio))
    found = [
        sum(share * _coarse(disk.positions(_EVERY), cell) for share, disk in zip(shares, disks, strict=True))
        for disks in (view.disks, view.undisturbed)
    ]
    moved = np.asarray(found[0] - found[1])
    for nucleus in view.nuclei:
        moved = np.where(_distance(nucleus, cell, len(moved)) > cell, moved, 0.0)
    flux = njy(galaxy.mag_i) * disk_colours(galaxy, tuple(exposure.band for exposure in exposures))
    noise = np.array([exposure.sigma * cell / exposure.pixel_scale for exposure in exposures])
    return Tides(float(0.5 * np.abs(moved).sum()), float(np.sqrt((moved**2).sum()) * (flux / noise).max()))


def _distance(place: np.ndarray, cell: float, n: int) -> np.ndarray:
    """Distance of each cell (y, x) of the stamp from `place`, arcsec."""
    axis = (np.arange(n) - (n - 1) / 2.0) * cell
    return np.hypot(axis[:, None] - place[0], axis[None, :] - place[1])


def _coarse(positions: np.ndarray, cell: float) -> np.ndarray:
    """Share of the particles in each cell (y, x) of the stamp."""
    n = 2 * int(np.ceil(_HALF_ARCSEC / cell))
    index = np.floor(positions / cell + n / 2.0).astype(np.int64)
    inside = ((index >= 0) & (index < n)).all(axis=1)
    counts = np.bincount(index[inside, 0] * n + index[inside, 1], minlength=n * n)
    return counts.reshape(n, n) / len(positions)
