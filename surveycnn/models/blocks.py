"""Building blocks of the networks: stock Keras layers only, so that a package loads on any Keras backend without our code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surveycnn.models.backend import import_keras

WIDTHS = (24, 48, 96, 128)
"""Channels of the four stages: 0.14 GFLOP for a 64 px stamp, 1 million weights."""

FEATURES = "features"
"""Name of the layer that gives the features."""

BN_MOMENTUM = 0.95
"""Running means follow within some 50 batches, so that short trainings can be judged."""


def residual_block(x: Any, width: int, stride: int = 1) -> Any:
    """Two pre-activated 3x3 convolutions beside a shortcut (He et al. 2016, arXiv 1603.05027, figure 4e)."""
    layers = import_keras().layers
    activated = layers.Activation("relu")(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))
    y = layers.Conv2D(width, 3, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(activated)
    y = layers.Activation("relu")(layers.BatchNormalization(momentum=BN_MOMENTUM)(y))
    y = layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(y)
    if stride != 1 or x.shape[-1] != width:
        x = layers.Conv2D(width, 1, stride, use_bias=False, kernel_initializer="he_normal")(activated)
    return layers.Add()([x, y])


def residual_features(x: Any, widths: Sequence[int] = WIDTHS, depth: int = 2, name: str = FEATURES) -> Any:
    """Features (object, 2 * last width) of scaled stamps (object, y, x, band).

    A 5x5 stem of stride 2, then `depth` residual blocks per width, each width after the first at half the resolution.
    The maximum beside the mean keeps what fills a small part of the stamp, such as an arc or a second nucleus.
    """
    layers = import_keras().layers
    x = layers.Conv2D(widths[0], 5, 2, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    for stage, width in enumerate(widths):
        for block in range(depth):
            x = residual_block(x, width, stride=2 if stage > 0 and block == 0 else 1)
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))
    return layers.Concatenate(name=name)([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])


def dense_head(features: Any, n_outputs: int, *, dropout: float = 0.0, bias: Sequence[float] | None = None) -> Any:
    """Raw outputs (object, `n_outputs`) in float32, without an activation: a sigmoid in the network would make ties.

    `bias` starts the outputs at given values.
    """
    keras = import_keras()
    if dropout:
        features = keras.layers.Dropout(dropout)(features)
    dense = keras.layers.Dense(
        n_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), dtype="float32", name="raw"
    )
    raw = dense(features)
    if bias is not None:
        dense.bias.assign(bias)
    return raw
