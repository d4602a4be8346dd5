"""The photo-z network: a mixture of Gaussians in redshift from the stamp of a source and its measured fluxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import BN_MOMENTUM, FEATURES, dense_head, residual_features

APERTURE_SIGMAS_PX = (1.5, 3.0, 5.0, 8.0)
"""Widths of the Gaussian windows with which the learned apertures start."""
WIDTHS = (32, 64, 128)
"""Channels of the three stages: a stamp of 32 px has a quarter of the pixels of the other models' stamps."""
HIDDEN = (256, 192)
"""Features of the dense layers that join the stamp and the fluxes."""
EXACT: dict[str, Any] = {"dtype": "float32"}
"""Of all layers but the convolutions, whatever the training computes in: the eight bits of a bfloat16 would round a magnitude to
0.03, as much as colours differ by."""
START_SPREAD = -2.0
"""Raw widths at the start: Gaussians of 0.12 in redshift."""


def aperture_colours(inputs: Any) -> Any:
    """Magnitudes in learned apertures and their differences between neighbouring bands, from asinh-scaled stamps.

    The sums are taken over linear fluxes, as aperture photometry does: the noise of a sum of asinh values would bias colours.
    """
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    size, n_bands, n_apertures = inputs.shape[1], inputs.shape[-1], len(APERTURE_SIGMAS_PX)
    aperture = layers.DepthwiseConv2D(size, depth_multiplier=n_apertures, use_bias=False, name="apertures", **EXACT)
    fluxes = layers.Reshape((n_bands, n_apertures), **EXACT)(aperture(ops.sinh(inputs)))
    offset = np.arange(size) - (size - 1) / 2
    windows = [np.exp(-0.5 * np.add.outer(offset**2, offset**2) / sigma**2) for sigma in APERTURE_SIGMAS_PX]
    kernel = np.stack([window / np.sqrt((window**2).sum()) for window in windows], axis=-1)
    aperture.kernel.assign(np.repeat(kernel[:, :, None, :], n_bands, axis=2))
    magnitudes = ops.arcsinh(fluxes)
    colours = magnitudes[:, 1:] - magnitudes[:, :-1]
    return layers.Concatenate(**EXACT)([layers.Flatten(**EXACT)(magnitudes), layers.Flatten(**EXACT)(colours)])


def flux_colours(photometry: Any) -> Any:
    """Scaled fluxes and errors as they come, and the differences of the fluxes between neighbouring bands."""
    layers = import_keras().layers
    n_bands = photometry.shape[-1] // 2
    return layers.Concatenate(**EXACT)([photometry, photometry[:, 1:n_bands] - photometry[:, : n_bands - 1]])


def build_photoz(
    n_components: int = 5,
    stamp_px: int = 32,
    n_bands: int = 4,
    *,
    start: Sequence[float] = (0.3, 0.5, 0.8, 1.1, 1.6),
    widths: tuple[int, ...] = WIDTHS,
    dropout: float = 0.1,
) -> Any:
    """Keras model from scaled stamps (object, y, x, band) and scaled fluxes (object, 2 * band) to (object, 3 K).

    The outputs are weight logits, raw means and raw widths of the Gaussians, as in `surveycnn.inference.heads`.

    Parameters
    ----------
    start
        Redshifts at which the means of the `n_components` Gaussians start; spread over the training set, they do not collapse.
    """
    keras = import_keras()
    layers = keras.layers
    stamps = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    photometry = keras.Input((2 * n_bands,), name="photometry")
    shape = residual_features(stamps, widths, depth=1, name="shape")
    parts = [aperture_colours(stamps), flux_colours(photometry), shape]
    features = layers.Concatenate(**EXACT)([layers.BatchNormalization(momentum=BN_MOMENTUM, **EXACT)(part) for part in parts])
    for width in HIDDEN[:-1]:
        features = layers.Dense(width, activation="relu", kernel_initializer="he_normal", **EXACT)(features)
    features = layers.Dense(HIDDEN[-1], activation="relu", kernel_initializer="he_normal", name=FEATURES, **EXACT)(features)
    bias = [0.0] * n_components + list(start) + [START_SPREAD] * n_components
    raw = dense_head(features, 3 * n_components, dropout=dropout, bias=bias)
    return keras.Model([stamps, photometry], raw, name="photoz")
