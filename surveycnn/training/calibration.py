"""Calibration of a logit on a validation set, so that a score of 0.8 is right four times in five."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from surveycnn.models.card import Calibration


def fit_calibration(logit: np.ndarray, is_positive: np.ndarray, weights: np.ndarray | None = None) -> Calibration:
    """Temperature and bias that minimise the cross-entropy of ``sigmoid(logit / temperature + bias)``.

    Parameters
    ----------
    logit, is_positive
        (object,) raw logits and labels of a set that was not trained on.
    weights
        (object,) of any sum, which bring a set to another share of positives; None counts all the same.

    Notes
    -----
    A separable set has no minimum: the temperature is held between 0.1 and 10, and one class alone gives no calibration.
    """
    y = np.asarray(is_positive, bool)
    if y.all() or not y.any():
        return Calibration()

    def cross_entropy(parameters: np.ndarray) -> float:
        value = logit * np.exp(-parameters[0]) + parameters[1]
        return float(np.average(np.logaddexp(0, np.where(y, -value, value)), weights=weights))

    bounds = [(np.log(0.1), np.log(10)), (-5, 5)]
    found = minimize(cross_entropy, np.zeros(2), method="L-BFGS-B", bounds=bounds).x
    return Calibration(temperature=float(np.exp(found[0])), bias=float(found[1]))


def calibration_error(score: np.ndarray, is_positive: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error: mean over bins of equal counts of the distance of mean score and fraction of positives."""
    edges = np.quantile(score, np.arange(1, n_bins) / n_bins)
    place = np.searchsorted(edges, score, side="right")  # equal scores share a bin
    bins = [place == index for index in np.unique(place)]
    return float(sum(members.sum() * abs(score[members].mean() - np.mean(is_positive[members])) for members in bins) / len(score))
