"""The networks for tables: a committee that is trained as one, and its forward pass in numpy.

A prediction needs matrix products and nothing else, so that :func:`forward` does it in numpy: no start-up of TensorFlow, and two
cores are kept busy by threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from surveycnn.inference.heads import heaviest, unordered_mixture
from surveycnn.models.backend import import_keras

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Kernel (input, output) and bias (output,) of each dense layer of one network."""

ACTIVATIONS = ("relu", "silu")
"""Of the members in turn: networks that are unlike err unlike, and their mean is the better for it."""
START_SPREAD = -1.5
"""Raw widths of the Gaussians at the start, in units of the redshift scale."""


def build_committee(n_members: int, n_features: int, width: int, depth: int, n_components: int, start: Sequence[float]) -> Any:
    """Keras model from (object, member, feature) to (object, member, 3 K): networks of dense layers side by side.

    All layers but the first have a shortcut around them.

    Parameters
    ----------
    start
        (K,) means of the Gaussians at the start, in units of the redshift scale.
    """
    keras = import_keras()
    stacked = stacked_dense()
    inputs = keras.Input((n_members, n_features), name="features")
    x = keras.ops.transpose(inputs, (1, 0, 2))
    x = stacked(n_members, width)(x)
    for _ in range(1, depth):
        x = keras.layers.Add()([x, stacked(n_members, width)(x)])
    raw = stacked(n_members, 3 * n_components, start_bias(start))(x)
    return keras.Model(inputs, keras.ops.transpose(raw, (1, 0, 2)), name="committee")


def build_published(members: Sequence[Layers]) -> Any:
    """Keras model from features (object, feature) to (object, member * 3 K) of stock layers, with the members' weights."""
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((members[0][0][0].shape[0],), name="features")
    outputs = []
    for number, member in enumerate(members):
        x: Any = None
        for place, (kernel, bias) in enumerate(member):
            last = place == len(member) - 1
            activation = None if last else activation_of(number)
            dense = layers.Dense(len(bias), activation=activation, name=layer_name(number, place))
            y = dense(inputs if x is None else x)
            dense.set_weights([kernel, bias])
            x = y if last or x is None else layers.Add()([x, y])
        outputs.append(x)
    return keras.Model(inputs, layers.Concatenate()(outputs) if len(outputs) > 1 else outputs[0], name="photoz_table")


def activation_of(member: int) -> str:
    """Activation of a member."""
    return ACTIVATIONS[member % len(ACTIVATIONS)]


def layer_name(member: int, place: int) -> str:
    """Name of a dense layer in the published network."""
    return f"member{member}_dense{place}"


def stacked_dense() -> Any:
    """Keras layer that is a dense layer per member, on (member, object, feature)."""
    keras = import_keras()
    base: Any = keras.layers.Layer

    class StackedDense(base):
        """`start` is the bias of an output layer, whose kernel starts near 0 and which has no activation."""

        def __init__(self, n_members: int, width: int, start: np.ndarray | None = None) -> None:
            super().__init__()
            self.n_members, self.width, self.start = n_members, width, start
            is_silu = [activation_of(member) == "silu" for member in range(n_members)]
            self.is_silu = np.array(is_silu, bool)[:, None, None]

        def build(self, shape: tuple[int, ...]) -> None:
            spread = 0.01 if self.start is not None else (2.0 / (shape[-1] + self.width)) ** 0.5
            normal = keras.initializers.RandomNormal(stddev=spread)
            self.kernel = self.add_weight(shape=(self.n_members, shape[-1], self.width), initializer=normal, name="kernel")
            self.bias = self.add_weight(shape=(self.n_members, 1, self.width), initializer="zeros", name="bias")
            if self.start is not None:
                self.bias.assign(np.tile(self.start, (self.n_members, 1, 1)))

        def call(self, x: Any) -> Any:
            y = keras.ops.matmul(x, self.kernel) + self.bias
            return y if self.start is not None else keras.ops.where(self.is_silu, keras.ops.silu(y), keras.ops.relu(y))

    return StackedDense


def start_bias(start: Sequence[float]) -> np.ndarray:
    """Raw outputs (3 K,) at the start: equal weights, the given means, one width."""
    n = len(start)
    return np.concatenate([np.zeros(n), np.asarray(start), np.full(n, START_SPREAD)]).astype(np.float32)


def members_of(committee: Any) -> list[Layers]:
    """Weights of each member of a trained :func:`build_committee`."""
    arrays = [np.asarray(values) for values in committee.get_weights()]
    kernels, biases = arrays[0::2], arrays[1::2]
    pairs = list(zip(kernels, biases, strict=True))
    return [[(kernel[member], bias[member, 0]) for kernel, bias in pairs] for member in range(len(kernels[0]))]


def forward(members: Sequence[Layers], features: np.ndarray) -> np.ndarray:
    """Raw outputs (object, member, 3 K) float32 of networks with these weights, for features (object, feature) float32."""
    functions = {"relu": _relu, "silu": _silu}
    raw = np.empty((len(features), len(members), len(members[0][-1][1])), np.float32)
    for number, layers in enumerate(members):
        raw[:, number] = _forward(layers, features, functions[activation_of(number)])
    return raw


def _forward(layers: Layers, features: np.ndarray, activate: Callable[[np.ndarray], None]) -> np.ndarray:
    """Raw outputs (object, 3 K) of one network."""
    kernel, bias = layers[0]
    x = features @ kernel
    x += bias
    activate(x)
    for kernel, bias in layers[1:-1]:
        step = x @ kernel
        step += bias
        activate(step)
        x += step
    kernel, bias = layers[-1]
    return x @ kernel + bias


def _relu(x: np.ndarray) -> None:
    """In place."""
    np.maximum(x, np.float32(0), out=x)


def _silu(x: np.ndarray) -> None:
    """``x sigmoid(x)`` in place."""
    gate = np.tanh(np.float32(0.5) * x)  # the sigmoid is (1 + tanh(x / 2)) / 2, and tanh the faster one
    gate += np.float32(1)
    x *= gate
    x *= np.float32(0.5)


def mean_mixture(raw: np.ndarray, width: float, scale: float, n_kept: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, mean and sigma (object, component) of the mean PDF of a committee, its `n_kept` heaviest Gaussians or all.

    The members agree, so that few of their Gaussians carry nearly all of the mean: the heaviest sixteen of 48 hold 99 % of it,
    and every score is the same to 1 %.

    Parameters
    ----------
    raw
        (object, member, 3 K) outputs.
    width
        Factor on the widths, from the calibration.
    scale
        Redshift that a raw mean of 1 stands for.
    """
    n = len(raw)
    logits, *values = np.split(raw, 3, axis=2)
    weight = softmax(logits, axis=2).reshape(n, -1)
    n_kept = min(n_kept, weight.shape[1])
    some = np.argpartition(-weight, n_kept - 1, axis=1)[:, :n_kept]  # before the others are computed
    kept = (np.take_along_axis(part.reshape(n, -1), some, axis=1) for part in (logits, *values))
    _, mean, sigma = unordered_mixture(np.concatenate(list(kept), axis=1), width, scale)
    weight, mean, sigma = heaviest(n_kept, np.take_along_axis(weight, some, axis=1), mean, sigma)
    return weight / weight.sum(axis=1, keepdims=True), mean, sigma
