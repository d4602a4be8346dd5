"""A Dask preload for local workers: signals reach all processes of a terminal or a job, and the driver alone may act on them."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

GRACE_SECONDS = 15.0
"""Time that the driver has to close its workers in order."""


def dask_setup(worker: Any) -> None:
    """Ignore SIGINT in this worker process, and SIGTERM for a while; the driver closes it in order."""
    signal.signal(signal.SIGINT, _keep_quiet)
    signal.signal(signal.SIGTERM, _end_later)


def _keep_quiet(number: int, frame: Any) -> None:
    """Say nothing of how connections and tasks are cut off from now on; the driver says that the run was interrupted."""
    logging.disable(logging.CRITICAL)


def _end_later(number: int, frame: Any) -> None:
    _keep_quiet(number, frame)
    # not never: Python ends what is left of its children by SIGTERM when it exits, and waits for them
    timer = threading.Timer(GRACE_SECONDS, os._exit, (128 + number,))
    timer.daemon = True
    timer.start()
