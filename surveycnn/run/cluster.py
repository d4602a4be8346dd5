"""Clusters: one seam between a run and whatever executes its units.

A run asks for a :class:`Cluster` by the word of the configuration and gets an executor with the number of units that it
works on at once. Dask is imported only where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from surveycnn.errors import ClusterError
from surveycnn.run.cluster_files import check_cluster as check_cluster
from surveycnn.run.cluster_files import describe_cluster as describe_cluster
from surveycnn.run.cluster_files import scale_cluster, start_cluster
from surveycnn.run.dask_link import NO_WORKER_SECONDS, DaskLink, check_answer, quiet_client
from surveycnn.run.execute import SerialExecutor
from surveycnn.run.machine import n_cores
from surveycnn.run.upkeep import closed_at_end, revived

CONNECT_TIMEOUT = "10s"
MESSAGES_KEPT = 100
"""Last messages of each connection that Dask keeps for its developers, batches of tasks and all; its default is 1000."""


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
    address: Any = word
    if "://" not in word:
        address = stack.enter_context(closed_at_end(start_cluster(word)))
        scale_cluster(address, word)
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
