"""How many units the stages of a run have, mosaic by mosaic: foreseen before they begin, and as they are then."""

from __future__ import annotations

import threading
from collections import Counter


class UnitCounts:
    """Units by stage and mosaic; safe to use from several threads."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        """Units of each stage over all mosaics."""
        self._units: dict[tuple[str, str], int] = {}
        self._begun: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def set(self, stage: str, mosaic: str, n_units: int) -> None:
        """Foresee so many units of a mosaic."""
        with self._lock:
            self._set((stage, mosaic), n_units)

    def begin(self, stage: str, mosaic: str, n_units: int) -> bool:
        """Take the number that it proves to be; False where the mosaic had begun before, and nothing is changed."""
        with self._lock:
            is_first = (stage, mosaic) not in self._begun
            if is_first:
                self._begun.add((stage, mosaic))
                self._set((stage, mosaic), n_units)
            return is_first

    def _set(self, key: tuple[str, str], n_units: int) -> None:
        self.totals[key[0]] += n_units - self._units.get(key, 0)
        self._units[key] = n_units
