"""The lens finder: compact residual networks with one logit each, averaged, and a distance from what they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import FEATURES, dense_head, residual_features

LENS_WIDTHS = (24, 48, 96, 128)


def build_lens(stamp_px: int = 64, n_bands: int = 3, widths: tuple[int, ...] = LENS_WIDTHS, dropout: float = 0.2) -> Any:
    """Keras model from scaled stamps (object, y, x, band) to the logit (object, 1) of being a strong lens."""
    keras = import_keras()
    inputs = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    return keras.Model(inputs, dense_head(residual_features(inputs, widths), 1, dropout=dropout), name="lens")


def feature_network(member: Any) -> Any:
    """From scaled stamps to the features (object, feature) on which the logit of a :func:`build_lens` network rests."""
    return import_keras().Model(member.input, member.get_layer(FEATURES).output)


def lens_finder(members: Sequence[Any], mean: np.ndarray, whitening: np.ndarray) -> Any:
    """Keras model from scaled stamps to (object, 2): the members' mean logit, and the squared distance from the training set.

    The distance is that of Mahalanobis in the features of all members, divided by their number: near 1 for a stamp of the
    training set (Lee et al. 2018, arXiv 1807.03888, equation 2, without classes).

    Parameters
    ----------
    members
        Networks of :func:`build_lens`.
    mean, whitening
        (feature,) and (feature, feature): ``(features - mean) @ whitening`` is white on the training set.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input(members[0].input_shape[1:], name="stamps")
    outputs = []
    for number, member in enumerate(members):
        network = keras.Model(member.input, [member.get_layer(FEATURES).output, member.output], name=f"member{number + 1}")
        outputs.append(network(inputs))
    features = layers.Concatenate()([part[0] for part in outputs]) if len(members) > 1 else outputs[0][0]
    logit = layers.Average()([part[1] for part in outputs]) if len(members) > 1 else outputs[0][1]
    white = layers.Dense(len(mean), dtype="float32", name="whitening")
    total = layers.Dense(1, use_bias=False, dtype="float32", name="distance")
    whitened = white(features)
    distance = total(layers.Multiply()([whitened, whitened]))
    white.set_weights([whitening.astype(np.float32), (-mean @ whitening).astype(np.float32)])
    total.set_weights([np.full((len(mean), 1), 1.0 / len(mean), np.float32)])
    return keras.Model(inputs, layers.Concatenate(name="logit_and_distance")([logit, distance]), name="lens_finder")
