"""What a cascade's first stage lets pass, and which lenses it costs, for the cards of models."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta

from surveycnn.models.card import Metric
from surveycnn.training.finder_metrics import FPR
from surveycnn.training.ranking import allowed_false_positives, ranked, threshold_at_fp

INTERVAL = "interval: 68 % (Jeffreys)"


def passed_metric(passes: np.ndarray, of: str = "objects of simulated mosaics without lenses") -> Metric:
    """Share of objects (object,) that go on to the network."""
    return share_metric(passes, f"share of the {of} that the first stage hands on to the network")


def first_stage_metrics(passes: np.ndarray, logit: np.ndarray, is_lens: np.ndarray) -> dict[str, Metric]:
    """Metrics on a set in the survey's mix.

    Parameters
    ----------
    passes
        (object,) whether the first stage hands a stamp on.
    logit
        (object,) of the network alone.
    is_lens
        (object,) labels.

    Returns
    -------
    Shares of the lenses that do not pass: of those that the network alone ranks above all but ten negatives (`lost10`), and
    above a false positive rate of 1e-3 (`lost_fpr1e3`), of all (`lost`); and of the negatives that pass (`passed_negatives`).
    """
    y, logit, passes = np.asarray(is_lens, bool), ranked(logit), np.asarray(passes, bool)
    limit = allowed_false_positives(FPR, int((~y).sum()))
    selections = {
        "lost10": (10, "that the network alone ranks above all but 10 negatives, which are"),
        "lost_fpr1e3": (limit, f"that the network alone ranks above all but {limit} negatives (rate {FPR:g}), which are"),
    }
    found = {}
    for name, (k, text) in selections.items():
        chosen = y & (logit > threshold_at_fp(logit, y, k))
        found[name] = share_metric(~passes[chosen], f"of the lenses {text} {int(chosen.sum())}, those that the first stage stops")
    found["lost"] = share_metric(~passes[y], f"of all {int(y.sum())} lenses, those that the first stage stops")
    found["passed_negatives"] = passed_metric(passes[~y], "negatives in the survey's mix")
    return found


def share_metric(is_counted: np.ndarray, definition: str) -> Metric:
    """Share of True with its 68 % interval, which tells none in ten from none in a thousand.

    >>> share_metric(np.zeros(1000, bool), "none").interval
    (2e-05, 0.000986)
    """
    k, n = int(np.sum(is_counted)), len(is_counted)
    low, high = beta.ppf([0.16, 0.84], k + 0.5, n - k + 0.5)
    return Metric(
        value=round(k / max(1, n), 6), definition=f"{definition}; {INTERVAL}", n=n, interval=(round(low, 6), round(high, 6))
    )
