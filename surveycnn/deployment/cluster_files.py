"""Cluster files, checked without a cluster: keys, the class that they name, and what it would submit."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import Status

from surveycnn.deployment.kubernetes_files import check_cluster_resource
from surveycnn.errors import UserError
from surveycnn.run.cluster_files import read_cluster_file
from surveycnn.sections import read_yaml


def check_cluster_file(path: Path) -> Iterator[str]:
    """What is wrong with a cluster file; ``note: ...`` where it cannot be judged here."""
    package = str(read_yaml(path).get("cluster_class")).partition(".")[0]
    if package.startswith("dask_") and importlib.util.find_spec(package) is None:
        yield f"note: read, but not checked further: {package} is not installed"
        return
    try:
        described, cluster_class = read_cluster_file(str(path))
    except UserError as error:
        yield str(error).removeprefix(f"{path}: ")
        return
    kwargs = described.cluster_kwargs
    try:
        if hasattr(cluster_class, "job_cls"):
            job_script(cluster_class, kwargs)
        elif package == "dask_kubernetes":
            yield from check_cluster_resource(cluster_class, kwargs)
    except (TypeError, ValueError, OSError) as error:
        yield f"{described.cluster_class} refuses its cluster_kwargs ({' '.join(str(error).split())})"


def job_script(cluster_class: type, kwargs: dict[str, Any]) -> str:
    """The script that a cluster of dask-jobqueue would submit for each job; no scheduler is started."""

    async def render() -> str:
        cluster: Any = cluster_class.__new__(cluster_class)  # in hand also where it refuses its arguments
        try:
            cluster.__init__(asynchronous=True, **kwargs)
            return cluster.job_script()
        finally:
            cluster.status = Status.closed  # it was never started, and would complain of being left open

    return asyncio.run(render())
