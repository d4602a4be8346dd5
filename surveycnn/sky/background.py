"""Sky level and noise of a whole mosaic on one coarse mesh, and their values at any pixel.

The mesh is anchored to pixel (0, 0) of the mosaic, never to a tile, and is interpolated by elementwise operations in absolute
pixel coordinates: a pixel has the same sky, bit for bit, in whichever window it is read.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from surveycnn.errors import InputError

MESH_PX = 128
"""Side of a mesh cell in pixels: large beside a galaxy, small beside the gradients of the sky."""

MIN_GOOD_FRACTION = 0.25
"""Cells with fewer good pixels than this take their values from their neighbours."""

_CLIP_SIGMA = 3.0
_MAX_CLIPS = 20
_CROWDED = 0.3
_N_BINS = 4096
_RANGE_SIGMA = 8.0
_SAMPLE = 2048
_TWICE_MIDDLES = 2 * np.arange(_N_BINS) + 1


def mesh_shape(ny: int, nx: int, mesh_px: int = MESH_PX) -> tuple[int, int]:
    """Cells (y, x) of a mosaic of `ny` x `nx` pixels; the last ones may be cut.

    >>> mesh_shape(2600, 2048)
    (21, 16)
    """
    return -(-ny // mesh_px), -(-nx // mesh_px)


def mesh_statistics(strip: np.ndarray, mesh_px: int = MESH_PX, min_good: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sky and noise of every mesh cell in `strip`.

    Parameters
    ----------
    strip
        Pixels (y, x), starting at a cell's corner; NaN = no data. Its last cells may be cut.
    min_good
        Good pixels that a cell needs; default a quarter of a whole cell.

    Returns
    -------
    sky, rms
        (cell y, cell x) float64, in the unit of `strip`; NaN where a cell has too few good pixels or is constant.
    """
    ny, nx = strip.shape
    n_rows, n_cols = mesh_shape(ny, nx, mesh_px)
    sky, rms = np.full((2, n_rows, n_cols), np.nan)
    needed = MIN_GOOD_FRACTION * mesh_px**2 if min_good is None else min_good
    is_whole = bool(np.isfinite(strip).all())
    for row in range(n_rows):
        cells = strip[row * mesh_px : (row + 1) * mesh_px]
        for col in range(n_cols):
            cell = cells[:, col * mesh_px : (col + 1) * mesh_px]
            good = cell.ravel() if is_whole else cell[np.isfinite(cell)]
            if good.size >= max(needed, 1):
                sky[row, col], rms[row, col] = clipped_sky(good)
    # a constant cell is padding, not sky: it says nothing about the noise
    flat = rms == 0
    sky[flat], rms[flat] = np.nan, np.nan
    return sky, rms


def clipped_sky(values: np.ndarray) -> tuple[float, float]:
    """Mode and standard deviation of `values` (finite, in the order of the pixels) after clipping at 3 sigma around the median.

    The mode is 2.5 median - 1.5 mean, or the median where the two differ by more than 0.3 sigma: a crowded cell, in which
    that estimate fails (Bertin & Arnouts 1996, section 3). Works on a histogram with bins of 0.004 sigma, as SExtractor does:
    four times as fast as sorting, and each iteration only moves the two ends.
    """
    low, width = _histogram_range(values)
    if width == 0:
        return low, 0.0
    before = _cumulative_moments(_histogram(values, low, width))
    first, last = 0, _N_BINS
    for _ in range(_MAX_CLIPS):
        number, total, squares = (int(sums[last] - sums[first]) for sums in before)
        mean = 0.5 * total / number
        sigma = math.sqrt(max(0.25 * squares / number - mean**2, 0.0))
        median = _median(before[0], first, last)
        ends = int(max(median - _CLIP_SIGMA * sigma, first)), math.ceil(min(median + _CLIP_SIGMA * sigma, last))
        if ends == (first, last) or before[0, ends[1]] - before[0, ends[0]] < 2:
            break
        first, last = ends
    crowded = abs(mean - median) > _CROWDED * sigma
    mode = median if crowded else 2.5 * median - 1.5 * mean
    return float(low + mode * width), float(sigma * width)


def _histogram(values: np.ndarray, low: float, width: float) -> np.ndarray:
    """(bin,) int64, number of `values` in each of the bins of `width` from `low` on; those outside are left out."""
    scaled = values - np.float32(low)
    scaled *= np.float32(1 / width)
    n_below = np.count_nonzero(scaled < 0)
    np.clip(scaled, 0, _N_BINS, out=scaled)
    counts = np.bincount(scaled.astype(np.intp), minlength=_N_BINS + 1)[:_N_BINS]
    counts[0] -= n_below
    return counts


