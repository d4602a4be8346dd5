"""From fluxes to what a network sees; called by the predictor and by the training, never by users' code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surveycnn.models.card import Scaling

MAX_SCALED = 30.0
"""Scaled values are kept within this: a damaged pixel of 1e30 nJy must not overflow where a network takes the sinh."""


def scale_stamps(stamps: np.ndarray, scaling: Scaling, bands: Sequence[str]) -> np.ndarray:
    """``asinh(flux / softening)`` per band.

    Parameters
    ----------
    stamps
        (object, y, x, band) nJy; NaN and infinite = no data.
    bands
        Names along the last axis.

    Returns
    -------
    np.ndarray
        (object, y, x, band) float32, 0 where there are no data: the sky's level, as stamps are sky-subtracted.
    """
    inverse = np.array([1 / scaling.softening[band] for band in bands], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.arcsinh(stamps * inverse, dtype=np.float32)
    np.clip(scaled, -MAX_SCALED, MAX_SCALED, out=scaled)
    scaled[~np.isfinite(stamps)] = 0
    return scaled
