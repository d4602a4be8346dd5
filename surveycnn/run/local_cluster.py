"""Dask clusters on this machine's cores: the class behind ``deploy/clusters/local.yaml``."""

from __future__ import annotations

from typing import Any

from distributed import LocalCluster

from surveycnn.run.machine import local_shape, n_cores
from surveycnn.run.machine import memory_of_this_machine as memory_of_this_machine
from surveycnn.run.upkeep import kill_workers

IGNORE_INTERRUPTS = "surveycnn.run.ignore_interrupts"


class LocalWorkers(LocalCluster):
    """Worker processes on this machine, by default a worker for each four cores; other arguments as for LocalCluster.

    Parameters
    ----------
    n_workers, threads_per_worker
        None follows from the number of cores.
    memory_limit
        Bytes of a worker, or text such as ``8GiB``; None gives each an equal part of the memory of this machine.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        memory_limit: int | float | str | None = None,
        **arguments: Any,
    ):
        n_workers, threads_per_worker = local_shape(n_cores(), n_workers, threads_per_worker)
        if memory_limit is not None:
            arguments["memory_limit"] = memory_limit
        try:
            super().__init__(n_workers=n_workers, threads_per_worker=threads_per_worker, **on_this_machine(arguments))
        except KeyboardInterrupt:  # whoever has asked for it has nothing to close
            kill_workers(self)
            raise


def on_this_machine(arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` of a cluster whose processes listen on this machine alone, and end with the driver instead of before it."""
    quiet = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    return quiet | arguments | {"preload": [*arguments.get("preload", ()), IGNORE_INTERRUPTS]}
