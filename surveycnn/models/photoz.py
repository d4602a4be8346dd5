"""The photo-z network: a mixture of Gaussians in redshift from fluxes in learned apertures and from the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import BN_MOMENTUM, dense_head, residual_features

APERTURE_SIGMAS_PX = (1.5, 3.0, 5.0, 8.0)
"""Widths of the Gaussian windows with which the learned apertures start."""


def aperture_colours(inputs: Any) -> Any:
    """Magnitudes in learned apertures and their differences between neighbouring bands, from asinh-scaled stamps.

    The sums are taken over linear fluxes, as aperture photometry does: the noise of a sum of asinh values would bias colours.
    """
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    size, n_bands, n_apertures = inputs.shape[1], inputs.shape[-1], len(APERTURE_SIGMAS_PX)
    aperture = layers.DepthwiseConv2D(size, depth_multiplier=n_apertures, use_bias=False, name="apertures")
    fluxes = layers.Reshape((n_bands, n_apertures))(aperture(ops.sinh(inputs)))
    offset = np.arange(size) - (size - 1) / 2
    windows = [np.exp(-0.5 * np.add.outer(offset**2, offset**2) / sigma**2) for sigma in APERTURE_SIGMAS_PX]
    kernel = np.stack([window / np.sqrt((window**2).sum()) for window in windows], axis=-1)
    aperture.kernel.assign(np.repeat(kernel[:, :, None, :], n_bands, axis=2))
    magnitudes = ops.arcsinh(fluxes)
    colours = magnitudes[:, 1:] - magnitudes[:, :-1]
    return layers.Concatenate()([layers.Flatten()(magnitudes), layers.Flatten()(colours)])


def build_photoz(
    n_components: int = 5,
    stamp_px: int = 32,
    n_bands: int = 4,
    *,
    start: Sequence[float] = (0.3, 0.5, 0.8, 1.1, 1.6),
    widths: tuple[int, ...] = (24, 48, 96),
    dropout: float = 0.1,
) -> Any:
    """Keras model from scaled stamps (object, y, x, band) to (object, 3 K): weight logits, means, inverse softplus of the widths.

    Parameters
    ----------
    start
        Redshifts at which the means of the `n_components` Gaussians start; spread over the training set, they do not collapse.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    colours = layers.BatchNormalization(momentum=BN_MOMENTUM)(aperture_colours(inputs))
    features = layers.Concatenate()(
        [colours, layers.BatchNormalization(momentum=BN_MOMENTUM)(residual_features(inputs, widths, depth=1))]
    )
    for width in (192, 96):
        features = layers.Dense(width, activation="relu", kernel_initializer="he_normal")(features)
    bias = [0.0] * n_components + list(start) + [-1.5] * n_components
    return keras.Model(inputs, dense_head(features, 3 * n_components, dropout=dropout, bias=bias), name="photoz")
