"""What the two networks of the zoo share: one logit in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.challenge.zoo.method import Finder
from surveycnn.evaluation.methods.networks import NetworkLearner, weights_of
from surveycnn.models.backend import import_keras


class NetworkFinder(NetworkLearner, Finder):
    """A Keras network from prepared stamps to one logit; a subclass gives the network, its input and its augmentation."""

    def rank(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Logits (object,): 50,000 of them in float32 would have ties by rounding alone."""
        kernel, bias = weights_of(state)[-2:]
        features = self.raw_outputs(stamps, state)
        return np.einsum("of,f->o", features, kernel[:, 0].astype(np.float64)) + float(bias[0])

    def scored(self, model: Any) -> Any:
        """The network without its last layer."""
        return import_keras().Model(model.input, model.layers[-1].input)
