"""Shapes of galaxies: bulges and disks, spiral arms, bars, rings, clumps, as components that GalSim can draw.

Structural numbers: bar frequency and lengths after Gadotti (2009, MNRAS 393, 1531), pitch angles and arm numbers after
Davis et al. (2012, ApJS 199, 33), disk thickness 0.15-0.25.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import galsim
import numpy as np
from scipy import ndimage

from surveycnn.simulation.population import Galaxy, njy
from surveycnn.simulation.render import Component, Layers, sersic, shear_of
from surveycnn.simulation.spectra import colours

_GRID = 112
"""Cells along a side of the grid on which structured disks are drawn."""
EDGE_ON_DEG = 74.0
"""Inclination from which a disk is drawn with its thickness, without arms and bars."""


@dataclass(frozen=True)
class Structure:
    """What a galaxy looks like without the atmosphere: the latent truth of its morphology."""

    bulge_fraction: float
    """Share of the i-band light in the bulge; 1 for an elliptical."""
    bulge_index: float
    """Sersic index of the bulge."""
    bulge_radius: float
    """Half-light radius of the bulge, arcsec."""
    bulge_axis_ratio: float
    scale_length: float
    """Of the disk, arcsec."""
    thickness: float
    inclination: float
    """Degrees, 0 face-on."""
    angle: float
    """Position angle of the major axis, radian from x to y."""
    arm_contrast: float = 0.0
    """0 none to 1 all of the disk in the arms."""
    arm_number: int = 2
    pitch: float = 20.0
    """Degrees."""
    winding: int = 1
    bar_fraction: float = 0.0
    """Share of the disk's light in the bar."""
    bar_length: float = 1.0
    """Semi-major axis, scale lengths of the disk."""
    bar_angle: float = 0.0
    """In the disk plane, radian."""
    ring_fraction: float = 0.0
    """Share of the disk's light in the ring."""
    ring_radius: float = 1.5
    """Scale lengths of the disk."""
    clump_fraction: float = 0.0
    """Share of the young light in clumps."""
    lopsidedness: float = 0.0

    @property
    def has_disk(self) -> bool:
        return self.bulge_fraction < 1.0

    @property
    def is_edge_on(self) -> bool:
        return self.has_disk and self.inclination >= EDGE_ON_DEG

    @property
    def is_structured(self) -> bool:
        """Needs a grid: something in the disk is not an exponential."""
        features = self.arm_contrast + self.bar_fraction + self.ring_fraction + self.clump_fraction
        return self.has_disk and not self.is_edge_on and features > 0.0


def draw_elliptical(rng: np.random.Generator, galaxy: Galaxy) -> Structure:
    """An elliptical: one Sersic profile, n 3 to 6 (2 to 4 for dwarfs)."""
    index = rng.uniform(2.0, 4.0) if galaxy.mag_i > 22.5 else rng.uniform(3.0, 6.0)
    axis_ratio = float(np.clip(1.0 - abs(rng.normal(0.18, 0.14)), 0.35, 1.0))
    return Structure(1.0, index, galaxy.radius, axis_ratio, 0.0, 0.2, 0.0, rng.uniform(0, np.pi))


def draw_disk(
    rng: np.random.Generator,
    galaxy: Galaxy,
    *,
    features: float = 1.0,
    max_inclination: float = 90.0,
    bulge_fraction: float | None = None,
) -> Structure:
    """A disk galaxy, inclination uniform in its cosine.

    Parameters
    ----------
    features
        Factor on the frequency of arms and bars; 0 gives smooth disks.
    """
    if bulge_fraction is None:
        bulge_fraction = float(rng.beta(1.6, 4.0) if not galaxy.is_red else rng.uniform(0.3, 0.7))
    inclination = float(np.degrees(np.arccos(rng.uniform(np.cos(np.radians(max_inclination)), 1.0))))
    spiral_chance = 0.75 if not galaxy.is_red else 0.08
    has_arms = rng.uniform() < features * spiral_chance
    has_bar = rng.uniform() < features * (0.40 if has_arms else 0.25)
    has_ring = rng.uniform() < features * 0.08
    return Structure(
        bulge_fraction=bulge_fraction,
        bulge_index=float(rng.uniform(1.0, 4.0)),
        bulge_radius=galaxy.radius * float(rng.uniform(0.15, 0.35) + 0.25 * bulge_fraction),
        bulge_axis_ratio=float(rng.uniform(0.7, 1.0)),
        scale_length=galaxy.radius / 1.678 * (1.0 + 0.4 * bulge_fraction),
        thickness=float(rng.uniform(0.12, 0.25)),
        inclination=inclination,
        angle=float(rng.uniform(0.0, np.pi)),
        arm_contrast=float(rng.uniform(0.25, 0.95)) if has_arms else 0.0,
        arm_number=int(rng.choice([2, 3, 4, 1], p=[0.62, 0.18, 0.13, 0.07])),
        pitch=float(np.clip(rng.normal(20.0, 7.0), 8.0, 40.0)),
        winding=int(rng.choice([-1, 1])),
        bar_fraction=float(rng.uniform(0.06, 0.30)) if has_bar else 0.0,
        bar_length=float(rng.uniform(0.6, 1.5)),
        bar_angle=float(rng.uniform(0.0, np.pi)),
        ring_fraction=float(rng.uniform(0.1, 0.35)) if has_ring else 0.0,
        ring_radius=float(rng.uniform(1.0, 2.2)),
        clump_fraction=float(rng.uniform(0.05, 0.35)) if not galaxy.is_red else 0.0,
        lopsidedness=float(abs(rng.normal(0.0, 0.12))),
    )


