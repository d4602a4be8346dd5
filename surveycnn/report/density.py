"""Sources per area on the sky: counts in HEALPix cells as small as their number allows, over the sky that was searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surveycnn.catalogs.area import SKY_DEG2
from surveycnn.catalogs.healpix import ORDER, healpix_index

if TYPE_CHECKING:
    from mocpy import MOC

FINEST_ORDER = 13
"""Cells of 26 arcsec."""
MOST_CELLS = 6000
"""Drawn on the page."""
ENOUGH_ROWS = 4
"""In a cell, on average: finer cells would show noise."""


@dataclass(frozen=True)
class Density:
    """Cells of one order with what they hold."""

    order: int
    cells: np.ndarray
    counts: np.ndarray
    area: np.ndarray
    """(cell,) square degrees of each that were searched."""

    @property
    def per_arcmin2(self) -> np.ndarray:
        return self.counts / (self.area * 3600)

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Ra and dec (cell, 4) in degrees."""
        import cdshealpix

        lon, lat = cdshealpix.vertices(self.cells.astype(np.uint64), self.order, step=1)
        return lon.deg, lat.deg


class CellCounts:
    """Counts of positions in cells that get coarser whenever they become too many."""

    def __init__(self) -> None:
        self.order = FINEST_ORDER
        self.cells, self.counts = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def add(self, ra: np.ndarray, dec: np.ndarray) -> None:
        known = np.isfinite(ra) & (np.abs(dec) <= 90)
        found = healpix_index(ra[known] % 360, dec[known]) >> (2 * (ORDER - self.order))
        cells, counts = np.unique(found, return_counts=True)
        self._merge(np.concatenate([self.cells, cells]), np.concatenate([self.counts, counts]))
        while len(self.cells) > MOST_CELLS:
            self.coarsen()

    def coarsen(self) -> None:
        self.order -= 1
        self._merge(self.cells >> 2, self.counts)

    def _merge(self, cells: np.ndarray, counts: np.ndarray) -> None:
        self.cells, where = np.unique(cells, return_inverse=True)
        self.counts = np.bincount(where, weights=counts, minlength=len(self.cells)).astype(np.int64)

    def density(self, searched: MOC | None) -> Density:
        """Density in the cells of the sky that was searched; in all of each cell with rows where that is not known."""
        while self.order > 0 and self.counts.sum() < ENOUGH_ROWS * len(self.cells):
            self.coarsen()
        while searched is not None and self.order > 0 and len(self._searched(searched)) > 2 * MOST_CELLS:
            self.coarsen()
        size = SKY_DEG2 / (12 * 4**self.order)
        if searched is None:
            return Density(self.order, self.cells, self.counts, np.full(len(self.cells), size))
        cells = np.union1d(self.cells, self._searched(searched))
        counts = np.zeros(len(cells), np.int64)
        counts[np.searchsorted(cells, self.cells)] = self.counts
        area = _covered(cells, self.order, searched) * size
        # a sliver of a cell says nothing about the density; nor does a row that lies outside of what was searched
        enough = area > 0.1 * size
        return Density(self.order, cells[enough], counts[enough], area[enough])

    def _searched(self, searched: MOC) -> np.ndarray:
        """Cells that the MOC meets; no more than a few too many are counted."""
        ranges = _ranges(searched) >> (2 * (ORDER - self.order))
        starts, stops = ranges[:, 0], (_ranges(searched)[:, 1] - 1 >> (2 * (ORDER - self.order))) + 1
        if (stops - starts).sum() > 100 * MOST_CELLS:
            return np.arange(100 * MOST_CELLS)
        return np.unique(np.concatenate([np.zeros(0, np.int64), *map(np.arange, starts, stops)]))


def _ranges(moc: MOC) -> np.ndarray:
    """(range, 2) half-open ranges of order-29 indices, sorted and apart."""
    return np.asarray(moc.to_depth29_ranges).reshape(-1, 2).astype(np.int64)


def _covered(cells: np.ndarray, order: int, moc: MOC) -> np.ndarray:
    """(cell,) share of each cell that lies in a MOC."""
    ranges, shift = _ranges(moc), 2 * (ORDER - order)
    starts, stops = ranges[:, 0], ranges[:, 1]
    before = np.concatenate([[0], np.cumsum(stops - starts)])

    def up_to(index: np.ndarray) -> np.ndarray:
        which = np.searchsorted(starts, index, side="right")
        beyond = np.where(which > 0, np.maximum(stops[which - 1] - index, 0), 0) if len(starts) else 0
        return before[which] - beyond

    return (up_to((cells + 1) << shift) - up_to(cells << shift)) / float(1 << shift)
