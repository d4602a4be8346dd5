"""A committee: networks whose raw outputs are averaged over symmetries of the square, and a distance from what they were
trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import FEATURES

SYMMETRIES = (
    (False, False, False),
    (True, False, False),
    (False, False, True),
    (True, True, False),
    (False, True, False),
    (True, False, True),
    (False, True, True),
    (True, True, True),
)
"""The eight symmetries of the square: whether y is reversed, x is reversed, and the two are then exchanged."""


def feature_network(member: Any) -> Any:
    """From scaled stamps to the features (object, feature) on which the raw outputs of a network rest."""
    return import_keras().Model(member.input, member.get_layer(FEATURES).output)


def view(stamps: Any, reverse_y: bool, reverse_x: bool, exchange: bool) -> Any:
    """Stamps (object, y, x, band), mirrored and turned."""
    keras = import_keras()
    for axis, is_reversed in ((1, reverse_y), (2, reverse_x)):
        stamps = keras.ops.flip(stamps, axis=axis) if is_reversed else stamps
    return keras.layers.Permute((2, 1, 3))(stamps) if exchange else stamps


def committee(members: Sequence[Any], mean: np.ndarray, whitening: np.ndarray, n_views: int = 1, name: str = "committee") -> Any:
    """Keras model from what its members take to (object, value + 1): the members' mean raw outputs, and the squared distance.

    A galaxy stays what it is when its stamp is mirrored or turned, but a network's outputs change a little: the mean over
    some of the eight views has less scatter, at the price of so many forward passes.

    The distance is that of Mahalanobis in the features of all members, divided by their number: near 1 for a stamp of the
    training set (Lee et al. 2018, arXiv 1807.03888, equation 2, without classes).

    Parameters
    ----------
    members
        Networks with a layer of features and raw outputs (object, value) of one meaning.
    mean, whitening
        (feature,) and (feature, feature): ``(features - mean) @ whitening`` is white on the training set.
    n_views
        Symmetries of the square, 1 to 8, over which the outputs are averaged; the distance is that of the stamp as it is.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = [keras.Input(tensor.shape[1:], name=tensor.name) for tensor in members[0].inputs]
    stamps, others = inputs[0], inputs[1:]
    features, outputs = [], []
    for number, member in enumerate(members):
        network = keras.Model(member.input, [member.get_layer(FEATURES).output, member.output], name=f"member{number + 1}")
        views = [view(stamps, *symmetry) for symmetry in SYMMETRIES[:n_views]]
        seen = [network([some, *others] if others else some) for some in views]
        features.append(seen[0][0])
        outputs += [raw for _, raw in seen]
    raw = layers.Average()(outputs) if len(outputs) > 1 else outputs[0]
    white = layers.Dense(len(mean), dtype="float32", name="whitening")
    total = layers.Dense(1, use_bias=False, dtype="float32", name="distance")
    whitened = white(layers.Concatenate()(features) if len(features) > 1 else features[0])
    distance = total(layers.Multiply()([whitened, whitened]))
    white.set_weights([whitening.astype(np.float32), (-mean @ whitening).astype(np.float32)])
    total.set_weights([np.full((len(mean), 1), 1.0 / len(mean), np.float32)])
    return keras.Model(inputs if others else stamps, layers.Concatenate(name="raw_and_distance")([raw, distance]), name=name)
