"""From finished tiles to the published catalog: rows merged, coverage and provenance gathered, everything swapped in at once."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surveycnn import __version__
from surveycnn.catalogs.columns import source_schema
from surveycnn.catalogs.coverage import Footprint, Window, model_coverages, mosaic_mocs, union_moc
from surveycnn.catalogs.publishing.merge import TileRows, one_by_one
from surveycnn.catalogs.publishing.publish import Published, publish_rows
from surveycnn.catalogs.publishing.tile_files import DamagedTiles
from surveycnn.catalogs.source import PROVENANCE, REPORT
from surveycnn.durable import remove_partials
from surveycnn.errors import ResumeError, SurveyCNNError
from surveycnn.full_disk import writing_into
from surveycnn.run.plan import MosaicPlan, Plan, WorkUnit
from surveycnn.run.session import Session
from surveycnn.run.spread import SPREAD_ROWS, SpreadOut
from surveycnn.run.status import RunStatus, run_status
from surveycnn.run.store import TileRecord, WorkStore, atomic_path
from surveycnn.run.summary import closing_lines, ranked_by, run_lines
from surveycnn.schema import Schema
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import band_notes

_LIBRARIES = ("astropy", "dask", "hats", "keras", "numpy", "openvino", "prefect", "sep", "tensorflow", "xarray", "zarr")


@dataclass(frozen=True)
class SurveyResult:
    """What a run has published."""

    output: Path
    n_sources: int
    n_primary: int
    status: RunStatus
    notes: tuple[str, ...]
    """Skipped models, bands that only got photometry or no data, noise maps that cannot be right."""
    performance: dict[str, Any]
    """What it took; see :meth:`surveycnn.run.accounting.Accounting.report`."""
    ranked_by: str | None = None
    """Column for a first look at the best rows."""
    work_dir: Path | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every tile is in the catalog."""
        return self.status.tiles["failed"] + self.status.tiles["quarantined"] == 0

    def summary(self) -> str:
        """A few lines for people."""
        return "\n".join([*run_lines(self), *closing_lines(self)])


def publish_survey(session: Session) -> SurveyResult:
    """Publish the rows of all finished tiles of a run.

    Raises
    ------
    ResumeError
        Where tiles have neither a result nor a recorded failure yet, or the file of a tile is damaged.
    StorageError
        Where the output folder cannot be written, for instance because its disk is full; the old catalog stays.
    """
    with session.accounting.stage("publish"), _step(session, "publish"):
        published, status = _publish(session)
    plan, output = session.plan, session.plan.config.output_path
    performance = session.performance()
    _add_to_provenance(output / PROVENANCE, performance=performance)
    notes = (*plan.notes, *_band_notes(plan, session.store), *_write_report(session))
    found = published.n_rows, published.n_primary, status, notes, performance
    return SurveyResult(output, *found, ranked_by(catalog_schema(plan)), plan.config.work_path)


@contextmanager
def _step(session: Session, stage: str) -> Iterator[None]:
    """Report the body as a stage of one step."""
    session.progress.add(stage, 1)
    yield
    session.progress.advance(stage)


def _write_report(session: Session) -> Iterator[str]:
    """Write the page of the catalog, where it is wanted; what hinders it is a note: the catalog is published."""
    if not session.plan.config.report:
        return
    from surveycnn.report.report import write_report

    def open_chunks(mosaic: str) -> ChunkStore:
        return ChunkStore.open(session.store.chunk_path(mosaic))

    try:
        with _step(session, "report"):
            write_report(session.plan.config.output_path, open_chunks=open_chunks)
    except Exception as error:
        yield f"report.html was not written ({type(error).__name__}: {error}): `surveycnn report` writes it"


def _publish(session: Session) -> tuple[Published, RunStatus]:
    """What was published, and the status of the tiles."""
    plan, store = session.plan, session.store
    tiles = FinishedTiles(store)
    status = run_status(plan, store, tiles.add)
    if not status.is_finished:
        raise ResumeError(
            f"{status.tiles['todo']} of {plan.n_tiles} tiles have not run yet: run the flow infer, or survey, before publish"
        )
    session.progress.message(f"publishing {status.n_sources} sources")
    remove_partials(plan.config.output_path, PROVENANCE, REPORT)
    footprints = [_footprint(store, mosaic, tiles.not_searched[mosaic.id]) for mosaic in plan.mosaics]
    mocs = mosaic_mocs(footprints)
    spread = _spread(session) if status.n_sources >= SPREAD_ROWS else one_by_one
    with _damaged_tiles_removed():
        rows = TileRows(tiles.paths, footprints, catalog_schema(plan), spread)
        if rows.n_rows != status.n_sources:
            raise SurveyCNNError(
                f"{rows.n_rows} rows were found in the {len(tiles.paths)} tile files, but their footers say {status.n_sources}: "
                "nothing is published"
            )
        published = publish_rows(
            rows,
            plan.config.output_path,
            formats=plan.config.formats,
            coverage=union_moc(mocs.values()),
            model_coverages=model_coverages(mocs, _mosaics_of_models(plan)),
            provenance=provenance(plan, store, status),
            name=plan.config.name,
            spread=spread,
        )
    return published, status


