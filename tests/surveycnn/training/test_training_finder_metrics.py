"""Metrics of a lens finder as they go into cards and into the challenge."""

import numpy as np
import pytest

from surveycnn.training.finder_metrics import is_clear, lens_metrics
from surveycnn.training.metrics import auroc

RNG = np.random.default_rng(5)
Y = np.arange(6000) < 600
LOGIT = RNG.normal(0, 1, 6000) + 2 * Y
SCORE = 1 / (1 + np.exp(-LOGIT))
TRUTH = {
    "magnification": np.where(Y, RNG.uniform(2, 12, 6000), np.nan),
    "arc_sn": np.where(Y, RNG.uniform(10, 150, 6000), np.nan),
}


def test_lens_metrics__of_a_survey_mix():
    found = lens_metrics(LOGIT, SCORE, Y, TRUTH, 0.5, prefix="shifted_challenge_")
    names = ["auroc", "tpr0", "tpr9", "tpr10", "tpr_fpr1e3", "ece"]
    assert list(found) == [f"shifted_challenge_{name}" for name in names]
    values = [found[f"shifted_challenge_{name}"].value for name in ("tpr0", "tpr_fpr1e3", "tpr9", "tpr10", "auroc")]
    assert values == sorted(values)
    for metric in found.values():
        assert metric.n == 6000 and metric.interval[0] <= metric.interval[1]
    assert "at most 9 false positives among 5400 negatives" in found["shifted_challenge_tpr9"].definition
    assert "at most 0.001, 5 among 5400 negatives" in found["shifted_challenge_tpr_fpr1e3"].definition
    assert "prior 0.5" in found["shifted_challenge_ece"].definition


def test_lens_metrics__of_a_hard_mix():
    found = lens_metrics(LOGIT, SCORE, Y, TRUTH, 0.5, prefix="hard_", mix="hard")
    assert list(found) == ["hard_auroc", "hard_auroc_clear"]
    kept = ~Y | is_clear(TRUTH)
    assert found["hard_auroc_clear"].value == pytest.approx(auroc(LOGIT[kept], Y[kept]), abs=1e-6)
    assert found["hard_auroc_clear"].n == kept.sum()
    assert f"only {int(is_clear(TRUTH).sum())} lenses" in found["hard_auroc_clear"].definition


def test_lens_metrics__without_clear_arcs_leaves_them_out():
    faint = TRUTH | {"arc_sn": TRUTH["arc_sn"] / 10}
    assert list(lens_metrics(LOGIT, SCORE, Y, faint, 0.5, mix="hard")) == ["auroc"]


def test_lens_metrics__an_object_without_a_score_is_never_selected():
    logit, score = LOGIT.copy(), SCORE.copy()
    best = np.argmax(np.where(Y, LOGIT, -np.inf))
    logit[best] = score[best] = np.nan
    full, blank = (lens_metrics(*values, Y, TRUTH, 0.5) for values in ((LOGIT, SCORE), (logit, score)))
    assert blank["tpr0"].value == pytest.approx(full["tpr0"].value - 1 / 600, abs=1e-6)
    assert blank["ece"].n == 5999 and blank["auroc"].n == 6000


def test_lens_metrics__of_no_scores_rank_at_random_and_have_no_calibration():
    nothing = np.full(6000, np.nan)
    found = lens_metrics(nothing, nothing, Y, TRUTH, 0.5)
    assert "ece" not in found
    assert found["auroc"].value == 0.5 and found["tpr10"].value == 0


def test_is_clear__needs_magnification_and_signal():
    truth = {"magnification": np.array([5.0, 4.9, 8.0, np.nan]), "arc_sn": np.array([61.0, 99.0, 60.0, np.nan])}
    assert is_clear(truth).tolist() == [True, False, False, False]
