"""Sources of a window: where they peak, and whether the window shows enough of them.

Every step is local and the same in whatever window the sky is seen: convolution, threshold, deblending by :mod:`deblend`, and a
cut of detections that the wing of a brighter one lifts over the threshold. Only a family of touching pixels that runs out of the
window can come out differently, and it is flagged. SEP's own detection is not used: its cleaning depends on all sources of the
image, its deblending hands out pixels at random, and its buffers are limited for the whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.ndimage import label
from scipy.spatial import cKDTree

from surveycnn.catalogs.flags import flag_value
from surveycnn.sky.row_blocks import row_blocks
from surveycnn.sources.bad_pixels import REACH_PX
from surveycnn.sources.deblend import Objects, find_objects

DEBLEND_CONTRAST = 0.005
"""Share of a family's light that a branch must have above its saddle. On a grand spiral of the KiDS survey 0.005, SExtractor's
customary value, gives the nucleus and two knots, 0.001 the arms too. Companions of very bright stars, lost at the higher
value, are caught by :data:`surveycnn.sources.deblend.TOWERING`."""

CLEAN_RADIUS_PX = 56
"""How far the wing of a bright source is followed: less far than the smallest halo."""

SMOOTHED_NOISE = 0.375
"""What the kernel of :func:`smooth` makes of unit noise: the root of the sum of its squares."""

_CLEAN_BETA = 2.0
_CLEAN_LEAST = 0.05
EDGE_REACH_PX = 2 + REACH_PX


@dataclass(frozen=True)
class Detections:
    """Peaks in a window, in the order of rows and columns."""

    peak_y: np.ndarray
    """(source,) int64, window pixel of the peak in the smoothed detection image."""
    peak_x: np.ndarray
    """(source,) int64."""
    flags: np.ndarray
    """(source,) int32, bits ``truncated`` and ``blended``. Also ``truncated`` is what lies so near an open edge that the wing of
    something beyond might have removed it."""
    segmentation: np.ndarray
    """(y, x) int32, 1 + number of the source that a pixel above the threshold belongs to; 0 elsewhere."""

    def __len__(self) -> int:
        return self.peak_y.size


def detection_image(image: np.ndarray, rms: np.ndarray, band_indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Significance of the sum of some bands for a source of flat spectrum, and where no band has data.

    Parameters
    ----------
    image, rms
        (band, y, x) sky-subtracted pixels and their noise; NaN = no data.
    band_indices
        Bands to combine.

    Returns
    -------
    significance
        (y, x) float32, sum(d / s^2) / sqrt(sum(1 / s^2)) over the bands with data: unit variance in blank sky; 0 without data.
    mask
        (y, x) bool, True where no band has data.
    """
    signal = np.zeros(image.shape[1:], np.float32)
    mask = np.empty(image.shape[1:], bool)
    for rows, *_ in row_blocks(image.shape[1]):
        block = signal[rows]
        weight = np.zeros(block.shape, np.float32)
        for index in band_indices:
            inverse = np.float32(1) / (rms[index, rows] * rms[index, rows])
            term = image[index, rows] * inverse
            good = np.isfinite(term) & np.isfinite(inverse)
            if not good.all():
                inverse[~good], term[~good] = 0, 0
            block += term
            weight += inverse
        mask[rows] = weight == 0
        weight[mask[rows]] = 1
        block /= np.sqrt(weight)
    return signal, mask


def smooth(significance: np.ndarray, mask: np.ndarray, *, normalise: bool = False) -> np.ndarray:
    """`significance` (y, x) convolved with SExtractor's default kernel (1 2 1; 2 4 2; 1 2 1) / 16; 0 where masked.

    What is masked or outside counts as 0, or is left out of the mean with `normalise`: then sources keep their height beside it.
    Elementwise sums, so that a pixel is bit-equal in any window but for its outermost rows and columns.
    """
    smoothed = np.empty(significance.shape, np.float32)
    for rows, needed, own in row_blocks(significance.shape[0], reach=1):
        good = ~mask[needed]
        values = np.where(good, significance[needed], np.float32(0))
        block = _convolved(values)
        if normalise:
            block /= np.maximum(_convolved(good.astype(np.float32)), np.float32(1 / 16))
        block[~good] = 0
        smoothed[rows] = block[own]
    return smoothed


