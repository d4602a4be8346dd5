"""One scale for the logits of both stages of a cascade, on which no stamp that does not pass stands before one that does."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.models.card import Card


def rejected_logit(card: Card, first: np.ndarray) -> np.ndarray:
    """Logits (object,) float32 on the scale of the network, of the first stage's `first` (object,) below its threshold.

    A network's logit of this value has the same score: both are calibrated at one prior.
    """
    assert card.cascade is not None
    return np.minimum(_on_network_scale(card, np.asarray(first, np.float64)), ceiling(card)).astype(np.float32)


def passed_logit(card: Card, logit: np.ndarray) -> np.ndarray:
    """Logits (object,) float32 of the network for stamps that pass, kept above :func:`ceiling`.

    They are the network's own from one above the ceiling; below that the rest of the scale is drawn together in the one
    between, order kept, so that no stamp that the network has not seen stands before one that it has.
    """
    low = ceiling(card)
    with np.errstate(under="ignore"):
        drawn = low + np.exp(np.minimum(np.asarray(logit, np.float64) - low - 1, 0)).astype(np.float32)
    return np.where(logit >= low + 1, logit, np.maximum(drawn, np.nextafter(low, np.float32(np.inf)))).astype(np.float32)


def ceiling(card: Card) -> np.float32:
    """Highest logit that a stamp which does not pass can have."""
    assert card.cascade is not None
    return np.float32(_on_network_scale(card, np.float64(card.cascade.threshold)))


def stages(card: Card, logit: np.ndarray) -> np.ndarray:
    """Stage (object,) that gave each logit: 1 the first one, 2 the network; 0 for NaN."""
    return np.where(np.isnan(logit), 0, np.where(np.asarray(logit, np.float32) <= ceiling(card), 1, 2))


def _on_network_scale(card: Card, first: Any) -> Any:
    assert card.cascade is not None and card.calibration is not None
    value = first / card.cascade.temperature + card.cascade.bias
    return card.calibration.temperature * (value - card.calibration.bias)
