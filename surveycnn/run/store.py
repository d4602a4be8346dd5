"""Work directory of a run: the only module that builds its paths, and the writer and reader of tile results.

A tile's result is one Parquet file, written under a temporary name, synced and renamed, with the id of its work unit and
its number of rows in the footer. A readable file with the right id is a finished tile; there is no other record to trust.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.errors import ConfigError, ResumeError
from surveycnn.sky.tiling import Tile

FOLDERS = ("mosaics", "sources", "tiles", "failures")
"""Folders of a run in its work directory."""

_RECORD_KEY = b"surveycnn.tile"


@dataclass(frozen=True)
class TileRecord:
    """What the footer of a finished tile says."""

    n_rows: int
    seconds: dict[str, float]
    """Wall-clock seconds of each step."""
    empty_windows: list[tuple[int, int, int, int]]
    """y0, y1, x0, x1 of the parts of the core without data, in mosaic pixels."""


@dataclass(frozen=True)
class WorkStore:
    """Paths and files of one run."""

    root: Path

    @property
    def plan_path(self) -> Path:
        return self.root / "plan.json"

    @property
    def engine_path(self) -> Path:
        """What the run's first worker has found about engines, and all follow."""
        return self.root / "engine.json"

    @property
    def performance_path(self) -> Path:
        """What the last session that ran tiles has spent."""
        return self.root / "performance.json"

    def chunk_path(self, mosaic: str) -> Path:
        return self.root / "mosaics" / f"{mosaic}.zarr"

    def source_path(self, mosaic: str) -> Path:
        """Sources of the user's table that lie on a mosaic."""
        return self.root / "sources" / f"{mosaic}.parquet"

    def tile_path(self, tile: Tile) -> Path:
        return self.root / "tiles" / tile.mosaic / f"{tile.name}.parquet"

    def failure_path(self, tile: Tile) -> Path:
        return self.root / "failures" / tile.mosaic / f"{tile.name}.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the work directory; the lock goes with the process, however it ends.

        Raises
        ------
        ResumeError
            Where another process holds it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"key 'work_dir': cannot make the folder {str(self.root)!r} ({error}): give another path") from None
        with open(self.root / "lock", "a+", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.seek(0)
                raise ResumeError(
                    f"work directory {str(self.root)!r} is in use by {handle.read().strip() or 'another process'}: "
                    "wait for that run, stop it, or give another work_dir"
                ) from None
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {os.uname().nodename}\n")
            handle.flush()
            yield

    def forget(self, output: Path) -> None:
        """Remove a work directory in which nothing has been finished, and the `output` folder if that leaves it empty."""
        self.clear()
        (self.root / "lock").unlink(missing_ok=True)
        for folder in (self.root, output):
            with contextlib.suppress(OSError):  # something of the user's is in it
                folder.rmdir()

    def clear(self) -> None:
        """Remove everything that a run has put here, and nothing else; without a plan, nothing here is a run's."""
        if not self.plan_path.exists():
            return
        for name in FOLDERS:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for path in (self.engine_path, self.performance_path):
            path.unlink(missing_ok=True)
        self.plan_path.unlink()

    def write_tile(self, tile: Tile, unit_id: str, table: pa.Table, record: TileRecord) -> Path:
        """Write the rows of a finished tile; the file appears whole or not at all."""
        path = self.tile_path(tile)
        footer = json.dumps({"unit_id": unit_id, "seconds": record.seconds, "empty_windows": record.empty_windows})
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _RECORD_KEY: footer.encode()})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        self.failure_path(tile).unlink(missing_ok=True)
        return path

    def tile_record(self, tile: Tile, unit_id: str) -> TileRecord | None:
        """Record of a finished tile, or None where there is no valid result of this unit."""
        path = self.tile_path(tile)
        if not path.exists():
            return None
        try:
            metadata = pq.read_metadata(path)
            footer = json.loads((metadata.metadata or {})[_RECORD_KEY])
        except (OSError, KeyError, ValueError, pa.ArrowInvalid):
            return None
        if footer["unit_id"] != unit_id:
            return None
        return TileRecord(metadata.num_rows, footer["seconds"], [tuple(window) for window in footer["empty_windows"]])

    def write_failure(self, tile: Tile, state: str, reason: str, details: str) -> None:
        """Record why a tile has no result; `state` is ``failed`` or ``quarantined``."""
        record = {"state": state, "reason": reason, "details": details}
        write_json(self.failure_path(tile), record)

    def read_failure(self, tile: Tile) -> dict[str, Any] | None:
        """Record of a failed or quarantined tile, or None."""
        return read_json(self.failure_path(tile))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Temporary path beside `path` that is synced and renamed to it at the end, and removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as sorted, indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """The record that `write_json` wrote, or None where there is no readable one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
