"""How well a finder ranks, above all in the far tail where surveys work: counts of false positives, rates, and their scatter.

Scores are only compared with each other. An object without a score (NaN) is never selected: it ranks below all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from surveycnn.training.metrics import tpr_at_fp

N_RESAMPLES = 300

Counts = tuple[np.ndarray, np.ndarray]
"""How often each positive and each negative of a :class:`Ranking`, in its order, is in a resampled set."""


def ranked(score: np.ndarray) -> np.ndarray:
    """Scores (object,) float64 in which no score (NaN) is the lowest one.

    >>> ranked(np.array([0.5, np.nan]))
    array([ 0.5, -inf])
    """
    score = np.asarray(score, np.float64)
    return np.where(np.isnan(score), -np.inf, score)


def allowed_false_positives(fpr: float, n_negative: int) -> int:
    """Most false positives among `n_negative` negatives at a rate of at most `fpr`: ``floor(fpr * n_negative)``.

    >>> allowed_false_positives(1e-3, 3000), allowed_false_positives(1e-3, 2999)
    (3, 2)
    """
    return int(np.floor(fpr * n_negative + 1e-9))  # 1e-3 * 3000 must not come out as 2


def tpr_at_fpr(score: np.ndarray, is_positive: np.ndarray, fpr: float) -> float:
    """Largest true positive rate with a false positive rate of at most `fpr`; tied scores are accepted together.

    >>> tpr_at_fpr(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]), 0.5)
    1.0
    """
    y = np.asarray(is_positive, bool)
    return tpr_at_fp(ranked(score), y, allowed_false_positives(fpr, int((~y).sum())))


def threshold_at_fp(score: np.ndarray, is_positive: np.ndarray, k: int) -> float:
    """Score that has to be exceeded for at most `k` false positives: that of the (k + 1)-th best negative.

    >>> threshold_at_fp(np.array([3.0, 2.0, 1.0]), np.array([True, False, False]), 1)
    1.0
    """
    negatives = np.sort(ranked(score)[~np.asarray(is_positive, bool)])[::-1]
    return float(negatives[k]) if k < negatives.size else -np.inf


def roc_curve(score: np.ndarray, is_positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates (threshold,) from (0, 0) to (1, 1), a point for every distinct score.

    >>> roc_curve(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    score, y = ranked(score), np.asarray(is_positive, bool)
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(score[order][1:] != score[order][:-1]), len(score) - 1)  # of each run of equal scores
    accepted = np.cumsum(y[order])[last]
    rejected = last + 1 - accepted
    return np.append(0, rejected / max(1, (~y).sum())), np.append(0, accepted / max(1, y.sum()))


class Ranking:
    """Sorted once, so that figures of resampled sets take a time that grows with the number of objects and no faster.

    Parameters
    ----------
    score, is_positive
        (object,) scores and labels; both classes must occur.
    """

    def __init__(self, score: np.ndarray, is_positive: np.ndarray):
        y = np.asarray(is_positive, bool)
        score = ranked(score)
        self.positives, self.negatives = np.sort(score[y]), np.sort(score[~y])
        """Scores, ascending."""
        if not len(self.positives) or not len(self.negatives):
            raise ValueError(f"{len(self.positives)} positives and {len(self.negatives)} negatives cannot be ranked")
        self._below = np.searchsorted(self.negatives, self.positives, side="left")
        self._up_to = np.searchsorted(self.negatives, self.positives, side="right")

    @property
    def counts(self) -> Counts:
        """Every object once: the set itself."""
        return np.ones(len(self.positives), int), np.ones(len(self.negatives), int)

    def auroc(self, counts: Counts) -> float:
        """Area under the ROC curve of a resampled set, ties counted half."""
        positive, negative = counts
        summed = np.append(0, np.cumsum(negative))
        wins = positive @ (summed[self._below] + summed[self._up_to]) / 2
        return float(wins / (positive.sum() * negative.sum()))

    def tpr_at_fp(self, counts: Counts, k: int) -> float:
        """True positive rate with at most `k` false positives in a resampled set."""
        positive, negative = counts
        best_first = np.cumsum(negative[::-1])
        place = int(np.searchsorted(best_first, k, side="right"))  # the negative that would be one too many
        threshold = self.negatives[::-1][place] if place < len(best_first) else -np.inf
        first = np.searchsorted(self.positives, threshold, side="right")
        return float(positive[first:].sum() / positive.sum())

    def resampled(
        self, statistics: Mapping[str, Callable[[Counts], float]], n: int = N_RESAMPLES, seed: int = 0
    ) -> dict[str, np.ndarray]:
        """Each statistic (resample,) of sets in which positives and negatives are drawn anew, as many of each as there are.

        The number of negatives stays what it is, as a count of false positives means nothing without it.
        """
        rng, sizes = np.random.default_rng(seed), (len(self.positives), len(self.negatives))
        found: dict[str, list[float]] = {name: [] for name in statistics}
        for _ in range(n):
            positive, negative = (np.bincount(rng.integers(0, size, size), minlength=size) for size in sizes)
            for name, statistic in statistics.items():
                found[name].append(statistic((positive, negative)))
        return {name: np.array(values) for name, values in found.items()}


def quantile_interval(values: np.ndarray) -> tuple[float, float]:
    """16 and 84 % of resampled values."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(low), float(high)
