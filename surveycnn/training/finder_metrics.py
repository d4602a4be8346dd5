"""Metrics of a lens finder on one held-out set, for the cards of models and for the challenge.

Two conventions of "TPR10" are in use: fewer than ten false positives (Metcalf et al. 2019, A&A 625, A119) and ten of them
(HOLISMOKES XI, Canameras et al. 2024, A&A 692, A72). Both counts depend on the number of negatives, which the definitions name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from surveycnn.models.card import Metric
from surveycnn.training.metrics import auroc, tpr_at_fp
from surveycnn.training.ranking import Ranking, allowed_false_positives, quantile_interval, ranked
from surveycnn.training.reliability import N_BINS, calibration_error_at_prior, resampled_calibration_error

FPR = 1e-3
"""False positive rate of the operating point at which finders are compared."""
CLEAR_MAGNIFICATION = 5.0
CLEAR_ARC_SN = 60.0


def lens_metrics(
    logit: np.ndarray,
    score: np.ndarray,
    is_lens: np.ndarray,
    truth: Mapping[str, np.ndarray],
    prior: float,
    *,
    prefix: str = "",
    mix: str = "survey",
) -> dict[str, Metric]:
    """Metrics of a finder on a set of the simulation, each name with `prefix` before it.

    Parameters
    ----------
    logit
        (object,) what ranks; NaN = no score, never selected.
    score
        (object,) calibrated probability at the prior `prior`; NaN = no score.
    is_lens, truth
        (object,) labels, and the truth columns `magnification` and `arc_sn` of the hard mix.
    mix
        ``survey``: ranking in the tail, and calibration (left out where one class has no scores). ``hard``: lenses against
        their own light without lensing, all of them, and those with clear arcs (left out where there are none).
    """
    y = np.asarray(is_lens, bool)
    found = _hard_metrics(logit, y, truth) if mix == "hard" else _survey_metrics(logit, score, y, prior)
    return {prefix + name: metric for name, metric in found.items()}


def is_clear(truth: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether the arcs (object,) are clear: magnified at least 5 times and with a total S/N above 60 in the better of g and r."""
    magnification, arc_sn = (np.asarray(truth[name], float) for name in ("magnification", "arc_sn"))
    return (magnification >= CLEAR_MAGNIFICATION) & (arc_sn > CLEAR_ARC_SN)


def _survey_metrics(logit: np.ndarray, score: np.ndarray, y: np.ndarray, prior: float) -> dict[str, Metric]:
    n, n_negative, ranking = len(y), int((~y).sum()), Ranking(logit, y)
    limit = allowed_false_positives(FPR, n_negative)
    among = f"among {n_negative} negatives"
    definitions = {f"tpr{k}": (k, f"true positive rate with at most {k} false positives {among}") for k in (0, 9, 10)}
    text = f"true positive rate at a false positive rate of at most {FPR:g}, {limit} {among}"
    definitions["tpr_fpr1e3"] = (limit, text)
    resampled = ranking.resampled(
        {"auroc": ranking.auroc} | {name: partial(ranking.tpr_at_fp, k=k) for name, (k, _) in definitions.items()}
    )
    text = f"area under the ROC curve, ties counted half, {among}"
    found = {"auroc": _metric(auroc(ranked(logit), y), text, n, resampled["auroc"])}
    for name, (k, definition) in definitions.items():
        found[name] = _metric(tpr_at_fp(ranked(logit), y, k), definition, n, resampled[name])
    kept = ~np.isnan(score)
    if 0 < y[kept].sum() < kept.sum():
        found["ece"] = _calibration_metric(score[kept], y[kept], prior)
    return found


def _calibration_metric(score: np.ndarray, y: np.ndarray, prior: float) -> Metric:
    text = f"expected calibration error of the score, classes weighted to the prior {prior:.4g}, {N_BINS} bins of equal weight"
    value = calibration_error_at_prior(score, y, prior)
    return _metric(value, text, len(y), resampled_calibration_error(score, y, prior))


def _hard_metrics(logit: np.ndarray, y: np.ndarray, truth: Mapping[str, np.ndarray]) -> dict[str, Metric]:
    text = "area under the ROC curve, lenses against {} negatives made of the light of lenses, re-arranged without lensing"
    text = text.format(int((~y).sum()))
    found = {"auroc": _ranked_metric(logit, y, text)}
    kept = ~y | (y & is_clear(truth))
    if y[kept].any():
        limits = f"magnified >= {CLEAR_MAGNIFICATION:g} times, arcs of S/N > {CLEAR_ARC_SN:g}"
        found["auroc_clear"] = _ranked_metric(logit[kept], y[kept], f"{text}; only {int(y[kept].sum())} lenses {limits}")
    return found


def _ranked_metric(logit: np.ndarray, y: np.ndarray, definition: str) -> Metric:
    ranking = Ranking(logit, y)
    return _metric(auroc(ranked(logit), y), definition, len(y), ranking.resampled({"auroc": ranking.auroc})["auroc"])


def _metric(value: float, definition: str, n: int, resampled: np.ndarray) -> Metric:
    low, high = quantile_interval(resampled)
    return Metric(value=round(value, 6), definition=definition, n=n, interval=(round(low, 6), round(high, 6)))
