"""Mixtures of Gaussians, one per source: densities, quantiles, modes and closed-form scores.

Arrays: `weight`, `mean`, `sigma` (object, component), weights summing to 1, everything in redshift.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

N_BISECTIONS = 32
"""Halvings of the bracket: a range of a few units of redshift over 2**32 is below float32's resolution."""


def pdf(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Density at `z` (object,)."""
    t = (z[:, None] - mean) / sigma
    return (weight * np.exp(-0.5 * t**2) / (np.sqrt(2 * np.pi) * sigma)).sum(axis=1)


def cdf(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Probability below `z` (object,)."""
    return (weight * ndtr((z[:, None] - mean) / sigma)).sum(axis=1)


def quantile(q: float, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Redshift (object,) below which a fraction `q` of the probability lies, by bisection.

    >>> float(quantile(0.5, *np.array([[[1.0]], [[0.7]], [[0.1]]])).round(6)[0])
    0.7
    """
    low, high = (mean - 8 * sigma).min(axis=1), (mean + 8 * sigma).max(axis=1)
    for _ in range(N_BISECTIONS):
        middle = (low + high) / 2
        below = cdf(middle, weight, mean, sigma) < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def mode(weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray, n_steps: int = 40) -> np.ndarray:
    """Redshift (object,) of the highest density: mean-shift from the densest of the means and of the middles between them."""
    first, second = np.triu_indices(mean.shape[1])
    starts = (mean[:, first] + mean[:, second]) / 2
    density = np.stack([pdf(start, weight, mean, sigma) for start in starts.T], axis=1)
    z = np.take_along_axis(starts, density.argmax(axis=1)[:, None], axis=1)[:, 0]
    for _ in range(n_steps):
        pull = weight * np.exp(-0.5 * ((z[:, None] - mean) / sigma) ** 2) / sigma**3
        total = pull.sum(axis=1)
        z = np.where(total > 0, (pull * mean).sum(axis=1) / np.where(total > 0, total, 1), z)
    return z


def crps(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score (object,) at the true redshifts `z`, in closed form (Grimit et al. 2006)."""
    first = (weight * _mean_distance(z[:, None] - mean, sigma)).sum(axis=1)
    pair_mean = mean[:, :, None] - mean[:, None, :]
    pair_sigma = np.hypot(sigma[:, :, None], sigma[:, None, :])
    pair_weight = weight[:, :, None] * weight[:, None, :]
    return first - 0.5 * (pair_weight * _mean_distance(pair_mean, pair_sigma)).sum(axis=(1, 2))


def cde_loss(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Conditional density loss (object,) up to a constant: integral of the squared density less twice the density at `z`."""
    variance = sigma[:, :, None] ** 2 + sigma[:, None, :] ** 2
    overlap = np.exp(-0.5 * (mean[:, :, None] - mean[:, None, :]) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    squared = (weight[:, :, None] * weight[:, None, :] * overlap).sum(axis=(1, 2))
    return squared - 2 * pdf(z, weight, mean, sigma)


def _mean_distance(offset: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Mean of ``|X|`` of a Gaussian of mean `offset` and width `sigma`."""
    t = offset / sigma
    return 2 * sigma * np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi) + offset * (2 * ndtr(t) - 1)
