"""The units of a run: they read, call the pure functions, check and write; each can run in any process, any number of times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xarray as xr

from surveycnn.catalogs.coverage import empty_windows
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.config import EngineConfig, ImageConfig
from surveycnn.inference.at_work import at_work
from surveycnn.run.given_sources import read_sources_of_tile
from surveycnn.run.plan import ModelUse, MosaicPlan, Plan, WorkUnit
from surveycnn.run.scoring import TileModel
from surveycnn.run.store import ModelPart, TileRecord, WorkStore
from surveycnn.run.tile import DetectionMaps, DetectionSettings, model_columns, part_schema, process_tile
from surveycnn.run.tile_parts import KeptTile, completed, read_kept
from surveycnn.run.widen import open_tile, reopen_window
from surveycnn.run.worker import LoadModels, ModelKey, predictor_for
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.regrid import Grid
from surveycnn.sky.tiling import Tile
from surveycnn.sky.window import Window

COVERAGE_BLOCK_PX = 64
"""Side of the blocks in which the coverage is known."""


@dataclass(frozen=True)
class BandUnit:
    """One image to bring into the chunk store."""

    image: ImageConfig
    index: int
    grid: Grid | None
    """Pixel grid of the image where it is not the mosaic's."""


@dataclass(frozen=True)
class IngestBand:
    """Brings one band of a mosaic into its chunk store; picklable, called with a :class:`BandUnit`."""

    chunk_path: str
    core_px: int
    may_be_empty: bool

    def __call__(self, unit: BandUnit) -> dict[str, Any]:
        return ingest_band(self.chunk_path, unit.image, unit.index, self.core_px, unit.grid, self.may_be_empty)


@dataclass(frozen=True)
class TileRows:
    """What a tile comes to."""

    rows: xr.Dataset
    empty: list[tuple[int, int, int, int]]
    """Parts of its core without data: y0, y1, x0, x1."""
    halo: int
    """Width in pixels of the halo that it needed."""


