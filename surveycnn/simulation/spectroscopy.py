"""Which galaxies get a redshift from a spectroscopic survey: not a fair sample of those that images show.

The shape of the success follows what deep surveys with optical spectrographs report (zCOSMOS, VVDS, DEEP2): bright
galaxies nearly always, fainter ones as the continuum or the emission lines allow, few beyond z = 1.4, where [O II] has left
the optical and Lyman alpha has not come in.
"""

from __future__ import annotations

import numpy as np

HALF_SUCCESS_MAG = (22.0, 22.9)
"""i magnitudes at which half of the passive galaxies, and half of those with strong emission lines, get a redshift."""
SOFTNESS_MAG = 0.4
DESERT = (1.35, 0.05)
"""Redshift beyond which [O II] 3727 lies in the sky lines of the far red, and the width of the transition."""
DESERT_SUCCESS = 0.15
"""Success in the desert over that outside."""


def redshift_success(mag_i: np.ndarray, redshift: np.ndarray, spectral_type: np.ndarray) -> np.ndarray:
    """Probability (object,) that a galaxy's redshift is measured.

    Parameters
    ----------
    spectral_type
        0 elliptical, without emission lines, to 3 irregular, with strong ones.
    """
    half = np.interp(spectral_type, [0.5, 2.0], HALF_SUCCESS_MAG)
    by_light = 1.0 / (1.0 + np.exp((np.asarray(mag_i) - half) / SOFTNESS_MAG))
    in_desert = 1.0 / (1.0 + np.exp(-(np.asarray(redshift) - DESERT[0]) / DESERT[1]))
    return by_light * (1.0 - (1.0 - DESERT_SUCCESS) * in_desert)


def draw_successes(rng: np.random.Generator, mag_i: np.ndarray, redshift: np.ndarray, spectral_type: np.ndarray) -> np.ndarray:
    """Which galaxies (object,) bool a spectroscopic survey would have measured the redshifts of."""
    return rng.random(len(mag_i)) < redshift_success(mag_i, redshift, spectral_type)