def _cumulative_moments(counts: np.ndarray) -> np.ndarray:
    """(3, bin + 1) int64: number of values before each bin, and the sums of their bins' middles, twice, and of its squares.

    Whole numbers: any range of bins has its exact moments by two differences, and they add up faster than floating point.
    """
    before = np.empty((3, _N_BINS + 1), np.int64)
    before[:, 0] = 0
    for sums in before:
        np.cumsum(counts, out=sums[1:])
        counts = counts * _TWICE_MIDDLES
    return before


def _histogram_range(values: np.ndarray) -> tuple[float, float]:
    """Lower end and bin width of a histogram of eight robust sigmas to both sides, from a sample; width 0 if all are equal."""
    sample = values[:: max(values.size // _SAMPLE, 1)]
    quarter = sample.size // 4
    ordered = np.sort(sample)  # vectorised, unlike a partition around three values
    sigma = float(ordered[sample.size - 1 - quarter] - ordered[quarter]) / 1.349
    sigma = sigma or float(values.std(dtype=np.float64))
    middle = float(ordered[sample.size // 2])
    return (middle - _RANGE_SIGMA * sigma, 2 * _RANGE_SIGMA * sigma / _N_BINS) if sigma else (middle, 0.0)


def _median(cumulative: np.ndarray, first: int, last: int) -> float:
    """Median in bins, interpolated, of the values in the bins [first:last]; `cumulative` counts those before each bin."""
    twice = int(cumulative[first] + cumulative[last])
    bin_ = int(cumulative.searchsorted(twice // 2, side="right")) - 1
    bin_ = min(max(bin_, first), last - 1)
    below, above = int(cumulative[bin_]), int(cumulative[bin_ + 1])
    return bin_ + (0.5 * twice - below) / max(above - below, 1)


def finish_mesh(sky: np.ndarray, rms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mesh without gaps and without cells raised by a bright galaxy: NaN filled from the nearest cell, then a 3 x 3 median.

    Parameters
    ----------
    sky, rms
        (cell y, cell x) of the whole mosaic; NaN = too few good pixels. At least one cell must have values.
    """
    missing = np.isnan(sky) | np.isnan(rms)
    if missing.all():
        raise ValueError("no mesh cell has enough good pixels")
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    smooth = [ndimage.median_filter(mesh[tuple(nearest)], size=3, mode="nearest") for mesh in (sky, rms)]
    return smooth[0], smooth[1]


class MeshBuilder:
    """Gathers the mesh of a whole image from its strips, which begin at cells' corners."""

    def __init__(self, ny: int, nx: int, name: str):
        self._name = name
        self._min_good = MIN_GOOD_FRACTION * min(MESH_PX, ny) * min(MESH_PX, nx)
        self._cells: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, strip: np.ndarray) -> None:
        """Measure the cells of the next rows (y, x), NaN = no data."""
        self._cells.append(mesh_statistics(strip, MESH_PX, self._min_good))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Sky and noise (cell y, cell x) float64, without gaps.

        Raises
        ------
        InputError
            Where no cell has a noise level.
        """
        sky, rms = (np.concatenate(parts) for parts in zip(*self._cells, strict=True))
        if np.isnan(rms).all():
            raise InputError(
                f"{self._name} gives no noise level: nowhere is a quarter of {MESH_PX} x {MESH_PX} px good and not constant"
            )
        return finish_mesh(sky, rms)


def evaluate_mesh(mesh: np.ndarray, y0: int, y1: int, x0: int, x1: int, mesh_px: int = MESH_PX) -> np.ndarray:
    """Values of `mesh` at the pixels [y0:y1, x0:x1] of the mosaic, (y, x) float32.

    Bilinear between the cells' centres, so never outside the range of the neighbouring cells, and constant beyond the outermost.
    """
    row, row_weight = _cell_and_weight(y0, y1, mesh.shape[0], mesh_px)
    col, col_weight = _cell_and_weight(x0, x1, mesh.shape[1], mesh_px)
    mesh = np.asarray(mesh, dtype=np.float32)
    rows = mesh[row] * (1 - row_weight)[:, None] + mesh[np.minimum(row + 1, mesh.shape[0] - 1)] * row_weight[:, None]
    slope = np.diff(rows, axis=1, append=rows[:, -1:])
    values = np.empty((y1 - y0, x1 - x0), np.float32)
    # cell by cell, without gathering: this runs over every pixel of every tile
    starts = np.flatnonzero(np.diff(col, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], col.size], strict=True):
        cell = col[start]
        part = values[:, start:stop]
        np.multiply(slope[:, cell : cell + 1], col_weight[start:stop], out=part)
        part += rows[:, cell : cell + 1]
    return values


def _cell_and_weight(start: int, stop: int, n_cells: int, mesh_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the cell centre before each pixel, and the weight (float32, 0 to 1) of the one after it."""
    position = np.clip((np.arange(start, stop) + 0.5) / mesh_px - 0.5, 0, n_cells - 1)
    cell = np.minimum(position.astype(np.int64), max(n_cells - 2, 0))
    return cell, (position - cell).astype(np.float32)
