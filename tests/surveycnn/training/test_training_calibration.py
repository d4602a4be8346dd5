"""Factors that make intervals hold what they say."""

import numpy as np
import pytest

from surveycnn.training.calibration import MAX_FACTOR, concentration_factor, error_factor


@pytest.mark.parametrize("true_factor", [0.4, 1.0, 2.5])
def test_concentration_factor__is_found_from_votes(true_factor):
    rng = np.random.default_rng(1)
    concentration = rng.uniform(1.0, 12.0, (6000, 3))
    fractions = np.array([rng.dirichlet(true_factor * row) for row in concentration])
    votes = np.array([rng.multinomial(40, row) for row in fractions])
    assert concentration_factor(concentration, votes) == pytest.approx(true_factor, rel=0.05)


def test_concentration_factor__one_vote_says_nothing():
    assert concentration_factor(np.ones((5, 2)), np.eye(2, dtype=int)[[0, 1, 0, 1, 0]]) == 1.0


@pytest.mark.parametrize("true_factor", [0.5, 1.0, 1.7])
def test_error_factor__is_found_from_pulls(true_factor):
    rng = np.random.default_rng(2)
    error = rng.uniform(10.0, 60.0, 20_000)
    true = rng.uniform(0.0, 400.0, 20_000)
    assert error_factor(true + true_factor * error * rng.standard_normal(20_000), error, true) == pytest.approx(
        true_factor, rel=0.03
    )


def test_error_factor__limits():
    assert error_factor(*(np.zeros(0),) * 3) == 1.0
    assert error_factor(np.full(9, 1e6), np.ones(9), np.zeros(9)) == MAX_FACTOR
