"""Galaxies as the sky has them: counts, redshifts, types, sizes.

Counts, redshifts and red fractions by i magnitude follow the LSST mock of LensPop (Collett 2015, ApJ 811, 20) and a run
of SkyPy, which agree to 20 %; sizes follow Shen et al. (2003, MNRAS 343, 978) with the evolution of van der Wel et al.
(2014, ApJ 788, 28).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surveycnn.simulation.conditions import AB_ZEROPOINT_NJY
from surveycnn.simulation.cosmology import distance_modulus, kpc_per_arcsec
from surveycnn.simulation.spectra import colours, k_correction

_MAG = np.array([16.5, 17.5, 18.5, 19.5, 20.5, 21.5, 22.5, 23.5, 24.5, 25.5])
_COUNTS = np.array([0.01, 0.04, 0.13, 0.31, 0.9, 2.4, 5.4, 12.3, 23.5, 40.0])
"""Galaxies per arcmin2 and magnitude."""
_MEDIAN_Z = np.array([0.08, 0.12, 0.19, 0.32, 0.44, 0.60, 0.76, 0.92, 1.06, 1.16])
_RED_FRACTION = np.array([0.50, 0.45, 0.40, 0.35, 0.32, 0.22, 0.14, 0.08, 0.05, 0.03])


@dataclass(frozen=True)
class Galaxy:
    """What a galaxy is before anybody looks at its shape."""

    mag_i: float
    redshift: float
    is_red: bool
    spectral_type: float
    """0 elliptical to 3 irregular, of the whole galaxy."""
    a_v: float
    """Dust, magnitudes."""
    radius: float
    """Half-light radius along the major axis, arcsec."""


def njy(magnitude: Any) -> Any:
    """Flux in nJy of an AB magnitude; arrays too.

    >>> njy(31.4)
    1.0
    """
    return 10 ** (-0.4 * (magnitude - AB_ZEROPOINT_NJY))


def counts(mag_i: np.ndarray) -> np.ndarray:
    """Galaxies per arcmin2 and magnitude at i magnitude `mag_i`."""
    return 10 ** np.interp(mag_i, _MAG, np.log10(_COUNTS))


def draw_magnitude(rng: np.random.Generator, bright: float, faint: float, slope: float | None = None) -> float:
    """An i magnitude between `bright` and `faint`, after the counts of the sky, or with density proportional to 10^(slope m)."""
    grid = np.linspace(bright, faint, 128)
    density = counts(grid) if slope is None else 10 ** (slope * (grid - faint))
    cumulative = np.cumsum(density)
    return float(np.interp(rng.uniform(), cumulative / cumulative[-1], grid))


def draw_redshift(rng: np.random.Generator, mag_i: float, low: float = 0.02, high: float = 2.0) -> float:
    """A redshift given the i magnitude: lognormal about the median of the counts, cut to [low, high]."""
    median = np.interp(mag_i, _MAG, _MEDIAN_Z)
    for _ in range(50):
        redshift = median * np.exp(rng.normal(0.0, 0.47))
        if low <= redshift <= high:
            return float(redshift)
    return float(np.clip(median, low, high))


def draw_galaxy(rng: np.random.Generator, mag_i: float, *, redshift: float | None = None, is_red: bool | None = None) -> Galaxy:
    """Redshift, type, dust and size of a galaxy of the given i magnitude; what is given is kept."""
    if redshift is None:
        redshift = draw_redshift(rng, mag_i)
    if is_red is None:
        is_red = bool(rng.uniform() < np.interp(mag_i, _MAG, _RED_FRACTION))
    if is_red:
        spectral_type, a_v = float(np.clip(rng.normal(0.12, 0.12), 0.0, 0.5)), float(rng.normal(0.0, 0.05))
    else:
        spectral_type, a_v = float(rng.triangular(0.6, 2.0, 3.0)), float(np.clip(rng.normal(0.2, 0.25), -0.2, 1.2))
    radius = draw_radius(rng, mag_i, redshift, spectral_type, is_red)
    return Galaxy(mag_i, redshift, is_red, spectral_type, a_v, radius)


def absolute_magnitude(mag_i: float, redshift: float, spectral_type: float) -> float:
    """Absolute magnitude in rest-frame r."""
    return mag_i - distance_modulus(redshift) - k_correction(spectral_type, redshift)


def draw_radius(rng: np.random.Generator, mag_i: float, redshift: float, spectral_type: float, is_red: bool) -> float:
    """Half-light radius in arcsec from the absolute magnitude, times (1 + z)^-0.6 for late and (1 + z)^-1 for early types."""
    m_abs = float(np.clip(absolute_magnitude(mag_i, redshift, spectral_type), -24.0, -14.0))
    if is_red:
        log_r, evolution = -0.4 * 0.60 * m_abs - 4.63, -1.0
        log_r = max(log_r, -0.15)  # dwarf ellipticals stop shrinking near 0.7 kpc
    else:
        log_r = -0.4 * 0.21 * m_abs + (0.53 - 0.21) * np.log10(1 + 10 ** (-0.4 * (m_abs + 20.52))) - 1.31
        evolution = -0.6
    scatter = np.interp(m_abs, [-21.5, -19.0], [0.25, 0.45])
    radius_kpc = 10**log_r * np.exp(rng.normal(0.0, scatter)) * (1.0 + redshift) ** evolution
    return float(np.clip(radius_kpc / kpc_per_arcsec(redshift), 0.06, 8.0))


def galaxy_fluxes(galaxy: Galaxy, bands: tuple[str, ...]) -> np.ndarray:
    """Total flux (band,) in nJy."""
    return njy(galaxy.mag_i) * colours(galaxy.spectral_type, galaxy.redshift, bands, galaxy.a_v)


def draw_star_fluxes(rng: np.random.Generator, mag_i: float, bands: tuple[str, ...]) -> np.ndarray:
    """Flux (band,) in nJy of a star on the main-sequence locus (Covey et al. 2007, AJ 134, 2398), mostly M and K dwarfs."""
    g_i = float(np.clip(rng.triangular(0.3, 2.4, 3.0), 0.2, 3.0))
    r_i = np.interp(g_i, [0.2, 0.8, 1.5, 2.0, 2.5, 3.0], [0.03, 0.18, 0.40, 0.68, 1.15, 1.60])
    offsets = {"g": g_i, "r": r_i, "i": 0.0, "z": -0.55 * r_i, "y": -0.7 * r_i, "u": g_i + 1.6}
    return njy(mag_i + np.array([offsets[band] for band in bands]))
