"""Scores of densities of redshift on a grid, the same for every method of benchmarks/photoz_tables.py.

Between two nodes a density is taken to be linear: what RAIL's interpolated PDFs are, and close to anything that is smooth on the
grid's scale. Densities are normalised on the grid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import kstest

Densities = Callable[[slice], np.ndarray]
"""Densities (object, node) of some of the objects."""
OBJECTS_AT_ONCE = 100
SCORES = ("z_phot", "pit", "crps", "cde_loss")


def gridded_scores(redshift: np.ndarray, grid: np.ndarray, densities: Densities) -> dict[str, np.ndarray]:
    """:data:`SCORES` of each object.

    Parameters
    ----------
    redshift
        (object,) float64, truth.
    grid
        (node,) float64, equally spaced; the truths lie within it.
    densities
        Called with slices of objects.

    Returns
    -------
    dict
        (object,) float64: the median, the probability below the truth, the continuous ranked probability score, and the
        conditional density loss (integral of the squared density less twice the density at the truth).
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    for start in range(0, len(redshift), OBJECTS_AT_ONCE):
        some = slice(start, min(start + OBJECTS_AT_ONCE, len(redshift)))
        scores = _scores(redshift[some], grid, np.asarray(densities(some), float))
        for name in SCORES:
            found[name].append(scores[name])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _scores(redshift: np.ndarray, grid: np.ndarray, density: np.ndarray) -> dict[str, np.ndarray]:
    step = grid[1] - grid[0]
    density = density / (_areas(density, step).sum(axis=1, keepdims=True))
    below = _cumulative(_areas(density, step))
    at = np.clip(((redshift - grid[0]) / step).astype(int), 0, len(grid) - 2)
    part = (redshift - grid[at]) / step
    rows = np.arange(len(redshift))
    left, right = density[rows, at], density[rows, at + 1]
    at_truth = left + part * (right - left)
    pit = below[rows, at] + 0.5 * part * step * (left + at_truth)
    squared = step / 3 * (density[:, :-1] ** 2 + density[:, :-1] * density[:, 1:] + density[:, 1:] ** 2).sum(axis=1)
    return {
        "z_phot": _median(grid, below),
        "pit": np.clip(pit, 0, 1),
        "crps": _crps(below, step, at, part, pit),
        "cde_loss": squared - 2 * at_truth,
    }


def _areas(values: np.ndarray, step: float) -> np.ndarray:
    """Trapezoids (object, cell) of values at the nodes."""
    return step / 2 * (values[:, :-1] + values[:, 1:])


def _cumulative(areas: np.ndarray) -> np.ndarray:
    """Sums (object, node) of the cells to the left of each node."""
    return np.concatenate([np.zeros((len(areas), 1)), np.cumsum(areas, axis=1)], axis=1)


def _crps(below: np.ndarray, step: float, at: np.ndarray, part: np.ndarray, pit: np.ndarray) -> np.ndarray:
    """Integral of the squared probability below to the left of the truth, above to its right; the truth's cell in two parts."""
    rows = np.arange(len(below))
    lower, upper = _cumulative(_areas(below**2, step)), _cumulative(_areas((1 - below) ** 2, step))
    before = lower[rows, at] + part * step / 2 * (below[rows, at] ** 2 + pit**2)
    after = upper[:, -1] - upper[rows, at + 1] + (1 - part) * step / 2 * ((1 - pit) ** 2 + (1 - below[rows, at + 1]) ** 2)
    return before + after


def _median(grid: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Redshift (object,) with half the probability below it."""
    rows = np.arange(len(below))
    right = np.clip((below < 0.5).sum(axis=1), 1, len(grid) - 1)
    low, high = below[rows, right - 1], below[rows, right]
    return grid[right - 1] + (grid[right] - grid[right - 1]) * (0.5 - low) / (high - low)


def summarised(redshift: np.ndarray, scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Metrics of a sample from the scores of its objects; dz = (z_phot - z) / (1 + z)."""
    dz = (scores["z_phot"] - redshift) / (1 + redshift)
    pit = scores["pit"]
    return {
        "bias": float(dz.mean()),
        "bias_median": float(np.median(dz)),
        "sigma_nmad": float(1.4826 * np.median(np.abs(dz - np.median(dz)))),
        "eta_0.05": float((np.abs(dz) > 0.05).mean()),
        "eta_0.15": float((np.abs(dz) > 0.15).mean()),
        "crps": float(scores["crps"].mean()),
        "cde_loss": float(scores["cde_loss"].mean()),
        "pit_ks": float(kstest(pit, "uniform").statistic),
        "coverage_68": float(((pit > 0.16) & (pit < 0.84)).mean()),
        "coverage_90": float(((pit > 0.05) & (pit < 0.95)).mean()),
    }


def gridded_metrics(redshift: np.ndarray, grid: np.ndarray, densities: Densities) -> dict[str, float]:
    """:func:`summarised` of :func:`gridded_scores`."""
    return summarised(redshift, gridded_scores(redshift, grid, densities))
