"""Windowed centroids: where the light around a peak balances, measured relative to the peak.

The weights are those of SExtractor's XWIN, YWIN (a Gaussian on the source, iterated). All numbers are offsets from the peak,
rounded to a binary fraction of a pixel: adding a window's origin is exact then, and apertures placed there are bit-equal in any
window.
"""

from __future__ import annotations

import numpy as np

GRID_PER_PX = 8192
"""Centroids are multiples of 1 / 8192 px (1.2e-4 px): a power of two, so that sums with whole pixels do not round."""

CENTROID_REACH = 6
"""No pixel farther from a centroid than so many sigma of the window counts: patches of 4, and 2 from the peak."""

_MAX_STEPS = 50
_TOLERANCE_PX = 2e-4
_BATCH_PIXELS = 4_000_000


def windowed_centroids(
    image: np.ndarray,
    peak_y: np.ndarray,
    peak_x: np.ndarray,
    sigma_px: float,
    mask: np.ndarray | None = None,
    segmentation: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centroids under a Gaussian of `sigma_px` that is moved until it sits on them.

    Parameters
    ----------
    image
        (y, x), 0 where there is no data.
    peak_y, peak_x
        (source,) pixels from which to start.
    mask
        (y, x) bool, True where there is no data. These pixels, those beyond the image, and their mirror images through the peak
        are left out, so that what is missing does not push the centroid to the other side.
    segmentation
        (y, x) int, numbers of the objects that pixels belong to, 0 = none; pixels of others than the peak's are left out so too.

    Returns
    -------
    y, x
        (source,) float64 positions, on a grid of 1 / 8192 px; the peak itself where the iteration fails.
    converged
        (source,) bool.
    """
    reach = int(np.ceil(4 * sigma_px))
    batch = max(_BATCH_PIXELS // (2 * reach + 1) ** 2, 1)
    offsets = np.zeros((2, peak_y.size))
    converged = np.zeros(peak_y.size, bool)
    for start in range(0, peak_y.size, batch):
        some = slice(start, start + batch)
        rows, cols = peak_y[some], peak_x[some]
        patch = _patches(image, rows, cols, reach, 0).astype(np.float64)
        bad = np.zeros(patch.shape, bool) if mask is None else _patches(mask, rows, cols, reach, True)
        if segmentation is not None:
            label = _patches(segmentation, rows, cols, reach, 0)
            bad |= (label != 0) & (label != label[:, reach, reach][:, None, None])
        patch[bad | bad[:, ::-1, ::-1]] = 0
        offsets[:, some], converged[some] = _offsets(patch, sigma_px)
    return peak_y + on_grid(offsets[0]), peak_x + on_grid(offsets[1]), converged


def _patches(image: np.ndarray, rows: np.ndarray, cols: np.ndarray, reach: int, outside: int | bool) -> np.ndarray:
    """(source, row, col) squares of half width `reach` around pixels of `image` (y, x), `outside` beyond the edges."""
    (ny, nx), steps = image.shape, np.arange(-reach, reach + 1)
    y, x = rows[:, None] + steps, cols[:, None] + steps
    patches = image[np.clip(y, 0, ny - 1)[:, :, None], np.clip(x, 0, nx - 1)[:, None, :]]
    patches[((y < 0) | (y >= ny))[:, :, None] | ((x < 0) | (x >= nx))[:, None, :]] = outside
    return patches


def on_grid(position: np.ndarray) -> np.ndarray:
    """`position` (any shape, px) at the nearest multiple of 1 / 8192 px.

    >>> float(on_grid(np.array(0.30001))) * GRID_PER_PX
    2458.0
    """
    return np.round(np.asarray(position, np.float64) * GRID_PER_PX) / GRID_PER_PX


def _offsets(patch: np.ndarray, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (2, source) in y and x from the middle of each patch (source, y, x), and which of them converged.

    The step is twice the weighted mean, exact for a source as wide as the window (SExtractor manual, XWIN_IMAGE).
    """
    reach = patch.shape[1] // 2
    grid = np.arange(-reach, reach + 1, dtype=np.float64)
    limit = max(2 * sigma_px, 2.0)
    offsets = np.zeros((2, patch.shape[0]))
    converged = np.zeros(patch.shape[0], bool)
    active = np.arange(patch.shape[0])
    for _ in range(_MAX_STEPS):
        step, total = _weighted_mean(patch[active], grid, offsets[:, active], sigma_px)
        moved = offsets[:, active] + 2 * step
        usable = (total > 0) & (np.abs(moved).max(axis=0) <= limit)
        done = usable & (np.abs(step).max(axis=0) < _TOLERANCE_PX)
        offsets[:, active] = np.where(usable, moved, 0)
        converged[active[done]] = True
        active = active[usable & ~done]
        if active.size == 0:
            break
    offsets[:, ~converged] = 0
    return offsets, converged


def _weighted_mean(patch: np.ndarray, grid: np.ndarray, offsets: np.ndarray, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance (2, source) of the light from `offsets` under the Gaussian, and the weighted light (source,).

    Sums run along the last axis of contiguous arrays, so each source's result does not depend on the others.
    """
    dy = grid - offsets[0][:, None]
    dx = grid - offsets[1][:, None]
    weight_y = np.exp(-(dy**2) / (2 * sigma_px**2))
    weight_x = np.exp(-(dx**2) / (2 * sigma_px**2))
    weighted = patch * weight_x[:, None, :]
    rows = weighted.sum(axis=2)
    moments = (weighted * dx[:, None, :]).sum(axis=2)
    total = (rows * weight_y).sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    mean_y = (rows * weight_y * dy).sum(axis=1) / safe
    mean_x = (moments * weight_y).sum(axis=1) / safe
    return np.stack([mean_y, mean_x]), total
