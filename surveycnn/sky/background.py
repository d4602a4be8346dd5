"""Sky level and noise of a whole mosaic on one coarse mesh, and their values at any pixel.

The mesh is anchored to pixel (0, 0) of the mosaic, never to a tile, and is interpolated by elementwise operations in absolute
pixel coordinates: a pixel has the same sky, bit for bit, in whichever window it is read.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

MESH_PX = 128
"""Side of a mesh cell in pixels: large beside a galaxy, small beside the gradients of the sky."""

MIN_GOOD_FRACTION = 0.25
"""Cells with fewer good pixels than this take their values from their neighbours."""

_CLIP_SIGMA = 3.0
_MAX_CLIPS = 20
_CROWDED = 0.3


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
    for row in range(n_rows):
        for col in range(n_cols):
            cell = strip[row * mesh_px : (row + 1) * mesh_px, col * mesh_px : (col + 1) * mesh_px]
            good = cell[np.isfinite(cell)]
            if good.size >= max(needed, 1):
                sky[row, col], rms[row, col] = clipped_sky(good)
    # a constant cell is padding, not sky: it says nothing about the noise
    flat = rms == 0
    sky[flat], rms[flat] = np.nan, np.nan
    return sky, rms


def clipped_sky(values: np.ndarray) -> tuple[float, float]:
    """Mode and standard deviation of `values` (finite, any order) after clipping at 3 sigma around the median.

    The mode is 2.5 median - 1.5 mean, or the median where the two differ by more than 0.3 sigma: a crowded cell, in which
    that estimate fails (Bertin & Arnouts 1996, section 3). One sort serves all iterations: each only moves the two ends.
    """
    ordered = np.sort(values).astype(np.float64)
    middle = ordered[ordered.size // 2]
    centred = ordered - middle  # the sums of squares would lose digits on a high sky
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    low, high = 0, ordered.size
    for _ in range(_MAX_CLIPS):
        median = 0.5 * (centred[(low + high - 1) // 2] + centred[(low + high) // 2])
        mean = (sums[high] - sums[low]) / (high - low)
        sigma = np.sqrt(max((squares[high] - squares[low]) / (high - low) - mean**2, 0.0))
        new_low, new_high = np.searchsorted(centred, [median - _CLIP_SIGMA * sigma, median + _CLIP_SIGMA * sigma], "left")
        if sigma == 0 or (new_low, new_high) == (low, high) or new_high - new_low < 2:
            break
        low, high = int(new_low), int(new_high)
    crowded = abs(mean - median) > _CROWDED * sigma
    mode = median if crowded else 2.5 * median - 1.5 * mean
    return float(middle + mode), float(sigma)


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
