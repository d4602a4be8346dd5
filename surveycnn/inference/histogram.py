"""Redshift PDFs as histograms, one per source: constant density inside a bin, closed forms beside those of the mixtures.

Arrays: `probability` (object, bin), each row summing to 1, and `edges` (bin + 1,), ascending redshifts of all objects.
"""

from __future__ import annotations

import numpy as np

N_CELLS = 200_000
"""Bins of all objects in memory at a time: 1.6 MB an array, which caches hold."""


def pdf(z: np.ndarray, probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density at `z` (object,); 0 outside the bins."""
    place, inside = _place(z, edges), (z >= edges[0]) & (z <= edges[-1])
    return np.where(inside, _taken(probability, place) / np.diff(edges)[place], 0.0)


def cdf(z: np.ndarray, probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Probability below `z` (object,), linear inside a bin."""
    place = _place(z, edges)
    share = np.clip((z - edges[place]) / np.diff(edges)[place], 0, 1)
    return _taken(_below(probability), place) + share * _taken(probability, place)


def quantile(q: float, probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Redshift (object,) below which a fraction `q` of the probability lies.

    >>> float(quantile(0.5, np.array([[0.25, 0.5, 0.25]]), np.array([0.0, 0.1, 0.2, 0.4])).round(6)[0])
    0.15
    """
    below = _below(probability)
    place = np.minimum((below[:, 1:] < q).sum(axis=1), probability.shape[1] - 1)
    own = _taken(probability, place)
    share = np.clip((q - _taken(below, place)) / np.where(own > 0, own, 1), 0, 1)
    return edges[place] + share * np.diff(edges)[place]


def mean_of(probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean redshift (object,): the bins' centres, not their lower edges, weighted with their probabilities.

    >>> float(mean_of(np.array([[0.5, 0.5]]), np.array([0.0, 0.1, 0.2])).round(6)[0])
    0.1
    """
    return probability @ ((edges[1:] + edges[:-1]) / 2)


def crps(z: np.ndarray, probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score (object,) at the true redshifts `z`, the exact integral."""
    found = np.maximum(edges[0] - z, 0) + np.maximum(z - edges[-1], 0)
    step = max(1, N_CELLS // probability.shape[1])
    for start in range(0, len(z), step):
        piece = slice(start, start + step)
        found[piece] += _crps_inside(z[piece], probability[piece], edges)
    return found


def cde_loss(z: np.ndarray, probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Conditional density loss (object,) up to a constant: integral of the squared density less twice the density at `z`."""
    return (probability**2 / np.diff(edges)).sum(axis=1) - 2 * pdf(z, probability, edges)


def _crps_inside(z: np.ndarray, probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Integral over the bins, each cut at `z`: of the squared CDF F below it, of (1 - F) squared above."""
    width, below = np.diff(edges), _below(probability)
    first, last = below[:, :-1], below[:, 1:]
    share = np.clip((z[:, None] - edges[:-1]) / width, 0, 1)
    cut = first + share * probability
    lower = share * (first**2 + first * cut + cut**2)
    upper = (1 - share) * ((1 - cut) ** 2 + (1 - cut) * (1 - last) + (1 - last) ** 2)
    return ((lower + upper) * width).sum(axis=1) / 3


def _below(probability: np.ndarray) -> np.ndarray:
    """Probability (object, bin + 1) below each edge."""
    return np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1)], axis=1)


def _place(z: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Number (object,) of the bin that holds `z`, or of the one that is nearest."""
    return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)


def _taken(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, place[:, None], axis=1)[:, 0]
