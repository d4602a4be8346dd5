"""State of each tile of a run, read from the files that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from surveycnn.run.plan import Plan, WorkUnit
from surveycnn.run.store import TileRecord, WorkStore

STATES = ("done", "todo", "failed", "quarantined", "no_work")


@dataclass
class RunStatus:
    """Tiles of a run by state."""

    tiles: Counter[str] = field(default_factory=Counter)
    """Number of tiles by state; ``no_work`` tiles are finished and hold no source."""
    n_sources: int = 0
    """Rows in finished tiles."""
    problems: list[dict[str, Any]] = field(default_factory=list)
    """Mosaic, tile, state and reason of each failed or quarantined tile; worker and log where they are known."""
    seconds: Counter[str] = field(default_factory=Counter)
    """Wall-clock seconds by step, added over finished tiles."""

    @property
    def is_finished(self) -> bool:
        return self.tiles["todo"] == 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "tiles": {state: self.tiles[state] for state in STATES},
            "n_sources": self.n_sources,
            "problems": self.problems,
            "seconds": {step: round(seconds, 3) for step, seconds in sorted(self.seconds.items())},
        }


def run_status(
    plan: Plan, store: WorkStore, look: Callable[[WorkUnit, TileRecord | None], None] = lambda unit, record: None
) -> RunStatus:
    """Status of `plan` in `store`; keeps counts and problems only, whatever the number of tiles.

    Parameters
    ----------
    look
        Called with each tile and the record of its result, None where there is none.
    """
    status = RunStatus()
    for mosaic in plan.mosaics:
        for unit in plan.units(mosaic):
            record = store.tile_record(unit.tile, unit.unit_id)
            look(unit, record)
            if record is not None:
                status.tiles["done" if record.n_rows else "no_work"] += 1
                status.n_sources += record.n_rows
                status.seconds.update(record.seconds)
                continue
            failure = store.read_failure(unit.tile)
            state = failure["state"] if failure else "todo"
            status.tiles[state] += 1
            if failure:
                problem = {"mosaic": unit.tile.mosaic, "tile": unit.tile.name, "state": state, "reason": failure["reason"]}
                status.problems.append(problem | _whereabouts(store, failure))
    return status


def _whereabouts(store: WorkStore, failure: dict[str, Any]) -> dict[str, Any]:
    """Worker of a failed tile, and its log while that is there."""
    found = {}
    if isinstance(failure.get("worker"), dict):
        found["worker"] = failure["worker"]
    if isinstance(failure.get("log"), str) and (path := store.root / failure["log"]).is_file():
        found["log"] = str(path)
    return found


def where_to_look(problem: Mapping[str, Any]) -> str:
    """Words after the reason of a problem: the host, and the log of the worker; empty where they are not known.

    >>> where_to_look({"worker": {"host": "node1"}, "log": "work/logs/10.0.0.7_40123.log"})
    ' (on node1: work/logs/10.0.0.7_40123.log)'
    >>> where_to_look({"reason": "no end within 5 s"})
    ''
    """
    host, log = problem.get("worker", {}).get("host"), problem.get("log")
    return f" (on {host or 'its worker'}: {log})" if log else f" (on {host})" if host else ""
