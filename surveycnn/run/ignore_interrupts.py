"""A Dask preload for local workers: Ctrl-C reaches all processes of a terminal, and only the driver may act on it."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ignore SIGINT in this worker process; the driver closes it in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
