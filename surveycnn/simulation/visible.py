"""What can be seen of a galaxy's structure: arms, bars and rings after the seeing, against the noise and the light around them.

Volunteers see a feature where it stands out of the noise and of the galaxy; what the seeing has washed out or the noise
drowned they take for smooth, which is the bias of Galaxy Zoo with redshift and size (Hart et al. 2016, MNRAS 461, 3663).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from surveycnn.simulation.conditions import Exposure
from surveycnn.simulation.galaxies import Structure, structured_disk
from surveycnn.simulation.population import Galaxy, njy
from surveycnn.simulation.render import Layers, draw_light

HALF_SEEN_SN = 30.0
"""S/N of a feature that every second volunteer sees."""
ARMS_CONTRAST, BAR_CONTRAST, RING_CONTRAST = 0.04, 0.018, 0.04
"""Shares of the galaxy's light that such features move; a bar is small, but stands where the galaxy is bright."""
_ISOPHOTE_SIGMA, _ISOPHOTE_PEAK = 1.5, 0.02
"""Noise per pixel, and share of the brightest pixel, above which a pixel counts for the shape."""


@dataclass(frozen=True)
class Look:
    """What of a galaxy can be seen, each between 0 and 1."""

    arms: float
    bar: float
    ring: float
    axis_ratio: float
    """Of the isophote just above the noise, with the seeing."""

    @property
    def any_feature(self) -> float:
        """Chance to see at least one."""
        return 1.0 - (1.0 - self.arms) * (1.0 - self.bar) * (1.0 - self.ring)


def step(value: float, half: float, width: float) -> float:
    """Logistic step from 0 to 1 at `half`.

    >>> step(2.0, 2.0, 0.1)
    0.5
    """
    return float(1.0 / (1.0 + np.exp(-np.clip((value - half) / width, -50.0, 50.0))))


def look_at(galaxy: Galaxy, structure: Structure, image: np.ndarray, exposure: Exposure, seed: int) -> Look:
    """What can be seen in one band.

    Parameters
    ----------
    image
        (y, x) nJy of the galaxy alone, without noise, as `exposure` sees it.
    seed
        Of the random numbers that the galaxy's disk was drawn with.
    """
    ratio = axis_ratio(image, exposure)
    if not structure.is_structured:
        return Look(0.0, 0.0, 0.0, ratio)
    plain = replace(structure, clump_fraction=0.0, lopsidedness=0.0, bar_fraction=0.0, ring_fraction=0.0)
    arms = bar = ring = 0.0
    if structure.arm_contrast:
        turned = replace(plain, bar_angle=plain.bar_angle + np.pi / plain.arm_number)
        arms = _seen(galaxy, (plain, turned), ARMS_CONTRAST, image, exposure, seed)
    plain = replace(plain, arm_contrast=0.0)
    if structure.bar_fraction:
        barred = replace(plain, bar_fraction=structure.bar_fraction)
        turned = replace(barred, bar_angle=barred.bar_angle + np.pi / 2)
        bar = _seen(galaxy, (barred, turned), BAR_CONTRAST, image, exposure, seed)
    if structure.ring_fraction:
        ringed = replace(plain, ring_fraction=structure.ring_fraction)
        ring = _seen(galaxy, (ringed, plain), RING_CONTRAST, image, exposure, seed)
    return Look(arms, bar, ring, ratio)


def _seen(
    galaxy: Galaxy, pair: tuple[Structure, Structure], half: float, image: np.ndarray, exposure: Exposure, seed: int
) -> float:
    """How well the difference of two structures shows: of one turned against itself, what is not round about the centre."""
    flux = (1.0 - pair[0].bulge_fraction) * float(njy(galaxy.mag_i))
    one, two = (structured_disk(np.random.default_rng(seed), galaxy, s, (exposure.band,), flux, 0.0, 0.0) for s in pair)
    parts = [Layers(0.5 * layers.maps, sign * layers.flux, layers.scale) for layers, sign in ((one, 1.0), (two, -1.0))]
    difference = draw_light(parts, (exposure,), size=image.shape[0])[0]
    variance = exposure.sigma**2 + exposure.source_variance * np.maximum(image, 0.0)
    sn = float(np.sqrt((difference**2 / variance).sum()))
    contrast = float(np.abs(difference).sum() / max(image.sum(), 1e-9))
    clear = step(np.log10(max(sn, 1e-3)), np.log10(HALF_SEEN_SN), 0.1)
    return clear * step(np.log10(max(contrast, 1e-4)), np.log10(half), 0.08)


def axis_ratio(image: np.ndarray, exposure: Exposure) -> float:
    """Axis ratio of the pixels of `image` (y, x) above the noise, from their second moments; 1 where there are none."""
    inside = image > max(_ISOPHOTE_SIGMA * exposure.sigma, _ISOPHOTE_PEAK * float(image.max()))
    if inside.sum() < 5:
        return 1.0
    (yy, xy), (_, xx) = np.cov(np.argwhere(inside), rowvar=False) + np.eye(2) / 12.0
    size, difference = xx + yy, np.hypot(xx - yy, 2.0 * xy)
    return float(np.sqrt((size - difference) / (size + difference)))
