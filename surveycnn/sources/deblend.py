"""Families of touching pixels and the objects in them: a watershed whose pieces are joined unless both stand out.

The criterion is SExtractor's (Bertin & Arnouts 1996, section 4: a branch counts if its light above the saddle exceeds a share
of the whole family's), taken at every saddle instead of at 32 levels. SExtractor and SEP then hand the pixels in between to
the objects at random; here each pixel belongs to the summit that it climbs to, so the result depends on nothing but the pixels.
Ties are broken by the order of rows and columns, which is the same in whatever window a family is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

TOWERING = 2.0
"""A branch whose summit is higher than this many times its saddle is an object, however bright the rest of its family is: a star
on the wing of a brighter one. Most knots of a spiral stay below."""

BRANCH_SIGMA = 2.0
"""A branch must have more light above its saddle than this many times the noise of a sum over its pixels: a peak of the noise on
a faint source is no object of its own. The image is in units of the noise of a pixel before it was smoothed. On simulated sources
of 10 sigma at a threshold of 1.2, 2.0 takes away all that were found twice; 3.0 loses real neighbours."""

# half of the eight neighbours: the other half are the same pairs, seen from the other side
_STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Objects:
    """Objects of a window, in the order of rows and columns of their peaks."""

    peak: np.ndarray
    """(object,) index of the peak among the pixels."""
    family: np.ndarray
    """(object,) number of the family."""
    of_pixel: np.ndarray
    """(pixel,) object that each pixel belongs to; -1 in families with fewer than the least number of pixels."""
    family_of_pixel: np.ndarray
    """(pixel,) number of the family."""


def find_objects(image: np.ndarray, above: np.ndarray, *, min_area_px: int, contrast: float) -> Objects:
    """Objects among the pixels of `image` that are `above` the threshold.

    Parameters
    ----------
    image
        Smoothed detection image (y, x).
    above
        (y, x) bool; its True pixels, in the order of rows and columns, are "the pixels" of the result.
    min_area_px
        Families with fewer pixels are dropped; branches with fewer pixels above their saddle are no objects.
    contrast
        Least light of a branch above its saddle, as a share of the light of its family, unless it towers (:data:`TOWERING`).
    """
    values = image[above].astype(np.float64)
    index = np.full(image.shape, -1, dtype=np.int32)
    index[above] = np.arange(values.size, dtype=np.int32)
    first, second = _touching_pairs(index)
    basin, summits = _basins(values, first, second)
    low, high, saddle = _saddles(values, basin, first, second, summits.size)
    pairs = coo_array((np.ones(low.size, bool), (low, high)), shape=(summits.size, summits.size))
    n_families, family = connected_components(pairs, directed=False)
    family_of_pixel = family[basin]
    area = np.bincount(family_of_pixel, minlength=n_families)
    light = np.bincount(family_of_pixel, weights=values, minlength=n_families)
    tree = _SaddleTree(values, basin, summits, min_area_px, contrast * light[family])
    peak_basin, of_basin = tree.join(low, high, saddle)
    return _number_objects(basin, summits, family, peak_basin, of_basin, area >= min_area_px)


def _touching_pairs(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of touching pixels (8 neighbours); the first comes earlier in the order of rows and columns."""
    width = index.shape[1] + 2
    padded = np.full((index.shape[0] + 2, width), -1, index.dtype)
    padded[1:-1, 1:-1] = index
    padded = padded.ravel()
    place = np.flatnonzero(padded >= 0)  # few of the pixels: neighbours are looked up from there alone
    first = np.arange(place.size, dtype=index.dtype)
    firsts, seconds = [], []
    for dy, dx in _STEPS:
        neighbour = padded[place + (dy * width + dx)]
        touches = neighbour >= 0
        firsts.append(first[touches])
        seconds.append(neighbour[touches])
    return np.concatenate(firsts), np.concatenate(seconds)


