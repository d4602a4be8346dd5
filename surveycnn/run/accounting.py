"""What a run has spent and what it came to: seconds of its stages, added seconds of its tiles' steps, and the rates of both.

The driver of a run (:mod:`surveycnn.run.session`) writes it down on the way; it ends in provenance.json and in the summary.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surveycnn.run.plan import MosaicPlan, Plan
from surveycnn.run.worker import read_engine_note
from surveycnn.run.workers import Span, WorkerLedger, merged
from surveycnn.sky.tiling import Tile

START_UP = "start_up"
"""Planning and starting the cluster; workers load their models while the first tiles are read, in the tiles' step ``load``."""

STAGES = ("ingest", "infer", "publish")

SHARED_ENGINES = ("openvino",)
"""Engines in which every thread of a worker computes for itself, on a core of its own; in the others threads take turns."""


class Accounting:
    """Counts of one session; what an earlier session has done is not in it. Safe to use from several threads."""

    def __init__(self) -> None:
        self.workers = WorkerLedger()
        """Who was there when: worker processes, each with a device of its own. That of the cluster, once there is one."""
        self.steps: Counter[str] = Counter()
        """Seconds by step, added over tiles and threads."""
        self.n_tiles = 0
        self.bytes_ingested = 0
        self._window_bytes = 0
        self._n_sources: Counter[str] = Counter()
        self._intervals: dict[str, list[Span]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as that of a stage; several mosaics at once are counted once."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._intervals.setdefault(name, []).append((started, time.perf_counter()))

    def add_tile(self, mosaic: MosaicPlan, tile: Tile, n_sources: int, seconds: Mapping[str, float]) -> None:
        """Count a tile that has run."""
        n_pixels = (tile.oy1 - tile.oy0) * (tile.ox1 - tile.ox0)
        with self._lock:
            self.n_tiles += 1
            self._n_sources[mosaic.id] += n_sources
            self._window_bytes += 4 * n_pixels * len(mosaic.inputs.bands)
            for step, value in seconds.items():
                self.steps[step] += value  # type: ignore[assignment]  # typeshed knows counters of whole numbers alone

    def add_ingested(self, n_bytes: int) -> None:
        """Count bytes of input files."""
        with self._lock:
            self.bytes_ingested += n_bytes

    def seconds(self, *stages: str) -> float:
        """Wall-clock seconds in which any of `stages` was at work, without those in which the cluster started."""
        wanted, start_up = self.spans(*stages), self.spans(START_UP)
        return _covered(wanted + start_up) - _covered(start_up) if START_UP not in stages else _covered(wanted)

    def spans(self, *stages: str) -> list[Span]:
        """From when to when any of `stages` was at work."""
        with self._lock:
            return [span for stage in stages for span in self._intervals.get(stage, [])]

    def _working(self, stage: str) -> list[Span]:
        """Spans of a stage without those in which the cluster started."""
        pieces = merged(self.spans(stage))
        for start, stop in merged(self.spans(START_UP)):
            halves = [half for piece in pieces for half in ((piece[0], min(piece[1], start)), (max(piece[0], stop), piece[1]))]
            pieces = [half for half in halves if half[0] < half[1]]
        return pieces

    def bare_forward_seconds(self, plan: Plan, rates: Mapping[str, float]) -> float | None:
        """Seconds of the forward passes alone on the workers that were there during infer, on average, from stamps per second.

        None where the rate of a model is not known, or no worker was there.
        """
        total = 0.0
        for mosaic in plan.mosaics:
            for model in mosaic.models:
                if model.reference not in rates:
                    return None
                total += self._n_sources[mosaic.id] / rates[model.reference]
        n_workers, _ = self.workers.on_average(self._working("infer"))
        return total / n_workers if n_workers else None

    def report(self, plan: Plan, engine_path: Path) -> dict[str, Any]:
        """Plain values for ``performance`` in provenance.json; None where something is not known.

        ``slowdown`` is the wall-clock of the stage infer over the bare forward passes, ``device_busy`` the share of it that a
        worker's device is in them on average, or each of its threads where every thread computes for itself. ``workers`` is the
        record of :class:`surveycnn.run.workers.WorkerLedger` over all stages. Bytes of windows are
        those of their float32 images, per thread that reads.
        """
        seconds = {stage: self.seconds(stage) for stage in (START_UP, *STAGES)} | {"total": self.seconds(*STAGES)}
        note = read_engine_note(engine_path)
        n_sources = self._n_sources.total()
        bare = self.bare_forward_seconds(plan, note.bare) if note else None
        n_workers, n_threads = self.workers.on_average(self._working("infer"))
        n_devices = n_threads if note and note.kind in SHARED_ENGINES else n_workers
        forward = self.steps["forward"] / n_devices if "forward" in self.steps and n_devices else None
        if bare is not None and forward is not None:
            bare = min(bare, forward)  # rates are taken beside the first tiles, and may be too low
        return {
            "tiles": self.n_tiles,
            "tiles_of_run": plan.n_tiles,
            "sources": n_sources,
            "workers": self.workers.record(self.spans(*STAGES)),
            "engine": note.description if note else None,
            "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
            "step_seconds": {step: round(value, 3) for step, value in sorted(self.steps.items())},
            "sources_per_s": {"infer": _ratio(n_sources, seconds["infer"]), "end_to_end": _ratio(n_sources, seconds["total"])},
            "gb_per_s": {
                "ingest": _ratio(self.bytes_ingested / 1e9, seconds["ingest"]),
                "windows": _ratio(self._window_bytes / 1e9, self.steps["read"]),
            },
            "bare_forward_seconds": bare and round(bare, 3),
            "device_busy": _ratio(forward, seconds["infer"]),
            "slowdown": _ratio(seconds["infer"], bare),
        }


def performance_line(report: Mapping[str, Any]) -> str:
    """One line for people about what a session has done.

    >>> performance_line({"tiles": 2, "tiles_of_run": 4, "sources": 300, "seconds": {"total": 2.0}, "device_busy": 0.84,
    ...     "sources_per_s": {"end_to_end": 150.0}, "slowdown": None,
    ...     "workers": {"efficiency": 0.7, "most_at_once": 16, "lost": 1}})
    '300 sources of 2 of 4 tiles in 2.0 s: 150/s; forward passes 84 % of infer; 16 workers, 1 lost, busy 70 % of the time'
    """
    some = f" of {report['tiles']} of {report['tiles_of_run']} tiles" if report["tiles"] < report["tiles_of_run"] else ""
    parts = [f"{report['sources']} sources{some} in {report['seconds']['total']:.1f} s"]
    if report["sources_per_s"]["end_to_end"]:
        parts[0] += f": {report['sources_per_s']['end_to_end']:.0f}/s"
    if report["device_busy"] is not None:
        parts.append(f"forward passes {100 * report['device_busy']:.0f} % of infer")
    if report["slowdown"] is not None:
        parts.append(f"{report['slowdown']:.2f} x the bare forward passes")
    workers = report["workers"]
    if isinstance(workers, dict) and workers["efficiency"] is not None:  # an earlier version wrote a number
        n, lost = workers["most_at_once"], f", {workers['lost']} lost" if workers["lost"] else ""
        parts.append(f"{n} worker{'s' * (n > 1)}{lost}, busy {100 * workers['efficiency']:.0f} % of the time")
    return "; ".join(parts)


def _covered(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of `intervals`.

    >>> _covered([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    return float(sum(stop - start for start, stop in merged(intervals)))


def _ratio(value: float | None, by: float | None) -> float | None:
    """Four digits of `value` over `by`; None where either is missing or there is nothing to divide by."""
    return float(f"{value / by:.4g}") if value is not None and by else None
