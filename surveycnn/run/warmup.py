"""A Dask worker plugin that loads the models while the first tiles are being read and searched, and tunes the process."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from typing import Any

from distributed import WorkerPlugin

from surveycnn.run.process import tune_process


class WarmUp(WorkerPlugin):
    """Runs a function in a background thread of every worker, those that are restarted later included."""

    def __init__(self, function: Callable[[], None]):
        self.name = f"surveycnn-warm-up-{uuid.uuid4().hex[:12]}"
        self._function = function

    def setup(self, worker: Any) -> None:
        tune_process()
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def _run(self) -> None:
        # What goes wrong here goes wrong again in the first tile, where it is reported as that tile's.
        with contextlib.suppress(Exception):
            self._function()
