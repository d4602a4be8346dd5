"""Mixtures of Gaussians against dense grids and numerical integration."""

import numpy as np
import pytest

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
