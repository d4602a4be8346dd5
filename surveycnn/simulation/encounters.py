"""Encounters of two disk galaxies: restricted three-body simulations after Toomre & Toomre (1972, ApJ 178, 623), in numpy.

Two rigid galaxies (a disk with a Plummer core inside a Hernquist halo) fall together on a nearly parabolic orbit with
dynamical friction; massless particles of their disks feel both. Units: G = 1, length 4 kpc, mass 5e10 solar masses,
hence velocity 231 km/s, time 16.9 Myr, for a galaxy of the Milky Way's kind; the laws scale to others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

TIME_UNIT_MYR = 16.9
LENGTH_UNIT_KPC = 4.0
DISK_SCALE = 0.8
"""Scale length of the primary's disk, units of length."""
N_PARTICLES = 3000
"""Per disk."""
TIME_STEP = 0.1
START_TIME, END_TIME = -9.0, 34.0
"""From the first pericentre: -150 to +570 Myr."""
SNAPSHOT_STEPS = 5
_HALO_MASS, _HALO_RADIUS = 10.0, 5.0
_CORE_MASS, _CORE_RADIUS = 1.0, 0.3
_FRICTION = 10.0
"""4 pi ln(Lambda) of Chandrasekhar's formula; with ln(Lambda) near 0.8 galaxies of like masses part by 20 to 50 kpc after
their first passage and come back within 200 to 600 Myr."""


@dataclass(frozen=True)
class Encounter:
    """One run, many snapshots."""

    time: np.ndarray
    """(snapshot,) units of time from the first pericentre."""
    particles: np.ndarray
    """(snapshot, 2, particle, 3) float32 positions of the particles of the first and of the second disk."""
    centres: np.ndarray
    """(snapshot, 2, 3) positions of the nuclei."""
    undisturbed: np.ndarray
    """(snapshot, 2, particle, 3) float32 the same particles from their own nuclei, had each disk stayed alone."""
    planes: np.ndarray
    """(2, 3, 3) rotation of each disk: its columns are two axes in the plane and the axis of rotation."""
    mass_ratio: float
    """Second over first galaxy, 0.18 to 1."""
    pericentre: float
    """Smallest separation at the first passage, units of length."""


def acceleration(offset: np.ndarray, mass: float) -> np.ndarray:
    """Gravity (..., 3) of a galaxy of relative `mass` at `offset` (..., 3) from its centre; radii go as the root of the mass."""
    halo, core = _HALO_RADIUS * np.sqrt(mass), _CORE_RADIUS * np.sqrt(mass)
    squared = np.einsum("...k,...k->...", offset, offset)[..., None] + 1e-6  # four times as fast as a sum over the last axis
    radius = np.sqrt(squared)
    pull = _HALO_MASS / (radius * (radius + halo) ** 2) + _CORE_MASS / (squared + core**2) ** 1.5
    return -mass * pull * offset


def potential(radius: np.ndarray | float, mass: float) -> np.ndarray | float:
    """Potential of a galaxy of relative `mass` at `radius`."""
    halo, core = _HALO_RADIUS * np.sqrt(mass), _CORE_RADIUS * np.sqrt(mass)
    return -mass * (_HALO_MASS / (radius + halo) + _CORE_MASS / np.sqrt(radius**2 + core**2))


def _friction(offset: np.ndarray, velocity: np.ndarray, mass_ratio: float) -> np.ndarray:
    """Deceleration (3,) of the second galaxy in the halo of the first (Chandrasekhar 1943, ApJ 97, 255)."""
    radius = np.sqrt((offset**2).sum()) + 0.3
    density = _HALO_MASS * _HALO_RADIUS / (2.0 * np.pi * radius * (radius + _HALO_RADIUS) ** 3)
    speed2 = (velocity**2).sum()
    return -_FRICTION * mass_ratio * (_HALO_MASS + _CORE_MASS) * density * velocity / (speed2 + 1.0) ** 1.5


