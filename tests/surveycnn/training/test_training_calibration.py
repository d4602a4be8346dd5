"""Factors that make intervals hold what they say."""

import numpy as np
import pytest

from surveycnn.training.calibration import (
    MAX_FACTOR,
    concentration_factor,
    error_factor,
    uniform_width,
    width_factor,
)


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


@pytest.mark.parametrize("find", [width_factor, uniform_width])
@pytest.mark.parametrize("true_factor", [0.6, 1.0, 1.8])
def test_widths__are_found_from_redshifts(find, true_factor):
    rng = np.random.default_rng(3)
    n = 4000
    weight, mean, sigma = rng.dirichlet([1, 1], n), rng.uniform(0.3, 2, (n, 2)), rng.uniform(0.02, 0.2, (n, 2))
    chosen = (rng.random(n) > weight[:, 0]).astype(int)
    redshift = mean[np.arange(n), chosen] + true_factor * sigma[np.arange(n), chosen] * rng.standard_normal(n)
    assert find(lambda factor: (weight, mean, factor * sigma), redshift) == pytest.approx(true_factor, rel=0.06)


def test_uniform_width__outliers_do_not_widen_all():
    rng = np.random.default_rng(4)
    n = 4000
    weight, mean, sigma = np.ones((n, 1)), np.ones((n, 1)), np.full((n, 1), 0.05)
    redshift = 1 + 0.05 * rng.standard_normal(n)
    redshift[:40] = 2.0
    found = [find(lambda factor: (weight, mean, factor * sigma), redshift) for find in (uniform_width, width_factor)]
    assert found[0] < 1.05 and found[1] > 1.5
