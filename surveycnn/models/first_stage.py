"""The first stage of a cascade: a small network that says which stamps the whole one need not see."""

from __future__ import annotations

from typing import Any

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import BN_MOMENTUM, FEATURES, dense_head

WIDTHS = (16, 32, 64, 96)
"""Channels of the stages, in multiples of what a vector register holds."""


def build_first_stage(stamp_px: int = 64, n_bands: int = 3, widths: tuple[int, ...] = WIDTHS, depth: int = 2) -> Any:
    """Keras model from scaled stamps (object, y, x, band) to a logit (object, 1).

    Plain convolutions, each with its normalisation folded in by the engines: shortcuts would cost more than they give in a
    network as short as this. The stem has a stride of 2, and each width after the first halves the resolution again.
    """
    keras = import_keras()
    layers = keras.layers

    def convolved(x: Any, width: int, size: int, stride: int) -> Any:
        x = layers.Conv2D(width, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        return layers.Activation("relu")(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))

    inputs = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    x = convolved(inputs, widths[0], 5, 2)
    for stage, width in enumerate(widths):
        for block in range(depth if stage else depth - 1):
            x = convolved(x, width, 3, 2 if stage and block == 0 else 1)
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    return keras.Model(inputs, dense_head(layers.Concatenate(name=FEATURES)(pooled), 1), name="first_stage")
