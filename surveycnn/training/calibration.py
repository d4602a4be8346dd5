"""Calibration on a validation set: a score of 0.8 is right four times in five, and a 68 % interval holds 68 %."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import gammaln
from scipy.stats import norm

from surveycnn.inference import mixture
from surveycnn.models.card import Calibration

MIN_FACTOR, MAX_FACTOR = 0.2, 5.0
"""Limits of the factors on concentrations and on uncertainties."""


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


def is_separable(logit: np.ndarray, is_positive: np.ndarray) -> bool:
    """Whether all positives lie above all negatives: there is no calibration that explains such a set best.

    >>> is_separable(np.array([1.0, 2.0]), np.array([False, True]))
    True
    """
    y = np.asarray(is_positive, bool)
    return bool(not y.any() or y.all() or logit[y].min() > logit[~y].max())


def concentration_factor(concentration: np.ndarray, votes: np.ndarray) -> float:
    """Factor on the concentrations (object, answer) of a question that makes its `votes` (object, answer) most likely.

    The likelihood is the Dirichlet-multinomial one that the network was trained with; questions that nobody was asked say
    nothing.
    """
    k, a = np.asarray(votes, np.float64), np.asarray(concentration, np.float64)
    k, a = k[k.sum(axis=1) > 1], a[k.sum(axis=1) > 1]
    if not len(k):
        return 1.0
    n, total = k.sum(axis=1), a.sum(axis=1)

    def negative_log_likelihood(log_factor: float) -> float:
        f = np.exp(log_factor)
        per_answer = (gammaln(k + f * a) - gammaln(f * a)).sum(axis=1)
        return -float((gammaln(f * total) - gammaln(n + f * total) + per_answer).mean())

    limits = (float(np.log(MIN_FACTOR)), float(np.log(MAX_FACTOR)))
    return float(np.exp(minimize_scalar(negative_log_likelihood, bounds=limits, method="bounded").x))


def error_factor(value: np.ndarray, error: np.ndarray, true: np.ndarray) -> float:
    """Factor on the Gaussian `error` (object,) with which the central 68 and 90 % intervals hold their shares.

    Where no factor does both, it is the geometric mean of those that do one.
    """
    if not len(value):
        return 1.0
    pull = np.abs(np.asarray(value) - true) / error
    factors = [np.quantile(pull, share) / norm.ppf(0.5 + share / 2) for share in (0.68, 0.90)]
    return float(np.clip(np.sqrt(np.prod(factors)), MIN_FACTOR, MAX_FACTOR))


Mixtures = Callable[[float], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""From a factor on the widths to weights, means and widths (object, component) of Gaussians."""


def width_factor(mixtures: Mixtures, redshift: np.ndarray) -> float:
    """Factor on the widths of the Gaussians of PDFs that makes the redshifts (object,) most likely."""

    def negative_log_likelihood(log_factor: float) -> float:
        density = mixture.pdf(redshift, *mixtures(float(np.exp(log_factor))))
        return -float(np.log(np.maximum(density, 1e-300)).mean())

    limits = (float(np.log(MIN_FACTOR)), float(np.log(MAX_FACTOR)))
    return float(np.exp(minimize_scalar(negative_log_likelihood, bounds=limits, method="bounded", options={"xatol": 1e-3}).x))


def uniform_width(mixtures: Mixtures, redshift: np.ndarray) -> float:
    """Factor on the widths of the Gaussians of PDFs that brings the PIT of the redshifts (object,) nearest to uniform.

    The distance is that of Cramer and von Mises. A few outliers, which would make wider PDFs the likelier ones for all, count
    for no more than their number.
    """
    expected = (np.arange(len(redshift)) + 0.5) / len(redshift)

    def distance(log_factor: float) -> float:
        pit = np.sort(mixture.cdf(redshift, *mixtures(float(np.exp(log_factor)))))
        return float(np.mean((pit - expected) ** 2))

    limits = (float(np.log(MIN_FACTOR)), float(np.log(MAX_FACTOR)))
    return float(np.exp(minimize_scalar(distance, bounds=limits, method="bounded", options={"xatol": 1e-3}).x))


def calibration_error(score: np.ndarray, is_positive: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error: mean over bins of equal counts of the distance of mean score and fraction of positives."""
    edges = np.quantile(score, np.arange(1, n_bins) / n_bins)
    place = np.searchsorted(edges, score, side="right")  # equal scores share a bin
    bins = [place == index for index in np.unique(place)]
    return float(sum(members.sum() * abs(score[members].mean() - np.mean(is_positive[members])) for members in bins) / len(score))
