"""Where a run is, read from its files alone, and the waiting for a chosen moment of it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak.sky import BANDS
from surveycnn.catalogs.publishing.swap import OLD, READY, STAGING
from surveycnn.catalogs.source import PROVENANCE

START, INGEST, INFER, SETTLE = "start-up", "ingest", "infer", "settle"
MERGE, STAGE, DECIDED, MOVING, AFTER = "merge", "publish: writing", "publish: decided", "publish: moving", "after publish"
PHASES = (START, INGEST, INFER, SETTLE, MERGE, STAGE, DECIDED, MOVING, AFTER)
START_SECONDS = 6.0
"""About what a driver takes until its cluster is there."""
N_ENTRIES = 7
"""What a catalog of all formats is published with: HATS, Zarr, FITS, coverage, provenance, their list and a lock."""
_LOOK_SECONDS = 0.004


Stamp = tuple[int, int] | None
"""What tells a file or folder from another of the same name; None where there is none."""


@dataclass(frozen=True)
class Counts:
    """What a run has finished."""

    n_shards: int = 0
    n_bands: int = 0
    n_tiles: int = 0
    published: Stamp = None
    """Of provenance.json."""
    staging: Stamp = None
    ready: Stamp = None


@dataclass(frozen=True)
class Files:
    """Files of a run, as anybody can see them."""

    output: Path
    n_mosaics: int
    n_tiles: int

    def counts(self) -> Counts:
        """What is finished now; a folder that vanishes meanwhile counts as empty."""
        work = self.output / "work"
        shards = sum(len(names) for array in (work / "mosaics").glob("*.zarr/image/c") for _, _, names in os.walk(array))
        bands = sum(1 for _ in (work / "mosaics").glob("*.zarr/bands/*/zarr.json"))
        tiles = sum(1 for _ in (work / "tiles").glob("*/r*.parquet"))
        published, staging, ready = (_stamp(self.output / name) for name in (PROVENANCE, STAGING, READY))
        return Counts(shards, bands, tiles, published, staging, ready)

    @property
    def n_shards(self) -> int:
        return self.n_tiles * len(BANDS)

    @property
    def n_bands(self) -> int:
        return self.n_mosaics * len(BANDS)

    def phase(self, before: Counts, may_settle: bool) -> str:
        """Phase that a driver is in which found `before` when it started.

        Parameters
        ----------
        may_settle
            A worker has died while tiles ran, and those that it had are run again at the end.
        """
        now = self.counts()
        if now.ready not in (None, before.ready):
            is_moving = (self.output / OLD).exists() or 0 <= _n_entries(self.output / READY) < N_ENTRIES
            return MOVING if is_moving else DECIDED
        if now.staging not in (None, before.staging):
            return STAGE
        if now.published not in (None, before.published):
            return AFTER
        if now == before:
            return START
        if now.n_bands < self.n_bands:
            return INGEST
        if now.n_tiles < self.n_tiles:
            return SETTLE if may_settle and now.n_tiles >= self.n_tiles - 2 else INFER
        return MERGE

    def reached(self, aim: str, before: Counts, rng: random.Random) -> Callable[[], bool]:
        """A function that says whether a random moment within the phase `aim` has come."""
        if aim == START:
            due = time.monotonic() + rng.uniform(0, START_SECONDS)
            return lambda: time.monotonic() >= due
        if aim == INGEST:
            n_shards = rng.randint(before.n_shards, self.n_shards) if before.n_bands == 0 else 0
            return lambda: (now := self.counts()) != before and now.n_shards >= n_shards
        if aim == INFER:
            n_tiles = rng.randint(min(before.n_tiles + 1, self.n_tiles - 1), self.n_tiles - 1)
            return lambda: self.counts().n_tiles >= n_tiles
        if aim == SETTLE:
            return lambda: self.counts().n_tiles >= self.n_tiles - 2
        if aim == MERGE:
            return lambda: self.counts().n_tiles == self.n_tiles and self.counts() != before
        if aim == STAGE:
            return lambda: _stamp(self.output / STAGING) not in (None, before.staging)
        if aim == DECIDED:
            return lambda: _stamp(self.output / READY) not in (None, before.ready)
        if aim == MOVING:
            n_left = rng.randint(0, N_ENTRIES - 1)
            return lambda: (
                _stamp(self.output / READY) not in (None, before.ready) and 0 <= _n_entries(self.output / READY) <= n_left
            )
        return lambda: _stamp(self.output / READY) is None and _stamp(self.output / PROVENANCE) not in (None, before.published)

    def wait(self, reached: Callable[[], bool], aim: str, alive: Callable[[], bool], limit: float) -> bool:
        """Wait until the moment has come; False where the driver ended, or `limit` seconds passed, before."""
        until = time.monotonic() + limit
        hot = aim in (DECIDED, MOVING)
        while not reached():
            if not alive() or time.monotonic() > until:
                return False
            # what takes milliseconds is met only by somebody who looks all the time
            if not (hot and (self.output / STAGING).exists()):
                time.sleep(_LOOK_SECONDS)
        return alive()


def spread(aim: str, rng: random.Random) -> float:
    """Seconds to wait within a phase once it has begun, so that the moments are spread over it."""
    longest = {INFER: 0.2, INGEST: 0.02, SETTLE: 0.05, MERGE: 0.2, STAGE: 1.5, DECIDED: 0.001, MOVING: 0.002, AFTER: 0.5}
    return rng.uniform(0, longest.get(aim, 0))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns


def _n_entries(folder: Path) -> int:
    """Entries of a folder, -1 where it is not there."""
    try:
        return len(os.listdir(folder))
    except FileNotFoundError:
        return -1