def draw_structure(rng: np.random.Generator, galaxy: Galaxy, features: float = 1.0) -> Structure:
    """An elliptical or a disk with the frequencies of the field; red galaxies are ellipticals and S0s."""
    if rng.uniform() < (0.6 if galaxy.is_red else 0.05):
        return draw_elliptical(rng, galaxy)
    return draw_disk(rng, galaxy, features=features)


def smoothed(structure: Structure) -> Structure:
    """The same bulge and disk without arms, bar, ring, clumps and lopsidedness."""
    return replace(structure, arm_contrast=0.0, bar_fraction=0.0, ring_fraction=0.0, clump_fraction=0.0, lopsidedness=0.0)


def bulge_colours(galaxy: Galaxy, bands: tuple[str, ...]) -> np.ndarray:
    """Flux ratios (band,) to i of the old stars."""
    return colours(max(0.0, 0.3 * galaxy.spectral_type - 0.1), galaxy.redshift, bands, 0.5 * max(galaxy.a_v, 0.0))


def disk_colours(galaxy: Galaxy, bands: tuple[str, ...]) -> np.ndarray:
    return colours(galaxy.spectral_type, galaxy.redshift, bands, galaxy.a_v)


def young_colours(galaxy: Galaxy, bands: tuple[str, ...]) -> np.ndarray:
    """Flux ratios (band,) to i of star-forming arms, rings and clumps."""
    return colours(min(galaxy.spectral_type + 1.2, 3.0), galaxy.redshift, bands, galaxy.a_v - 0.25)


def galaxy_light(
    rng: np.random.Generator, galaxy: Galaxy, structure: Structure, bands: tuple[str, ...], y: float = 0.0, x: float = 0.0
) -> list[Component | Layers]:
    """Components of a galaxy at (y, x) arcsec; their i-band fluxes add up to its magnitude."""
    total = float(njy(galaxy.mag_i))
    light: list[Component | Layers] = []
    if structure.bulge_fraction > 0.02:
        profile = sersic(structure.bulge_index, structure.bulge_radius, structure.bulge_axis_ratio, structure.angle, y, x)
        tint = bulge_colours(galaxy, bands) if structure.has_disk else disk_colours(galaxy, bands)
        light.append(Component(profile, structure.bulge_fraction * total * tint))
    bulge = structure.bulge_fraction if light else 0.0
    if not structure.has_disk:
        return light
    if structure.is_structured:
        light.append(structured_disk(rng, galaxy, structure, bands, (1.0 - bulge) * total, y, x))
    else:
        profile = smooth_disk(structure).shift(x, y)
        light.append(Component(profile, (1.0 - bulge) * total * disk_colours(galaxy, bands)))
    return light


def smooth_disk(structure: Structure) -> galsim.GSObject:
    """Exponential disk of flux 1; with its thickness when seen from the side."""
    if structure.inclination < 60.0:
        axis_ratio = np.cos(np.radians(structure.inclination))
        round_radius = structure.scale_length * np.sqrt(axis_ratio)
        return galsim.Exponential(scale_radius=round_radius).shear(shear_of(axis_ratio, structure.angle))
    disk = galsim.InclinedExponential(
        inclination=structure.inclination * galsim.degrees,
        scale_radius=structure.scale_length,
        scale_h_over_r=structure.thickness,
    )
    return disk.rotate(structure.angle * galsim.radians)


