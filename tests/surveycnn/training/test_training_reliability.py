"""Calibration at a prior that is not the set's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.training.calibration import calibration_error
from surveycnn.training.reliability import (
    calibration_error_at_prior,
    prior_weights,
    reliability,
    resampled_calibration_error,
)


def survey(n, prior, seed=0):
    """Scores that are right at the prior 0.5, on a set with the fraction `prior` of positives."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < prior
    logit = rng.normal(np.where(y, 1.0, -1.0), np.sqrt(2))  # log likelihood ratio of two normals
    return 1 / (1 + np.exp(-logit)), y


def test_calibration_error_at_prior__undoes_the_prior_of_the_set():
    score, y = survey(60_000, 1 / 11)
    assert calibration_error_at_prior(score, y, 0.5) < 0.012
    assert calibration_error(score, y) > 0.15
    assert calibration_error_at_prior(score, y, 1 / 11) > 0.15


def test_calibration_error_at_prior__at_the_sets_own_prior_is_the_plain_one():
    score, y = survey(9_000, 0.3)
    assert calibration_error_at_prior(score, y, y.mean()) == pytest.approx(calibration_error(score, y), rel=1e-3)


def test_calibration_error_at_prior__equal_scores_share_a_bin():
    y = np.arange(1000) < 600
    assert calibration_error_at_prior(np.full(1000, 0.9), y, 0.6) == pytest.approx(0.3)
    assert calibration_error_at_prior(np.full(1000, 0.9), y, 0.1) == pytest.approx(0.8)


def test_calibration_error_at_prior__leaves_out_what_has_no_score():
    score, y = survey(2_000, 0.2)
    missing = np.append(score, [np.nan, np.nan]), np.append(y, [True, False])
    assert calibration_error_at_prior(*missing, 0.5) == calibration_error_at_prior(score, y, 0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 300), st.floats(0.05, 0.95), st.integers(1, 20), st.integers(0, 2**31))
def test_reliability__bins_hold_every_object_once_and_add_up_to_the_error(n, prior, n_bins, seed):
    rng = np.random.default_rng(seed)
    score, y = np.round(rng.random(n), 1), rng.random(n) < 0.4
    y[:2] = True, False
    found = reliability(score, y, prior, n_bins)
    assert found.n.sum() == n and found.n_positive.sum() == y.sum() and len(found.n) <= n_bins
    assert found.weight.sum() == pytest.approx(1) and found.weight @ found.fraction == pytest.approx(prior)
    assert np.all(np.diff(found.score) > 0)
    error = found.weight @ np.abs(found.score - found.fraction)
    assert calibration_error_at_prior(score, y, prior, n_bins) == pytest.approx(error)


def test_reliability__bins_have_equal_weight_and_errors_of_the_scatter():
    score, y = survey(40_000, 1 / 11)
    found = reliability(score, y, 0.5)
    assert found.weight == pytest.approx(1 / 15, rel=0.01)
    pull = (found.fraction - found.score) / found.error
    assert np.abs(pull).max() < 4 and 0.4 < pull.std() < 2


def test_prior_weights__give_each_class_its_share():
    y = np.arange(100) < 7
    weight = prior_weights(y, 0.25)
    assert weight[y].sum() == pytest.approx(0.25) and weight.sum() == pytest.approx(1)


def test_resampled_calibration_error__lies_around_that_of_the_set():
    score, y = survey(8_000, 1 / 11)
    off = score**2
    values = resampled_calibration_error(off, y, 0.5, n=60)
    assert values.mean() == pytest.approx(calibration_error_at_prior(off, y, 0.5), rel=0.1)
    assert 0 < values.std() < 0.02
