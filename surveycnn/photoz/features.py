"""From measured fluxes to what the network for tables sees: luptitudes, colours, errors, and which bands are missing."""

from __future__ import annotations

import numpy as np

from surveycnn.photoz.card import FeatureScaling
from surveycnn.photoz.tables import Photometry

MAX_FEATURE = 8.0
"""Standardised features are kept within this: a damaged flux must not carry a network where it has never been."""
MIN_SPREAD = 1e-3
"""Smallest scatter by which a feature is divided: that of a band that is never missing would be 0."""


def feature_scaling(photometry: Photometry) -> FeatureScaling:
    """Scaling that fits a training set: softening and depth from its fainter half, mean and scatter of each feature."""
    flux, error = photometry.flux, photometry.flux_err
    with np.errstate(invalid="ignore"):
        faint = flux <= np.nanmedian(np.where(np.isfinite(error), flux, np.nan), axis=0)
    depth = np.nanmedian(np.where(faint, error, np.nan), axis=0)
    by_band = {band: float(value) for band, value in zip(photometry.bands, depth, strict=True)}
    unit = FeatureScaling(softening=by_band, mean=[0.0], scatter=[1.0])
    values, known = _features(photometry.flux, photometry.flux_err, unit, photometry.bands)
    values = np.where(known, values, np.nan)
    mean, scatter = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    return FeatureScaling(
        softening=by_band,
        mean=[round(float(value), 6) for value in mean],
        scatter=[round(float(max(value, MIN_SPREAD)), 6) for value in scatter],
    )


def features_of(flux: np.ndarray, flux_err: np.ndarray, scaling: FeatureScaling, bands: tuple[str, ...]) -> np.ndarray:
    """Features (..., feature) float32 of fluxes and errors (..., band) in nJy.

    For each band ``asinh(flux / 2 b)`` with the softening b, a luptitude but for its unit (Lupton et al. 1999), which has a value
    for a flux of 0 and below; the differences of neighbouring bands, which are colours; the logarithm of the error over b; and
    1 where the band was not observed. A flux of NaN was not observed: its other features take the mean of the training set.
    A flux with an error of NaN is a non-detection, of which the depth of the training set is taken for the error.
    """
    values, known = _features(flux, flux_err, scaling, bands)
    standard = (values - np.array(scaling.mean)) / np.array(scaling.scatter)
    return np.where(known, np.clip(standard, -MAX_FEATURE, MAX_FEATURE), 0.0).astype(np.float32)


def _features(
    flux: np.ndarray, flux_err: np.ndarray, scaling: FeatureScaling, bands: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Features (..., feature) before they are standardised, and which of them are known."""
    softening = np.array([scaling.softening[band] for band in bands])
    observed = np.isfinite(flux)
    error = np.where(np.isfinite(flux_err), flux_err, softening)
    luptitude = np.arcsinh(np.where(observed, flux, 0.0) / (2.0 * softening))
    colour = luptitude[..., :-1] - luptitude[..., 1:]
    both = observed[..., :-1] & observed[..., 1:]
    everywhere = np.ones_like(observed)
    values = (luptitude, colour, np.log(error / softening), (~observed).astype(np.float64))
    return np.concatenate(values, axis=-1), np.concatenate([observed, both, observed, everywhere], axis=-1)