def structured_disk(
    rng: np.random.Generator, galaxy: Galaxy, structure: Structure, bands: tuple[str, ...], flux: float, y: float, x: float
) -> Layers:
    """Disk in three layers: old disk and bar in the disk's and bulge's colours, arms, rings and clumps in young ones."""
    h = structure.scale_length
    half = float(np.clip(5.0 * h, 1.2, 10.0))
    cell = 2.0 * half / _GRID
    maps = disk_maps(rng, structure, (np.arange(_GRID) - (_GRID - 1) / 2.0) * cell)
    young = min(0.2 + 0.5 * structure.arm_contrast * structure.arm_contrast + structure.ring_fraction, 0.7)
    young = young if structure.arm_contrast + structure.ring_fraction + structure.clump_fraction > 0.0 else 0.0
    shares = np.array([(1 - structure.bar_fraction) * (1 - young), structure.bar_fraction, (1 - structure.bar_fraction) * young])
    tints = np.array([disk_colours(galaxy, bands), bulge_colours(galaxy, bands), young_colours(galaxy, bands)])
    return Layers(maps, flux * shares[:, None] * tints, cell, y, x)


def disk_maps(rng: np.random.Generator, structure: Structure, axis: np.ndarray) -> np.ndarray:
    """Light of the old disk, the bar and the young stars: (3, y, x), each of sum 1, on the grid `axis` x `axis` in arcsec."""
    cos_angle, sin_angle = np.cos(structure.angle), np.sin(structure.angle)
    major = axis[None, :] * cos_angle + axis[:, None] * sin_angle
    minor = -axis[None, :] * sin_angle + axis[:, None] * cos_angle
    minor = minor / max(np.cos(np.radians(structure.inclination)), 0.15)
    # Half a cell of softening: the centre of the exponential is a cusp that the grid does not sample.
    radius = np.sqrt(major**2 + minor**2 + (0.5 * (axis[1] - axis[0])) ** 2) / structure.scale_length
    azimuth = np.arctan2(minor, major)
    arms = _arm_pattern(rng, structure, radius, azimuth)
    lopsided = 1.0 + structure.lopsidedness * np.cos(azimuth - rng.uniform(0, 2 * np.pi)) * np.minimum(radius / 2.0, 1.0)
    old = np.exp(-radius) * (1.0 + structure.arm_contrast * (1.5 * arms - 0.5)) * lopsided
    bar = _bar(structure, major / structure.scale_length, minor / structure.scale_length)
    young = _young(rng, structure, radius, arms) * lopsided
    maps = np.array([np.maximum(old, 0.0), bar, young])
    return (maps / np.maximum(maps.sum(axis=(1, 2), keepdims=True), 1e-30)).astype(np.float32)


def _arm_pattern(rng: np.random.Generator, structure: Structure, radius: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Logarithmic spiral arms, 1 on the ridge and near 0 between, fading into the bulge and bar."""
    if structure.arm_contrast == 0.0:
        return np.zeros_like(radius)
    start = 0.9 * structure.bar_length if structure.bar_fraction else 0.5
    log_radius = np.log(np.maximum(radius, 0.05) / start)
    wobble = 0.35 * np.sin(2.0 * log_radius + rng.uniform(0, 2 * np.pi)) + 0.25 * np.sin(azimuth + rng.uniform(0, 2 * np.pi))
    winding = structure.winding * log_radius / np.tan(np.radians(structure.pitch))
    phase = structure.arm_number * (azimuth - structure.bar_angle - winding) + wobble
    sharpness = rng.uniform(1.0, 3.0)
    return np.exp(sharpness * (np.cos(phase) - 1.0)) / (1.0 + np.exp(-(radius - start) / 0.12))


def _bar(structure: Structure, major: np.ndarray, minor: np.ndarray) -> np.ndarray:
    """Boxy Sersic n = 0.5 ellipse of axis ratio 0.3 in the plane of the disk."""
    along = major * np.cos(structure.bar_angle) + minor * np.sin(structure.bar_angle)
    across = -major * np.sin(structure.bar_angle) + minor * np.cos(structure.bar_angle)
    boxy = (np.abs(along / structure.bar_length) ** 2.5 + np.abs(across / (0.3 * structure.bar_length)) ** 2.5) ** 0.4
    return np.exp(-1.5 * boxy**2)


def _young(rng: np.random.Generator, structure: Structure, radius: np.ndarray, arms: np.ndarray) -> np.ndarray:
    """Star formation: along the arms or, without arms, in the whole disk; in rings; patchy and clumpy."""
    disk = np.exp(-radius / 1.2) / (1.0 + np.exp(-(radius - 0.5) / 0.15))
    pattern = disk * (arms + 0.08 if structure.arm_contrast else 1.0)
    if structure.ring_fraction:
        ring = np.exp(-0.5 * ((radius - structure.ring_radius) / (0.14 * structure.ring_radius)) ** 2)
        pattern = pattern + 3.0 * structure.ring_fraction * ring * np.exp(-structure.ring_radius / 1.2)
    if structure.clump_fraction:
        patchy = ndimage.gaussian_filter(rng.standard_normal(radius.shape, dtype=np.float32), _GRID / 50.0)
        pattern = pattern * np.exp(2.5 * structure.clump_fraction * patchy / patchy.std())
    return pattern
