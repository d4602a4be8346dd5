"""Metrics and calibration on sets whose answers are known."""

import numpy as np
import pytest

from surveycnn.training.calibration import calibration_error, fit_calibration
from surveycnn.training.metrics import (
    auroc,
    classifier_metrics,
    measured,
    tpr_at_fp,
)


def test_auroc__ties_count_half():
    assert auroc(np.array([1.0, 1.0, 1.0, 1.0]), np.array([0, 1, 0, 1])) == 0.5
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([1, 1])))


def test_tpr_at_fp__against_a_scan_of_thresholds():
    rng = np.random.default_rng(0)
    y = rng.random(300) < 0.3
    score = np.round(rng.normal(y, 1), 1)
    for k in (0, 3, 9, 10, 400):
        allowed = [np.mean(score[y] >= t) for t in np.append(np.unique(score), np.inf) if np.sum(score[~y] >= t) <= k]
        assert tpr_at_fp(score, y, k) == max(allowed)


def test_tpr_at_fp__saturated_scores_give_zero():
    assert tpr_at_fp(np.ones(10), np.arange(10) < 5, 0) == 0


def test_fit_calibration__finds_temperature_and_bias():
    rng = np.random.default_rng(1)
    value = rng.normal(0, 2, 40_000)
    y = rng.random(40_000) < 1 / (1 + np.exp(-value))
    found = fit_calibration(3 * (value - 0.5), y)
    assert found.temperature == pytest.approx(3, rel=0.05) and found.bias == pytest.approx(0.5, abs=0.05)


def test_fit_calibration__separable_and_single_class_sets():
    logit = np.concatenate([np.full(50, -5.0), np.full(50, 5.0)])
    assert 0.0999 < fit_calibration(logit, logit > 0).temperature <= 10
    assert fit_calibration(logit, logit > 9).temperature == 1


def test_calibration_error__of_a_score_that_is_off():
    rng = np.random.default_rng(2)
    score = rng.random(30_000)
    y = rng.random(30_000) < score
    assert calibration_error(score, y) < 0.01
    assert calibration_error(np.full(1000, 0.9), np.arange(1000) < 600) == pytest.approx(0.3)


def test_measured__interval_has_the_width_of_the_scatter():
    values = np.random.default_rng(3).normal(0, 2, 1000)
    metric = measured(lambda v: float(v.mean()), "mean", values)
    assert metric.n == 1000 and metric.interval[0] < metric.value < metric.interval[1]
    assert metric.interval[1] - metric.interval[0] == pytest.approx(2 * 2 / np.sqrt(1000), rel=0.25)


def test_classifier_metrics__names_the_number_of_negatives():
    y = np.arange(100) < 40
    found = classifier_metrics(np.where(y, 1.0, -1.0), np.where(y, 0.99, 0.01), y)
    assert found["auroc"].value == found["tpr0"].value == found["accuracy"].value == 1
    assert found["ece"].value == pytest.approx(0.01)
    assert "at most 9 false positives among 60 negatives" in found["tpr9"].definition
