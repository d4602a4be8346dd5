"""Stamps for the models: squares around sources at a model's pixel scale, in all bands.

Stands between photometry and the predictor; pixel values stay nJy, now per pixel of the model.
"""

from __future__ import annotations

import numpy as np

SAME_SCALE = 0.01
_BATCH_VALUES = 8_000_000


def cut_stamps(image: np.ndarray, y: np.ndarray, x: np.ndarray, size: int, step: float) -> np.ndarray:
    """Squares of `size` pixels with (`y`, `x`) in their middle, which for an even size is the corner of four pixels.

    Parameters
    ----------
    image
        (band, y, x) nJy per mosaic pixel; NaN = no data.
    y, x
        (object,) positions in pixels of `image`.
    step
        Model pixel scale over mosaic pixel scale. Within 1 % of 1, whole pixels are cut, and the middle is off by up to half a
        pixel; else the light is resampled by cubic convolution (Keys 1981), averaged over the area of a stamp pixel where that is
        the larger one. Flux is conserved: values scale with `step` squared.

    Returns
    -------
    (object, y, x, band) float32; NaN where the nearest mosaic pixel has no data or lies outside the image.
    """
    stamps = np.empty((y.size, size, size, image.shape[0]), np.float32)
    resample = abs(step - 1) >= SAME_SCALE
    n_block = int(np.ceil(size * step)) + 5 if resample else size
    batch = max(_BATCH_VALUES // (image.shape[0] * n_block**2), 1)
    for start in range(0, y.size, batch):
        some = slice(start, start + batch)
        if resample:
            rows, row_weights, row_nearest = _weights(y[some], size, step, n_block)
            cols, col_weights, col_nearest = _weights(x[some], size, step, n_block)
            blocks = pixel_blocks(image, rows, cols)
            pieces = _resampled(blocks, row_weights, col_weights, row_nearest, col_nearest, step**2)
            stamps[some] = np.moveaxis(pieces, 0, -1)
        else:
            _cut_whole(image, _first_pixel(y[some], size), _first_pixel(x[some], size), stamps[some])
    return stamps


def _cut_whole(image: np.ndarray, row: np.ndarray, col: np.ndarray, stamps: np.ndarray) -> None:
    """Fill `stamps` (object, y, x, band) with pixels of `image` (band, y, x) from `row` and `col` (object,) on; NaN outside."""
    ny, nx = image.shape[1:]
    size = stamps.shape[1]
    for stamp, y, x in zip(stamps, row.tolist(), col.tolist(), strict=True):
        y0, y1, x0, x1 = max(y, 0), min(y + size, ny), max(x, 0), min(x + size, nx)
        if (y0, y1, x0, x1) != (y, y + size, x, x + size):
            stamp[:] = np.nan
        if y0 < y1 and x0 < x1:
            stamp[y0 - y : y1 - y, x0 - x : x1 - x] = image[:, y0:y1, x0:x1].transpose(1, 2, 0)


def _first_pixel(position: np.ndarray, size: int) -> np.ndarray:
    """(object,) first of `size` pixels whose middle is nearest to `position`."""
    return np.floor(position - (size - 1) / 2 + 0.5).astype(np.int64)


def pixel_blocks(image: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """(band, object, y, x) pixels of `image` at `rows` and `cols` (object, pixel); NaN outside."""
    ny, nx = image.shape[1:]
    outside_y, outside_x = (rows < 0) | (rows >= ny), (cols < 0) | (cols >= nx)
    inside_rows, inside_cols = np.clip(rows, 0, ny - 1), np.clip(cols, 0, nx - 1)
    blocks = image[:, inside_rows[:, :, None], inside_cols[:, None, :]]
    if outside_y.any() or outside_x.any():
        blocks[:, outside_y[:, :, None] | outside_x[:, None, :]] = np.nan
    return blocks


def _weights(position: np.ndarray, size: int, step: float, n_block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One axis of the resampling, for each object.

    Returns
    -------
    pixels
        (object, block) mosaic pixels of the block.
    weights
        (object, size, block) share of each block pixel in each stamp pixel, the scaling of the flux included.
    nearest
        (object, size) block pixel under the middle of each stamp pixel.
    """
    n_sub = max(int(np.ceil(step)), 1)
    sub = (np.arange(n_sub) + 0.5) / n_sub - 0.5
    sample = (np.arange(size)[:, None] - (size - 1) / 2 + sub) * step
    first = np.floor(position + sample[0, 0]).astype(np.int64) - 1
    # within the block: the same numbers wherever the block lies in the window
    in_block = (position - first)[:, None, None] + sample
    whole = np.floor(in_block).astype(np.int64)
    kernel = cubic_weights(in_block - whole) * (step / n_sub)
    weights = np.zeros((position.size, size, n_block), np.float32)
    object_, pixel = np.arange(position.size)[:, None], np.arange(size)
    for k in range(n_sub):
        for tap in range(4):
            weights[object_, pixel, whole[:, :, k] + tap - 1] += kernel[tap, :, :, k]
    nearest = np.floor((position - first)[:, None] + sample.mean(axis=1) + 0.5).astype(np.int64)
    return first[:, None] + np.arange(n_block), weights, nearest


def cubic_weights(fraction: np.ndarray) -> np.ndarray:
    """Weights (4, ...) of cubic convolution with a = -1/2 (Catmull-Rom) for the pixels at -1, 0, 1 and 2."""
    t = fraction
    return 0.5 * np.stack([((2 - t) * t - 1) * t, (3 * t - 5) * t * t + 2, ((4 - 3 * t) * t + 1) * t, (t - 1) * t * t])


def _resampled(
    blocks: np.ndarray,
    row_weights: np.ndarray,
    col_weights: np.ndarray,
    row_nearest: np.ndarray,
    col_nearest: np.ndarray,
    flux_scale: float,
) -> np.ndarray:
    """(band, object, y, x) stamps from `blocks` (band, object, y, x): two small matrix products per stamp.

    Where the kernel touches a pixel without data, the nearest pixel stands in for the interpolation.
    """
    bad = np.isnan(blocks)
    stamps = row_weights @ np.where(bad, np.float32(0), blocks) @ col_weights.swapaxes(1, 2)
    band, some = np.nonzero(bad.any(axis=(2, 3)))
    if band.size == 0:
        return stamps
    touched = (row_weights[some] != 0).astype(np.float32) @ bad[band, some].astype(np.float32)
    touched = touched @ (col_weights[some] != 0).astype(np.float32).swapaxes(1, 2) > 0
    pick = np.arange(band.size)[:, None, None]
    nearest = blocks[band, some][pick, row_nearest[some][:, :, None], col_nearest[some][:, None, :]] * np.float32(flux_scale)
    stamps[band, some] = np.where(touched, nearest, stamps[band, some])
    return stamps
