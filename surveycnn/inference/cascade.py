"""The cascade: a small network looks at every stamp, the whole one at the few that pass.

It stands where a predictor stands, and gives raw outputs of the same shape. A stamp that does not pass keeps the logit of the
first stage, on the scale of the network's and below all that pass; the distance from the training set is NaN, as nobody asked
the network. What a stamp gets depends on that stamp alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.inference import engines
from surveycnn.inference.cascade_scale import passed_logit, rejected_logit
from surveycnn.inference.predictor import Predictor

BATCH_SHARE = 4
"""Batches of the whole network are so many times smaller behind a first stage: few stamps of a call pass."""


class CascadePredictor(Predictor):
    """A predictor of lenses behind its first stage.

    Parameters
    ----------
    whole
        Of the network, its card with a cascade that is enabled.
    first
        Of the first stage, its card from `surveycnn.models.package.first_stage_card`.
    """

    def __init__(self, whole: Predictor, first: Predictor):
        self.card, self.schema = whole.card, whole.schema
        self.whole, self.first = whole, first

    def __repr__(self) -> str:
        return f"CascadePredictor({self.whole!r}, {self.first!r})"

    @property
    def engine(self) -> engines.Engine:
        """The engine of the first stage, which sees every stamp."""
        return self.first.engine

    def rate(self, first: float, whole: float) -> float:
        """Stamps per second of the forward passes alone, from those of the two networks, where as many pass as the card says."""
        assert self.card.cascade is not None
        return 1 / (1 / first + self.card.cascade.passed / whole)

    def _raw(self, stamps: Any, *given: Any, **named: Any) -> np.ndarray:
        assert self.card.cascade is not None
        first = self.first._raw(stamps, *given, **named)[:, 0]
        passes = ~(first < np.float32(self.card.cascade.threshold))
        raw = np.full((len(stamps), self.card.n_outputs), np.nan, np.float32)
        raw[~passes, 0] = rejected_logit(self.card, first[~passes])
        if passes.any():
            raw[passes] = self.whole._raw(stamps[passes], *given, **named)
            raw[passes, 0] = passed_logit(self.card, raw[passes, 0])
        return raw
