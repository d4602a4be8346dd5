"""Stamps on a device: a window's pixels go up once, and what the networks take is cut and scaled there.

It stands between a window and the predictor where the engine runs on a GPU; only indices and a few weights per source go up, and
raw outputs come down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surveycnn.inference.device_functions import (
    as_array,
    as_tensor,
    compiled_once,
    cut_resampled,
    cut_whole_pixels,
    index_type,
    scaled,
    transposed,
)
from surveycnn.inference.scaling import inverse_softening
from surveycnn.models.card import Card
from surveycnn.sources.stamps import SAME_SCALE, cubic_weights

PIXELS_STEP = 2**20
"""Windows are filled up to a multiple of so many pixels: functions are compiled anew for each new number."""


def block_px(size: int, step: float) -> int:
    """Side of the square of mosaic pixels that stamps of `size` pixels, `step` mosaic pixels wide, are made of."""
    return int(np.ceil(size * step)) + 5 if abs(step - 1) >= SAME_SCALE else size


class DeviceTile:
    """Pixels of a window on the device.

    Parameters
    ----------
    image
        (band, y, x) float32 nJy per mosaic pixel; NaN = no data.
    reach
        Largest :func:`block_px` of the stamps to be cut: so wide a frame without data is put around.
    """

    def __init__(self, image: np.ndarray, reach: int):
        n_bands, *self._shape = image.shape
        self._reach = reach
        height, self._width = (side + 2 * reach for side in self._shape)
        n_pixels = height * self._width
        framed = np.full((n_bands, -(-n_pixels // PIXELS_STEP) * PIXELS_STEP), np.nan, np.float32)
        inside = slice(reach, reach + self._shape[0]), slice(reach, reach + self._shape[1])
        framed[:, :n_pixels].reshape(n_bands, height, self._width)[:, *inside] = image
        self._pixels = compiled_once(transposed)(as_tensor(framed))

    def stamps(
        self, y: np.ndarray, x: np.ndarray, size: int, step: float, n: int, bands: Sequence[int] | None = None
    ) -> Gathered:
        """What :func:`surveycnn.sources.stamps.cut_stamps` gives, on the device.

        Parameters
        ----------
        y, x, size, step
            As there.
        n
            Rows of the batch; those behind the objects hold NaN.
        bands
            Of the window, by number; all by default.
        """
        y, x = (np.concatenate([values, np.full(n - len(values), -np.inf)]) for values in (y, x))
        kept = None if bands is None or len(bands) == self._pixels.shape[-1] else tuple(bands)
        width = np.array(self._width, index_type())
        if abs(step - 1) < SAME_SCALE:
            firsts = (np.floor(values - (size - 1) / 2 + 0.5) for values in (y, x))
            given = [self._placed(first, axis, size) for axis, first in enumerate(firsts)]
            cut = compiled_once(cut_whole_pixels, n, size, kept)
        else:
            n_block = block_px(size, step)
            axes = [_axis(values, size, step) for values in (y, x)]
            given = [self._placed(axis.first, number, n_block) for number, axis in enumerate(axes)]
            given += [values for axis in axes for values in (axis.whole, axis.weights, axis.nearest)]
            cut = compiled_once(cut_resampled, n, size, n_block, float(np.float32(step**2)), kept)
        return Gathered(*cut(self._pixels, *map(as_tensor, [width, *given])))

    def _placed(self, first: np.ndarray, axis: int, n_block: int) -> np.ndarray:
        """First pixels of blocks, in the frame; a block that lies outside the window is moved into the nearest part of it."""
        return (np.clip(first, -n_block, self._shape[axis]) + self._reach).astype(index_type())


@dataclass(frozen=True)
class Gathered:
    """A batch of stamps on the device."""

    values: Any
    """(object, y, x, band) float32 nJy; NaN = no data."""
    incomplete: Any
    """(object,) bool, whether any value is missing."""

    def on_host(self, n: int, bands: Sequence[int]) -> np.ndarray:
        """The first `n` stamps in `bands`, in this process's memory."""
        return as_array(self.values)[:n][..., list(bands)]

    def gaps(self, n: int) -> np.ndarray:
        """Of the first `n` stamps, whether any value is missing."""
        return as_array(self.incomplete)[:n]


