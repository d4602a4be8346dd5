"""Arrays that were costly to make, kept in bounded memory: each is made once, also where several threads ask for it at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class Kept:
    """The arrays used last, of at most `max_bytes` together."""

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        self.n_bytes = 0

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of `key`; `make` is called where it is not there, by one thread while the others wait."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        try:
            with making:
                found = self._found(key)
                return found if found is not None else self._keep(key, make())
        finally:
            with self._lock:
                self._making.pop(key, None)

    def _found(self, key: Hashable) -> np.ndarray | None:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def _keep(self, key: Hashable, array: np.ndarray) -> np.ndarray:
        with self._lock:
            before = self._arrays.pop(key, None)  # two may have made it, when one began as the other's lock went
            self._arrays[key] = array
            self.n_bytes += array.nbytes - (0 if before is None else before.nbytes)
            while self.n_bytes > self._max_bytes and self._arrays:
                self.n_bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array
