"""Tasks that harm their process, in a module that a worker imports in no time: it does so after each death."""

from __future__ import annotations

import os
import signal
import time


class KillsItsWorker:
    """Ends its process at unit 1, every time, after a while as a real tile would; squares the others."""

    def __call__(self, unit: int) -> int:
        if unit == 1:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        return unit * unit
