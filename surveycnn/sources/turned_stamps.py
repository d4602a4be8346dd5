"""Stamps on a grid of their own: turned, mirrored or sheared against the mosaic, such as north up and east left.

The interpolation is that of :mod:`stamps`, in two dimensions at once; slower, so for models that ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from surveycnn.sources.stamps import SAME_SCALE, cubic_weights, pixel_blocks

_BATCH_VALUES = 4_000_000
_MATRIX_GRID = 2.0**20
"""Matrices are rounded to 1e-6: what a WCS gives may differ in the last bits with the other sources of a call."""


def sky_matrices(jacobian: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Matrices for :func:`cut_turned_stamps` that put north up, towards higher rows, and east left.

    Parameters
    ----------
    jacobian
        (object, 2, 2) from :func:`surveycnn.sky.wcs.local_jacobian`: east and north in arcsec per mosaic pixel in x and y.
    pixel_scale
        Of the stamps, arcsec.

    Returns
    -------
    (object, 2, 2) mosaic pixels in y and x per row and per column of the stamp; NaN where the sky has no two directions.

    Examples
    --------
    >>> sky_matrices(np.array([[[-0.4, 0.0], [0.0, 0.4]]]), 0.2).tolist()
    [[[0.5, 0.0], [0.0, 0.5]]]
    """
    (east_x, east_y), (north_x, north_y) = jacobian.transpose(1, 2, 0)
    area = east_x * north_y - east_y * north_x
    scale = pixel_scale / np.where(area == 0, np.nan, area)
    # the inverse of the Jacobian, applied to steps of (0, 1) for a row and of (-1, 0) for a column
    matrix = np.stack([[scale * east_x, scale * north_x], [-scale * east_y, -scale * north_y]])
    return np.round(matrix.transpose(2, 0, 1) * _MATRIX_GRID) / _MATRIX_GRID + 0.0


def cut_turned_stamps(image: np.ndarray, y: np.ndarray, x: np.ndarray, size: int, matrix: np.ndarray) -> np.ndarray:
    """Squares of `size` pixels with (`y`, `x`) in their middle, each on its own grid.

    Parameters
    ----------
    image, y, x
        As in :func:`surveycnn.sources.stamps.cut_stamps`.
    matrix
        (object, 2, 2) mosaic pixels in y and x per row and per column of the stamp; NaN gives a stamp of NaN.

    Returns
    -------
    (object, y, x, band) float32 as from :func:`surveycnn.sources.stamps.cut_stamps`; values scale with the determinant.
    """
    stamps = np.full((y.size, size, size, image.shape[0]), np.nan, np.float32)
    known = np.isfinite(matrix).all(axis=(1, 2))
    steps = np.sqrt((np.where(known[:, None, None], matrix, 1) ** 2).sum(axis=1)).max(axis=1)
    n_sub = np.maximum(np.ceil(steps - SAME_SCALE), 1).astype(np.int64)
    for n in np.unique(n_sub[known]):
        alike = np.flatnonzero(known & (n_sub == n))
        # room for the turned square, for four pixels of the kernel, and for the middle's fraction
        reach = int(np.ceil(size / 2 * np.abs(matrix[alike]).sum(axis=2).max())) + 3
        batch = max(_BATCH_VALUES // (image.shape[0] * max(2 * reach, size) ** 2), 1)
        for start in range(0, alike.size, batch):
            some = alike[start : start + batch]
            stamps[some] = _cut(image, y[some], x[some], size, matrix[some], int(n), reach)
    return stamps


def _cut(image: np.ndarray, y: np.ndarray, x: np.ndarray, size: int, matrix: np.ndarray, n_sub: int, reach: int) -> np.ndarray:
    """(object, y, x, band) stamps of sources that are sampled `n_sub` times per stamp pixel in each direction."""
    first_y, first_x = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    around = np.arange(-reach, reach + 1)
    blocks = np.moveaxis(pixel_blocks(image, first_y[:, None] + around, first_x[:, None] + around), 0, -1)
    flat = np.ascontiguousarray(blocks).reshape(y.size, around.size**2, -1)
    bad = np.isnan(flat)
    holes = np.flatnonzero(bad.any(axis=(1, 2)))
    flat[bad] = 0
    stamps = np.zeros((y.size, size**2, image.shape[0]), np.float32)
    touched = np.zeros((holes.size, size**2, image.shape[0]), bool)
    of = np.arange(y.size)[:, None]
    sub = (np.arange(n_sub) + 0.5) / n_sub - 0.5
    for sub_y in sub:
        for sub_x in sub:
            # from the pixel of the source, not from the window or the block: the same numbers wherever they lie
            rows, cols = _places(y - first_y, x - first_x, size, matrix, sub_y, sub_x)
            for pixel, weight in _taps(rows, cols, reach):
                stamps += weight[..., None] * flat[of, pixel]
                touched |= (weight[holes] != 0)[..., None] & bad[holes[:, None], pixel[holes]]
    area = np.abs(matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]).astype(np.float32)[:, None, None]
    stamps *= area / np.float32(n_sub**2)
    if holes.size:
        flat[bad] = np.nan
        rows, cols = _places((y - first_y)[holes], (x - first_x)[holes], size, matrix[holes], 0.0, 0.0)
        nearest = _flat_place(np.floor(rows + 0.5), np.floor(cols + 0.5), reach)
        stamps[holes] = np.where(touched, flat[holes[:, None], nearest] * area[holes], stamps[holes])
    return stamps.reshape(y.size, size, size, -1)


def _places(
    y: np.ndarray, x: np.ndarray, size: int, matrix: np.ndarray, sub_y: float, sub_x: float
) -> tuple[np.ndarray, np.ndarray]:
    """(object, pixel of the stamp) rows and columns at which to sample, for middles at (`y`, `x`)."""
    grid = np.arange(size) - (size - 1) / 2
    row, col = (step.ravel() for step in np.meshgrid(grid + sub_y, grid + sub_x, indexing="ij"))
    rows, cols = (matrix[:, axis, 0, None] * row + matrix[:, axis, 1, None] * col for axis in (0, 1))
    return y[:, None] + rows, x[:, None] + cols


def _taps(rows: np.ndarray, cols: np.ndarray, reach: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The 16 pixels of each sample, as places in a flat block, and their weights; both (object, pixel of the stamp)."""
    whole_y, whole_x = np.floor(rows), np.floor(cols)
    weights_y = cubic_weights(rows - whole_y).astype(np.float32)
    weights_x = cubic_weights(cols - whole_x).astype(np.float32)
    for tap_y in range(4):
        for tap_x in range(4):
            yield _flat_place(whole_y + (tap_y - 1), whole_x + (tap_x - 1), reach), weights_y[tap_y] * weights_x[tap_x]


def _flat_place(row: np.ndarray, col: np.ndarray, reach: int) -> np.ndarray:
    """Place in a flat block of the whole-numbered `row` and `col`, which count from the pixel of the source."""
    return (row.astype(np.int64) + reach) * (2 * reach + 1) + col.astype(np.int64) + reach
