"""What is known of rows before they are read, from Parquet's statistics: whether any of them can be selected.

Never says no where a row is selected, and may say yes where none is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.healpix import ORDER
from surveycnn.catalogs.selection.regions import Region

Bounds = Callable[[str], tuple[np.ndarray, np.ndarray] | None]
"""Smallest and largest value of a column in some rows, NaN apart, as arrays of shape (1,) that compare as the column does; None
where they are not known. A column of several values per row has those of all of them."""


class Condition(Protocol):
    """A selection that can tell from the bounds of columns that no row is selected."""

    def possible(self, bounds: Bounds) -> bool:
        """Whether a row may be selected."""


@dataclass(frozen=True)
class Sky:
    """Which columns hold positions, and which one HEALPix indices, if any does."""

    ra: str = "ra"
    dec: str = "dec"
    index: str | None = None
    index_order: int = ORDER


@dataclass(frozen=True)
class Limits:
    """Selections that all rows have to meet."""

    regions: tuple[Region, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @cached_property
    def _ranges(self) -> list[np.ndarray]:
        """Order-29 indices of each region: arrays of shape (n, 2), sorted."""
        return [np.array(region.healpix_ranges(), dtype=np.int64).reshape(-1, 2) for region in self.regions]

    @cached_property
    def _dec(self) -> list[tuple[float, float]]:
        return [region.dec_limits() for region in self.regions]

    def meet_indices(self, first: int, last: int) -> bool:
        """Whether every region has some of the indices from `first` to `last`, both included."""
        for ranges in self._ranges:
            place = np.searchsorted(ranges[:, 1], first, side="right")
            if place == len(ranges) or ranges[place, 0] > last:
                return False
        return True

    def possible(self, bounds: Bounds, sky: Sky) -> bool:
        """Whether rows of these bounds may be selected."""
        if self.regions:
            index = bounds(sky.index) if sky.index is not None else None
            shift = 2 * (ORDER - sky.index_order)
            if index is not None and not self.meet_indices(int(index[0][0]) << shift, ((int(index[1][0]) + 1) << shift) - 1):
                return False
            dec = bounds(sky.dec)
            if dec is not None and any(dec[0][0] > high or dec[1][0] < low for low, high in self._dec):
                return False
        return all(condition.possible(bounds) for condition in self.conditions)


def is_bounded(kind: pa.DataType) -> bool:
    """Whether Parquet's statistics of a type are understood here; lists count as their values."""
    kind = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    return (
        pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
        or pa.types.is_signed_integer(kind)
        or kind in (pa.uint8(), pa.uint16(), pa.bool_(), pa.string(), pa.large_string())
    )


def chunk_bounds(chunk: pq.ColumnChunkMetaData, kind: pa.DataType) -> tuple[np.ndarray, np.ndarray] | None:
    """Bounds of the values of a column in a row group, of an Arrow type for which :func:`is_bounded` holds."""
    kind = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    found = chunk.statistics if chunk.is_stats_set else None
    if found is None or not found.has_min_max:
        return None
    low, high = found.min, found.max
    if not low <= high:  # NaN, or damaged
        return None
    # missing numbers are read as NaN, for which no comparison but != holds; other values as these, which the bounds leave out
    if not pa.types.is_floating(kind) and not (found.has_null_count and found.null_count == 0):
        missing = "" if _is_text(kind) else False if pa.types.is_boolean(kind) else 0
        low, high = min(low, missing), max(high, missing)
    return _column(low, kind), _column(high, kind)


def _column(value: Any, kind: pa.DataType) -> np.ndarray:
    if pa.types.is_integer(kind):
        return np.array([value], dtype=np.int64)
    return np.array([value], dtype=kind.to_pandas_dtype() if not _is_text(kind) else object)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def all_possible(parts: Sequence[Callable[[Bounds], bool] | None]) -> Callable[[Bounds], bool] | None:
    """Joined by ``and``; None stands for a test that never says no."""
    known = [part for part in parts if part is not None]
    return (lambda bounds: all(part(bounds) for part in known)) if known else None


def any_possible(parts: Sequence[Callable[[Bounds], bool] | None]) -> Callable[[Bounds], bool] | None:
    """Joined by ``or``; None stands for a test that never says no."""
    known = [part for part in parts if part is not None]
    return (lambda bounds: any(part(bounds) for part in known)) if known and len(known) == len(parts) else None
