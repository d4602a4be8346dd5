"""Work directory of a run: the only module that builds its paths, and the writer and reader of tile results.

A tile's result is one Parquet file, written under a temporary name, synced and renamed, with the id of its work unit and
its number of rows in the footer. A readable file with the right id is a finished tile; there is no other record to trust.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.publishing.encodings import encodings
from surveycnn.durable import atomic_path as atomic_path
from surveycnn.durable import read_json as read_json
from surveycnn.durable import remove_partials
from surveycnn.durable import write_json as write_json
from surveycnn.errors import ConfigError, ResumeError
from surveycnn.run.lock import HOLDER, LOCK, hold_folder
from surveycnn.sky.tiling import Tile

FOLDERS = ("mosaics", "sources", "tiles", "failures")
"""Folders of a run in its work directory."""
LOGS = "logs"

_RECORD_KEY = b"surveycnn.tile"


@dataclass(frozen=True)
class ModelPart:
    """What a model has put into a tile's file."""

    id: str
    """Of the model, and of what it was given."""
    columns: list[str]


@dataclass(frozen=True)
class TileRecord:
    """What the footer of a finished tile says."""

    n_rows: int
    seconds: dict[str, float]
    """Wall-clock seconds of each step."""
    empty_windows: list[tuple[int, int, int, int]]
    """y0, y1, x0, x1 of the parts of the core without data, in mosaic pixels."""
    halo: int = 0
    """Width in pixels of the halo that the tile was searched with."""
    rows_id: str = ""
    """What the rows without the columns of models come from."""
    models: dict[str, ModelPart] = field(default_factory=dict)
    """What each model has put into the file, by task."""


