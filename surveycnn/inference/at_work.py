"""How many threads of this process are at work on tiles: alone, a forward pass takes all cores; beside others, one each.

Between two layers of a network all threads of a forward pass wait for the last. Where another tile is being searched meanwhile,
the last is late, and two passes of one thread each do the same in two thirds of the time (measured on two cores).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_n = 0


@contextmanager
def at_work() -> Iterator[None]:
    """Count the calling thread while the body runs."""
    global _n
    with _lock:
        _n += 1
    try:
        yield
    finally:
        with _lock:
            _n -= 1


def n_at_work() -> int:
    """Threads of this process inside :func:`at_work`."""
    return _n