def _convolved(values: np.ndarray) -> np.ndarray:
    """`values` (y, x) float32 with the kernel of :func:`smooth`, as if zeros lay around them."""
    padded = np.zeros((values.shape[0] + 2, values.shape[1] + 2), np.float32)
    padded[1:-1, 1:-1] = values
    rows = padded[:-2] + padded[2:]
    rows += 2 * padded[1:-1]
    convolved = rows[:, :-2] + rows[:, 2:]
    convolved += 2 * rows[:, 1:-1]
    convolved *= np.float32(1 / 16)
    return convolved


def detect_sources(
    significance: np.ndarray,
    mask: np.ndarray,
    *,
    threshold_sigma: float,
    min_area_px: int,
    open_edges: tuple[bool, bool, bool, bool] = (False, False, False, False),
    contrast: float = DEBLEND_CONTRAST,
    smoothed: np.ndarray | None = None,
) -> Detections:
    """Peaks of the sources in a detection image.

    Parameters
    ----------
    significance, mask
        (y, x), from :func:`detection_image`.
    threshold_sigma
        Threshold of the smoothed image in units of the noise of an unsmoothed pixel, as in SExtractor.
    min_area_px
        Least number of touching pixels above the threshold.
    open_edges
        Whether the sky goes on beyond the bottom, top, left and right edge of the window.
    contrast
        See :data:`DEBLEND_CONTRAST`.
    smoothed
        (y, x) float32, what the threshold is put on; by default :func:`smooth` of `significance`, normalised.

    Returns
    -------
    Detections; none is an empty result.
    """
    smoothed = smooth(significance, mask, normalise=True) if smoothed is None else smoothed
    above = smoothed > threshold_sigma
    y, x = np.nonzero(above)
    if y.size == 0:
        nothing = np.zeros(0, np.int64)
        return Detections(nothing, nothing, nothing.astype(np.int32), np.zeros(significance.shape, np.int32))
    objects = find_objects(smoothed, above, min_area_px=min_area_px, contrast=contrast)
    truncated = _truncated(objects, y, x, significance.shape, open_edges)
    values = smoothed[above]
    peak_y, peak_x = y[objects.peak], x[objects.peak]
    lifted, lifted_by_family = _lifted(objects, values, peak_y, peak_x, ~truncated, threshold_sigma, min_area_px)
    keep = ~lifted
    of_truncated = _members(objects.family_of_pixel, objects.family[truncated])
    doubtful = _is_near(peak_y, peak_x, y[of_truncated], x[of_truncated])
    doubtful |= _at_edge(peak_y, peak_x, significance.shape, open_edges, CLEAN_RADIUS_PX)
    # not of those that are kept: what lies beyond the window may decide about a member at its edge
    n_in_family = np.bincount(objects.family, weights=~lifted_by_family)
    flags = np.zeros(peak_y.size, np.int32)
    flags[truncated | doubtful] |= flag_value("truncated")
    flags[n_in_family[objects.family] > 1] |= flag_value("blended")
    segmentation = np.zeros(significance.shape, np.int32)
    number = np.where(keep, np.cumsum(keep), 0)
    segmentation[above] = np.append(number, 0)[objects.of_pixel]  # -1, of no object, takes the 0 at the end
    return Detections(peak_y[keep].astype(np.int64), peak_x[keep].astype(np.int64), flags[keep], segmentation)


def _truncated(
    objects: Objects, y: np.ndarray, x: np.ndarray, shape: tuple[int, int], open_edges: tuple[bool, bool, bool, bool]
) -> np.ndarray:
    """(object,) True where the family comes so near an open edge that pixels beyond have a say in its own."""
    return _members(objects.family, objects.family_of_pixel[_at_edge(y, x, shape, open_edges, EDGE_REACH_PX)])


