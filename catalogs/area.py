"""Area in square degrees of the sky that was searched, all of it or the part inside the regions of a selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from surveycnn.catalogs.healpix import ORDER
from surveycnn.catalogs.selection.regions import Region

if TYPE_CHECKING:
    from mocpy import MOC

SKY_DEG2 = 360**2 / np.pi
"""The whole sky."""
N_POINTS, MOST_POINTS = 1 << 18, 1 << 22
"""Evenly spread over what may be inside of the regions, to find what is; the more, the thinner the regions are."""
ENOUGH_INSIDE = 1 << 14
"""With so many points inside, the area is right to a few in 1000."""

_N_INDICES = 12 << (2 * ORDER)


def area_of(moc: MOC, regions: Sequence[Region] = ()) -> float:
    """Square degrees of the part of a MOC that lies in all of `regions`; exact without regions.

    >>> from mocpy import MOC
    >>> round(area_of(MOC.from_string("0/0-11")), 3)
    41252.961
    """
    starts, lengths = _common(moc, regions)
    before = np.concatenate([[0], np.cumsum(lengths)])
    area = SKY_DEG2 * float(before[-1] / _N_INDICES)
    if not regions or not before[-1]:
        return area
    n_points, inside = N_POINTS, _inside(regions, starts, before, N_POINTS)
    while np.count_nonzero(inside) < ENOUGH_INSIDE and n_points < MOST_POINTS:
        n_points *= 4
        inside = _inside(regions, starts, before, n_points)
    return area * float(inside.mean())


def _inside(regions: Sequence[Region], starts: np.ndarray, before: np.ndarray, n_points: int) -> np.ndarray:
    """Boolean array (point,), True where points at equal steps of the index lie in all regions.

    Parameters
    ----------
    starts, before
        First indices (range,) of the ranges, and the number of indices (range + 1,) before each and in all.
    """
    step = max(1, int(before[-1]) // n_points)
    place = np.arange(step // 2, before[-1], step)  # neighbours along the index are neighbours on the sky
    which = np.searchsorted(before, place, side="right") - 1
    ra, dec = _positions(starts[which] + place - before[which])
    inside = np.ones(len(place), bool)
    for region in regions:
        inside[inside] = region.contains(ra[inside], dec[inside])
    return inside


def _common(moc: MOC, regions: Sequence[Region]) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths (range,) of the order-29 indices in a MOC and in what covers each region."""
    from mocpy import MOC

    for region in regions:
        cover = np.array(region.healpix_ranges(), np.uint64).reshape(-1, 2)
        moc = moc.intersection(MOC.from_depth29_ranges(max_depth=ORDER, ranges=cover))
    starts, stops = np.asarray(moc.to_depth29_ranges).reshape(-1, 2).astype(np.int64).T
    return starts, stops - starts


def _positions(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ra and dec in degrees of the centres of order-29 cells."""
    import cdshealpix

    lon, lat = cdshealpix.healpix_to_lonlat(index.astype(np.uint64), ORDER)
    return lon.deg, lat.deg
