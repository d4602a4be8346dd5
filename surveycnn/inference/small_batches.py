"""Small batches for what is left at the end of a call, so that little of a batch is padding.

Used by the predictor: a tile has some hundred sources, and half a batch of nothing for each tile adds up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from surveycnn.inference.engines import Engine

SHARE = 4
"""Small batches are so many times smaller: they cost a tenth more per stamp on a CPU."""
PAYS = 256
"""Rows of padding that small batches could have saved, after which an engine is compiled for them."""


class SmallBatches:
    """An engine of small batches, where it gives the very same numbers: catalogs do not depend on how the sky is cut.

    It does on CPUs. On GPUs other kernels are taken for other shapes, and it is left out.
    """

    def __init__(self, compile_engine: Callable[[int], Engine], shapes: Sequence[tuple[int, ...]], device: threading.Lock):
        """`shapes` are those of the network's inputs for one stamp; `device` is held while engines compute."""
        self._compile, self._shapes, self._device = compile_engine, shapes, device
        self._lock = threading.Lock()
        self._wasted = 0
        self._is_off = False
        self._engine: Engine | None = None

    def engine_for(self, n_left: int, large: Engine) -> Engine:
        """The one to take for the next of `n_left` stamps: that of small batches, or `large`."""
        small = large.batch_size // SHARE
        n_padded = -(-n_left // small) * small if small else large.batch_size
        if self._is_off or n_padded >= large.batch_size or getattr(large, "on_device", False):
            return large
        with self._lock:
            self._wasted += large.batch_size - n_padded
            if self._engine is None and self._wasted > PAYS:
                self._engine = self._compile(small)
                with self._device:
                    self._is_off = not are_alike(self._engine, large, self._shapes)
            return large if self._is_off else self._engine or large

    def drop(self, engine: Engine) -> None:
        """Do without `engine`, if it is the one of small batches."""
        with self._lock:
            self._is_off |= engine is self._engine


def are_alike(small: Engine, large: Engine, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether two engines give bit for bit the same raw outputs for random stamps, whatever their batch.

    Parameters
    ----------
    shapes
        Of the inputs for one stamp.
    """
    rng = np.random.default_rng(0)
    inputs = [rng.normal(0, 2, (large.batch_size, *shape)).astype(np.float32) for shape in shapes]
    n = small.batch_size
    return np.array_equal(small(*(np.ascontiguousarray(values[-n:]) for values in inputs)), large(*inputs)[-n:])
