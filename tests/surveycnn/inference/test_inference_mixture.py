"""Mixtures of Gaussians against dense grids, numerical integration and those of qp."""

import numpy as np
import pytest
import qp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad_vec

from surveycnn.inference import mixture


@pytest.fixture(scope="module")
def parameters():
    rng = np.random.default_rng(5)
    n, k = 40, 5
    return rng.dirichlet(np.ones(k), n), rng.uniform(0, 2, (n, k)), rng.lognormal(-2.5, 0.8, (n, k)) + 0.002


GRID = np.linspace(-2, 4, 12001)


def on_grid(function, parameters):
    n = len(parameters[0])
    return np.stack([function(np.full(n, z), *parameters) for z in GRID], axis=1)


def test_pdf__is_the_slope_of_cdf_and_integrates_to_one(parameters):
    density, below = on_grid(mixture.pdf, parameters), on_grid(mixture.cdf, parameters)
    np.testing.assert_allclose(np.trapezoid(density, GRID, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.gradient(below, GRID, axis=1), density, atol=0.02 * density.max())


@pytest.mark.parametrize("q", [0.001, 0.16, 0.5, 0.84, 0.999])
def test_quantile__inverts_cdf(parameters, q):
    np.testing.assert_allclose(mixture.cdf(mixture.quantile(q, *parameters), *parameters), q, atol=1e-5)


def test_mode__is_the_highest_place_of_the_grid(parameters):
    density = on_grid(mixture.pdf, parameters)
    at_mode = mixture.pdf(mixture.mode(*parameters), *parameters)
    assert np.all(at_mode >= 0.999 * density.max(axis=1))


def test_mode__between_two_means():
    weight, mean, sigma = np.array([[0.5, 0.5]]), np.array([[0.9, 1.1]]), np.array([[0.2, 0.2]])
    np.testing.assert_allclose(mixture.mode(weight, mean, sigma), 1.0, atol=1e-3)


def test_crps__agrees_with_the_integral(parameters):
    z = np.linspace(0.1, 1.9, len(parameters[0]))
    below = on_grid(mixture.cdf, parameters)
    step = GRID[None, :] >= z[:, None]
    np.testing.assert_allclose(mixture.crps(z, *parameters), np.trapezoid((below - step) ** 2, GRID, axis=1), atol=1e-3)


def test_cde_loss__agrees_with_the_integral(parameters):
    z = np.linspace(0.1, 1.9, len(parameters[0]))
    squared = np.trapezoid(on_grid(mixture.pdf, parameters) ** 2, GRID, axis=1)
    np.testing.assert_allclose(mixture.cde_loss(z, *parameters), squared - 2 * mixture.pdf(z, *parameters), rtol=1e-3)


def random_mixtures(seed: int, k: int, n: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths between 0.01 and 0.3, weights from one Gaussian alone to equal ones."""
    rng = np.random.default_rng(seed)
    shape = (n, k)
    return rng.dirichlet(np.full(k, 0.5), n), rng.uniform(0.05, 2, shape), np.exp(rng.uniform(np.log(0.01), np.log(0.3), shape))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_closed_forms__of_random_mixtures_are_the_integrals(seed, k):
    parts = random_mixtures(seed, k)
    z = np.random.default_rng(seed + 1).uniform(-0.2, 2.5, len(parts[0]))

    def integrands(x):
        at = np.full(len(z), x)
        density, below = mixture.pdf(at, *parts), mixture.cdf(at, *parts)
        return np.stack([density, x * density, density**2, (below - (x >= z)) ** 2])

    points = [*np.unique(parts[1]), *z]
    total, mean, squared, crps = quad_vec(integrands, -3, 6, epsabs=1e-9, limit=2000, points=points)[0]
    np.testing.assert_allclose(total, 1, atol=1e-7)
    np.testing.assert_allclose(mixture.mean_of(*parts[:2]), mean, atol=1e-6)
    np.testing.assert_allclose(mixture.crps(z, *parts), crps, atol=1e-6)
    np.testing.assert_allclose(mixture.cde_loss(z, *parts), squared - 2 * mixture.pdf(z, *parts), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.02, 0.98))
def test_mixture__is_that_of_qp(seed, k, q):
    weight, mean, sigma = parts = random_mixtures(seed, k)
    ensemble = qp.Ensemble(qp.mixmod, data={"weights": weight, "means": mean, "stds": sigma})
    z = np.random.default_rng(seed + 1).uniform(0, 2, len(mean))
    np.testing.assert_allclose(mixture.pdf(z, *parts), ensemble.pdf(z[:, None])[:, 0], atol=1e-9)
    np.testing.assert_allclose(mixture.cdf(z, *parts), ensemble.cdf(z[:, None])[:, 0], atol=1e-9)
    at = mixture.quantile(q, *parts)
    np.testing.assert_allclose(ensemble.cdf(at[:, None])[:, 0], q, atol=1e-6)


def test_scores__in_pieces(monkeypatch):
    parts = random_mixtures(3, 5, n=40)
    z = np.linspace(0, 2, 40)
    whole = mixture.crps(z, *parts), mixture.cde_loss(z, *parts)
    monkeypatch.setattr(mixture, "N_PAIRS", 50)
    np.testing.assert_allclose((mixture.crps(z, *parts), mixture.cde_loss(z, *parts)), whole, rtol=1e-12)
