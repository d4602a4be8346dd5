"""Calibration of a score at a prior that is not the set's own: each class is weighted to the share that it has at the prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surveycnn.models.card import Reliability as CardReliability
from surveycnn.training.ranking import N_RESAMPLES

N_BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Score against the fraction of positives, (bin,) each, bins of equal weight in ascending score."""

    score: np.ndarray
    """Weighted mean of the scores."""
    fraction: np.ndarray
    """Weighted fraction of positives."""
    weight: np.ndarray
    """Sums to 1."""
    n: np.ndarray
    """Objects."""
    n_positive: np.ndarray
    error: np.ndarray
    """Standard error of `fraction`, from the effective number of objects (sum of weights)^2 / (sum of squared weights)."""


def prior_weights(is_positive: np.ndarray, prior: float) -> np.ndarray:
    """Weights (object,) that sum to 1 and bring the positives to the share `prior`; both classes must occur.

    >>> prior_weights(np.array([True, False, False, False, False]), 0.5)
    array([0.5  , 0.125, 0.125, 0.125, 0.125])
    """
    y = np.asarray(is_positive, bool)
    return np.where(y, prior / max(1, y.sum()), (1 - prior) / max(1, (~y).sum()))


def _sorted(score: np.ndarray, is_positive: np.ndarray, prior: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and weights of the objects that have a score, in ascending score."""
    score, y = np.asarray(score, np.float64), np.asarray(is_positive, bool)
    kept = ~np.isnan(score)
    score, y = score[kept], y[kept]
    order = np.argsort(score, kind="stable")
    return score[order], y[order], prior_weights(y, prior)[order]


def _bin_starts(score: np.ndarray, weight: np.ndarray, n_bins: int) -> np.ndarray:
    """First object of each bin; equal scores share one, so that there may be fewer than `n_bins`."""
    edges = np.arange(1, n_bins) / n_bins * weight.sum()
    starts = np.searchsorted(np.cumsum(weight), edges * (1 - 1e-12), side="left") + 1
    starts = starts[starts < len(score)]
    return np.unique(np.append(0, np.searchsorted(score, score[starts], side="left")))


def reliability(score: np.ndarray, is_positive: np.ndarray, prior: float, n_bins: int = N_BINS) -> Reliability:
    """Reliability of a score (object,) in [0, 1] at the prior `prior`; objects without a score (NaN) are left out."""
    score, y, weight = _sorted(score, is_positive, prior)
    starts = _bin_starts(score, weight, n_bins)
    total, effective = np.add.reduceat(weight, starts), np.add.reduceat(weight**2, starts)
    fraction = np.add.reduceat(weight * y, starts) / total
    return Reliability(
        score=np.add.reduceat(weight * score, starts) / total,
        fraction=fraction,
        weight=total,
        n=np.diff(np.append(starts, len(score))),
        n_positive=np.add.reduceat(y.astype(int), starts),
        error=np.sqrt(fraction * (1 - fraction) * effective) / total,
    )


def card_reliability(score: np.ndarray, is_positive: np.ndarray, prior: float, definition: str) -> CardReliability | None:
    """The same for a card; None where one class has no scores."""
    kept = ~np.isnan(score)
    if not 0 < np.count_nonzero(is_positive[kept]) < np.count_nonzero(kept):
        return None
    curve = reliability(score, is_positive, prior)
    values = {name: [round(float(value), 6) for value in getattr(curve, name)] for name in ("score", "fraction", "error")}
    return CardReliability(**values, n=int(kept.sum()), definition=definition)


def calibration_error_at_prior(score: np.ndarray, is_positive: np.ndarray, prior: float, n_bins: int = N_BINS) -> float:
    """Expected calibration error at the prior `prior`: mean distance of score and fraction of positives over the bins.

    >>> y = np.array([True, False, False, False])
    >>> calibration_error_at_prior(np.full(4, 0.5), y, 0.5), calibration_error_at_prior(np.full(4, 0.5), y, 0.25)
    (0.0, 0.25)
    """
    score, y, weight = _sorted(score, is_positive, prior)
    return _error(weight, score - y, _bin_starts(score, weight, n_bins))


def resampled_calibration_error(
    score: np.ndarray, is_positive: np.ndarray, prior: float, n_bins: int = N_BINS, n: int = N_RESAMPLES, seed: int = 0
) -> np.ndarray:
    """The same (resample,) for sets in which positives and negatives are drawn anew, each set in bins of its own."""
    score, y, weight = _sorted(score, is_positive, prior)
    rng, classes, found = np.random.default_rng(seed), (np.flatnonzero(y), np.flatnonzero(~y)), []
    for _ in range(n):
        counts = np.zeros(len(score))
        for members in classes:
            counts[members] = np.bincount(rng.integers(0, len(members), len(members)), minlength=len(members))
        drawn = counts * weight
        found.append(_error(drawn, score - y, _bin_starts(score, drawn, n_bins)))
    return np.array(found)


def _error(weight: np.ndarray, excess: np.ndarray, starts: np.ndarray) -> float:
    """Sum over bins of |sum of weight * (score - label)|: each bin's distance times its weight."""
    return float(np.abs(np.add.reduceat(weight * excess, starts)).sum() / weight.sum())
