"""Distances in the flat LCDM cosmology of the simulations (H0 = 70 km/s/Mpc, Omega_m = 0.3), tabulated for speed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from astropy.cosmology import FlatLambdaCDM

SPEED_OF_LIGHT_KM_S = 299792.458
ARCSEC_PER_RADIAN = 206264.80624709636
MAX_REDSHIFT = 6.0


@lru_cache(maxsize=1)
def _comoving_table() -> tuple[np.ndarray, np.ndarray]:
    redshift = np.linspace(0.0, MAX_REDSHIFT, 3001)
    return redshift, FlatLambdaCDM(H0=70, Om0=0.3).comoving_distance(redshift).value


def comoving_distance(redshift: float) -> float:
    """Line-of-sight comoving distance in Mpc, 0 <= redshift <= 6."""
    return float(np.interp(redshift, *_comoving_table()))


def distance_modulus(redshift: float) -> float:
    """Apparent minus absolute bolometric magnitude.

    >>> round(distance_modulus(0.5), 1)
    42.3
    """
    return float(5.0 * np.log10(comoving_distance(redshift) * (1.0 + redshift)) + 25.0)


def kpc_per_arcsec(redshift: float) -> float:
    """Proper transverse size of one arcsec.

    >>> round(kpc_per_arcsec(0.5), 2)
    6.1
    """
    return comoving_distance(redshift) / (1.0 + redshift) * 1000.0 / ARCSEC_PER_RADIAN


def einstein_radius(sigma_v: float, z_lens: float, z_source: float) -> float:
    """Einstein radius in arcsec of an isothermal sphere, 4 pi (sigma/c)^2 D_ls/D_s; 0 for a source in front.

    Parameters
    ----------
    sigma_v
        Velocity dispersion, km/s.
    """
    if z_source <= z_lens:
        return 0.0
    ratio = 1.0 - comoving_distance(z_lens) / comoving_distance(z_source)
    return 4.0 * np.pi * (sigma_v / SPEED_OF_LIGHT_KM_S) ** 2 * ratio * ARCSEC_PER_RADIAN