def _mosaics_of_models(plan: Plan) -> dict[str, set[str]]:
    """Mosaics on which each model has run, by its name."""
    return {
        card.name: {mosaic.id for mosaic in plan.mosaics if any(model.reference == reference for model in mosaic.models)}
        for reference, card in plan.cards.items()
    }


def _spread(session: Session) -> SpreadOut:
    return SpreadOut(session.cluster, str(session.plan.config.output_path), session.limits.tile_seconds)


@dataclass
class FinishedTiles:
    """What publishing needs to know of each tile, from one look at it."""

    store: WorkStore
    paths: list[Path] = field(default_factory=list)
    """Files of the tiles that are done."""
    not_searched: dict[str, list[Window]] = field(default_factory=lambda: defaultdict(list))
    """Windows of each mosaic without a result or without data."""

    def add(self, unit: WorkUnit, record: TileRecord | None) -> None:
        """Take up a tile and the record of its result, if it has one."""
        tile, windows = unit.tile, self.not_searched[unit.tile.mosaic]
        if record is None:
            windows.append((tile.y0, tile.y1, tile.x0, tile.x1))
            return
        windows += record.empty_windows
        self.paths.append(self.store.tile_path(tile))


@contextmanager
def _damaged_tiles_removed() -> Iterator[None]:
    """Remove tile files that cannot be read as they were written, so that they count as not done."""
    try:
        yield
    except DamagedTiles as error:
        for path in error.paths:
            path.unlink(missing_ok=True)
        raise ResumeError(f"{error}: removed, and nothing is published; the same command computes these tiles again") from error


def _add_to_provenance(path: Path, **records: Any) -> None:
    """Add what is known only when everything has been written."""
    provenance = json.loads(path.read_text(encoding="utf-8"))
    with writing_into(path.parent), atomic_path(path) as temporary:
        temporary.write_text(json.dumps(provenance | records, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _band_notes(plan: Plan, store: WorkStore) -> Iterator[str]:
    for mosaic in plan.mosaics:
        chunks = ChunkStore.open(store.chunk_path(mosaic.id))
        for band in chunks.bands:
            yield from band_notes(chunks.band_record(band) or {}, mosaic.id)


def catalog_schema(plan: Plan) -> Schema:
    """Columns of the whole catalog: bands and models of all mosaics, in the order of the configuration."""
    bands = list(dict.fromkeys(band for mosaic in plan.mosaics for band in mosaic.inputs.bands))
    used = {model.reference for mosaic in plan.mosaics for model in mosaic.models}
    schema = source_schema(bands, plan.sources.has_text_ids if plan.sources is not None else None)
    for reference, card in plan.cards.items():
        if reference in used:
            schema += card.schema
    return schema


def _footprint(store: WorkStore, mosaic: MosaicPlan, not_searched: list[Window]) -> Footprint:
    chunks = ChunkStore.open(store.chunk_path(mosaic.id))
    return Footprint(mosaic.id, chunks.wcs, chunks.ny, chunks.nx, tuple(not_searched))


def provenance(plan: Plan, store: WorkStore, status: RunStatus) -> dict[str, Any]:
    """What is known about a run: versions, configuration, digests of inputs and models, seconds by step, tiles by state."""
    bands = {
        mosaic.id: {band: chunks.band_record(band) for band in chunks.bands}
        for mosaic in plan.mosaics
        for chunks in [ChunkStore.open(store.chunk_path(mosaic.id))]
    }
    models = {
        card.name: {"reference": reference, "version": card.version, "task": card.task, "sha256": card.sha256}
        | {"digest": card.digest}
        | ({"prior": card.prior.survey} if card.prior is not None else {})
        for reference, card in plan.cards.items()
    }
    ingest_seconds = sum(record.get("seconds") or 0 for records in bands.values() for record in records.values() if record)
    return {
        "versions": {"surveycnn": __version__, "python": platform.python_version()} | library_versions(),
        "config": plan.config.model_dump(mode="json"),
        "run_digest": plan.digest,
        "inputs": bands,
        "mosaics": {mosaic.id: _grid_record(mosaic) for mosaic in plan.mosaics},
        "models": models,
        "skipped_models": {mosaic.id: mosaic.skipped for mosaic in plan.mosaics if mosaic.skipped},
        "status": status.as_dict(),
        "seconds": {"ingest": round(ingest_seconds, 3)} | status.as_dict()["seconds"],
    } | ({"sources": plan.sources.record} if plan.sources is not None else {})


def _grid_record(mosaic: MosaicPlan) -> dict[str, Any]:
    """Size and tiles of a mosaic: with them, a source_id tells its pixel and its tile."""
    grid = mosaic.grid
    return {"ny": grid.ny, "nx": grid.nx, "core_px": grid.core_px, "halo_px": grid.halo_px} | {
        "pixel_scale_arcsec": mosaic.inputs.pixel_scale
    }


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that a result may depend on."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
