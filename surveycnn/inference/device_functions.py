"""What is computed on a device beside the networks: functions of tensors in `keras.ops`, for any backend.

Called by :mod:`surveycnn.inference.device`. Sums of products are written out where a product of matrices would do: GPUs round the
factors of those to ten bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from surveycnn.inference.engines.compiled import compiled
from surveycnn.inference.scaling import MAX_SCALED
from surveycnn.models.backend import import_keras


@lru_cache
def compiled_once(function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
    """`function` of tensors, given its first arguments."""
    return compiled(partial(function, *static))


def transposed(image: Any) -> Any:
    return import_keras().ops.transpose(image)


def cut_whole_pixels(
    n: int, size: int, bands: tuple[int, ...] | None, pixels: Any, width: Any, first_row: Any, first_col: Any
) -> tuple[Any, Any]:
    """`n` squares of `size` pixels, in `bands`, from pixels (y * width + x, band) by their first rows and columns (object,)."""
    along = import_keras().ops.arange(size, dtype=index_type())
    rows, cols = first_row[:, None] + along, first_col[:, None] + along
    return _with_gaps(_at(pixels, width, rows[:, :, None], cols[:, None, :]), bands)


def cut_resampled(
    n: int,
    size: int,
    n_block: int,
    flux_scale: float,
    bands: tuple[int, ...] | None,
    pixels: Any,
    width: Any,
    first_row: Any,
    first_col: Any,
    *axes: Any,
) -> tuple[Any, Any]:
    """`n` stamps resampled first along y, then along x: sums of four pixels per sample, see `_Axis` in `device`.

    A pixel without data makes NaN of what it has a share in; there the nearest pixel stands in.
    """
    ops = import_keras().ops
    (row_whole, row_weights, row_nearest), (col_whole, col_weights, col_nearest) = axes[:3], axes[3:]
    rows, block_cols = row_whole + first_row[:, None, None], first_col[:, None] + ops.arange(n_block, dtype=index_type())
    parts = 0.0
    for sample, tap in np.ndindex(*row_weights.shape[2:]):
        values = _at(pixels, width, rows[:, :, sample, None] + (tap - 1), block_cols[:, None, :])
        parts += _share(row_weights[:, :, sample, tap][:, :, None, None], values)
    parts = ops.reshape(parts, (n * size * n_block, -1))
    part_rows = ops.reshape(ops.arange(n * size, dtype=index_type()), (n, size, 1))
    stamps = 0.0
    for sample, tap in np.ndindex(*col_weights.shape[2:]):
        values = _at(parts, n_block, part_rows, col_whole[:, None, :, sample] + (tap - 1))
        stamps += _share(col_weights[:, :, sample, tap][:, None, :, None], values)
    nearest = _at(pixels, width, (row_nearest + first_row[:, None])[:, :, None], (col_nearest + first_col[:, None])[:, None, :])
    return _with_gaps(ops.where(ops.isnan(stamps), nearest * flux_scale, stamps), bands)


def scaled(
    shape: tuple[int, ...],
    n: int,
    size: int,
    bands: tuple[int, ...] | None,
    inverse: tuple[float, ...],
    picks: bool,
    frees: bool,
    stamps: Any,
    *given: Any,
) -> tuple[Any, Any]:
    """What :func:`surveycnn.inference.scaling.scale_into` does, for the centres of `n` of the stamps of that shape, and how many
    values each lacks.

    `picks`: the rows to take are given after the stamps; `frees`: so is the share of the light that the stamps are divided by.
    """
    ops = import_keras().ops
    stamps = ops.take(stamps, given[0], axis=0) if picks else stamps
    y, x = ((side - size) // 2 for side in shape[1:3])
    stamps = _in_bands(stamps[:, y : y + size, x : x + size], bands)
    known = ops.isfinite(stamps)
    freed = stamps / given[-1][:, None, None, :] if frees else stamps
    values = ops.arcsinh(freed * as_tensor(np.array(inverse, np.float32)))
    values = ops.where(known, ops.clip(values, -MAX_SCALED, MAX_SCALED), np.float32(0))
    return values, ops.sum(1.0 - ops.cast(known, "float32"), axis=(1, 2, 3))


def _at(pixels: Any, width: Any, rows: Any, cols: Any) -> Any:
    """Values (..., band) of pixels (y * width + x, band) at whole `rows` and `cols` that can be broadcast."""
    return import_keras().ops.take(pixels, rows * width + cols, axis=0)


def _share(weights: Any, values: Any) -> Any:
    """Product, 0 where the weight is, whatever the value."""
    ops = import_keras().ops
    return ops.where(weights != 0, weights * values, np.float32(0))


def _in_bands(stamps: Any, bands: tuple[int, ...] | None) -> Any:
    return stamps if bands is None else import_keras().ops.take(stamps, np.array(bands, index_type()), axis=-1)


def _with_gaps(stamps: Any, bands: tuple[int, ...] | None) -> tuple[Any, Any]:
    """Stamps in `bands`, and which of them have gaps."""
    ops = import_keras().ops
    stamps = _in_bands(stamps, bands)
    return stamps, ops.any(ops.isnan(stamps), axis=(1, 2, 3))


def index_type() -> str:
    """TensorFlow computes 32-bit integers in the host's memory even where a GPU is; JAX has no others."""
    return "int64" if import_keras().backend.backend() == "tensorflow" else "int32"


def as_tensor(values: np.ndarray) -> Any:
    return import_keras().ops.convert_to_tensor(values)


def as_array(tensor: Any) -> np.ndarray:
    return np.asarray(import_keras().ops.convert_to_numpy(tensor))
