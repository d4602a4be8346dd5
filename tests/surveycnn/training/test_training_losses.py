"""Losses against scipy's distributions."""

import numpy as np
import pytest
from scipy.special import expit, gammaln
from scipy.stats import norm

from surveycnn.inference import mixture
from surveycnn.inference.heads import dirichlet_concentrations, mixture_parameters
from surveycnn.training import losses


def value(tensor):
    return np.asarray(tensor, float)


def f4(*values):
    return [np.asarray(array, np.float32) for array in values]


def test_binary__is_the_cross_entropy():
    logit, label = np.array([-3.0, 0.2, 4.0, 80.0, -80.0]), np.array([0, 1, 1, 0, 1])
    expected = -np.log(np.where(label == 1, expit(logit), 1 - expit(logit)).clip(1e-40))
    found = value(losses.binary(*f4(label[:, None], logit[:, None])))
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-5)
    np.testing.assert_allclose(found[3:], 80, rtol=1e-5)


def test_merger__time_counts_for_mergers_alone():
    target, raw = np.array([[1, 0.7], [0, 0.0], [0, 5.0]]), np.array([[0.3, 0.2, -0.4]] * 3)
    found = value(losses.merger(*f4(target, raw)))
    likelihood = -norm.logpdf(0.7, 0.2, np.exp(-0.2)) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(found[0], -np.log(expit(0.3)) + likelihood, rtol=1e-5)
    assert found[1] == found[2] == pytest.approx(-np.log(1 - expit(0.3)), rel=1e-5)


def test_mixture__is_the_density_that_is_published():
    raw = np.random.default_rng(0).normal(0, 1, (20, 15))
    z = np.linspace(0.1, 2, 20)
    parameters = mixture_parameters(raw)
    log_density = np.log(mixture.pdf(z, *parameters))
    np.testing.assert_allclose(value(losses.mixture_log_density(*f4(z[:, None], raw))), log_density, rtol=1e-4, atol=1e-4)
    expected = losses.CRPS_WEIGHT * mixture.crps(z, *parameters) - log_density
    np.testing.assert_allclose(value(losses.mixture(*f4(z[:, None], raw))), expected, rtol=1e-4, atol=1e-4)


def test_mixture__of_many_members_at_once():
    raw = np.random.default_rng(1).normal(0, 1, (6, 4, 9))
    z = np.linspace(0.1, 2, 24).reshape(6, 4, 1)
    together = value(losses.mixture(*f4(z, raw)))
    apart = value(losses.mixture(*f4(z.reshape(24, 1), raw.reshape(24, 9)))).reshape(6, 4)
    np.testing.assert_allclose(together, apart, rtol=1e-5)


def test_log_gamma__against_scipy():
    x = np.concatenate([np.linspace(0.01, 10, 50), np.geomspace(10, 1000, 50)])
    np.testing.assert_allclose(value(losses.log_gamma(np.float32(x))), gammaln(x), atol=5e-5, rtol=1e-6)


def test_dirichlet_multinomial__against_the_formula():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 30, (6, 5))
    raw = rng.normal(-2, 1, (6, 5))
    expected = np.zeros(6)
    for part in (slice(0, 3), slice(3, 5)):
        k, a = votes[:, part], dirichlet_concentrations(raw[:, part])
        n, total = k.sum(axis=1), a.sum(axis=1)
        log_p = gammaln(total) + gammaln(n + 1) - gammaln(n + total) + (gammaln(k + a) - gammaln(k + 1) - gammaln(a)).sum(axis=1)
        expected -= log_p
    found = value(losses.dirichlet_multinomial([3, 2])(*f4(votes, raw)))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_dirichlet_multinomial__a_rare_answer_keeps_its_gradient():
    """A network that gives an answer next to nothing learns at once when it meets objects that have it."""
    votes, raw = np.array([[20, 0]]), np.array([[-4.0, 2.0]])
    loss = losses.dirichlet_multinomial([2])
    step = value(loss(*f4(votes, raw + [[0.1, 0.0]]))) - value(loss(*f4(votes, raw)))
    assert step[0] < -0.05


def test_dirichlet_multinomial__a_question_without_votes_adds_nothing():
    raw = np.random.default_rng(0).normal(size=(4, 5))
    votes = np.array([[4, 5, 6, 0, 0]] * 4)
    found = losses.dirichlet_multinomial([3, 2])(*f4(votes, raw))
    alone = losses.dirichlet_multinomial([3])(*f4(votes[:, :3], raw[:, :3]))
    np.testing.assert_allclose(value(found), value(alone), atol=1e-4)
