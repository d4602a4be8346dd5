"""HEALPix order-29 indices (nested) of sky positions: the order of the rows and the partitions of the catalog.

HATS has the same arithmetic, but takes seconds to import; the indices are those of the same library, so they agree bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

ORDER = 29

CELL_ORDER = 10
"""Cells of 3.4 arcmin: the smallest partitions of a catalog, and the bins in which its rows are counted before they are read."""
CELL_SHIFT = 2 * (ORDER - CELL_ORDER)


def healpix_index(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """HEALPix indices, int64, of shape (n,), of positions in degrees.

    >>> healpix_index([10.0], [0.0]).tolist()
    [1271539390176974501]
    """
    import cdshealpix
    from astropy.coordinates import Latitude, Longitude

    lon = Longitude(np.asarray(ra, dtype=np.float64), unit="deg")
    lat = Latitude(np.asarray(dec, dtype=np.float64), unit="deg")
    # threads of its own would only be in the way of those of the run
    return cdshealpix.lonlat_to_healpix(lon, lat, ORDER, num_threads=1).astype(np.int64)


def pixel_range(order: int, pixel: int) -> tuple[int, int]:
    """Half-open range of order-29 indices inside `pixel` of `order`.

    >>> pixel_range(29, 5), pixel_range(28, 1)
    ((5, 6), (4, 8))
    """
    shift = 2 * (ORDER - order)
    return pixel << shift, (pixel + 1) << shift


def partition(cells: np.ndarray, counts: np.ndarray, max_rows: int) -> list[tuple[int, int]]:
    """Pixels (order, pixel) that cover the whole sky, in its order, each with at most `max_rows` rows.

    A pixel is divided into its four children while it holds more rows and is larger than a cell. Whether it is divided depends on
    the rows in it alone: rows elsewhere do not change it.

    Parameters
    ----------
    cells, counts
        Sorted cells of :data:`CELL_ORDER` that hold rows, and how many.
    """
    before = np.concatenate([[0], np.cumsum(counts)])
    done = []
    stack = [(0, pixel) for pixel in reversed(range(12))]
    while stack:
        order, pixel = stack.pop()
        shift = 2 * (CELL_ORDER - order)
        start, stop = np.searchsorted(cells, (pixel << shift, (pixel + 1) << shift))
        if before[stop] - before[start] <= max_rows or order == CELL_ORDER:
            done.append((order, pixel))
        else:
            stack += [(order + 1, 4 * pixel + child) for child in (3, 2, 1, 0)]
    return done


@dataclass(frozen=True)
class Zone:
    """A pixel of the sky and rings of cells around it.

    Cells are so wide that whatever is within 2 arcmin of a position in one of them is in it or in the eight around it.
    """

    order: int
    pixel: int
    n_rings: int

    def inside(self, index: np.ndarray) -> np.ndarray:
        """(n,) True for order-29 indices in the pixel itself."""
        start, stop = pixel_range(self.order, self.pixel)
        return (index >= start) & (index < stop)

    def within(self, index: np.ndarray, n_rings: int) -> np.ndarray:
        """(n,) True for order-29 indices in the pixel or the first `n_rings` rings."""
        cells, found = self.cells(n_rings), index >> CELL_SHIFT
        if not len(cells):
            return self.inside(index)
        return self.inside(index) | (cells[np.searchsorted(cells[:-1], found)] == found)

    def cells(self, n_rings: int) -> np.ndarray:
        """Sorted cells of the first `n_rings` rings."""
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *self._rings[:n_rings]]))

    @cached_property
    def _rings(self) -> list[np.ndarray]:
        import cdshealpix

        rings: list[np.ndarray] = []
        for _ in range(self.n_rings):
            if not rings:
                edges, corners = cdshealpix.external_neighbours(self.pixel, self.order, CELL_ORDER - self.order, num_threads=1)
                found = np.concatenate([np.ravel(edges), np.ravel(corners)])
            else:
                found = np.ravel(cdshealpix.neighbours(rings[-1], CELL_ORDER, num_threads=1))
            found = np.unique(found.astype(np.int64))
            known = np.concatenate([np.zeros(0, dtype=np.int64), *rings[-2:]])
            start, stop = (bound >> CELL_SHIFT for bound in pixel_range(self.order, self.pixel))
            rings.append(found[(found >= 0) & ~np.isin(found, known) & ((found < start) | (found >= stop))])
        return rings