def _basins(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Basin of each pixel, and the pixel at the summit of each basin (ascending).

    Each pixel points at its highest neighbour, or at itself; following the pointers leads to the summit.
    """
    # total order: by value, among equals the earlier pixel is the higher one
    rank = np.empty(values.size, dtype=np.int64)
    rank[np.lexsort((-np.arange(values.size), values))] = np.arange(values.size)
    highest = rank.copy()
    np.maximum.at(highest, first, rank[second])
    np.maximum.at(highest, second, rank[first])
    pixel_of_rank = np.empty_like(rank)
    pixel_of_rank[rank] = np.arange(values.size)
    pointer = pixel_of_rank[highest]
    while True:
        further = pointer[pointer]
        if np.array_equal(further, pointer):
            break
        pointer = further
    summits, basin = np.unique(pointer, return_inverse=True)
    return basin, summits


def _saddles(
    values: np.ndarray, basin: np.ndarray, first: np.ndarray, second: np.ndarray, n_basins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of touching basins and the height of the highest way between them, from the highest saddle to the lowest."""
    crossing = basin[first] != basin[second]
    first, second = first[crossing], second[crossing]
    height = np.minimum(values[first], values[second])
    key = np.minimum(basin[first], basin[second]).astype(np.int64) * n_basins + np.maximum(basin[first], basin[second])
    order = np.lexsort((-height, key))
    key, height = key[order], height[order]
    best = np.ones(key.size, bool)
    best[1:] = key[1:] != key[:-1]
    key, height = key[best], height[best]
    order = np.lexsort((key, -height))
    return key[order] // max(n_basins, 1), key[order] % max(n_basins, 1), height[order]


class _SaddleTree:
    """Joins basins from the highest saddle downwards, keeping apart those that stand out on both sides."""

    def __init__(self, values: np.ndarray, basin: np.ndarray, summits: np.ndarray, min_area_px: int, least_light: np.ndarray):
        order = np.lexsort((-values, basin))
        self._sorted = -values[order]  # ascending, for searchsorted
        self._start = np.searchsorted(basin[order], np.arange(summits.size + 1))
        self._height = values[summits]
        self._min_area_px = min_area_px
        self._least_light = least_light
        n_basins = summits.size
        self._parent = list(range(n_basins))
        self._members = [[k] for k in range(n_basins)]
        self._objects = [[k] for k in range(n_basins)]
        self._stands_out = [False] * n_basins
        # light above the height at which it was last summed, and pixels: bounds the light above any lower saddle
        self._n_pixels = np.diff(self._start).tolist()
        self._light = [0.0] * n_basins
        self._light_height = self._height.tolist()

    def join(self, low: np.ndarray, high: np.ndarray, saddle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Basins at whose summits the objects are, and for each basin the one that it belongs to."""
        owner = np.arange(len(self._parent))
        for a, b, height in zip(low.tolist(), high.tolist(), saddle.tolist(), strict=True):
            a, b = self._root(a), self._root(b)
            if a != b:
                self._merge(a, b, height, owner)
        roots = [k for k, parent in enumerate(self._parent) if parent == k]
        return np.array(sorted(k for root in roots for k in self._objects[root]), dtype=np.int64), owner

    def _root(self, k: int) -> int:
        while self._parent[k] != k:
            self._parent[k] = self._parent[self._parent[k]]
            k = self._parent[k]
        return k

    def _merge(self, a: int, b: int, height: float, owner: np.ndarray) -> None:
        for k in (a, b):
            # once a branch stands out, it does so at every lower saddle too
            self._stands_out[k] = self._stands_out[k] or self._is_significant(k, height)
        if self._stands_out[a] and self._stands_out[b]:
            objects = self._objects[a] + self._objects[b]
        else:
            objects = self._absorb(a, b, owner)
        big, small = (a, b) if len(self._members[a]) >= len(self._members[b]) else (b, a)
        self._parent[small] = big
        self._members[big] += self._members[small]
        self._objects[big] = objects
        self._stands_out[big] = self._stands_out[a] or self._stands_out[b]
        self._light[big] = self._light_bound(a, height) + self._light_bound(b, height)
        self._light_height[big] = height
        self._n_pixels[big] += self._n_pixels[small]

    def _absorb(self, a: int, b: int, owner: np.ndarray) -> list[int]:
        """Give the branch that does not stand out to the other one; returns the objects that remain."""
        heights = [self._height[self._objects[k][0]] for k in (a, b)]
        keep = a if (self._stands_out[a], heights[0], -a) > (self._stands_out[b], heights[1], -b) else b
        lost = b if keep == a else a
        # with several objects on the other side, the highest one takes what the branch leaves
        taker = max(self._objects[keep], key=lambda k: (self._height[k], -k))
        owner[self._members[lost]] = taker
        return self._objects[keep]

    def _is_significant(self, k: int, height: float) -> bool:
        """Whether branch `k` has enough light and pixels above the saddle at `height`."""
        towers = self._height[self._objects[k][0]] > TOWERING * height
        least_light = 0.0 if towers else self._least_light[self._members[k][0]]
        if self._light_bound(k, height) <= least_light:
            return False
        light, area = 0.0, 0
        for basin in self._members[k]:
            start = self._start[basin]
            n = int(np.searchsorted(self._sorted[start : self._start[basin + 1]], -height, side="left"))
            # summed anew, not taken from running sums over the window: these would round as the window happens to be cut
            light -= float(self._sorted[start : start + n].sum()) + n * height
            area += n
        self._light[k], self._light_height[k] = light, height
        return area >= self._min_area_px and light > max(least_light, BRANCH_SIGMA * area**0.5)

    def _light_bound(self, k: int, height: float) -> float:
        """No less than the light of branch `k` above `height`: saves summing large branches again at every saddle."""
        return self._light[k] + (self._light_height[k] - height) * self._n_pixels[k]


def _number_objects(
    basin: np.ndarray,
    summits: np.ndarray,
    family: np.ndarray,
    peak_basin: np.ndarray,
    of_basin: np.ndarray,
    keep_family: np.ndarray,
) -> Objects:
    """Objects of the families that are kept, counted in the order of their peaks."""
    peak_basin = peak_basin[keep_family[family[peak_basin]]]
    number = np.full(summits.size, -1, dtype=np.int64)
    number[peak_basin] = np.arange(peak_basin.size)
    return Objects(summits[peak_basin], family[peak_basin], number[of_basin][basin], family[basin])
