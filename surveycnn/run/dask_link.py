"""The driver's end of a Dask cluster: hands out calls, ends workers in which a call hangs, and says when the cluster is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

from surveycnn.errors import ClusterError

ANSWER_SECONDS = 300.0
"""Time in which a scheduler has to answer: one that is busy with many workers may be silent for minutes."""

END_SECONDS = 10.0
"""Time that a worker has to be gone once it was killed."""

NO_WORKER_SECONDS = 600.0
"""Time for which a cluster may be without workers where others start them: a queue, or a person."""


class DaskLink(Executor):
    """Hands calls to a Dask client as one piece of bytes each.

    Dask would walk through the arguments in search of its own objects, and keeps the last thousand messages of every connection:
    as bytes, batches of tasks cost a tenth of the time and of the memory.

    Parameters
    ----------
    word
        What the configuration calls the cluster.
    patience
        Seconds for which it may be without workers.
    """

    def __init__(self, client: Any, word: str, patience: float):
        self._client, self._word, self._patience = client, word, patience
        self._executor = client.get_executor(pure=False)
        self._without_workers_since: float | None = None
        self._failure = ""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        from distributed.protocol.pickle import dumps

        packed = dumps((fn, args, kwargs))
        try:
            return self._executor.submit(call_packed, packed)
        except Exception:
            self.check()  # a client that has lost its scheduler refuses in several ways
            raise

    def fail(self, reason: str) -> None:
        """End all that was handed out: whoever waits for it finds `reason` in a ClusterError; any thread may call it."""
        self._failure = reason
        # in another thread: Dask would wait here for its own one, which may be this
        Thread(target=self._executor.shutdown, args=(False,), name="surveycnn-cancel", daemon=True).start()

    @property
    def has_workers(self) -> bool:
        """Whether a worker is there.

        Raises
        ------
        ClusterError
            Where the run was given up, or the scheduler does not answer.
        """
        self._check_failure()
        return bool(self.workers())

    def _check_failure(self) -> None:
        if self._failure:
            raise ClusterError(f"cluster {self._word!r}: {self._failure}; the same command goes on from here")

    def end_worker(self, address: str) -> None:
        """Kill a worker process: a thread that hangs cannot be ended otherwise. Its nanny starts another one.

        Returns when the scheduler knows: it would give the next call to a worker that is about to die, and blame that.
        """
        if address not in self.workers():  # a call to nobody would stand still until the connection is given up
            return
        self._client.run(_kill_this_process, workers=[address], wait=False, on_error="ignore")
        until = time.monotonic() + END_SECONDS
        while address in self.workers() and time.monotonic() < until:
            time.sleep(0.05)

    def check(self) -> None:
        """Wait for a client that is connecting again.

        Raises
        ------
        ClusterError
            Where the scheduler does not answer, or there has been no worker for too long.
        """
        self._check_failure()
        if self.workers():
            self._without_workers_since = None
            return
        now = time.monotonic()
        since = self._without_workers_since = self._without_workers_since or now
        if now - since >= self._patience:
            # A nanny gives up on a worker that dies while it starts.
            raise ClusterError(
                f"cluster {self._word!r} has lost all its workers: look at their logs; the same command goes on from here"
            )

    def workers(self) -> dict[str, Any]:
        """What the scheduler knows of each worker, by address."""
        while self._client.status == "connecting":  # Dask gives up after the timeout of the client
            time.sleep(0.1)
        try:
            if self._client.status == "running":
                return self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=ANSWER_SECONDS)[
                    "workers"
                ]
        except (OSError, TimeoutError):
            pass
        raise ClusterError(
            f"the scheduler of cluster {self._word!r} does not answer any more: start it, or another; the same command goes on "
            "from here"
        )


def check_answer(address: str, timeout: str) -> None:
    """Connect to a scheduler and hang up again; raises whatever Dask raises where that cannot be done.

    Done before a client is made: one that cannot connect leaves its thread behind, and whichever thread of this process Python
    collects it in stands still while it closes.
    """
    from distributed.comm import connect
    from distributed.security import Security

    async def call() -> None:
        comm = await connect(address, timeout=timeout, **Security().get_connection_args("client"))
        comm.abort()

    with ThreadPoolExecutor(1) as pool:  # this thread may have a loop of its own
        pool.submit(lambda: asyncio.run(call())).result()


def call_packed(packed: bytes) -> Any:
    """Make a call that :class:`DaskLink` has packed."""
    function, args, kwargs = pickle.loads(packed)
    return function(*args, **kwargs)


async def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def quiet_client() -> Iterator[None]:
    """Keep back the tracebacks that Dask's client logs where its scheduler is lost, which we say in one line."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("distributed.client", "distributed.batched"))}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
