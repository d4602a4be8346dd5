"""What a run will take: sources, seconds by stage and bytes, forecast from a sample that is run, or from the tiles that have run.

``surveycnn plan --time`` shows it before a survey starts. The sample is some windows of one mosaic, brought through the whole
pipeline in this process with the functions that the survey itself uses.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publishing.merge import merge_tiles
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.inference.engines import has_gpu
from surveycnn.run.plan import Plan
from surveycnn.run.publish import catalog_schema
from surveycnn.run.sample import WINDOW_PX, native_read_seconds, sample_config, sample_windows
from surveycnn.run.session import infer_mosaic, ingest_mosaic, open_session
from surveycnn.run.spread import SPREAD_ROWS
from surveycnn.run.status import RunStatus
from surveycnn.run.store import WorkStore
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.tiling import TileGrid

PUBLISHED_ROWS = 10_000
"""Rows that are published on trial."""
TILE_FILES = 50
"""Tile files of an earlier session that are looked into at most."""
PER_PIXEL = ("read", "detect")
"""Steps that follow the pixels of the windows; the others follow the sources."""
PER_SOURCE = ("measure", "stamps", "predict", "write")


@dataclass(frozen=True)
class Rates:
    """What pixels and sources cost; seconds of one thread unless said otherwise."""

    origin: str
    """What they were taken from, for people."""
    load: float
    """Seconds in which a worker loads its models."""
    sources_per_pixel: float
    """Of a mosaic."""
    ingest: float
    """Seconds for a pixel of a band, one band at a time."""
    ingest_cpu: float
    """Seconds of CPU for a pixel of a band."""
    per_pixel: float
    """Seconds for a pixel of a tile's window, all bands."""
    per_source: float
    forward: float
    """Seconds for a source in the engines, which use all cores or the device; 0 where they are in `per_source` already."""
    publish: float
    """Seconds before the first row."""
    publish_per_source: float
    tile_bytes: float
    """Of an empty tile file."""
    tile_bytes_per_source: float
    catalog_bytes: float
    """Of a catalog with one row."""
    catalog_bytes_per_source: float


def forecast(plan: Plan, status: RunStatus, cluster: dict[str, Any]) -> dict[str, Any]:
    """Plain values: sources, seconds by stage, and bytes of a whole run, and the seconds that are left of it.

    Start-up is the loading of the models, which begins with the ingest; what is left of it then falls into the stage infer.

    Parameters
    ----------
    status
        Of what has run already: where tiles are finished, their recorded seconds are used instead of a sample.
    cluster
        From :func:`surveycnn.run.cluster.describe_cluster`; one whose workers are not known yet counts as one worker.
    """
    started = time.perf_counter()
    store = WorkStore(plan.config.work_path)
    n_done = status.tiles["done"] + status.tiles["no_work"]
    n_workers, n_threads = cluster["workers"] if cluster["workers"] != "?" else 1, cluster["threads_per_worker"]
    rates = rates_of_tiles(plan, store, status, n_workers * n_threads) if n_done else rates_of_sample(plan)
    pixels = sum(mosaic.inputs.ny * mosaic.inputs.nx for mosaic in plan.mosaics)
    n_sources = sum(plan.n_given) if plan.sources is not None else round(rates.sources_per_pixel * pixels)
    read = sum(window_pixels(mosaic.grid) for mosaic in plan.mosaics)
    threads = (rates.per_pixel * read + rates.per_source * n_sources) / n_threads
    device = rates.forward * n_sources
    seconds = {
        "start_up": rates.load,
        "ingest": _ingest_seconds(plan, rates, n_workers * n_threads),
        # a GPU works beside the threads; the forward passes on a CPU take their cores
        "infer": (max(threads, device) if has_gpu() else threads + device) / n_workers,
        # a large catalog is published by all workers
        "publish": rates.publish
        + rates.publish_per_source * n_sources / (n_workers * n_threads if n_sources >= SPREAD_ROWS else 1),
    }
    left = dict(seconds) | {
        "ingest": seconds["ingest"] * (1 - _ingested(plan, store)),
        "infer": seconds["infer"] * (1 - n_done / plan.n_tiles),
    }
    return {
        "origin": rates.origin,
        "calibration_seconds": round(time.perf_counter() - started, 1),
        "sources": n_sources,
        "seconds": {stage: round(value, 1) for stage, value in seconds.items()},
        "seconds_left": {stage: round(value, 1) for stage, value in left.items()},
        "tile_bytes": round(rates.tile_bytes * plan.n_tiles + rates.tile_bytes_per_source * n_sources),
        "catalog_bytes": round(rates.catalog_bytes + rates.catalog_bytes_per_source * n_sources),
    }