def orbit_step(
    offset: np.ndarray, velocity: np.ndarray, mass_ratio: float, step: float, friction: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Relative position and velocity (3,) of the second galaxy after one leapfrog step."""

    def pull(position: np.ndarray, speed: np.ndarray) -> np.ndarray:
        gravity = (1.0 + mass_ratio) * acceleration(position, 1.0)
        return gravity + _friction(position, speed, mass_ratio) if friction else gravity

    velocity = velocity + 0.5 * step * pull(offset, velocity)
    offset = offset + step * velocity
    return offset, velocity + 0.5 * step * pull(offset, velocity)


def orbital_energy(offset: np.ndarray, velocity: np.ndarray, mass_ratio: float) -> float:
    """Energy of the relative orbit per reduced mass."""
    radius = float(np.sqrt((offset**2).sum()))
    return float(0.5 * (velocity**2).sum() + (1.0 + mass_ratio) * potential(radius, 1.0))


def disk_scale(mass: float) -> float:
    """Scale length of the disk of a galaxy of relative `mass`, units of length."""
    return DISK_SCALE * mass**0.4


def draw_disk_particles(rng: np.random.Generator, mass: float, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions and velocities (n, 3) of an exponential disk on circular orbits with a dispersion of 8 %, and its rotation
    (3, 3)."""
    scale = disk_scale(mass)
    radius = rng.gamma(2.0, scale, n)
    radius = np.where(radius < 5.0 * scale, radius, rng.uniform(0.2, 2.0, n) * scale)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    position = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.normal(0.0, 0.08 * scale, n)])
    pull = acceleration(position, mass)
    speed = np.sqrt(np.maximum(-(pull * position).sum(axis=1), 0.0))
    velocity = speed[:, None] * np.column_stack([-np.sin(angle), np.cos(angle), np.zeros(n)])
    velocity += 0.08 * speed[:, None] * rng.standard_normal((n, 3))
    rotation = random_rotation(rng)
    return position @ rotation.T, velocity @ rotation.T, rotation


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A rotation matrix (3, 3), uniform over all directions."""
    w, x, y, z = (lambda q: q / np.sqrt((q**2).sum()))(rng.standard_normal(4))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def evolve_isolated(position: np.ndarray, velocity: np.ndarray, mass: float, n_steps: int, every: int) -> np.ndarray:
    """Positions (snapshot, particle, 3) of a disk that nobody disturbs, at the start and each `every` steps."""
    position, velocity = position.astype(np.float32), velocity.astype(np.float32)
    snapshots, half = [position], np.float32(0.5 * TIME_STEP)
    pull = acceleration(position, mass)
    for step in range(1, n_steps + 1):
        velocity = velocity + half * pull
        position = position + np.float32(TIME_STEP) * velocity
        pull = acceleration(position, mass)
        velocity = velocity + half * pull
        if step % every == 0:
            snapshots.append(position)
    return np.array(snapshots)


def incoming_orbit(rng: np.random.Generator, mass_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Relative position and velocity (3,) at START_TIME of a nearly parabolic orbit: run backwards from the pericentre."""
    pericentre = float(rng.uniform(0.3, 1.8)) * DISK_SCALE
    speed = np.sqrt(-2.0 * (1.0 + mass_ratio) * potential(pericentre, 1.0)) * rng.uniform(0.9, 1.0)
    offset, velocity = np.array([pericentre, 0.0, 0.0]), np.array([0.0, speed, 0.0])
    for _ in range(round(-START_TIME / TIME_STEP)):
        offset, velocity = orbit_step(offset, velocity, mass_ratio, -TIME_STEP, friction=False)
    return offset, velocity


def run_encounter(rng: np.random.Generator, n_particles: int = N_PARTICLES) -> Encounter:
    """Simulate one encounter: random masses, orbit and orientations."""
    mass_ratio = float(10 ** rng.uniform(-0.75, 0.0))
    offset, velocity = incoming_orbit(rng, mass_ratio)
    disks = [draw_disk_particles(rng, mass, n_particles) for mass in (1.0, mass_ratio)]
    n_steps = round((END_TIME - START_TIME) / TIME_STEP)
    alone = [
        evolve_isolated(*disk[:2], mass, n_steps, SNAPSHOT_STEPS) for disk, mass in zip(disks, (1.0, mass_ratio), strict=True)
    ]
    track = _orbit(offset, velocity, mass_ratio, n_steps)
    share = mass_ratio / (1.0 + mass_ratio)
    centres = np.stack([-share * track[:, 0], (1.0 - share) * track[:, 0]], axis=1)
    speeds = np.stack([-share * track[:, 1], (1.0 - share) * track[:, 1]], axis=1)
    position = np.concatenate([disks[k][0] + centres[0, k] for k in (0, 1)])
    velocity = np.concatenate([disks[k][1] + speeds[0, k] for k in (0, 1)])
    snapshots = _evolve(position, velocity, centres, mass_ratio)
    separation = np.sqrt((track[:, 0] ** 2).sum(axis=1))
    first = _first_pericentre(separation)
    return Encounter(
        time=(np.arange(0, n_steps + 1, SNAPSHOT_STEPS) - first) * TIME_STEP,
        particles=snapshots.reshape(len(snapshots), 2, n_particles, 3),
        centres=centres[::SNAPSHOT_STEPS],
        undisturbed=np.stack(alone, axis=1),
        planes=np.stack([disk[2] for disk in disks]),
        mass_ratio=mass_ratio,
        pericentre=float(separation[first]),
    )


def _orbit(offset: np.ndarray, velocity: np.ndarray, mass_ratio: float, n_steps: int) -> np.ndarray:
    """Relative positions and velocities (step, 2, 3), with friction."""
    track = [(offset, velocity)]
    for _ in range(n_steps):
        offset, velocity = orbit_step(offset, velocity, mass_ratio, TIME_STEP, friction=True)
        track.append((offset, velocity))
    return np.array(track)


def _first_pericentre(separation: np.ndarray) -> int:
    """Step of the first minimum of the separation."""
    rising = np.flatnonzero(np.diff(separation) > 0.0)
    return int(rising[0]) if rising.size else len(separation) - 1


def _evolve(position: np.ndarray, velocity: np.ndarray, centres: np.ndarray, mass_ratio: float) -> np.ndarray:
    """Positions (snapshot, particle, 3) of particles in the field of both galaxies, whose `centres` (step, 2, 3) are known."""
    # Single precision: twice as fast, and the particles only paint light.
    position, velocity, centres = position.astype(np.float32), velocity.astype(np.float32), centres.astype(np.float32)

    def pull(step: int) -> np.ndarray:
        return acceleration(position - centres[step, 0], 1.0) + acceleration(position - centres[step, 1], mass_ratio)

    snapshots, half = [position], np.float32(0.5 * TIME_STEP)
    force = pull(0)
    for step in range(1, len(centres)):
        velocity = velocity + half * force
        position = position + np.float32(TIME_STEP) * velocity
        force = pull(step)
        velocity = velocity + half * force
        if step % SNAPSHOT_STEPS == 0:
            snapshots.append(position)
    return np.array(snapshots, np.float32)


@lru_cache(maxsize=2)
def encounter_number(seed: int, code: int, number: int) -> Encounter:
    """Encounter `number` of a set of stamps: all of its snapshots come from one run, kept while they are drawn."""
    return run_encounter(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(code, 1, number))))
