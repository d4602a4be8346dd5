"""Mixtures of Gaussians, one per source: densities, quantiles, modes and closed-form scores.

Arrays: `weight`, `mean`, `sigma` (object, component), weights summing to 1, everything in redshift.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

N_BISECTIONS = 32
"""Halvings of the bracket: a range of a few units of redshift over 2**32 is below float32's resolution."""
N_PAIRS = 200_000
"""Pairs of Gaussians in memory at a time: 1.6 MB an array, which caches hold."""


def pdf(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Density at `z` (object,)."""
    t = (z[:, None] - mean) / sigma
    return (weight * np.exp(-0.5 * t**2) / (np.sqrt(2 * np.pi) * sigma)).sum(axis=1)


def cdf(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Probability below `z` (object,)."""
    return (weight * ndtr((z[:, None] - mean) / sigma)).sum(axis=1)


def mean_of(weight: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Mean redshift (object,).

    >>> float(mean_of(np.array([[0.25, 0.75]]), np.array([[1.0, 2.0]]))[0])
    1.75
    """
    return (weight * mean).sum(axis=1)


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
    return first - 0.5 * _over_pairs(_mean_distance, weight, mean, sigma)


def cde_loss(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Conditional density loss (object,) up to a constant: integral of the squared density less twice the density at `z`."""
    return _over_pairs(_density, weight, mean, sigma) - 2 * pdf(z, weight, mean, sigma)


def _over_pairs(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray], weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray
) -> np.ndarray:
    """Mean (object,) over the pairs of Gaussians, with their weights, of `function` (offset, width) of their difference."""
    first, second = np.triu_indices(mean.shape[1])
    times = np.where(first == second, 1.0, 2.0)
    found = np.empty(len(mean))
    step = max(1, N_PAIRS // len(first))
    for start in range(0, len(mean), step):
        w, m, s = (values[start : start + step] for values in (weight, mean, sigma))
        values = function(m[:, first] - m[:, second], np.hypot(s[:, first], s[:, second]))
        found[start : start + step] = (times * w[:, first] * w[:, second] * values).sum(axis=1)
    return found


def _density(offset: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Density at 0 of a Gaussian of mean `offset` and width `sigma`."""
    return np.exp(-0.5 * (offset / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)


def _mean_distance(offset: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Mean of ``|X|`` of a Gaussian of mean `offset` and width `sigma`."""
    t = offset / sigma
    return 2 * sigma * np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi) + offset * (2 * ndtr(t) - 1)
