"""Logistic regression on what apertures measure."""

from __future__ import annotations

import numpy as np

from surveycnn.evaluation.methods.linear import fit_logistic, logits, with_squares
from surveycnn.evaluation.methods.mergers import MergerLearner
from surveycnn.evaluation.methods.method import BANDS, Log, Rows, in_chunks
from surveycnn.models.card import Card, Scaling
from surveycnn.training.baselines import measure_stamps
from surveycnn.training.data import LabelledStamps, sky_noise


class Apertures(MergerLearner):
    """Logistic regression on magnitudes in three circles, colours, concentration and asymmetry, and their squares.

    In the manner of Conselice (2003, ApJS 147, 1), whose concentration and asymmetry set mergers apart. The measurements are
    those of the baselines on the models' cards (surveycnn.training.baselines); the strength of the penalty is the best one on
    the validation set.
    """

    name = "apertures"
    title = "Apertures + logistic regression"
    reference = "in the manner of Conselice 2003"
    chooses = True

    def __init__(self, *, n_train: int = 20_000) -> None:
        super().__init__(n_train=n_train)

    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The regression, and the noise (band,) that softens the magnitudes."""
        noise = sky_noise(LabelledStamps(self.task, BANDS, stamps[:1000]))
        state = {"noise": np.array([noise[band] for band in BANDS])}
        features, valid_features = (in_chunks(part, lambda chunk: _features(chunk, state)) for part in (stamps, valid.stamps))
        return state | fit_logistic(features, labels, valid_features, self.labels_of(valid))

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Logits (object,)."""
        return logits(_features(stamps, state), state)


def _features(stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """Measurements (object, value) float64 and their squares of stamps (object, y, x, band), nJy with NaN."""
    scaling = Scaling(softening=dict(zip(BANDS, map(float, state["noise"]), strict=True)))
    card = Card.model_construct(bands=list(BANDS), scaling=scaling)  # all that the measurements look at
    return with_squares(measure_stamps(LabelledStamps("merger", BANDS, stamps), card))
