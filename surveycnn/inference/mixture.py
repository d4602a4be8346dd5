"""Mixtures of Gaussians, one per source: densities, quantiles, modes and closed-form scores.

Arrays: `weight`, `mean`, `sigma` (object, component), weights summing to 1, everything in redshift.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

N_STEPS = 60
"""Most steps towards a quantile or a mode; ten are enough but for a few."""
TOLERANCE = 1e-6
"""Step in redshift after which one is found: Newton's next one would be less than float32 resolves."""
SQRT_2PI = float(np.sqrt(2 * np.pi))
N_PAIRS = 200_000
"""Pairs of Gaussians in memory at a time: 1.6 MB an array, which caches hold."""


def pdf(z: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Density at `z` (object,)."""
    t = (z[:, None] - mean) / sigma
    return (weight * np.exp(-0.5 * t**2) / (SQRT_2PI * sigma)).sum(axis=1)


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
    """Redshift (object,) below which a fraction `q` of the probability lies, by Newton's method between brackets.

    The quantile lies between the smallest and the largest of those of the Gaussians. A step that leaves the bracket, as between
    two peaks, or is longer than half of the last one, as around a narrow peak on a wide one, goes to the middle instead.

    >>> float(quantile(0.5, *np.array([[[1.0]], [[0.7]], [[0.1]]])).round(6)[0])
    0.7
    """
    own = mean + sigma * ndtri(q)
    low, high = own.min(axis=1), own.max(axis=1)
    middle = mean_of(weight, mean)
    spread = np.sqrt(np.maximum((weight * (sigma**2 + mean**2)).sum(axis=1) - middle**2, 0.0))
    z = np.clip(middle + spread * ndtri(q), low, high)  # that of a Gaussian with the mean and width of the mixture
    active, last = np.arange(len(z)), high - low
    for _ in range(N_STEPS):
        w, m, s = weight[active], mean[active], sigma[active]
        t = (z[active, None] - m) / s
        excess = (w * ndtr(t)).sum(axis=1) - q
        low[active] = np.where(excess < 0, z[active], low[active])
        high[active] = np.where(excess >= 0, z[active], high[active])
        slope = (w * np.exp(-0.5 * t**2) / (SQRT_2PI * s)).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            following = z[active] - excess / slope
        shrinks = np.abs(following - z[active]) <= last[active] / 2
        good = (following >= low[active]) & (following <= high[active]) & shrinks
        following = np.where(good, following, (low[active] + high[active]) / 2)
        moved = np.abs(following - z[active])
        z[active], last[active] = following, moved
        active = active[(moved > TOLERANCE) & (high[active] - low[active] > TOLERANCE)]
        if not active.size:
            break
    return z


def mode(weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Redshift (object,) of the highest density: mean-shift from the densest of the means."""
    density = np.stack([pdf(start, weight, mean, sigma) for start in mean.T], axis=1)
    z = np.take_along_axis(mean, density.argmax(axis=1)[:, None], axis=1)[:, 0]
    active = np.arange(len(z))
    for _ in range(N_STEPS):
        w, m, s = weight[active], mean[active], sigma[active]
        pull = w * np.exp(-0.5 * ((z[active, None] - m) / s) ** 2) / s**3
        total = pull.sum(axis=1)
        following = np.where(total > 0, (pull * m).sum(axis=1) / np.where(total > 0, total, 1), z[active])
        moved = np.abs(following - z[active])
        z[active] = following
        active = active[moved > TOLERANCE]
        if not active.size:
            break
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
    return np.exp(-0.5 * (offset / sigma) ** 2) / (SQRT_2PI * sigma)


def _mean_distance(offset: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Mean of ``|X|`` of a Gaussian of mean `offset` and width `sigma`."""
    t = offset / sigma
    return 2 * sigma * np.exp(-0.5 * t**2) / SQRT_2PI + offset * (2 * ndtr(t) - 1)
