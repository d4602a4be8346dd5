"""The lens finder: compact residual networks with one logit each, averaged, and a distance from what they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import FEATURES, dense_head, residual_features

LENS_WIDTHS = (24, 48, 96, 128)
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


def build_lens(stamp_px: int = 64, n_bands: int = 3, widths: tuple[int, ...] = LENS_WIDTHS, dropout: float = 0.2) -> Any:
    """Keras model from scaled stamps (object, y, x, band) to the logit (object, 1) of being a strong lens."""
    keras = import_keras()
    inputs = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    return keras.Model(inputs, dense_head(residual_features(inputs, widths), 1, dropout=dropout), name="lens")


def feature_network(member: Any) -> Any:
    """From scaled stamps to the features (object, feature) on which the logit of a :func:`build_lens` network rests."""
    return import_keras().Model(member.input, member.get_layer(FEATURES).output)


def view(stamps: Any, reverse_y: bool, reverse_x: bool, exchange: bool) -> Any:
    """Stamps (object, y, x, band), mirrored and turned."""
    keras = import_keras()
    for axis, is_reversed in ((1, reverse_y), (2, reverse_x)):
        stamps = keras.ops.flip(stamps, axis=axis) if is_reversed else stamps
    return keras.layers.Permute((2, 1, 3))(stamps) if exchange else stamps


def lens_finder(members: Sequence[Any], mean: np.ndarray, whitening: np.ndarray, n_views: int = 1) -> Any:
    """Keras model from scaled stamps to (object, 2): the members' mean logit, and the squared distance from the training set.

    A lens stays one when its stamp is mirrored or turned, but a network's logit changes a little: the mean over some of the
    eight views has less scatter, at the price of so many forward passes.

    The distance is that of Mahalanobis in the features of all members, divided by their number: near 1 for a stamp of the
    training set (Lee et al. 2018, arXiv 1807.03888, equation 2, without classes).

    Parameters
    ----------
    members
        Networks of :func:`build_lens`.
    mean, whitening
        (feature,) and (feature, feature): ``(features - mean) @ whitening`` is white on the training set.
    n_views
        Symmetries of the square, 1 to 8, over which the logit is averaged; the distance is that of the stamp as it is.
    """
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input(members[0].input_shape[1:], name="stamps")
    features, logits = [], []
    for number, member in enumerate(members):
        network = keras.Model(member.input, [member.get_layer(FEATURES).output, member.output], name=f"member{number + 1}")
        seen = [network(view(inputs, *symmetry)) for symmetry in SYMMETRIES[:n_views]]
        features.append(seen[0][0])
        logits += [logit for _, logit in seen]
    logit = layers.Average()(logits) if len(logits) > 1 else logits[0]
    white = layers.Dense(len(mean), dtype="float32", name="whitening")
    total = layers.Dense(1, use_bias=False, dtype="float32", name="distance")
    whitened = white(layers.Concatenate()(features) if len(features) > 1 else features[0])
    distance = total(layers.Multiply()([whitened, whitened]))
    white.set_weights([whitening.astype(np.float32), (-mean @ whitening).astype(np.float32)])
    total.set_weights([np.full((len(mean), 1), 1.0 / len(mean), np.float32)])
    return keras.Model(inputs, layers.Concatenate(name="logit_and_distance")([logit, distance]), name="lens_finder")
