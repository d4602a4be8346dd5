"""What the merger methods share: labels, and probabilities at the fraction of mergers in the training set."""

from __future__ import annotations

import numpy as np

from surveycnn.evaluation.methods.method import Learner, check_both
from surveycnn.training.data import LabelledStamps


class MergerLearner(Learner):
    """A method that gives the probability of a merger; `apply` gives its logit."""

    task = "merger"

    def labels_of(self, data: LabelledStamps) -> np.ndarray:
        """Which stamps are mergers (object,) bool."""
        return np.asarray(data.labels["is_merger"], bool)

    def check_labels(self, what: str, data: LabelledStamps) -> None:
        """Raise an InputError where a set has no mergers, or nothing else."""
        check_both(what, self.labels_of(data), "mergers")

    def predict(self, stamps: np.ndarray) -> np.ndarray:
        """Probabilities of a merger, for as many mergers as in the training set.

        Parameters
        ----------
        stamps
            (object, y, x, band) nJy, bands g, r, i, NaN = no data; may be a memory map.

        Returns
        -------
        np.ndarray
            (object,) float64 in [0, 1].

        Raises
        ------
        ModelError
            Where the method has not been fitted.
        InputError
            Where the shape is another one.
        """
        return sigmoid(self.outputs(stamps))


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Probabilities float64 of logits."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(logit, np.float64), -500, 500)))