def upload_stamps(stamps: np.ndarray, n: int) -> Gathered:
    """`stamps` (object, y, x, band) cut on the host, with NaN behind them up to `n` rows."""
    filled = np.full((n, *stamps.shape[1:]), np.nan, np.float32)
    filled[: len(stamps)] = stamps
    return Gathered(as_tensor(filled), np.isnan(filled).any(axis=(1, 2, 3)))


class DeviceStamps:
    """Stamps of one model on the device, on their way into its network: what `HostStamps` are in this process's memory."""

    def __init__(
        self,
        card: Card,
        values: Any,
        bands: Sequence[int],
        rows: np.ndarray,
        passed: np.ndarray | None = None,
    ):
        """Those `rows` (object,) of `values` (row, y, x, band), cut at the centre, at `bands` along the last axis."""
        self._card, self._values, self._bands, self._rows = card, values, tuple(bands), rows
        self._passed = None if passed is None else passed.astype(np.float32, copy=False)
        self._counted: list[tuple[slice, Any]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, some: Any) -> DeviceStamps:
        """Those of a slice or a mask."""
        passed = None if self._passed is None else self._passed[some]
        return DeviceStamps(self._card, self._values, self._bands, self._rows[some], passed)

    @property
    def n_missing(self) -> np.ndarray:
        """(object,) values without data of each stamp, where it has been scaled."""
        found = np.zeros(len(self), np.int64)
        for some, counts in self._counted:
            found[some] = as_array(counts)[: some.stop - some.start]
        return found

    def inputs(self, some: slice, n: int, others: Sequence[np.ndarray]) -> list[Any]:
        """What the network takes for `n` stamps of which the first are `some`, and for `others` (n, ...)."""
        rows = np.concatenate([self._rows[some], np.zeros(n - (some.stop - some.start), np.int64)])
        given = []
        is_all = n == self._values.shape[0] and np.array_equal(self._rows[some], np.arange(some.stop - some.start))
        if not is_all:
            given.append(rows.astype(index_type()))
        if self._passed is not None:
            given.append(np.ones((n, len(self._bands)), np.float32))
            given[-1][: some.stop - some.start] = self._passed[some]
        bands = None if self._bands == tuple(range(self._values.shape[-1])) else self._bands
        inverse = tuple(map(float, inverse_softening(self._card.scaling, self._card.bands)))
        static = (tuple(self._values.shape), n, self._card.stamp_px, bands, inverse, not is_all, self._passed is not None)
        scale = compiled_once(scaled, *static)
        values, n_missing = scale(self._values, *map(as_tensor, given))
        self._counted.append((some, n_missing))
        return [values, *map(as_tensor, others)]

    def call(self, engine: Any, inputs: Sequence[Any]) -> np.ndarray:
        """Raw outputs (n, output) float32 of an engine."""
        return engine.call_on_device(*inputs)


@dataclass(frozen=True)
class _Axis:
    """One axis of the resampling by cubic convolution, for each object."""

    first: np.ndarray
    """(object,) first mosaic pixel of the block."""
    whole: np.ndarray
    """(object, size, sample) pixel of the block at or before each sample."""
    weights: np.ndarray
    """(object, size, sample, 4) float32 shares of the pixels at -1, 0, 1 and 2 from there."""
    nearest: np.ndarray
    """(object, size) pixel of the block under the middle of each stamp pixel."""


def _axis(position: np.ndarray, size: int, step: float) -> _Axis:
    """Offsets in double precision, as :func:`surveycnn.sources.stamps.cut_stamps` has them."""
    n_sub = max(int(np.ceil(step)), 1)
    sub = (np.arange(n_sub) + 0.5) / n_sub - 0.5
    sample = (np.arange(size)[:, None] - (size - 1) / 2 + sub) * step
    known = np.where(np.isfinite(position), position, 0.0)
    first = np.floor(known + sample[0, 0]) - 1
    in_block = (known - first)[:, None, None] + sample
    whole = np.floor(in_block)
    weights = np.moveaxis(cubic_weights(in_block - whole) * (step / n_sub), 0, -1).astype(np.float32)
    nearest = np.floor((known - first)[:, None] + sample.mean(axis=1) + 0.5)
    first = np.where(np.isfinite(position), first, -np.inf)
    return _Axis(first, whole.astype(index_type()), weights, nearest.astype(index_type()))
