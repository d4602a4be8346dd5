"""The networks for tables: a committee that is trained as one, and the single network that learns its mean PDF.

A prediction needs matrix products and nothing else, so that :func:`forward` does it in numpy: no start-up of TensorFlow, and two
cores are kept busy by threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.models.backend import import_keras

Weights = list[tuple[np.ndarray, np.ndarray]]
"""Kernel (input, output) and bias (output,) of each dense layer."""

START_SPREAD = -1.5
"""Raw widths of the Gaussians at the start, in units of the redshift scale."""


def build_network(n_features: int, width: int, depth: int, n_components: int, start: Sequence[float]) -> Any:
    """Keras model from features (object, feature) to (object, 3 K): dense layers with shortcuts around all but the first.

    Parameters
    ----------
    start
        (K,) means of the Gaussians at the start, in units of the redshift scale.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((n_features,), name="features")
    x = layers.Dense(width, activation="silu", name="dense0")(inputs)
    for number in range(1, depth):
        x = layers.Add()([x, layers.Dense(width, activation="silu", name=f"dense{number}")(x)])
    raw = layers.Dense(3 * n_components, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="raw")
    model = keras.Model(inputs, raw(x), name="photoz_table")
    raw.bias.assign(start_bias(start))
    return model


def build_committee(n_members: int, n_features: int, width: int, depth: int, n_components: int, start: Sequence[float]) -> Any:
    """The same `n_members` times side by side: Keras model from (object, member, feature) to (object, member, 3 K)."""
    keras = import_keras()
    stacked = stacked_dense()
    inputs = keras.Input((n_members, n_features), name="features")
    x = keras.ops.transpose(inputs, (1, 0, 2))
    x = stacked(n_members, width, "silu")(x)
    for _ in range(1, depth):
        x = keras.layers.Add()([x, stacked(n_members, width, "silu")(x)])
    raw = stacked(n_members, 3 * n_components, None, start_bias(start))(x)
    return keras.Model(inputs, keras.ops.transpose(raw, (1, 0, 2)), name="committee")


def stacked_dense() -> Any:
    """Keras layer that is a dense layer per member, on (member, object, feature)."""
    keras = import_keras()
    base: Any = keras.layers.Layer

    class StackedDense(base):
        """`start` is the bias of an output layer, whose kernel starts near 0."""

        def __init__(self, n_members: int, width: int, activation: str | None, start: np.ndarray | None = None) -> None:
            super().__init__()
            self.n_members, self.width, self.start = n_members, width, start
            self.activation = keras.activations.get(activation)

        def build(self, shape: tuple[int, ...]) -> None:
            spread = 0.01 if self.start is not None else (2.0 / (shape[-1] + self.width)) ** 0.5
            normal = keras.initializers.RandomNormal(stddev=spread)
            self.kernel = self.add_weight(shape=(self.n_members, shape[-1], self.width), initializer=normal, name="kernel")
            self.bias = self.add_weight(shape=(self.n_members, 1, self.width), initializer="zeros", name="bias")
            if self.start is not None:
                self.bias.assign(np.tile(self.start, (self.n_members, 1, 1)))

        def call(self, x: Any) -> Any:
            return self.activation(keras.ops.matmul(x, self.kernel) + self.bias)

    return StackedDense


def start_bias(start: Sequence[float]) -> np.ndarray:
    """Raw outputs (3 K,) at the start: equal weights, the given means, one width."""
    n = len(start)
    return np.concatenate([np.zeros(n), np.asarray(start), np.full(n, START_SPREAD)]).astype(np.float32)


def weights_of(model: Any) -> Weights:
    """Kernels and biases of the dense layers of :func:`build_network`, in order."""
    dense = [layer for layer in model.layers if isinstance(layer, import_keras().layers.Dense)]
    return [(np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in dense]


def forward(weights: Weights, features: np.ndarray) -> np.ndarray:
    """Raw outputs (object, 3 K) float32 of the network with these weights, for features (object, feature) float32."""
    x = features @ weights[0][0]
    _silu(x, weights[0][1])
    for kernel, bias in weights[1:-1]:
        step = x @ kernel
        _silu(step, bias)
        x += step
    kernel, bias = weights[-1]
    return x @ kernel + bias


def _silu(x: np.ndarray, bias: np.ndarray) -> None:
    """``(x + bias) sigmoid(x + bias)`` in place."""
    x += bias
    gate = np.negative(x)
    np.minimum(gate, np.float32(80.0), out=gate)  # exp must not overflow
    np.exp(gate, out=gate)
    gate += np.float32(1)
    x /= gate
