"""Light of disks that consist of particles: projected, weighted by spiral arms, smoothed where particles are sparse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

GRID, CELL = 100, 0.15
"""Cells along a side of the grid, and their size in arcsec."""


@dataclass(frozen=True)
class Disk:
    """A disk of particles as it is projected on the sky."""

    offsets: np.ndarray
    """(particle, 3) from the nucleus, in space."""
    axes: np.ndarray
    """(3, 2) two axes in the plane of the disk, over its scale length."""
    side: np.ndarray
    """(2, 3) from `offsets` to y, x in arcsec."""
    nucleus: np.ndarray
    """(2,) y, x in arcsec from the centre of the stamp."""

    def positions(self, step: int = 1) -> np.ndarray:
        """(particle, 2) y, x in arcsec from the centre of the stamp, of every `step`th particle."""
        return self.offsets[::step] @ self.side.T + self.nucleus.astype(np.float32)

    def polar(self) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the nucleus in the plane, in scale lengths, and azimuth in radian, (particle,) each."""
        along = self.offsets @ self.axes
        return np.hypot(along[:, 0], along[:, 1]), np.arctan2(along[:, 1], along[:, 0])


@dataclass(frozen=True)
class Arms:
    """Logarithmic spiral arms."""

    contrast: float
    """0 none to 1."""
    number: int
    pitch: float
    """Degrees."""
    winding: int
    """-1 or 1."""
    phase: float
    sharpness: float

    def pattern(self, radius: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
        """1 on the ridges and near 0 between them, (particle,); nothing inside half a scale length and beyond four."""
        log_radius = np.log(np.maximum(radius, 0.05))
        angle = self.number * (azimuth - self.phase - self.winding * log_radius / np.tan(np.radians(self.pitch)))
        inside = expit((radius - 0.5) / 0.12) * expit((4.0 - radius) / 0.4)
        return np.exp(self.sharpness * (np.cos(angle) - 1.0)) * inside


def draw_arms(rng: np.random.Generator, chance: float = 0.7) -> Arms:
    """Arms of any strength, or none."""
    return Arms(
        contrast=float(rng.uniform(0.2, 0.9)) if rng.uniform() < chance else 0.0,
        number=int(rng.choice([2, 3, 4, 1], p=[0.62, 0.18, 0.13, 0.07])),
        pitch=float(np.clip(rng.normal(20.0, 7.0), 8.0, 40.0)),
        winding=int(rng.choice([-1, 1])),
        phase=float(rng.uniform(0.0, 2.0 * np.pi)),
        sharpness=float(rng.uniform(1.0, 3.0)),
    )


def disk_layers(rng: np.random.Generator, disk: Disk, arms: Arms, clumpiness: float) -> np.ndarray:
    """Light of old and of young stars (2, y, x), each of the sum of its particles on the grid over all of them.

    Parameters
    ----------
    clumpiness
        Scatter of the logarithm of the young stars' surface density.
    """
    positions, (radius, azimuth) = disk.positions(), disk.polar()
    pattern = arms.pattern(radius, azimuth)
    old = particle_map(positions, 1.0 + arms.contrast * (1.5 * pattern - 0.3))
    young_weight = (pattern + 0.08 if arms.contrast else np.ones_like(pattern)) * expit((radius - 0.5) / 0.15)
    young = particle_map(positions, young_weight)
    if clumpiness:
        patchy = ndimage.gaussian_filter(rng.standard_normal(young.shape, dtype=np.float32), 2.0)
        total = young.sum()
        young *= np.exp(np.float32(clumpiness) * patchy / patchy.std())
        young *= total / max(young.sum(), 1e-30)
    return np.stack([old, young])


def particle_map(positions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Light (y, x) float32 of particles at `positions` (particle, 2), arcsec; sum = share of the weight on the grid.

    Each particle is spread over a Gaussian as wide as its neighbours are far, so that dense parts stay sharp and tails smooth.
    """
    weights = np.ones(len(positions)) if weights is None else weights
    index = np.floor(positions / CELL + GRID / 2.0).astype(np.int64)
    inside = ((index >= 0) & (index < GRID)).all(axis=1)
    flat, kept = index[inside, 0] * GRID + index[inside, 1], weights[inside]
    density = ndimage.gaussian_filter(_counted(flat), 2.0).ravel()[flat]
    level = np.clip(np.round(np.log2(np.sqrt(3.0 / np.maximum(density, 1e-3)))), 0, 3).astype(int)
    light = np.zeros((GRID, GRID), np.float32)
    for step in np.unique(level):
        members = level == step
        light += ndimage.gaussian_filter(_counted(flat[members], kept[members]), 0.8 * 2.0**step, mode="constant")
    return light / np.float32(max(weights.sum(), 1e-30))


def _counted(cells: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return np.bincount(cells, weights, minlength=GRID**2).reshape(GRID, GRID).astype(np.float32)