@dataclass(frozen=True)
class WorkStore:
    """Paths and files of one run."""

    root: Path

    @property
    def plan_path(self) -> Path:
        return self.root / "plan.json"

    def read_plan(self) -> dict[str, Any] | None:
        """Record of the run's plan, or None where there is none.

        Raises
        ------
        ResumeError
            Where the record is not as it was written.
        """
        if not self.plan_path.exists():
            return None
        record = read_json(self.plan_path)
        if isinstance(record, dict) and isinstance(record.get("file_stamps", {}), dict) and "fingerprint" in record:
            fingerprint = json.dumps(record["fingerprint"], sort_keys=True)
            if record.get("digest") == hashlib.sha256(fingerprint.encode()).hexdigest():
                return record
        raise ResumeError(f"{str(self.plan_path)!r} is damaged: start over with --fresh, or give another output")

    @property
    def engine_path(self) -> Path:
        """What the run's first worker has found about engines, and all follow."""
        return self.root / "engine.json"

    @property
    def performance_path(self) -> Path:
        """What the last session that ran tiles has spent."""
        return self.root / "performance.json"

    @property
    def log_path(self) -> Path:
        """Folder of the logs that the workers of this session write."""
        return self.root / LOGS

    def chunk_path(self, mosaic: str) -> Path:
        return self.root / "mosaics" / f"{mosaic}.zarr"

    def source_path(self, mosaic: str) -> Path:
        """Sources of the user's table that lie on a mosaic."""
        return self.root / "sources" / f"{mosaic}.parquet"

    def tile_path(self, tile: Tile) -> Path:
        return self.tiles_path(tile.mosaic) / f"{tile.name}.parquet"

    def tiles_path(self, mosaic: str) -> Path:
        """Folder of the results of a mosaic's tiles."""
        return self.root / "tiles" / mosaic

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
        with hold_folder(self.root):
            yield

    def sweep(self) -> None:
        """Remove what processes that were killed have left: files half written, folders half removed."""
        if not self.plan_path.exists():
            return
        remove_partials(self.root, *(path.name for path in (self.plan_path, self.engine_path, self.performance_path)))
        for name in ("sources", "tiles", "failures"):
            for folder in (self.root / name, *(self.root / name).glob("*/")):
                remove_partials(folder)
        shutil.rmtree(self.root / ".discarded", ignore_errors=True)

    def sweep_logs(self) -> None:
        """Remove the logs that workers of earlier sessions have left."""
        if self.plan_path.exists() and self.log_path.exists():
            self.discard(self.log_path)

    def forget(self, output: Path) -> None:
        """Remove a work directory in which nothing has been finished, and the `output` folder if that leaves it empty."""
        self.clear()
        for name in (LOCK, HOLDER):
            (self.root / name).unlink(missing_ok=True)
        for folder in (self.root, output):
            with contextlib.suppress(OSError):  # something of the user's is in it
                folder.rmdir()

    def clear(self) -> None:
        """Remove everything that a run has put here, and nothing else; without a plan, nothing here is a run's."""
        if not self.plan_path.exists():
            return
        self.discard(*(self.root / name for name in (*FOLDERS, LOGS)))
        for path in (self.engine_path, self.performance_path):
            path.unlink(missing_ok=True)
        self.plan_path.unlink()

    def discard(self, *paths: Path) -> None:
        """Remove files and folders of the run; each goes in one moment, so that nobody finds half a chunk store after a kill."""
        bin_path = self.root / ".discarded"
        bin_path.mkdir(parents=True, exist_ok=True)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.rename(bin_path / uuid.uuid4().hex)
        shutil.rmtree(bin_path, ignore_errors=True)

    def read_rows(self, tile: Tile) -> pa.Table:
        """Rows of the file of a tile, private columns included."""
        return pq.read_table(self.tile_path(tile), partitioning=None, page_checksum_verification=True)

    def write_tile(self, tile: Tile, unit_id: str, table: pa.Table, record: TileRecord) -> Path:
        """Write the rows of a finished tile; the file appears whole or not at all."""
        path = self.tile_path(tile)
        footer = {"unit_id": unit_id} | asdict(record)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _RECORD_KEY: json.dumps(footer).encode()})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True, **encodings(table.schema))
        self.failure_path(tile).unlink(missing_ok=True)
        return path

    def tile_record(self, tile: Tile, unit_id: str) -> TileRecord | None:
        """Record of a finished tile, or None where there is no valid result of this unit."""
        found = self.any_record(tile)
        return found[1] if found is not None and found[0] == unit_id else None

    def any_record(self, tile: Tile) -> tuple[str, TileRecord] | None:
        """Unit id and record of the file of a tile, whatever plan has made it; None where there is none that can be read."""
        path = self.tile_path(tile)
        if not path.exists():
            return None
        try:
            metadata = pq.read_metadata(path)
            footer = json.loads((metadata.metadata or {})[_RECORD_KEY])
            unit_id = footer.pop("unit_id")
            if not all(math.isfinite(seconds) for seconds in footer["seconds"].values()):
                return None
            footer["models"] = {task: ModelPart(**part) for task, part in footer.get("models", {}).items()}
            footer["empty_windows"] = [_window(*window) for window in footer["empty_windows"]]
            return unit_id, TileRecord(**footer | {"n_rows": metadata.num_rows})
        except (OSError, AttributeError, KeyError, TypeError, ValueError, pa.ArrowInvalid):
            return None

    def write_failure(self, tile: Tile, state: str, reason: str, details: str, more: Mapping[str, Any] | None = None) -> None:
        """Record why a tile has no result; `state` is ``failed`` or ``quarantined``, `more` what is known of the worker."""
        record = {"state": state, "reason": reason, "details": details} | dict(more or {})
        write_json(self.failure_path(tile), record)

    def read_failure(self, tile: Tile) -> dict[str, Any] | None:
        """Record of a failed or quarantined tile, or None."""
        record = read_json(self.failure_path(tile))
        if not isinstance(record, dict) or record.get("state") not in ("failed", "quarantined"):
            return None
        return record if isinstance(record.get("reason"), str) else None


def _window(y0: int, y1: int, x0: int, x1: int) -> tuple[int, int, int, int]:
    """A window of a record; TypeError where it is none."""
    window = y0, y1, x0, x1
    if not all(type(bound) is int for bound in window):
        raise TypeError(f"{window} is no window")
    return window
