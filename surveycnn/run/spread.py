"""Calls of publishing, spread over the cluster of a run: tried again where a worker dies, and their results in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from surveycnn.errors import ClusterError, SurveyCNNError
from surveycnn.run.cluster import Cluster
from surveycnn.run.execute import ATTEMPTS, Outcome, Task, execute, execute_alone

SPREAD_ROWS = 200_000
"""Below it this process is done before a cluster has started and its workers have imported what they need."""


@dataclass(frozen=True)
class Numbered:
    """A function of a unit that keeps the unit's number with it."""

    function: Callable[[Any], Any]

    def __call__(self, unit: tuple[int, Any]) -> tuple[int, Any]:
        number, one = unit
        return number, self.function(one)


@dataclass(frozen=True)
class SpreadOut:
    """Makes each call of a function on a cluster; see :data:`surveycnn.catalogs.publishing.merge.Spread`.

    Raises
    ------
    SurveyCNNError
        Where a call fails every time.
    ClusterError
        Where it ends its worker, or takes too long, every time.
    """

    cluster: Cluster
    folder: str
    """Where the calls write."""
    limit: float | None = None
    """Seconds that a call may take."""

    def __call__(self, function: Callable[[Any], Any], units: Iterable[Any]) -> list[Any]:
        cluster, care = self.cluster, self.cluster.care(self.limit)
        tasks = (Task(Numbered(function), unit, self.folder) for unit in enumerate(units))
        results: dict[int, Any] = {}
        lost = []
        for outcome in execute(cluster.executor, tasks, window=lambda: cluster.window, **care):
            if outcome.state == "lost":
                lost.append(outcome.task)
            else:
                results |= [_result(outcome)]
        results |= [_result(outcome) for outcome in execute_alone(cluster.executor, lost, tries=ATTEMPTS, **care)]
        return [results[number] for number in range(len(results))]


def _result(outcome: Outcome) -> tuple[int, Any]:
    if outcome.state == "quarantined":
        raise ClusterError(
            f"nothing is published: a piece of the catalog cannot be written ({outcome.reason}): give the workers more memory, "
            "or raise limits.tile_seconds; the same command goes on from here"
        )
    if outcome.state != "done":
        raise SurveyCNNError(f"nothing is published: a piece of the catalog {outcome.state}: {outcome.reason}\n{outcome.details}")
    return outcome.result