def window_pixels(grid: TileGrid) -> int:
    """Pixels of the windows of all tiles.

    >>> window_pixels(TileGrid("m", 300, 200, 200, 50))
    80000
    """
    rows = [grid.tile(row, 0) for row in range(grid.n_rows)]
    cols = [grid.tile(0, col) for col in range(grid.n_cols)]
    return sum(tile.oy1 - tile.oy0 for tile in rows) * sum(tile.ox1 - tile.ox0 for tile in cols)


def band_pixels(plan: Plan) -> Iterator[int]:
    """Pixels of each band in the chunk store, in the order of the plan."""
    for mosaic in plan.mosaics:
        yield from [mosaic.inputs.ny * mosaic.inputs.nx] * len(mosaic.inputs.bands)


def _ingest_seconds(plan: Plan, rates: Rates, n_slots: int) -> float:
    """Bands run beside each other as far as there are slots, and all share the cores."""
    pixels = list(band_pixels(plan))
    alone = rates.ingest * max(sum(pixels) / min(n_slots, len(pixels)), max(pixels))
    return max(alone, rates.ingest_cpu * sum(pixels) / n_slots)


def _ingested(plan: Plan, store: WorkStore) -> float:
    """Share of the bands that are in the chunk store."""
    paths = [store.chunk_path(mosaic.id) for mosaic in plan.mosaics]
    n_done = sum(len(ChunkStore.open(path).finished_bands()) for path in paths if path.exists())
    return n_done / sum(len(mosaic.inputs.bands) for mosaic in plan.mosaics)


def rates_of_sample(plan: Plan) -> Rates:
    """Rates from windows of the mosaic with the most models, which are run here and now.

    Raises
    ------
    ConfigError
        Where its files are remote.
    InputError
        Where a file cannot be read, or the one window that fits has no good pixel.
    """
    mosaic = max(plan.mosaics, key=lambda mosaic: len(mosaic.models))
    inputs = mosaic.inputs
    windows = sample_windows(inputs.ny, inputs.nx, min(WINDOW_PX, plan.config.tiling.core_px))
    side = windows[0].y1 - windows[0].y0
    n_pixels = sum(window.n_pixels for window in windows)
    n_band_pixels = n_pixels * len(inputs.bands)
    with tempfile.TemporaryDirectory(prefix="surveycnn-forecast-") as folder:
        config = sample_config(plan, mosaic, windows, Path(folder))
        native = native_read_seconds(inputs.images)
        with open_session(config) as session:
            cpu = time.process_time()
            for window in session.plan.mosaics:
                ingest_mosaic(session, window)
            cpu = time.process_time() - cpu
            for window in session.plan.mosaics:
                infer_mosaic(session, window)
            rows, written = _rows_and_bytes(session.plan, session.store)
            steps, ingest = session.accounting.steps, session.accounting.seconds("ingest")
        published = _publish_on_trial(rows, config.formats, Path(folder) / "trial")
    n_sources = max(rows.num_rows, 1)
    return Rates(
        origin=f"a sample that was run: {len(windows)} of {side} x {side} px of mosaic {mosaic.id}, {rows.num_rows} sources",
        load=steps["load"],
        sources_per_pixel=rows.num_rows / n_pixels,
        ingest=ingest / n_band_pixels + native,
        ingest_cpu=cpu / n_band_pixels + native,
        per_pixel=sum(steps[step] for step in PER_PIXEL) / n_pixels,
        per_source=(sum(steps[step] for step in PER_SOURCE) - steps["forward"]) / n_sources,
        forward=steps["forward"] / n_sources,
        **published,
        **written,
    )


