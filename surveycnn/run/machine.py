"""Shape of this machine: its cores, its memory, and how a local cluster divides them into workers."""

from __future__ import annotations

import os

THREADS_PER_WORKER = 4
"""Threads that share one set of models. About a seventh of a tile's time with one model is Python and SEP, which hold the
interpreter's lock: four threads want it half of the time, eight would wait for each other."""
GPU_THREADS_PER_WORKER = 4


def n_cores() -> int:
    """Cores that this process may use, which a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_of_this_machine() -> int:
    """Bytes of memory that this process may use."""
    from distributed.system import MEMORY_LIMIT

    return MEMORY_LIMIT


def local_shape(cores: int, n_workers: int | None = None, n_threads: int | None = None) -> tuple[int, int]:
    """Workers and threads per worker of a local CPU cluster on `cores` cores; what is given stays.

    >>> local_shape(2), local_shape(8), local_shape(64), local_shape(8, n_threads=1), local_shape(8, n_workers=1)
    ((1, 2), (2, 4), (16, 4), (8, 1), (1, 8))
    """
    if n_workers is None:
        n_workers = max(1, cores // (n_threads or THREADS_PER_WORKER))
    return n_workers, n_threads or max(1, cores // max(1, n_workers))
