"""Upkeep of a Dask cluster that a run has started: workers that are lost for good are started anew, and it is closed in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, cast

from surveycnn.run.workers import WorkerLedger

LOOK_SECONDS = 2.0
"""Interval at which workers are looked after."""
MAX_PAUSE_SECONDS = 60.0
PATIENT_ROUNDS = 4
"""Rounds of new workers without a pause in between: a tile that kills its worker costs as many."""
FRUITLESS_ROUNDS = 12
"""Rounds of new workers of which none has ended a tile, after which the run is given up: the queue would fill for ever."""
REFUSED_ROUNDS = 3
"""The same where starting them fails and none was ever there."""
CLOSE_SECONDS, CLOSE_JOBS_SECONDS = 10.0, 20.0
"""Time that a cluster on this machine has to close, and one that has to call a batch system for that."""


@contextmanager
def closed_at_end(cluster: Any) -> Iterator[Any]:
    """A Dask cluster, closed afterwards in time, however busy its workers are; what is left of it here is killed then."""
    from distributed import LocalCluster

    try:
        yield cluster
    finally:
        try:
            cluster.close(timeout=CLOSE_SECONDS if isinstance(cluster, LocalCluster) else CLOSE_JOBS_SECONDS)
        except BaseException as error:
            kill_workers(cluster)
            if not isinstance(error, TimeoutError | OSError | AssertionError):  # Dask asserts that each worker has closed
                raise


def kill_workers(cluster: Any) -> None:
    """Kill the worker processes that nannies in this process have started; what else there is of a cluster is left as it is."""
    cluster.shutdown_on_close = False  # else Dask closes it once more at exit
    for nanny in list(getattr(cluster, "_created", ())):
        process = getattr(getattr(nanny, "process", None), "process", None)
        if process is not None:
            with suppress(Exception):  # it may have ended just now
                process.kill()


@contextmanager
def kept_up(cluster: Any, ledger: WorkerLedger, give_up: Callable[[str], None]) -> Iterator[None]:
    """Start workers of `cluster` anew while inside, where it is a SpecCluster, so that it has those that it was scaled to.

    Dask leaves that to the next call of ``scale``, and a nanny gives up on a worker that dies in its first moment, which a tile
    that kills its worker can bring about.

    Parameters
    ----------
    give_up
        Called with a reason when new workers are started again and again and none ends a tile.
    """
    from distributed import SpecCluster

    if not isinstance(cluster, SpecCluster) or getattr(cluster, "keeps_workers", False):
        yield
        return
    keeper = Keeper(cluster, ledger, give_up)
    over, loop = Event(), cast(Any, cluster.loop)

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            with suppress(RuntimeError):  # it has ended
                loop.add_callback(keeper.look)

    thread = Thread(target=look, name="surveycnn-upkeep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        keeper.is_over = True


class Keeper:
    """Looks after the workers of a SpecCluster, in its event loop."""

    def __init__(self, cluster: Any, ledger: WorkerLedger, give_up: Callable[[str], None]):
        self._cluster, self._ledger, self._give_up = cluster, ledger, give_up
        self._absent_since: dict[Any, float] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._n_ended = 0
        self._rounds = 0
        self._not_before = 0.0
        self._is_busy = False
        self._last_error = ""
        self.is_over = False

    async def look(self) -> None:
        """Remove what is left of lost workers, and start others in their place."""
        from distributed import Status

        cluster = self._cluster
        if self.is_over or self._is_busy or cluster.status != Status.running or cluster._lock.locked():
            return
        self._is_busy = True
        try:
            self._remove_lost()
            if self._ledger.n_ended != self._n_ended:
                self._n_ended, self._rounds = self._ledger.n_ended, 0
            if set(cluster.worker_spec) - set(cluster.workers) and time.monotonic() >= self._not_before:
                await self._start_missing()
        finally:
            self._is_busy = False

    async def _start_missing(self) -> None:
        if self._is_hopeless():
            found = f": {self._last_error}" if self._last_error else ""
            self._give_up(f"its workers were started {self._rounds} times and have not ended a single tile since{found}")
            self.is_over = True
            return
        self._rounds += 1
        pause = LOOK_SECONDS * 2 ** max(0, self._rounds - PATIENT_ROUNDS)
        self._not_before = time.monotonic() + min(pause, MAX_PAUSE_SECONDS)
        try:
            await self._cluster._correct_state()
        except Exception as error:  # a batch system that refuses, a worker that does not start
            self._last_error = " ".join(f"{type(error).__name__}: {error}".split())[:500]

    def _is_hopeless(self) -> bool:
        if self._ledger.n_there:
            return False
        refused = self._last_error and not self._ledger.n_joined and self._rounds >= REFUSED_ROUNDS
        return bool(refused) or self._rounds >= FRUITLESS_ROUNDS

    def _remove_lost(self) -> None:
        from dask import config
        from dask.utils import parse_timedelta
        from distributed import Nanny, Status

        cluster, now = self._cluster, time.monotonic()
        patience = parse_timedelta(config.get("distributed.deploy.lost-worker-timeout"))
        there = {str(worker["name"]) for worker in cluster.scheduler_info["workers"].values()}
        for key, worker in list(cluster.workers.items()):
            if worker.status in (Status.created, Status.undefined, Status.closed, Status.failed):
                del cluster.workers[key]
                if worker.status == Status.created:  # the batch system has refused it, and Dask would ask for it at the end
                    worker.status = Status.closed
            elif there & _names(key, cluster.worker_spec.get(key, {})):
                self._absent_since[worker] = float("inf")
            elif worker in self._absent_since and not isinstance(worker, Nanny):  # which sees to its process itself
                self._absent_since[worker] = min(now, self._absent_since[worker])
                if now - self._absent_since[worker] > patience:
                    del cluster.workers[key], self._absent_since[worker]
                    self._closing.add(task := asyncio.ensure_future(_close(worker)))
                    task.add_done_callback(self._closing.discard)


async def _close(worker: Any) -> None:
    with suppress(Exception):  # its job has ended by itself
        await worker.close()


def _names(key: Any, spec: dict[str, Any]) -> set[str]:
    """Names of the workers of one job.

    >>> sorted(_names("job-0", {"group": ["-0", "-1"]})), _names(3, {})
    (['job-0-0', 'job-0-1'], {'3'})
    """
    return {f"{key}{suffix}" for suffix in spec["group"]} if "group" in spec else {str(key)}


def wanted_workers(cluster: Any, described: Any) -> int:
    """Workers that a cluster was asked for, or may grow to; 0 where that is not known."""
    adaptive = getattr(cluster, "_adaptive", None)
    if adaptive is not None:
        return int(min(adaptive.maximum, 10**6))
    plan = getattr(cluster, "plan", None)
    if isinstance(plan, set):
        return len(plan)
    kwargs, adapt = described.cluster_kwargs, described.adapt_kwargs or {}
    wanted = adapt.get("maximum") or described.n_jobs or kwargs.get("n_workers") or 0
    return wanted if isinstance(wanted, int) else 0
