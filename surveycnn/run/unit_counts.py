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
        self._done: Counter[tuple[str, str]] = Counter()
        self._begun: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def set(self, stage: str, mosaic: str, n_units: int) -> None:
        """Foresee so many units of a mosaic."""
        with self._lock:
            self._set((stage, mosaic), n_units)

    def begin(self, stage: str, mosaic: str, n_units: int) -> int:
        """Take the number that it proves to be; how many units that makes more than had begun before.

        A stage that is tried again has units that failed once and count again, and others that are done.
        """
        key = (stage, mosaic)
        with self._lock:
            total = self._done[key] + n_units
            self._set(key, total)
            n_more, self._begun[key] = max(0, total - self._begun[key]), total
            return n_more

    def advance(self, stage: str, mosaic: str) -> None:
        """Count a unit that has ended, however it did."""
        with self._lock:
            self._done[stage, mosaic] += 1

    def _set(self, key: tuple[str, str], n_units: int) -> None:
        self.totals[key[0]] += n_units - self._units.get(key, 0)
        self._units[key] = n_units
