"""Nearest positions on the sphere, exactly: as if each separation had been measured and they had been sorted.

Between the positions of two tables and the rows that a cross-match joins; knows nothing of columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from surveycnn.catalogs.selection.regions import separation_deg

_TIE = 1e-9
"""Chords that differ by less, relatively, are compared by their separations."""
_TINY = 1e-15


class Pairs(NamedTuple):
    """Rows that belong together, in the order of the first table's, then of the separation, then of the second table's."""

    ours: np.ndarray
    """(pair,) int64, rows of the positions that were asked for."""
    theirs: np.ndarray
    """(pair,) int64, rows of the positions that were searched."""
    separation_arcsec: np.ndarray


class Neighbours:
    """Positions to be searched.

    Parameters
    ----------
    vectors
        Unit vectors (n, 3); those with NaN are never found.
    """

    def __init__(self, vectors: np.ndarray):
        known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        # positions that several rows share stand once in the tree, whose time they would blow up
        order = known[np.lexsort(vectors[known].T)]
        sorted_vectors = vectors[order]
        is_new = np.ones(len(order), dtype=bool)
        is_new[1:] = (sorted_vectors[1:] != sorted_vectors[:-1]).any(axis=1)
        self._rows = order
        """Rows, those of one position together and in their order."""
        self._starts = np.flatnonzero(is_new)
        self._counts = np.diff(np.append(self._starts, len(order)))
        self._vectors = sorted_vectors[is_new]
        self._tree = cKDTree(self._vectors)

    def within(self, vectors: np.ndarray, radius_arcsec: float, n_neighbors: int) -> Pairs:
        """The nearest `n_neighbors` rows, or fewer, within a radius of each of some unit vectors (m, 3)."""
        known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        places, positions, separation = self._candidates(vectors[known], radius_arcsec, n_neighbors)
        n_members = np.minimum(self._counts[positions], n_neighbors)
        member = np.arange(n_members.sum()) - np.repeat(np.cumsum(n_members) - n_members, n_members)
        ours, separation = np.repeat(known[places], n_members), np.repeat(separation, n_members)
        theirs = self._rows[np.repeat(self._starts[positions], n_members) + member]
        order = np.lexsort([theirs, separation, ours])
        first = np.searchsorted(ours[order], ours[order])
        order = order[np.arange(len(order)) - first < n_neighbors]
        return Pairs(ours[order], theirs[order], separation[order])

    def _candidates(self, vectors: np.ndarray, radius_arcsec: float, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors and positions (pair,) within the radius, the nearest `n` of each vector and those as near as they."""
        chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2) * (1 + _TIE) + _TINY
        rows, n_asked = np.arange(len(vectors)), n + 1
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        while len(rows) and len(self._vectors):
            distance, position = self._tree.query(vectors[rows], k=n_asked, distance_upper_bound=chord)
            # as long as the last one is as near as the n-th, there may be others as near
            is_open = distance[:, -1] <= np.minimum(distance[:, n - 1], 4) * (1 + _TIE) + _TINY
            is_near = np.isfinite(distance) & ~is_open[:, None]
            place, which = np.nonzero(is_near)
            found.append((rows[place], position[place, which]))
            rows, n_asked = rows[is_open], 2 * n_asked
        places, positions = (np.concatenate(parts) for parts in zip(*found, strict=True))
        separation = 3600 * separation_deg(vectors[places], self._vectors[positions])
        inside = separation <= radius_arcsec
        return places[inside], positions[inside], separation[inside]
