"""Metrics of merger scores and times on sets that are right by construction."""

import numpy as np
import pytest
from scipy.special import expit, logit

from surveycnn.training.merger_metrics import merger_metrics, purity_at_half

PRIOR = 0.5


def drawn(n: int, seed: int, prior: float = PRIOR) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated scores at `prior`, labels and kinds: two unit Gaussians at -1 and 1."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < prior
    score = expit(2 * rng.normal(np.where(y, 1, -1), 1) + logit(prior))
    return score, y, np.where(y, "merger", rng.choice(["projected", "single"], n))


def test_merger_metrics__of_two_gaussians():
    score, y, kind = drawn(8000, 0)
    found = merger_metrics(score, y, kind, PRIOR)
    for name in ("balanced_accuracy", "balanced_accuracy_projected", "specificity_projected", "completeness_2pc"):
        assert found[name].value == pytest.approx(0.8413, abs=0.02), name
    assert found["auroc"].value == pytest.approx(0.9214, abs=0.01) and found["ece"].value < 0.02
    tpr, fpr = found["completeness_2pc"].value, 2 * (1 - found["balanced_accuracy"].value) - (1 - found["completeness_2pc"].value)
    assert found["purity_2pc"].value == pytest.approx(0.02 * tpr / (0.02 * tpr + 0.98 * fpr), abs=1e-4)
    assert found["purity_2pc_half"].value == pytest.approx(0.01 / (0.01 + 0.98 * 0.0228), rel=0.15)
    assert found["purity_2pc_half"].value > found["purity_2pc"].value
    assert not any(name.startswith("time") for name in found)
    assert found["balanced_accuracy_projected"].n == (y | (kind == "projected")).sum()


def test_merger_metrics__the_threshold_moves_with_the_prior():
    score, y, kind = drawn(20_000, 1, prior=0.2)
    found = merger_metrics(score, y, kind, 0.2, prefix="shifted_")
    assert found["shifted_balanced_accuracy"].value == pytest.approx(0.8413, abs=0.01)
    assert found["shifted_ece"].value < 0.02


def test_merger_metrics__the_logit_ranks_where_scores_are_saturated():
    y = np.arange(40) < 20
    found = merger_metrics(np.ones(40), y, np.where(y, "merger", "single"), PRIOR, logit=np.arange(40.0)[::-1])
    assert found["auroc"].value == 1 and found["balanced_accuracy"].value == 0.5
    assert "balanced_accuracy_projected" not in found


def test_merger_metrics__an_object_without_a_score_is_not_selected():
    score, y, kind = drawn(400, 2)
    score[y] = np.nan
    found = merger_metrics(score, y, kind, PRIOR)
    assert found["completeness_2pc"].value == 0 and found["auroc"].value == 0 and "ece" not in found
    found = merger_metrics(np.full(400, np.nan), y, kind, PRIOR)
    assert "purity_2pc" not in found and found["specificity_single"].value == 1


def test_merger_metrics__one_class_alone():
    score, y, kind = drawn(400, 3)
    assert set(merger_metrics(score[y], y[y], kind[y], PRIOR)) == {"completeness_2pc"}
    assert set(merger_metrics(score[~y], y[~y], kind[~y], PRIOR)) == {"specificity_projected", "specificity_single"}


def test_merger_metrics__times():
    rng = np.random.default_rng(4)
    n, (score, y, kind) = 8000, drawn(8000, 4)
    true = np.where(y, rng.uniform(0, 500, n), np.nan)
    error = rng.uniform(10, 60, n)
    time = np.where(y, true, 0) + error * rng.normal(size=n) + 3
    found = merger_metrics(score, y, kind, PRIOR, time=time, time_err=error, true_time=true)
    assert found["time_coverage68"].value == pytest.approx(0.68, abs=0.02)
    assert found["time_coverage90"].value == pytest.approx(0.90, abs=0.015)
    assert found["time_pull"].value == pytest.approx(1, abs=0.05) and found["time_bias"].value == pytest.approx(3, abs=1.5)
    assert found["time_median_error"].value == pytest.approx(np.median(np.abs(time - true)[y]), abs=1e-5)
    assert found["time_bias"].n == y.sum()
    none = merger_metrics(score, y, kind, PRIOR, time=np.full(n, np.nan), time_err=error, true_time=true)
    assert not any(name.startswith("time") for name in none)


def test_purity_at_half__ties_are_selected_together():
    rank, y = np.array([2.0, 2.0, 1.0, 1.0]), np.array([True, False, True, False])
    assert purity_at_half(rank, y) == pytest.approx(0.02)
    assert np.isnan(purity_at_half(rank, np.zeros(4, bool)))
