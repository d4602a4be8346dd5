"""Dask clusters on this machine's GPUs: the class behind ``deploy/clusters/local-cuda.yaml``; needs dask-cuda."""

from __future__ import annotations

import os
from typing import Any

from dask_cuda import LocalCUDACluster

from surveycnn.errors import ClusterError
from surveycnn.run.local_cluster import on_this_machine
from surveycnn.run.machine import GPU_THREADS_PER_WORKER


class LocalCUDAWorkers(LocalCUDACluster):
    """One worker process per GPU of this machine; arguments as for LocalCUDACluster.

    No memory pool and no spilling by default: device arrays stay inside a unit, and TensorFlow needs the memory itself.
    """

    def __init__(self, threads_per_worker: int = GPU_THREADS_PER_WORKER, **arguments: Any):
        check_gpu()
        without_pool = {"device_memory_limit": None, "protocol": "tcp"}
        super().__init__(threads_per_worker=threads_per_worker, **without_pool | on_this_machine(arguments))


def check_gpu() -> None:
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
