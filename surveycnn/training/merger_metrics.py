"""Metrics of a merger classifier with staging, for the cards of models and for methods that give a score alone.

Mergers are rare on the sky and common in a training set: what a score is worth there is told at a share of 2 %.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from surveycnn.models.card import Metric
from surveycnn.training.metrics import auroc, measured, nmad
from surveycnn.training.ranking import Ranking, quantile_interval, ranked
from surveycnn.training.reliability import N_BINS, calibration_error_at_prior, resampled_calibration_error

SKY_PRIOR = 0.02
"""Share of mergers among the galaxies of a survey at which the purity is told."""
PROJECTED = "projected"


def merger_metrics(
    score: np.ndarray,
    is_merger: np.ndarray,
    kind: np.ndarray,
    prior: float,
    *,
    logit: np.ndarray | None = None,
    time: np.ndarray | None = None,
    time_err: np.ndarray | None = None,
    true_time: np.ndarray | None = None,
    prefix: str = "",
) -> dict[str, Metric]:
    """Metrics of a classifier on one set, each name with `prefix` before it; what needs a class that is not there is left out.

    Parameters
    ----------
    score
        (object,) in [0, 1], probability at the prior `prior`; NaN = no score, never selected.
    is_merger, kind
        (object,) labels, and the kind of each object: one specificity for each kind of non-merger.
    logit
        (object,) what ranks; None takes the score.
    time, time_err, true_time
        (object,) Myr from the first pericentre; NaN = no stage. Mergers alone count.
    """
    score, y = np.asarray(score, float), np.asarray(is_merger, bool)
    is_selected = score > prior  # a score of 0.5 once it is moved from `prior` to 0.5
    found: dict[str, Metric] = {}
    if 0 < y.sum() < len(y):
        found |= _ranking_metrics(score if logit is None else logit, y)
        found |= _selection_metrics(is_selected, y, np.asarray(kind))
        found |= _calibration_metrics(score, y, prior)
    if y.any():
        text = "fraction of the mergers with a score above 0.5, once it is moved from the training prior to 0.5"
        found["completeness_2pc"] = measured(_mean, text, is_selected[y])
    found |= _specificities(is_selected, y, np.asarray(kind))
    if time is not None and time_err is not None and true_time is not None:
        found |= _time_metrics(*(np.asarray(values, float)[y] for values in (time, time_err, true_time)))
    return {prefix + name: metric for name, metric in found.items()}


def purity(tpr: float, fpr: float, prior: float) -> float:
    """Fraction of mergers among what is selected, at the share `prior` of mergers; NaN where nothing is selected.

    >>> round(purity(0.5, 0.01, 0.02), 3)
    0.505
    """
    selected = tpr * prior + fpr * (1 - prior)
    return tpr * prior / selected if selected else float("nan")


def purity_at_half(rank: np.ndarray, is_merger: np.ndarray, prior: float = SKY_PRIOR) -> float:
    """Purity at the share `prior` of mergers where half of the mergers are selected; tied ranks are selected together.

    >>> purity_at_half(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, True, False, False]))
    1.0
    """
    mergers = np.sort(ranked(rank)[is_merger])[::-1]
    if not len(mergers):
        return float("nan")
    is_selected = ranked(rank) >= mergers[(len(mergers) - 1) // 2]
    return purity(_mean(is_selected[is_merger]), _mean(is_selected[~is_merger]), prior)


def _ranking_metrics(rank: np.ndarray, y: np.ndarray) -> dict[str, Metric]:
    ranking = Ranking(rank, y)
    low, high = quantile_interval(ranking.resampled({"auroc": ranking.auroc})["auroc"])
    text = f"area under the ROC curve, ties counted half, among {int((~y).sum())} negatives"
    value = round(auroc(ranked(rank), y), 6)
    found = {"auroc": Metric(value=value, definition=text, n=len(y), interval=(round(low, 6), round(high, 6)))}
    text = f"purity at a share of {SKY_PRIOR:.0%} mergers where the completeness is 0.5"
    found["purity_2pc_half"] = measured(purity_at_half, text, np.asarray(rank, float), y)
    return found


def _selection_metrics(is_selected: np.ndarray, y: np.ndarray, kind: np.ndarray) -> dict[str, Metric]:
    threshold = "a score above 0.5, once it is moved from the training prior to 0.5"
    text = f"mean of the true positive and the true negative rate at {threshold}"
    found = {"balanced_accuracy": measured(_balanced_accuracy, text, is_selected, y)}
    against = y | (kind == PROJECTED)
    if not y[against].all():
        text = f"the same with projected pairs alone as negatives: {text}"
        found["balanced_accuracy_projected"] = measured(_balanced_accuracy, text, is_selected[against], y[against])
    if is_selected.any():
        text = f"purity at a share of {SKY_PRIOR:.0%} mergers and {threshold}"
        found["purity_2pc"] = measured(_purity, text, is_selected, y)
    return found


def _calibration_metrics(score: np.ndarray, y: np.ndarray, prior: float) -> dict[str, Metric]:
    kept = ~np.isnan(score)
    score, y = score[kept], y[kept]
    if not 0 < y.sum() < len(y):
        return {}
    low, high = quantile_interval(resampled_calibration_error(score, y, prior))
    text = f"expected calibration error of the score, classes weighted to the prior {prior:.4g}, {N_BINS} bins of equal weight"
    value = round(calibration_error_at_prior(score, y, prior), 6)
    return {"ece": Metric(value=value, definition=text, n=len(y), interval=(round(low, 6), round(high, 6)))}


def _specificities(is_selected: np.ndarray, y: np.ndarray, kind: np.ndarray) -> dict[str, Metric]:
    found = {}
    for name in np.unique(kind[~y]):
        members = ~y & (kind == name)
        text = f"fraction of the non-mergers of kind {name} that are not selected"
        found[f"specificity_{name}"] = measured(_mean, text, ~is_selected[members])
    return found


def _time_metrics(time: np.ndarray, error: np.ndarray, true: np.ndarray) -> dict[str, Metric]:
    """Staging of mergers (object,), all in Myr."""
    kept = np.isfinite(time) & np.isfinite(error) & np.isfinite(true)
    if not kept.any():
        return {}
    miss, error = time[kept] - true[kept], error[kept]
    pull = miss / error
    text = "median |time - true time| in Myr, all mergers"
    found = {"time_median_error": measured(lambda v: float(np.median(np.abs(v))), text, miss)}
    found["time_bias"] = measured(lambda v: float(np.median(v)), "median (time - true time) in Myr, all mergers", miss)
    for percent in (68, 90):
        text = f"fraction of the true times in the central {percent} % of the Gaussian of time and time_err"
        inside = np.abs(pull) <= norm.isf((1 - percent / 100) / 2)
        found[f"time_coverage{percent}"] = measured(_mean, text, inside)
    text = "scatter (1.4826 MAD) of (time - true time) / time_err, 1 where the errors are right"
    found["time_pull"] = measured(nmad, text, pull)
    return found


def _purity(is_selected: np.ndarray, y: np.ndarray) -> float:
    return purity(_mean(is_selected[y]), _mean(is_selected[~y]), SKY_PRIOR)


def _balanced_accuracy(is_selected: np.ndarray, y: np.ndarray) -> float:
    return (_mean(is_selected[y]) + _mean(~is_selected[~y])) / 2


def _mean(values: np.ndarray) -> float:
    """Mean; NaN of nothing, as a resampled set may lack a class."""
    return float(np.mean(values)) if len(values) else float("nan")
