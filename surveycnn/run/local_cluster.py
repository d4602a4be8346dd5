"""Dask clusters on this machine: their shape, their start, and workers that are started again whatever they died of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from surveycnn.errors import ClusterError

THREADS_PER_WORKER = 4
"""Threads that share one set of models. About a seventh of a tile's time with one model is Python and SEP, which hold the
interpreter's lock: four threads want it half of the time, eight would wait for each other."""
GPU_THREADS_PER_WORKER = 4
IGNORE_INTERRUPTS = "surveycnn.run.ignore_interrupts"
REVIVE_SECONDS = 2.0
"""Interval at which workers are looked after."""


def n_cores() -> int:
    """Cores that this process may use, which a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_of_this_machine() -> int:
    """Bytes of memory that this process may use."""
    from distributed.system import MEMORY_LIMIT

    return MEMORY_LIMIT


def local_shape(cores: int) -> tuple[int, int]:
    """Workers and threads per worker of a local CPU cluster on `cores` cores.

    >>> local_shape(2), local_shape(8), local_shape(64)
    ((1, 2), (2, 4), (16, 4))
    """
    n_workers = max(1, cores // THREADS_PER_WORKER)
    return n_workers, max(1, cores // n_workers)


def local_cluster() -> Any:
    from distributed import LocalCluster

    n_workers, n_threads = local_shape(n_cores())
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=n_threads,
        dashboard_address="127.0.0.1:0",
        host="127.0.0.1",
        preload=[IGNORE_INTERRUPTS],
    )


def local_cuda_cluster() -> Any:
    """One worker process per GPU of this machine."""
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ClusterError(
            f"cluster 'local-cuda' needs dask-cuda, which cannot be imported ({error}): "
            "install surveycnn[cuda], or use `cluster: local`"
        ) from None
    _check_gpu()
    # No memory pool and no spilling: device arrays stay inside a unit, and TensorFlow needs the memory itself.
    return LocalCUDACluster(
        threads_per_worker=GPU_THREADS_PER_WORKER,
        device_memory_limit=None,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        preload=[IGNORE_INTERRUPTS],
    )


def _check_gpu() -> None:
    """Raise ClusterError where there is no GPU, or the environment hides all: dask-cuda would fail in a dozen ways."""
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = f"CUDA_VISIBLE_DEVICES is {visible!r}"
    n_gpus = 0
    if visible is None or visible.strip() not in ("", "-1"):
        try:
            pynvml.nvmlInit()
            n_gpus = pynvml.nvmlDeviceGetCount()
            found = "the driver lists none"
        except pynvml.NVMLError as error:
            found = str(error)
    if n_gpus < 1:
        raise ClusterError(f"no NVIDIA GPU can be used on this machine ({found}): use `cluster: local` to run on the CPU")


@contextmanager
def closed_at_end(cluster: Any) -> Iterator[Any]:
    """A Dask cluster, closed afterwards; a worker that takes too long for that ends with this process, and harms no result."""
    cluster.__enter__()
    try:
        yield cluster
    finally:
        with suppress(TimeoutError, OSError):
            cluster.__exit__(None, None, None)


@contextmanager
def revived(cluster: Any) -> Iterator[Any]:
    """`cluster`, a LocalCluster, whose workers are started again where their nannies have given up.

    A nanny gives up on a worker that dies within its first moment, which a tile that kills its worker at once can bring about;
    without this such a tile would cost a worker for good at every try.
    """
    from distributed import Status

    def replace_lost() -> None:
        for name, nanny in list(cluster.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                cluster.workers.pop(name, None)
        if len(cluster.workers) < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))

    def look() -> None:
        while not over.wait(REVIVE_SECONDS):
            cluster.loop.add_callback(replace_lost)

    over = Event()
    thread = Thread(target=look, name="surveycnn-revive", daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        over.set()
        thread.join()
