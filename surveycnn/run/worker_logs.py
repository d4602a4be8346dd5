"""Log files of workers: each worker process writes one into the work directory, which all of them share.

The driver reads the end of it where a tile fails, whatever became of the worker.
"""

from __future__ import annotations

import faulthandler
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from distributed import NannyPlugin, WorkerPlugin

from surveycnn.run.log_files import HEADER, log_path, worker_record
from surveycnn.run.plugins import forget, name_for, register


class LogToFile(WorkerPlugin):
    """Writes warnings, errors and crashes of a worker process into a file of its own; a folder that cannot be written is left."""

    def __init__(self, folder: Path):
        self.name = name_for("log", folder)
        self._folder = folder
        self._stream: TextIO | None = None
        self._takes_crashes = False
        self._handler: logging.Handler | None = None

    def setup(self, worker: Any) -> None:
        with suppress(OSError):
            self._stream = open(log_path(self._folder, worker.address), "a", encoding="utf-8", errors="backslashreplace")
            about = " ".join(f"{key}={value}" for key, value in worker_record(worker.address).items())
            self._stream.write(f"{HEADER}{about} started={time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")
            self._stream.flush()
            self._handler = _handler(self._stream)
            for logger in _loggers():
                logger.addHandler(self._handler)
            if not faulthandler.is_enabled():
                faulthandler.enable(self._stream, all_threads=False)  # Dask has dozens that wait
                self._takes_crashes = True

    def teardown(self, worker: Any) -> None:
        if self._handler is not None:
            for logger in _loggers():
                logger.removeHandler(self._handler)
        if self._takes_crashes:
            faulthandler.disable()
        if self._stream is not None:
            self._stream.close()


class NannyLog(NannyPlugin):
    """Writes what a nanny says of its worker, such as a memory limit that it has passed, into that worker's file."""

    restart = False

    def __init__(self, folder: Path):
        self.name = name_for("nanny-log", folder)
        self._folder = folder
        self._handler: logging.Handler | None = None

    def setup(self, nanny: Any) -> None:
        self._handler = _OfOneWorker(self._folder, nanny)
        logging.getLogger("distributed").addHandler(self._handler)

    def teardown(self, nanny: Any) -> None:
        if self._handler is not None:
            logging.getLogger("distributed").removeHandler(self._handler)


class _OfOneWorker(logging.Handler):
    """Takes the messages that name the worker of a nanny: several nannies may live in one process."""

    def __init__(self, folder: Path, nanny: Any):
        super().__init__(logging.WARNING)
        self._folder, self._nanny = folder, nanny

    def emit(self, record: logging.LogRecord) -> None:
        address = self._nanny.worker_address
        if address and record.name.startswith("distributed.nanny") and address in record.getMessage():
            with suppress(OSError), open(log_path(self._folder, address), "a", encoding="utf-8") as stream:
                _handler(stream).emit(record)


def _loggers() -> list[logging.Logger]:
    """Python's root, and Dask's own where it keeps its messages to itself."""
    dask = logging.getLogger("distributed")
    return [logging.getLogger(), *([] if dask.propagate else [dask])]


def _handler(stream: TextIO) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


@contextmanager
def logs_in(client: Any, folder: Path, is_own: bool) -> Iterator[None]:
    """Have the workers of a Dask client, those that join later included, write their logs into `folder` while inside.

    Parameters
    ----------
    is_own
        Whether the workers end with the run; those of others forget the folder afterwards.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    plugins = LogToFile(folder), NannyLog(folder)
    for plugin in plugins:
        register(client, plugin)
    try:
        yield
    finally:
        if not is_own:
            forget(client, plugins)
