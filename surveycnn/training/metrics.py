"""What the cards report: each metric with its definition, the number of objects and a bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from surveycnn.models.card import Metric
from surveycnn.training.calibration import calibration_error

N_BOOTSTRAP = 200


def auroc(score: np.ndarray, is_positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counted half; NaN with one class alone.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    y = np.asarray(is_positive, bool)
    n_positive, n_negative = int(y.sum()), int((~y).sum())
    if not n_positive or not n_negative:
        return float("nan")
    return float((rankdata(score)[y].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def tpr_at_fp(score: np.ndarray, is_positive: np.ndarray, k: int) -> float:
    """Largest true positive rate with at most `k` false positives; scores tied with the next negative are not accepted.

    >>> tpr_at_fp(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]), 0)
    0.5
    """
    y = np.asarray(is_positive, bool)
    negatives = np.sort(score[~y])[::-1]
    threshold = negatives[k] if k < negatives.size else -np.inf
    return float(np.mean(score[y] > threshold))


def nmad(dz: np.ndarray) -> float:
    """Normalised median absolute deviation about the median."""
    return float(1.4826 * np.median(np.abs(dz - np.median(dz))))


def measured(function: Callable[..., float], definition: str, *arrays: np.ndarray, seed: int = 0) -> Metric:
    """Metric of `function` over objects, with the 16 and 84 % quantiles over resampled sets of objects."""
    n, rng = len(arrays[0]), np.random.default_rng(seed)
    values = []
    for _ in range(N_BOOTSTRAP):
        members = rng.integers(0, n, n)
        values.append(function(*(array[members] for array in arrays)))
    low, high = np.nanquantile(values, [0.16, 0.84])
    return Metric(value=round(function(*arrays), 6), definition=definition, n=n, interval=(round(low, 6), round(high, 6)))


def classifier_metrics(logit: np.ndarray, score: np.ndarray, is_positive: np.ndarray) -> dict[str, Metric]:
    """Ranking and calibration of a lens or merger classifier on a set at the training prior."""
    y = np.asarray(is_positive, bool)
    n_negative = int((~y).sum())
    found = {"auroc": measured(auroc, "area under the ROC curve, ties counted half", logit, y)}
    for k in (0, 9, 10):
        definition = f"true positive rate with at most {k} false positives among {n_negative} negatives"
        found[f"tpr{k}"] = measured(lambda s, p, k=k: tpr_at_fp(s, p, k), definition, logit, y)
    definition = "expected calibration error of the score at the training prior, 15 bins of equal counts"
    found["ece"] = measured(calibration_error, definition, score, y)
    definition = "fraction right at a score of 0.5, on a set at the training prior"
    found["accuracy"] = measured(lambda s, p: float(np.mean((s > 0.5) == p)), definition, score, y)
    return found