@dataclass(frozen=True)
class TileReport:
    """What became of a tile."""

    n_sources: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class RunTile:
    """Detects, measures and scores the sources of one tile and writes them; picklable, called with a :class:`WorkUnit`."""

    work_dir: str
    detection: DetectionSettings
    models: tuple[ModelUse, ...]
    engine: EngineConfig
    engine_threads: int | None
    is_given: bool = False
    """Whether the sources are those of the user's table instead of detected ones."""

    @classmethod
    def of(cls, plan: Plan, mosaic: MosaicPlan, store: WorkStore, engine_threads: int | None = None) -> RunTile:
        """What the tiles of `mosaic` are processed with."""
        config = plan.config
        found = config.detection
        settings = DetectionSettings(
            mosaic.detection_bands,
            found.threshold_sigma,
            found.min_area_px,
            found.combine,
            config.photometry.aperture_arcsec,
        )
        return cls(str(store.root), settings, mosaic.models, config.engine, engine_threads, plan.sources is not None)

    def __call__(self, unit: WorkUnit) -> TileReport:
        store, clock = WorkStore(Path(self.work_dir)), StepClock()
        with at_work():
            kept = read_kept(store, unit, self.part_ids)
            if kept is None:
                found = self.rows(unit.tile, clock)
                table, models = dataset_to_arrow(found.rows), self.models
                record = TileRecord(table.num_rows, {}, found.empty, found.halo, unit.rows_id)
            else:
                models = tuple(model for model in self.models if model.task not in kept.record.models)
                table, record = self.completed(unit.tile, kept, models, clock), kept.record
        started = time.perf_counter()
        parts = {m.predictor.card.task: list(part_schema(m)) for m in self.tile_models(models)}
        added = {task: ModelPart(self.part_ids[task], columns) for task, columns in parts.items()}
        record = replace(record, seconds=clock.added_to(record.seconds), models=record.models | added)
        store.write_tile(unit.tile, unit.unit_id, table, record)
        return TileReport(record.n_rows, clock.seconds | {"write": time.perf_counter() - started})

    @property
    def part_ids(self) -> dict[str, str]:
        """Part id of each model, by task."""
        return {model.task: model.part_id(self.engine.precision) for model in self.models}

    def rows(self, tile: Tile, clock: StepClock) -> TileRows:
        """All columns of a tile, from its pixels."""
        store = WorkStore(Path(self.work_dir))
        with ExitStack() as stack:
            given = read_sources_of_tile(store, tile) if self.is_given else None
            chunks = ChunkStore.open(store.chunk_path(tile.mosaic))
            wide, window, maps = stack.enter_context(open_tile(chunks, tile, self.detection, clock))
            rows = process_tile(wide, window, self.tile_models, self.detection, clock, given, maps)
            return TileRows(rows, empty_parts(tile, window, maps), wide.halo)

    def completed(self, tile: Tile, kept: KeptTile, models: Sequence[ModelUse], clock: StepClock) -> pa.Table:
        """Rows that are kept, with the columns of `models` from their stamps; without any, no pixel is read."""
        if not models:
            return completed(kept.table, [])
        with clock("load"):
            loaded = self.tile_models(models)
        if not kept.record.n_rows:
            return completed(kept.table, [part_schema(model).empty() for model in loaded])
        chunks = ChunkStore.open(WorkStore(Path(self.work_dir)).chunk_path(tile.mosaic))
        bands = [band for band in chunks.bands if any(band in model.bands for model in models)]
        with reopen_window(chunks, tile, kept.record.halo, bands, clock) as window:
            columns = model_columns(window, kept.source_columns, loaded, clock)
        schemas = [part_schema(model) for model in loaded]
        return completed(kept.table, [schema.dataset({name: columns[name] for name in schema}) for schema in schemas])

    def tile_models(self, models: Sequence[ModelUse] | None = None) -> list[TileModel]:
        """The models, or some of them, loaded, with the bands that each is given."""
        found, note_path = [], WorkStore(Path(self.work_dir)).engine_path
        for model in self.models if models is None else models:
            predictor = predictor_for(ModelKey(model.reference, model.digest), self.engine, self.engine_threads, note_path)
            found.append(TileModel(predictor, model.bands, model.ebv))
        return found

    @property
    def loader(self) -> LoadModels:
        """Function that loads this unit's models ahead of their first use."""
        keys = tuple(ModelKey(model.reference, model.digest) for model in self.models)
        return LoadModels(keys, self.engine, self.engine_threads, WorkStore(Path(self.work_dir)).engine_path)


def empty_parts(tile: Tile, window: Window, maps: DetectionMaps) -> list[tuple[int, int, int, int]]:
    """Blocks of the core of `tile` without data in any band of the detection: (y0, y1, x0, x1) in mosaic pixels."""
    rows = slice(tile.y0 - window.y0, tile.y1 - window.y0)
    cols = slice(tile.x0 - window.x0, tile.x1 - window.x0)
    has_data = ~maps.mask[rows, cols]
    ny, nx = has_data.shape
    starts = (np.arange(0, ny, COVERAGE_BLOCK_PX), np.arange(0, nx, COVERAGE_BLOCK_PX))
    blocks = np.logical_or.reduceat(np.logical_or.reduceat(has_data, starts[0], axis=0), starts[1], axis=1)
    found = empty_windows(blocks, COVERAGE_BLOCK_PX, ny, nx)
    return [(y0 + tile.y0, y1 + tile.y0, x0 + tile.x0, x1 + tile.x0) for y0, y1, x0, x1 in found]


class StepClock:
    """Adds up the wall-clock seconds of named steps: ``with clock("read"): ...``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def added_to(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """The seconds of this clock and of an earlier one."""
        return {name: seconds.get(name, 0.0) + self.seconds.get(name, 0.0) for name in {**seconds, **self.seconds}}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
