"""What a finder's scores on one held-out set amount to, as plain values that go into ``challenge.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import beta

from surveycnn.challenge.finders import Scores
from surveycnn.challenge.sets import SetSpec, is_lens
from surveycnn.training.data import LabelledStamps
from surveycnn.training.finder_metrics import FPR, lens_metrics
from surveycnn.training.ranking import allowed_false_positives, ranked, roc_curve, threshold_at_fp
from surveycnn.training.reliability import reliability

PRIORS = (1e-3, 5e-4, 1e-4)
"""Lenses among the galaxies of a survey; 5e-4 as in Euclid Q1, 1e-4 for the ground without any selection."""
RATES = (1e-2, 1e-3, 1e-4)
COUNTS = (0, 9, 10)
THETA_E_EDGES = (0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
"""arcsec"""
ARC_SN_EDGES = (2.0, 4.0, 8.0, 15.0, 25.0, 35.0, 50.0, 70.0, 100.0, 150.0, 250.0, 500.0, 2500.0)
N_ROC_POINTS = 200

DEFINITIONS = {
    "metrics": "each with its own definition; intervals: 16 to 84 % of resampled sets, positives and negatives drawn apart; "
    "those of calibration errors lie high in small sets, as resampling adds scatter to every bin",
    "roc": "largest true positive rate at about 200 false positive rates",
    "operating_points": "selected: score above the threshold, which is the best negative that is not allowed; "
    "purity = TPR prior / (TPR prior + FPR (1 - prior)), and the same with the 95 % upper limit of FPR (Clopper & Pearson 1934)",
    "completeness": "fraction of lenses selected at the threshold of a false positive rate of at most 1e-3 in the challenge: of "
    "the detectable ones in bins of the Einstein radius (arcsec), of all in bins of the total S/N of the arcs in the better of "
    "g and r; intervals: 68 % (Wilson 1927)",
    "false_positives_by_kind": "negatives of each kind selected at a false positive rate of at most 1e-3",
    "reliability": "mean score and fraction of lenses in bins of equal weight, classes weighted to the prior of the finder",
    "n_without_score": "objects that the finder gave no score, as most of their pixels have no data; never selected",
}
"""What the entries of a finder in ``challenge.json`` are."""

Values = dict[str, Any]


def assess(scores: Scores, data: LabelledStamps, spec: SetSpec, prior: float) -> Values:
    """All figures of a finder on a set; `prior` is the one that the score is calibrated at."""
    y, logit = is_lens(data), ranked(scores.logit)
    metrics = lens_metrics(scores.logit, scores.score, y, data.truth, prior, mix="hard" if spec.is_hard else "survey")
    limit = allowed_false_positives(FPR, int((~y).sum()))
    threshold = threshold_at_fp(logit, y, limit)
    selected = logit > threshold
    found: Values = {
        "metrics": {name: metric.model_dump(mode="json") for name, metric in metrics.items()},
        "roc": roc_points(logit, y),
        "false_positives_by_kind": by_kind(selected[~y], np.asarray(data.truth["kind"])[~y]),
        "n_without_score": int(np.isnan(scores.logit).sum()),
    }
    if spec.is_hard:
        return found
    return found | {
        "operating_points": operating_points(logit, y),
        "threshold": float(threshold) if np.isfinite(threshold) else None,
        "reliability": _reliability(scores.score, y, prior) if "ece" in metrics else None,
    }


def assess_population(scores: Scores, data: LabelledStamps, threshold: float) -> Values:
    """Completeness of a finder among lenses of the whole population, at a threshold of the challenge."""
    selected = ranked(scores.logit) > threshold
    theta_e, arc_sn = (np.asarray(data.truth[name], float) for name in ("theta_e", "arc_sn"))
    seen = np.asarray(data.truth["is_detectable"], bool)
    return {
        "completeness": {
            "theta_e": in_bins(selected[seen], theta_e[seen], THETA_E_EDGES),
            "arc_sn": in_bins(selected, arc_sn, ARC_SN_EDGES),
        },
        "n_detectable": int(seen.sum()),
        "n_without_score": int(np.isnan(scores.logit).sum()),
    }


def _reliability(score: np.ndarray, y: np.ndarray, prior: float) -> Values:
    return {name: values.tolist() for name, values in vars(reliability(score, y, prior)).items()}


def operating_points(score: np.ndarray, is_positive: np.ndarray) -> list[Values]:
    """Thresholds with at most 0, 9 and 10 false positives, and at most each of RATES; purity at each of PRIORS.

    ``purity = TPR prior / (TPR prior + FPR (1 - prior))``; the lower limit takes the 95 % upper limit of the false positive
    rate, without which no false positive would look like perfect purity.
    """
    y = np.asarray(is_positive, bool)
    n_negative = int((~y).sum())
    limits = {f"at most {k} false positives": k for k in COUNTS}
    limits |= {f"false positive rate at most {rate:g}": allowed_false_positives(rate, n_negative) for rate in RATES}
    found = []
    for name, k in limits.items():
        threshold = threshold_at_fp(score, y, k)
        tpr, n_false = float(np.mean(score[y] > threshold)), int((score[~y] > threshold).sum())
        fpr, upper = n_false / n_negative, rate_limit(n_false, n_negative)
        purities = [
            {"prior": prior, "purity": purity(tpr, fpr, prior), "purity_lower_95": purity(tpr, upper, prior)} for prior in PRIORS
        ]
        found.append(
            {"name": name, "allowed": k, "n_negative": n_negative, "threshold": threshold if np.isfinite(threshold) else None}
            | {"tpr": tpr, "n_false_positive": n_false, "fpr": fpr, "fpr_upper_95": upper, "purity": purities}
        )
    return found


def purity(tpr: float, fpr: float, prior: float) -> float | None:
    """Fraction of lenses among what is selected, where `prior` of all objects are lenses; None where nothing is selected.

    >>> round(purity(0.75, 1e-4, 5e-4), 2)
    0.79
    """
    lenses, others = tpr * prior, fpr * (1 - prior)
    return lenses / (lenses + others) if lenses + others > 0 else None


def rate_limit(k: int, n: int, level: float = 0.95) -> float:
    """Upper limit (Clopper & Pearson 1934) of a rate of which `k` in `n` trials were seen.

    >>> round(rate_limit(0, 1000), 4)
    0.003
    """
    return float(beta.ppf(level, k + 1, n - k)) if k < n else 1.0


def binomial_interval(k: int, n: int) -> tuple[float, float]:
    """68 % interval (Wilson 1927) of a fraction of which `k` in `n` were seen; (0, 1) for n = 0.

    >>> binomial_interval(0, 0), [round(limit, 3) for limit in binomial_interval(5, 10)]
    ((0.0, 1.0), [0.349, 0.651])
    """
    if n == 0:
        return 0.0, 1.0
    centre, width = (k + 0.5) / (n + 1), np.sqrt(k * (n - k) / n + 0.25) / (n + 1)
    return max(0.0, float(centre - width)), min(1.0, float(centre + width))


def in_bins(selected: np.ndarray, value: np.ndarray, edges: tuple[float, ...]) -> list[Values]:
    """Fraction selected (object,) of the objects with `value` in each bin [low, high); NaN is in none."""
    found = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (value >= low) & (value < high)
        found.append({"low": low, "high": high} | _fraction(selected[inside]))
    return found


def by_kind(selected: np.ndarray, kind: np.ndarray) -> list[Values]:
    """Fraction selected (object,) of each kind (object,) of objects, the worst first."""
    found = [{"kind": str(name)} | _fraction(selected[kind == name]) for name in np.unique(kind)]
    return sorted(found, key=lambda row: -row["fraction"])


def _fraction(selected: np.ndarray) -> Values:
    n, k = len(selected), int(selected.sum())
    return {"n": n, "n_selected": k, "fraction": k / n if n else None, "interval": list(binomial_interval(k, n))}


def roc_points(score: np.ndarray, is_positive: np.ndarray) -> Mapping[str, list[float]]:
    """The ROC curve at about 200 false positive rates: every count up to some tens, then equal steps in their logarithm."""
    y = np.asarray(is_positive, bool)
    fpr, tpr = roc_curve(score, y)
    n_negative = int((~y).sum())
    counts = np.unique(np.round(np.geomspace(1, n_negative, N_ROC_POINTS)).astype(int))
    counts = np.append(0, counts)
    last = np.searchsorted(np.round(fpr * n_negative), counts, side="right") - 1  # the best point with at most so many
    return {"fpr": (counts / n_negative).tolist(), "tpr": tpr[last].tolist()}
