"""Cluster files, checked without a cluster: keys, the class that they name, and what it would submit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import Status

from surveycnn.deployment.kubernetes_files import check_resource
from surveycnn.errors import UserError
from surveycnn.run.cluster_files import read_cluster_file


def check_cluster_file(path: Path) -> Iterator[str]:
    """What is wrong with a cluster file; ``note: ...`` where it cannot be judged here."""
    try:
        described, cluster_class = read_cluster_file(str(path))
    except UserError as error:
        if isinstance(error.__context__, ImportError):
            yield f"note: its keys are right; {str(error).removeprefix(f'{path}: ')}"
        else:
            yield str(error).removeprefix(f"{path}: ")
        return
    kwargs = described.cluster_kwargs
    try:
        if hasattr(cluster_class, "job_cls"):
            job_script(cluster_class, kwargs)
        elif isinstance(kwargs.get("custom_cluster_spec"), dict):
            yield from check_resource(kwargs["custom_cluster_spec"])
    except (TypeError, ValueError, KeyError, OSError) as error:
        yield f"{described.cluster_class} refuses its cluster_kwargs ({' '.join(str(error).split())})"


def job_script(cluster_class: type, kwargs: dict[str, Any]) -> str:
    """The script that a cluster of dask-jobqueue would submit for each job; no scheduler is started."""

    async def render() -> str:
        cluster: Any = object.__new__(cluster_class)  # in hand also where it refuses its arguments
        try:
            cluster.__init__(asynchronous=True, **kwargs)
            return cluster.job_script()
        finally:
            cluster.status = Status.closed  # it was never started, and would complain of being left open

    return asyncio.run(render())
