"""Plugins of a run in the workers of a Dask cluster: given to all of them, and taken back from workers that are not the run's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from distributed import NannyPlugin, WorkerPlugin

from surveycnn import __version__
from surveycnn.errors import ClusterError

FORGET_SECONDS = 3.0


def register(client: Any, plugin: WorkerPlugin | NannyPlugin) -> None:
    """Give a plugin to all workers, those that join later included.

    Raises
    ------
    ClusterError
        Where a worker lacks this package, or has another version of it.
    """
    try:
        client.register_plugin(plugin)
    except (ImportError, AttributeError) as error:
        raise ClusterError(
            f"a worker cannot import what the run needs ({error}): install surveycnn {__version__} for all workers"
        ) from error


def forget(client: Any, plugins: Sequence[Any]) -> None:
    """Take plugins back; waits :data:`FORGET_SECONDS` for it at most, as a worker that hangs does not answer."""

    def run() -> None:
        for plugin in plugins:
            with suppress(Exception):  # the connection may be gone
                client.unregister_worker_plugin(plugin.name, nanny=isinstance(plugin, NannyPlugin))

    thread = Thread(target=run, name="surveycnn-forget", daemon=True)
    thread.start()
    thread.join(FORGET_SECONDS)


def name_for(kind: str, folder: Path) -> str:
    """Name of a plugin of a run: runs that share a scheduler have folders of their own."""
    return f"surveycnn-{kind}-{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]}"