def rates_of_tiles(plan: Plan, store: WorkStore, status: RunStatus, n_slots: int) -> Rates:
    """Rates from what the finished tiles of a run, `n_slots` of them at once, say of themselves."""
    n_done = status.tiles["done"] + status.tiles["no_work"]
    share = n_done / plan.n_tiles
    n_sources, steps = max(status.n_sources, 1), status.seconds
    records = [
        record
        for mosaic in plan.mosaics
        for chunks in [ChunkStore.open(store.chunk_path(mosaic.id))]
        for band in chunks.bands
        if (record := chunks.band_record(band))
    ]
    n_band_pixels = sum(band_pixels(plan)) * _ingested(plan, store)
    ingest = sum(record["seconds"] for record in records) / n_band_pixels
    rows, written = _rows_and_bytes(plan, store)
    with tempfile.TemporaryDirectory(prefix="surveycnn-forecast-") as folder:
        published = _publish_on_trial(rows, plan.config.formats, Path(folder) / "trial")
    return Rates(
        origin=f"{n_done} finished tiles of this run, {status.n_sources} sources",
        load=steps["load"] / min(n_slots, n_done),
        sources_per_pixel=status.n_sources / (share * sum(mosaic.inputs.ny * mosaic.inputs.nx for mosaic in plan.mosaics)),
        ingest=ingest,
        ingest_cpu=0.0,
        per_pixel=sum(steps[step] for step in PER_PIXEL) / (share * sum(window_pixels(m.grid) for m in plan.mosaics)),
        # as the threads saw it: their waits for the device are in it
        per_source=sum(steps[step] for step in PER_SOURCE) / n_sources,
        forward=0.0,
        **published,
        **written,
    )


def _rows_and_bytes(plan: Plan, store: WorkStore) -> tuple[pa.Table, dict[str, float]]:
    """Rows of some finished tiles, and the bytes of a tile file without rows and of each row in one."""
    units = (unit for mosaic in plan.mosaics for unit in plan.units(mosaic))
    paths = [store.tile_path(unit.tile) for unit in units if store.tile_record(unit.tile, unit.unit_id)]
    paths = paths[:: max(1, len(paths) // TILE_FILES)]
    rows = merge_tiles(paths, schema=catalog_schema(plan))
    empty = pa.BufferOutputStream()
    pq.write_table(pq.read_table(paths[0], partitioning=None).slice(0, 0), empty, compression="zstd")
    n_bytes = empty.getvalue().size
    more = sum(path.stat().st_size - n_bytes for path in paths)
    return rows, {"tile_bytes": n_bytes, "tile_bytes_per_source": max(more, 0) / max(rows.num_rows, 1)}


def _publish_on_trial(rows: pa.Table, formats: Sequence[str], folder: Path) -> dict[str, float]:
    """Seconds and bytes of publishing one row (with what has to be imported), and of each of many.

    Bytes come from the rows as they are: rows that are repeated are smaller once compressed.
    """
    started = time.perf_counter()
    publish(rows.slice(0, 1), folder, formats=formats)
    fixed = time.perf_counter() - started
    found = {"publish": fixed, "publish_per_source": 0.0, "catalog_bytes": _bytes(folder), "catalog_bytes_per_source": 0.0}
    if rows.num_rows:
        publish(rows, folder, formats=formats)
        found["catalog_bytes_per_source"] = max(_bytes(folder) - found["catalog_bytes"], 0) / rows.num_rows
        many = _repeated(rows, PUBLISHED_ROWS)
        started = time.perf_counter()
        publish(many, folder, formats=formats)
        found["publish_per_source"] = (time.perf_counter() - started) / many.num_rows
    return found


def _bytes(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def _repeated(rows: pa.Table, n_rows: int) -> pa.Table:
    """At least `n_rows` rows with an id of their own each, in the order of a catalog; sources stand many times at one place."""
    table = pa.concat_tables([rows] * -(-n_rows // rows.num_rows))
    order = np.argsort(healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy()), kind="stable")
    column = table.column_names.index("source_id")
    field = table.schema.field(column)
    return table.take(pa.array(order)).set_column(column, field, pa.array(np.arange(len(order)), field.type))
