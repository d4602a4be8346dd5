"""How well a model does on held-out labels, beside the model that it was trained further from: both on the same objects."""

from __future__ import annotations

import numpy as np
import xarray as xr

from surveycnn.models.card import Card, Metric
from surveycnn.training.metrics import auroc, measured, tpr_at_fp
from surveycnn.training.ranking import allowed_false_positives, ranked

MIN_CLASS = 5
"""Held-out labels of each class below which nothing is said."""
MIN_SURE = 30
"""Below which intervals are too wide to decide."""
MIN_NEGATIVES = 100
FPR = 0.01


def few_labels(y: np.ndarray) -> list[str]:
    """What to say of a held-out part that is small."""
    n = min(int(y.sum()), int((~y).sum()))
    found = f"The held-out labels are {int(y.sum())} positives and {int((~y).sum())} negatives:"
    if n < MIN_CLASS:
        return [f"{found} too few to measure anything. Look at what it ranks highest beside what its parent does."]
    return [f"{found} look at the intervals before you believe the metrics."] if n < MIN_SURE else []


def label_metrics(before: xr.Dataset, after: xr.Dataset, y: np.ndarray, card: Card) -> dict[str, Metric]:
    """Metrics of a model and, with the prefix ``parent_``, of its parent, and the gain in the first one.

    Parameters
    ----------
    before, after
        What the parent and the model give for the held-out objects.
    y
        (object,) bool labels.
    """
    if min(y.sum(), (~y).sum()) < MIN_CLASS:
        return {}
    new, old = (ranked(found[f"{card.task}_logit"].values) for found in (after, before))
    found: dict[str, Metric] = {}
    n_negative, text = int((~y).sum()), f"on held-out labels, {int(y.sum())} positives and {int((~y).sum())} negatives"
    for prefix, logit in (("labels_", new), ("labels_parent_", old)):
        whose = "" if prefix == "labels_" else " of the model it started from"
        found[f"{prefix}auroc"] = measured(auroc, f"area under the ROC curve{whose}, ties counted half, {text}", logit, y)
        if n_negative >= MIN_NEGATIVES:
            definition = f"true positive rate{whose} at a false positive rate of at most {FPR:g}, {text}"
            found[f"{prefix}tpr_fpr1e2"] = measured(_tpr, definition, logit, y)
    definition = f"area under the ROC curve minus that of the model it started from, resampled together, {text}"
    found["labels_gain_auroc"] = measured(lambda a, b, p: auroc(a, p) - auroc(b, p), definition, new, old, y)
    return found


def _tpr(logit: np.ndarray, y: np.ndarray) -> float:
    return tpr_at_fp(logit, y, allowed_false_positives(FPR, int((~y).sum()))) if y.any() and not y.all() else float("nan")
