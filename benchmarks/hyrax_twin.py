"""The weights of a shipped model, laid out for the torch twin in benchmarks/hyrax_side/twin.py."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from surveycnn.models.card import Card


def twin_weights(card: Card, model: Any) -> dict[str, np.ndarray]:
    """Arrays by name: kernels and normalisations (gamma, beta, mean, variance) of each member in the order of their making, its
    head, the whitening, the scaling, and the number of views.
    """
    members = [layer for layer in model.layers if layer.name.startswith("member")]
    found: dict[str, np.ndarray] = {}
    for member in members:
        kernels = [layer.get_weights()[0] for layer in _of_kind(member, "Conv2D")]
        norms = [np.stack(layer.get_weights()) for layer in _of_kind(member, "BatchNormalization")]
        head = member.get_layer("raw").get_weights()
        for kind, values in (("kernel", kernels), ("norm", norms), ("head", head)):
            found |= {f"{member.name}/{kind}_{number}": value for number, value in enumerate(values)}
    averaged = [layer for layer in model.layers if type(layer).__name__ == "Average"]
    n_outputs = len(averaged[0].input) if averaged else 1
    whitening = model.get_layer("whitening").get_weights()
    return found | {
        "n_views": np.array(n_outputs // len(members)),
        "whitening_0": whitening[0],
        "whitening_1": whitening[1],
        "softening": np.array([card.scaling.softening[band] for band in card.bands], np.float32),
    }


def _of_kind(network: Any, kind: str) -> list[Any]:
    """Layers of one class in the order of their making, which the number at the end of their names tells."""
    layers = [layer for layer in network.layers if type(layer).__name__ == kind]
    return sorted(layers, key=lambda layer: int((re.search(r"_(\d+)$", layer.name) or [0, 0])[1]))
