"""Ranges of HEALPix order-29 indices that cover a part of the sky, from the distance of positions to it.

Between the geometry of regions and the reading of rows, which leaves out what no range touches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surveycnn.catalogs.healpix import ORDER

MAX_RANGES = 256
"""Index ranges of a region at most: row groups, which are larger than what more would leave out, are compared with them."""

SLACK_DEG = 1e-6
"""Grown before it is covered by pixels, so that rounding loses no row."""

END = 12 << (2 * ORDER)
"""One more than the largest index."""

Ranges = list[tuple[int, int]]

_BASE_CELL_DEG = 58.6
_WHOLE_SKY_DEG = 50.0
_FINEST = 24
_BORDER_CELLS = 128


def covering_ranges(distance_deg: Callable[[np.ndarray], np.ndarray], centre: np.ndarray, reach_deg: float) -> Ranges:
    """Ranges of order-29 indices that cover a region: at most MAX_RANGES, sorted and apart; empty for no region.

    Cells along the border are divided until there are a hundred or two of them.

    Parameters
    ----------
    distance_deg
        Distances (n,) of unit vectors (n, 3) from the region, or lower limits of them; inside, minus those from its border.
    centre, reach_deg
        Unit vector of shape (3,), and how far from it the region reaches.
    """
    border, order = _first_cells(centre, reach_deg + SLACK_DEG)
    starts, stops = [], []
    while True:
        distance, radius = distance_deg(cell_centres(border, order)), cell_radius_deg(order) + SLACK_DEG
        inside = border[distance < -radius]
        border = border[np.abs(distance) <= radius]
        is_last = len(border) > _BORDER_CELLS or order == _FINEST or not len(border)
        for cells in (inside, border) if is_last else (inside,):
            starts.append(cells << (2 * (ORDER - order)))
            stops.append((cells + 1) << (2 * (ORDER - order)))
        if is_last:
            return merged_ranges(np.sort(np.concatenate(starts)), np.sort(np.concatenate(stops)))
        border, order = (4 * border[:, None] + np.arange(4)).ravel(), order + 1


def _first_cells(centre: np.ndarray, reach_deg: float) -> tuple[np.ndarray, int]:
    """Cells (n,) of one order that cover a cone, each about as large as it, and that order."""
    import astropy.units as u
    import cdshealpix
    from astropy.coordinates import Latitude, Longitude

    if reach_deg >= _WHOLE_SKY_DEG:
        return np.arange(12, dtype=np.int64), 0
    order = int(np.clip(np.floor(np.log2(_BASE_CELL_DEG / reach_deg)), 0, _FINEST))
    lon = Longitude(np.arctan2(centre[1], centre[0]) % (2 * np.pi), u.rad)
    lat = Latitude(np.arctan2(centre[2], np.hypot(centre[0], centre[1])), u.rad)
    cells, _, _ = cdshealpix.cone_search(lon, lat, reach_deg * u.deg, order, flat=True)
    return np.sort(cells.astype(np.int64)), order


def cell_centres(cells: np.ndarray, order: int) -> np.ndarray:
    """Unit vectors (n, 3) of the centres of cells of one order."""
    import cdshealpix

    lon, lat = cdshealpix.healpix_to_lonlat(cells.astype(np.uint64), order)
    lon, lat = lon.rad, lat.rad
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def cell_radius_deg(order: int) -> float:
    """Angle from the centre of a cell of `order` that no point of any of them exceeds.

    The longest cells reach 48.2 degrees from their centre at order 0, and 61.3 / 2^order at high orders.
    """
    return 62.0 / 2**order


def merged_ranges(starts: np.ndarray, stops: np.ndarray) -> Ranges:
    """Join touching ranges, then those with the smallest gaps until MAX_RANGES are left."""
    if not len(starts):
        return []
    gaps = starts[1:] - stops[:-1]
    widest = np.sort(gaps)[::-1][: MAX_RANGES - 1]
    limit = max(1, widest[-1]) if len(widest) else 1
    cut = np.flatnonzero(gaps >= limit)[: MAX_RANGES - 1] if len(gaps) else np.array([], dtype=int)
    firsts, lasts = np.concatenate([[0], cut + 1]).astype(int), np.concatenate([cut, [len(stops) - 1]]).astype(int)
    return [(int(starts[first]), int(stops[last])) for first, last in zip(firsts, lasts, strict=True)]
