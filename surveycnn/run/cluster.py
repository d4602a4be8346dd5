"""Clusters: one seam between a run and whatever executes its units.

A run asks for a :class:`Cluster` by the word of the configuration and gets an executor with the number of units that it
works on at once. Dask is imported only where it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from surveycnn.errors import ClusterError
from surveycnn.run.dask_link import NO_WORKER_SECONDS, DaskLink, check_answer, quiet_client
from surveycnn.run.execute import SerialExecutor
from surveycnn.run.local_cluster import (
    GPU_THREADS_PER_WORKER,
    THREADS_PER_WORKER,
    closed_at_end,
    local_cluster,
    local_cuda_cluster,
    local_shape,
    memory_of_this_machine,
    n_cores,
    revived,
)
from surveycnn.sections import Strict, read_yaml, validate_section

WORDS = ("local", "local-cuda", "threads", "serial")
CONNECT_TIMEOUT = "10s"
MESSAGES_KEPT = 100
"""Last messages of each connection that Dask keeps for its developers, batches of tasks and all; its default is 1000."""
CLUSTER_FILES = Path(__file__).resolve().parents[2] / "deploy" / "clusters"


@dataclass(frozen=True)
class Cluster:
    """What executes the units of a run."""

    kind: Literal["serial", "threads", "dask"]
    executor: Executor
    n_workers: int
    n_threads: int
    """Threads of a worker, each with a unit of its own."""
    memory_limit: int | None
    """Bytes of a worker; None where nothing limits it."""
    description: str
    warm_up: Callable[[Callable[[], None]], None]
    """Runs a function once in every worker process, present and future, without waiting for it."""
    check: Callable[[], None] = lambda: None
    """Raises ClusterError where the scheduler is gone or no worker is left."""
    end_worker: Callable[[str], None] | None = None
    """Ends the worker process of an address, and all that it is at; None where units run in this process."""

    @property
    def n_slots(self) -> int:
        """Units that run at once."""
        return self.n_workers * self.n_threads

    @property
    def window(self) -> int:
        """Units in flight: one more for each that runs, so that no thread waits for the driver."""
        return 2 * self.n_slots


class ClusterFile(Strict):
    """A cluster described by a file: a Dask cluster class and its arguments."""

    cluster_class: str = Field(pattern=r"^[\w.]+\.\w+$")
    """Dotted path such as ``dask_jobqueue.SLURMCluster``."""
    cluster_kwargs: dict[str, Any] = {}
    n_jobs: int | None = Field(default=None, ge=1)
    """Jobs to start; their workers join as the queue lets them."""
    adapt_kwargs: dict[str, Any] | None = None
    """``minimum``, ``maximum``, ... to grow and shrink with the work, instead of n_jobs."""


def check_cluster(word: str) -> None:
    """Raise ClusterError where `word` names no cluster; starts nothing."""
    if word not in WORDS and "://" not in word:
        _read_cluster_file(word)


def describe_cluster(word: str) -> dict[str, Any]:
    """Plain values about the cluster that `word` names, as far as they are known before it starts."""
    cores = n_cores()
    shapes = {"local": local_shape(cores), "threads": (1, cores), "serial": (1, 1), "local-cuda": (None, GPU_THREADS_PER_WORKER)}
    n_workers, n_threads = shapes.get(word, (None, THREADS_PER_WORKER))
    limit = memory_of_this_machine() // n_workers if word in ("local", "threads", "serial") and n_workers else None
    return {"name": word, "workers": n_workers or "?", "threads_per_worker": n_threads, "memory_limit_bytes": limit}


@contextmanager
def open_cluster(word: str) -> Iterator[Cluster]:
    """The cluster that `word` of the configuration names; closed at the end, or left alone where it was running before.

    Raises
    ------
    ClusterError
        Where it cannot be had on this machine.
    """
    with ExitStack() as stack:
        if word == "serial":
            yield Cluster("serial", SerialExecutor(), 1, 1, None, "this process", _warm_up_here)
        elif word == "threads":
            n_threads = n_cores()
            pool = stack.enter_context(ThreadPoolExecutor(n_threads))
            yield Cluster("threads", pool, 1, n_threads, None, f"{n_threads} threads of this process", _warm_up_here)
        else:
            yield _dask_cluster(stack, word)


def _warm_up_here(function: Callable[[], None]) -> None:
    """A run in this process loads what it needs when it first needs it."""


def _dask_cluster(stack: ExitStack, word: str) -> Cluster:
    import dask
    from distributed import Client, LocalCluster

    stack.enter_context(dask.config.set({"distributed.admin.low-level-log-length": MESSAGES_KEPT}))
    starts: dict[str, Callable[[], Any]] = {"local": local_cluster, "local-cuda": local_cuda_cluster}
    address: Any = word
    if "://" not in word:
        try:
            address = stack.enter_context(closed_at_end(starts[word]() if word in starts else _cluster_from_file(word)))
        except RuntimeError as error:  # a worker was killed while it started
            raise ClusterError(
                f"cluster {word!r} does not start ({error}): look at the logs of its workers; the same command goes on from here"
            ) from error
    if isinstance(address, LocalCluster):
        stack.enter_context(revived(address))
    stack.enter_context(quiet_client())
    try:
        if isinstance(address, str):
            check_answer(address, CONNECT_TIMEOUT)
        client = stack.enter_context(Client(address, set_as_default=False, timeout=CONNECT_TIMEOUT))
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two where TLS has no certificates or is required
        keys = ", or set distributed.comm.tls.ca-file, client.key and client.cert of Dask" if word.startswith("tls:") else ""
        raise ClusterError(f"no Dask scheduler answers at {word!r} ({error}): start it or correct `cluster`{keys}") from None
    _wait_for_a_worker(client, word)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    n_threads = max(worker["nthreads"] for worker in workers)
    limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
    description = f"{word}: {len(workers)} worker{'s' * (len(workers) > 1)} of {n_threads} threads"
    link = DaskLink(client, word, NO_WORKER_SECONDS)
    return Cluster(
        "dask",
        link,
        len(workers),
        n_threads,
        min(limits, default=None),
        description,
        lambda function: client.register_plugin(_warm_up_plugin(function)),
        link.check,
        link.end_worker,
    )


def _wait_for_a_worker(client: Any, word: str) -> None:
    try:
        client.wait_for_workers(1, timeout=NO_WORKER_SECONDS)
    except TimeoutError:
        raise ClusterError(
            f"cluster {word!r} has had no worker for 10 minutes: look at its queue and at the workers' logs"
        ) from None


def _warm_up_plugin(function: Callable[[], None]) -> Any:
    from surveycnn.run.warmup import WarmUp

    return WarmUp(function)


def _read_cluster_file(word: str) -> tuple[ClusterFile, type]:
    """The description in a file, named by path or by its name in deploy/clusters, and the class that it asks for."""
    found = next((path for path in (Path(word), CLUSTER_FILES / word, CLUSTER_FILES / f"{word}.yaml") if path.is_file()), None)
    if found is None:
        shipped = ", ".join(sorted(path.stem for path in CLUSTER_FILES.glob("*.yaml"))) or "none"
        raise ClusterError(
            f"cluster {word!r} is none of {', '.join(WORDS)}, no scheduler address such as tcp://host:8786, and no file; "
            f"the files in deploy/clusters are {shipped}"
        )
    described = validate_section(ClusterFile, read_yaml(found), str(found))
    module, _, name = described.cluster_class.rpartition(".")
    try:
        cluster_class = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ClusterError(f"{found}: cannot import {described.cluster_class!r} ({error}): install its package") from None
    from distributed.deploy import Cluster as DaskCluster

    if not (isinstance(cluster_class, type) and issubclass(cluster_class, DaskCluster)):
        raise ClusterError(
            f"{found}: {described.cluster_class!r} is not a Dask cluster class: name one such as dask_jobqueue.SLURMCluster"
        )
    return described, cluster_class


def _cluster_from_file(word: str) -> Any:
    described, cluster_class = _read_cluster_file(word)
    try:
        cluster = cluster_class(**described.cluster_kwargs)
    except (TypeError, ValueError) as error:
        raise ClusterError(f"cluster {word!r}: {described.cluster_class} refuses its cluster_kwargs ({error})") from None
    if described.adapt_kwargs is not None:
        cluster.adapt(**described.adapt_kwargs)
    elif described.n_jobs is not None:
        cluster.scale(jobs=described.n_jobs)
    return cluster
