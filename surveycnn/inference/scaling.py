"""From fluxes to what a network sees; called by the predictor and by the training, never by users' code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surveycnn.models.card import Card, PhotometryScaling, Scaling

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


def scale_photometry(flux: np.ndarray, flux_err: np.ndarray, scaling: PhotometryScaling, bands: Sequence[str]) -> np.ndarray:
    """``asinh(flux / softening)`` of all bands, then ``log(flux_err / softening)`` of all bands.

    Parameters
    ----------
    flux, flux_err
        (object, band) nJy; NaN = no data.

    Returns
    -------
    np.ndarray
        (object, 2 * band) float32, 0 where there are no data.
    """
    softening = np.array([scaling.softening[band] for band in bands])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = np.concatenate([np.arcsinh(flux / softening), np.log(flux_err / softening)], axis=1)
    known = np.isfinite(values) & np.tile(np.isfinite(flux) & (np.asarray(flux_err) > 0), 2)
    return np.where(known, np.clip(values, -MAX_SCALED, MAX_SCALED), 0.0).astype(np.float32)


def network_inputs(
    card: Card, stamps: np.ndarray, flux: np.ndarray | None = None, flux_err: np.ndarray | None = None
) -> list[np.ndarray]:
    """What the network of `card` takes: scaled stamps and, where it takes them, scaled fluxes."""
    inputs = [scale_stamps(stamps, card.scaling, card.bands)]
    if card.photometry is not None:
        assert flux is not None and flux_err is not None
        inputs.append(scale_photometry(flux, flux_err, card.photometry, card.bands))
    return inputs


def transmission(card: Card, ebv: np.ndarray) -> np.ndarray:
    """Share of the light (object, band) that passes the dust of the Milky Way of E(B-V) = `ebv` (object,) magnitudes.

    >>> from types import SimpleNamespace
    >>> transmission(SimpleNamespace(bands=["r"], extinction={"r": 2.5}), np.array([0.0, 1.0]))
    array([[1. ],
           [0.1]])
    """
    extinction = np.array([card.extinction.get(band, 0.0) for band in card.bands])
    return 10.0 ** (-0.4 * np.multiply.outer(np.asarray(ebv, np.float64), extinction))