def _members(family: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """True where `family`, whole numbers from 0 on, is one of the `wanted`."""
    is_wanted = np.zeros(max(family.max(initial=0), wanted.max(initial=0)) + 1, bool)
    is_wanted[wanted] = True
    return is_wanted[family]


def _at_edge(
    y: np.ndarray, x: np.ndarray, shape: tuple[int, int], open_edges: tuple[bool, bool, bool, bool], width: int
) -> np.ndarray:
    """(point,) True within `width` pixels of an open edge."""
    bottom, top, left, right = open_edges
    near = (bottom & (y < width)) | (top & (y >= shape[0] - width))
    return near | (left & (x < width)) | (right & (x >= shape[1] - width))


def is_cut(above: np.ndarray, open_edges: tuple[bool, bool, bool, bool], rows: slice, cols: slice) -> bool:
    """Whether a family that runs out of the window can matter to sources whose peaks lie in its `rows` and `cols`.

    Parameters
    ----------
    above
        (y, x) bool, True over the threshold.

    Examples
    --------
    >>> above = np.zeros((300, 300), bool)
    >>> above[150, 290:] = True
    >>> core = slice(64, 236)
    >>> is_cut(above, (True,) * 4, core, core), is_cut(above, (True, True, True, False), core, core)
    (True, False)
    """
    family, n_families = label(above, structure=np.ones((3, 3), bool))
    edges = (family[:EDGE_REACH_PX], family[-EDGE_REACH_PX:], family[:, :EDGE_REACH_PX], family[:, -EDGE_REACH_PX:])
    runs_out = np.zeros(n_families + 1, bool)
    for edge, is_open in zip(edges, open_edges, strict=True):
        if is_open:
            runs_out[edge] = True
    reach = tuple(slice(max(s.start - CLEAN_RADIUS_PX, 0), s.stop + CLEAN_RADIUS_PX) for s in (rows, cols))
    return bool(runs_out[family[reach][above[reach]]].any())


def _is_near(peak_y: np.ndarray, peak_x: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(object,) True where one of the pixels (`y`, `x`) is within the reach of the cleaning.

    A family that runs out of the window has no area yet: it removes nothing, so what is near it might not be there.
    """
    if y.size == 0:
        return np.zeros(peak_y.shape, bool)
    distance, _ = cKDTree(np.column_stack([y, x])).query(np.column_stack([peak_y, peak_x]), distance_upper_bound=CLEAN_RADIUS_PX)
    return np.isfinite(distance)


def _lifted(
    objects: Objects,
    values: np.ndarray,
    peak_y: np.ndarray,
    peak_x: np.ndarray,
    casts: np.ndarray,
    threshold: float,
    min_area_px: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(object,) True where the wing of a brighter object (of those that `casts` one) is all that makes a detection; (object,) the
    same where it is a brighter one of the same family.

    The wing is a Moffat profile through the brighter object's peak and through the threshold at the radius of its area. An object
    goes if fewer than `min_area_px` of its pixels stay over the threshold when the wing at its peak is subtracted.
    """
    n_objects = peak_y.size
    height = values[objects.peak].astype(np.float64)
    area = np.bincount(objects.of_pixel[objects.of_pixel >= 0], minlength=n_objects)
    support = _nth_highest(objects.of_pixel, values, n_objects, min_area_px)
    steepness = ((height / threshold) ** (1 / _CLEAN_BETA) - 1) * np.pi / area
    # beyond this the wing is nothing; without it, crowded fields would pair everything with everything
    reach = np.sqrt(((height / (_CLEAN_LEAST * threshold)) ** (1 / _CLEAN_BETA) - 1) / np.maximum(steepness, 1e-12))
    bright, faint = _pairs_within(peak_y, peak_x, np.where(casts, np.minimum(reach, CLEAN_RADIUS_PX), 0))
    lower = height[faint] < height[bright]
    bright, faint = bright[lower], faint[lower]
    distance2 = (peak_y[bright] - peak_y[faint]) ** 2 + (peak_x[bright] - peak_x[faint]) ** 2
    wing = height[bright] * (1 + steepness[bright] * distance2) ** -_CLEAN_BETA
    removes = support[faint] - wing <= threshold
    related = removes & (objects.family[bright] == objects.family[faint])
    lifted, by_family = (np.bincount(faint[some], minlength=n_objects) > 0 for some in (removes, related))
    return lifted, by_family


def _pairs_within(y: np.ndarray, x: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (i, j) of points with j within `radius` (point,) of i; none for a radius of 0."""
    points = np.column_stack([y, x])
    first = np.flatnonzero(radius > 0)
    found = cKDTree(points).query_ball_point(points[first], radius[first])
    n_found = np.fromiter(map(len, found), np.int64, len(found))
    second = np.fromiter(chain.from_iterable(found), np.int64, int(n_found.sum()))
    return np.repeat(first, n_found), second


def _nth_highest(of_pixel: np.ndarray, values: np.ndarray, n_objects: int, n: int) -> np.ndarray:
    """(object,) the `n`-th highest value among its pixels, the lowest if it has fewer."""
    order = np.lexsort((-values, of_pixel))
    start = np.searchsorted(of_pixel[order], np.arange(n_objects + 1))
    return values[order[np.minimum(start[:-1] + n, start[1:]) - 1]].astype(np.float64)
