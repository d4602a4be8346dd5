"""Watching the workers of a Dask cluster: its scheduler's events fill the run's ledger, and people read a line now and then.

Works on any scheduler: it has to know nothing of this package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from surveycnn.errors import ClusterError
from surveycnn.run.workers import Presence, WorkerLedger

TOPIC = "all"
"""Where a scheduler tells of workers, and of little else."""
LOOK_SECONDS = 1.0
ASK_SECONDS = 60.0
"""Interval at which the scheduler is asked who is there, in case an event went missing while the connection was down."""
SAY_SECONDS = 10.0
"""Least time between two lines about workers."""


class Watch:
    """Keeps a ledger true to a scheduler.

    Parameters
    ----------
    ask
        Returns what the scheduler knows of each worker, by address.
    say
        Takes lines for people.
    judge
        Returns a line where a worker that has joined is not what the run needs, else nothing.
    """

    def __init__(
        self,
        client: Any,
        ledger: WorkerLedger,
        ask: Callable[[], dict[str, Any]],
        say: Callable[[str], None] = lambda text: None,
        judge: Callable[[Presence], str] = lambda presence: "",
    ):
        self._client, self.ledger, self._ask, self.say, self.judge = client, ledger, ask, say, judge
        self._seen_joining: dict[str, float] = {}
        self._seen_leaving: set[str] = set()
        self._asked = self._said = float("-inf")
        self._n_asked = 0
        self._counts = (0, 0, 0)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while inside; the ledger holds at the beginning who is there."""
        self._client.subscribe_topic(TOPIC, self._hear)
        self.look()
        self._counts = self._counted()
        over = Event()

        def run() -> None:
            while not over.wait(LOOK_SECONDS):
                with suppress(ClusterError, OSError, RuntimeError):  # the run itself finds out that the scheduler is gone
                    self.look()
                    self._tell()

        thread = Thread(target=run, name="surveycnn-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            with suppress(Exception):  # the connection may be gone
                self._client.unsubscribe_topic(TOPIC)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Take an event of the scheduler; called in the thread of the client."""
        message = event[1]
        if not isinstance(message, dict):
            return
        if message.get("action") == "add-worker":
            self._seen_joining[message["worker"]] = time.perf_counter()
            self._seen_leaving.discard(message["worker"])
        elif message.get("action") == "remove-worker":
            self._seen_leaving.add(message["worker"])
            self._leave(message["worker"], is_lost=not message.get("expected", False))

    def _leave(self, address: str, *, is_lost: bool) -> None:
        at = self._seen_joining.pop(address, None)
        if at is not None:  # it was not there for long enough to be asked about; it counts as a small one
            self.ledger.join(address, "", 1, at=at)
        self.ledger.leave(address, is_lost=is_lost)

    def look(self) -> None:
        """Ask the scheduler about workers where there is reason to: the more workers, the less often."""
        now = time.perf_counter()
        # the second time soon: workers may have joined between the first answer and the first event
        has_reason = self._seen_joining or self._n_asked < 2
        pause = max(LOOK_SECONDS, 0.01 * self.ledger.n_there) if has_reason else ASK_SECONDS
        if now - self._asked < pause:
            return
        if self._n_asked:
            self._client.subscribe_topic(TOPIC, self._hear)  # it may be another scheduler by now
        self._n_asked += 1
        self._seen_leaving.clear()
        found, self._asked = self._ask(), now
        for address in self.ledger.addresses - set(found):
            self._leave(address, is_lost=True)
        known = self.ledger.addresses
        for address, worker in found.items():
            at = self._seen_joining.pop(address, None)
            if address not in known and address not in self._seen_leaving:  # it may have left since the answer was given
                presence = self.ledger.join(address, str(worker["name"]), worker["nthreads"], worker.get("memory_limit"), at)
                if text := self.judge(presence):
                    self.say(text)
        for address, at in list(self._seen_joining.items()):
            if at < now and address not in found:  # it has left again before anybody could ask
                self._leave(address, is_lost=True)

    def _counted(self) -> tuple[int, int, int]:
        return self.ledger.n_joined, self.ledger.n_there, self.ledger.n_lost

    def _tell(self) -> None:
        counts, now = self._counted(), time.perf_counter()
        if counts == self._counts or now - self._said < SAY_SECONDS:
            return
        self.say(workers_line(self._counts, counts))
        self._counts, self._said = counts, now


def workers_line(before: tuple[int, int, int], now: tuple[int, int, int]) -> str:
    """One line on what has changed; joined in all, there, and lost in all.

    >>> workers_line((2, 2, 0), (5, 3, 1))
    'workers: 3 joined, 1 left, 1 lost; 3 are there'
    """
    joined = now[0] - before[0]
    lost = now[2] - before[2]
    left = joined - (now[1] - before[1]) - lost
    parts = [f"{number} {word}" for number, word in ((joined, "joined"), (left, "left"), (lost, "lost")) if number]
    return f"workers: {', '.join(parts)}; {now[1]} {'is' if now[1] == 1 else 'are'} there"
