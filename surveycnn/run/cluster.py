"""Clusters: one seam between a run and whatever executes its units.

A run asks for a :class:`Cluster` by the word of the configuration and gets an executor with the number of units that it
works on at once. Dask is imported only where it is used.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from surveycnn.errors import ClusterError
from surveycnn.run.cluster_files import check_cluster as check_cluster
from surveycnn.run.cluster_files import describe_cluster as describe_cluster
from surveycnn.run.cluster_files import read_cluster_file, scale_cluster, start_cluster
from surveycnn.run.dask_link import NO_WORKER_SECONDS, DaskLink, check_answer, quiet_client
from surveycnn.run.execute import SerialExecutor
from surveycnn.run.machine import n_cores
from surveycnn.run.upkeep import closed_at_end, kept_up, wanted_workers
from surveycnn.run.watch import Watch
from surveycnn.run.workers import Presence, WorkerLedger

CONNECT_TIMEOUT = "10s"
MESSAGES_KEPT = 100
"""Last messages of each connection that Dask keeps for its developers, batches of tasks and all; its default is 1000."""
SAY_WAITING_SECONDS = 15.0
"""Time without a worker after which people are told that the run waits for one."""
MAX_WINDOW = 16384
"""Batches in flight at most, however many workers there are."""


@dataclass(frozen=True)
class Cluster:
    """What executes the units of a run."""

    kind: Literal["serial", "threads", "dask"]
    executor: Executor
    n_threads: int
    """Threads of a worker, each with a unit of its own."""
    memory_limit: int | None
    """Bytes of the smallest worker; None where nothing limits it."""
    description: str
    warm_up: Callable[[Callable[[], None]], None]
    """Runs a function once in every worker process, present and future, without waiting for it."""
    workers: WorkerLedger = field(default_factory=WorkerLedger, repr=False)
    """Who is there, and who was."""
    check: Callable[[], None] = lambda: None
    """Raises ClusterError where the scheduler is gone or no worker is left."""
    end_worker: Callable[[str], None] | None = None
    """Ends the worker process of an address, and all that it is at; None where units run in this process."""
    stop: Callable[[], None] = lambda: None
    """Ends the waiting of all threads for units, with a ClusterError; what has begun may still be finished."""
    wanted_workers: int = 0
    """That it was asked for, or may grow to; 0 where nobody knows."""

    @property
    def n_slots(self) -> int:
        """Units that run at once, now, or when all workers that are wanted have come."""
        return max(1, self.workers.n_threads_there, self.wanted_workers * self.n_threads)

    @property
    def window(self) -> int:
        """Units in flight: one more for each that runs, so that no thread waits for the driver, and late workers find work."""
        return min(2 * self.n_slots, MAX_WINDOW)

    def care(self, limit: float | None) -> dict[str, Any]:
        """Arguments of :func:`surveycnn.run.execute.execute` that watch over units, which may take `limit` seconds."""
        return {"limit": limit, "check": self.check, "end_worker": self.end_worker, "spent": self.workers.add_busy}


@contextmanager
def open_cluster(
    word: str,
    *,
    say: Callable[[str], None] = lambda text: None,
    judge: Callable[[Presence], str] = lambda presence: "",
    logs: Path | None = None,
) -> Iterator[Cluster]:
    """The cluster that `word` of the configuration names; closed at the end, or left alone where it was running before.

    Parameters
    ----------
    say
        Takes lines for people: workers that come and go, the address of Dask's dashboard.
    judge
        Returns a line where a worker that joins later is not what the run needs.
    logs
        Folder for the workers' logs, which all of them can write into.

    Raises
    ------
    ClusterError
        Where it cannot be had on this machine.
    """
    with ExitStack() as stack:
        if word == "serial":
            yield _in_process("serial", SerialExecutor(), 1, "this process")
        elif word == "threads":
            n_threads = n_cores()
            pool = ThreadPoolExecutor(n_threads)
            stack.callback(pool.shutdown, cancel_futures=True)
            yield _in_process("threads", pool, n_threads, f"{n_threads} threads of this process")
        else:
            yield _dask_cluster(stack, word, say, judge, logs)


def _in_process(kind: Literal["serial", "threads"], executor: Executor, n_threads: int, description: str) -> Cluster:
    is_over = False

    def stop() -> None:
        nonlocal is_over
        is_over = True
        executor.shutdown(wait=False, cancel_futures=True)

    def check() -> None:
        if is_over:
            raise ClusterError("the run was stopped: the same command goes on from here")

    ledger = WorkerLedger()
    ledger.join("this process", kind, n_threads)
    return Cluster(kind, executor, n_threads, None, description, _warm_up_here, ledger, check, stop=stop)


def _warm_up_here(function: Callable[[], None]) -> None:
    """A run in this process loads what it needs when it first needs it."""


def _dask_cluster(
    stack: ExitStack, word: str, say: Callable[[str], None], judge: Callable[[Presence], str], logs: Path | None
) -> Cluster:
    import dask
    from distributed import Client

    stack.enter_context(dask.config.set({"distributed.admin.low-level-log-length": MESSAGES_KEPT}))
    address: Any = word
    is_own, n_wanted, patience = "://" not in word, 0, NO_WORKER_SECONDS
    if is_own:
        address = stack.enter_context(closed_at_end(start_cluster(word)))
        scale_cluster(address, word)
        described = read_cluster_file(word)[0]
        n_wanted, patience = wanted_workers(address, described), 60 * described.wait_minutes
    stack.enter_context(quiet_client())
    try:
        if not is_own:
            check_answer(address, CONNECT_TIMEOUT)
        client = stack.enter_context(Client(address, set_as_default=False, timeout=CONNECT_TIMEOUT))
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two where TLS has no certificates or is required
        keys = ", or set distributed.comm.tls.ca-file, client.key and client.cert of Dask" if word.startswith("tls:") else ""
        raise ClusterError(f"no Dask scheduler answers at {word!r} ({error}): start it or correct `cluster`{keys}") from None
    link, ledger = DaskLink(client, word, patience), WorkerLedger()
    if is_own:
        stack.enter_context(kept_up(address, ledger, link.fail))
    if shown := dashboard_link(client, address):
        say(f"dashboard {shown}")
    _wait_for_a_worker(link, word, patience, say)
    watch = Watch(client, ledger, link.workers, say, judge)
    stack.enter_context(watch.watching())
    if logs is not None:
        from surveycnn.run.worker_logs import logs_in

        stack.enter_context(logs_in(client, logs, is_own))
    there = ledger.presences()
    n_threads = max((worker.n_threads for worker in there), default=1)  # the first may be gone again
    limits = [worker.memory_limit for worker in there if worker.memory_limit]
    of = f" of {n_wanted}" if n_wanted > len(there) else ""
    description = f"{word}: {len(there)}{of} worker{'s' * (max(n_wanted, len(there)) > 1)} of {n_threads} threads"
    return Cluster(
        "dask",
        link,
        n_threads,
        min(limits, default=None),
        description,
        partial(_warm_up_workers, stack, client, is_own),
        ledger,
        link.check,
        link.end_worker,
        lambda: link.fail("the run was stopped"),
        n_wanted,
    )


def _wait_for_a_worker(link: DaskLink, word: str, patience: float, say: Callable[[str], None]) -> None:
    started, is_said = time.monotonic(), False
    while not link.has_workers:
        waited = time.monotonic() - started
        if waited > patience:
            raise ClusterError(
                f"cluster {word!r} has had no worker for {patience / 60:g} minutes: look at its queue and at the workers' logs; "
                "wait_minutes of a cluster file gives it longer"
            )
        if waited > SAY_WAITING_SECONDS and not is_said:
            say(f"waiting for a worker of cluster {word}, {patience / 60:g} minutes at most")
            is_said = True
        time.sleep(0.1 if waited < SAY_WAITING_SECONDS else 1.0)


def _warm_up_workers(stack: ExitStack, client: Any, is_own: bool, function: Callable[[], None]) -> None:
    from surveycnn.run.plugins import forget, register
    from surveycnn.run.warmup import WarmUp

    plugin = WarmUp(function)
    register(client, plugin)
    if not is_own:  # workers that join a foreign scheduler later are nothing to this run
        stack.callback(forget, client, [plugin])


def dashboard_link(client: Any, cluster: Any) -> str:
    """Address of Dask's dashboard for people; empty where there is none."""
    if importlib.util.find_spec("bokeh") is None:  # the port is there without it, and shows nothing
        return ""
    try:
        link: str = client.dashboard_link or ""
    except KeyError:
        return ""
    options = (getattr(cluster, "scheduler_spec", None) or {}).get("options", {})
    if options.get("dashboard") is False:
        return ""
    asked_for = str(options.get("dashboard_address") or "")
    host, port = asked_for.rpartition(":")[0], link.rpartition(":")[2]
    return f"http://{host}:{port}" if host in ("127.0.0.1", "localhost") else link
