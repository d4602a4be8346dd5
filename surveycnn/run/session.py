"""A run in progress: its plan, its work directory, its cluster, and the stages that bring it forward mosaic by mosaic.

The same functions serve the command line, the Python API and the Prefect flows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from threading import Lock, Thread
from typing import Any

from surveycnn.catalogs.publishing.publish import load_writers
from surveycnn.config import LimitsConfig, SurveyConfig
from surveycnn.errors import ConfigError, InputError, UserError
from surveycnn.full_disk import writing_into
from surveycnn.run.accounting import START_UP, Accounting
from surveycnn.run.checks import check_memory, small_worker
from surveycnn.run.cluster import Cluster, open_cluster
from surveycnn.run.execute import ATTEMPTS, Outcome, Task, execute, execute_alone
from surveycnn.run.given_sources import write_sources
from surveycnn.run.log_files import worker_failure
from surveycnn.run.plan import MosaicPlan, Plan, WorkUnit, check_run, placement
from surveycnn.run.progress import Progress, Silent
from surveycnn.run.resume import bind_plan, check_unchanged
from surveycnn.run.stages import BandUnit, IngestBand, RunTile
from surveycnn.run.store import WorkStore, read_json, write_json
from surveycnn.run.unit_counts import UnitCounts
from surveycnn.run.worker import read_engine_note
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import band_notes


@dataclass
class Session:
    """One run of one plan; stages of different mosaics may be called from different threads."""

    plan: Plan
    store: WorkStore
    progress: Progress
    _stack: ExitStack = field(repr=False)
    accounting: Accounting = field(default_factory=Accounting)
    _lost: dict[str, list[Task]] = field(default_factory=dict)
    _cluster: Cluster | None = None
    _engine: str = ""
    _todo: dict[str, bytearray] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _units: UnitCounts = field(default_factory=UnitCounts, repr=False)

    @property
    def cluster(self) -> Cluster:
        """The cluster of the configuration, started when it is first needed."""
        with self._lock:
            if self._cluster is None:
                word, judge = self.plan.config.cluster, partial(small_worker, self.plan)
                opened = open_cluster(word, say=self.progress.message, judge=judge, logs=self.store.log_path)
                with self.accounting.stage(START_UP):
                    self._cluster = self._stack.enter_context(opened)
                self.accounting.workers = self._cluster.workers
                self.progress.watch(self._cluster.workers)
                self.progress.message(f"cluster {self._cluster.description}")
                check_memory(self.plan, self._cluster.memory_limit, self._cluster.n_threads)
                self._warm_up(self._cluster)
            return self._cluster

    def _warm_up(self, cluster: Cluster) -> None:
        largest = max(self.plan.mosaics, key=lambda mosaic: len(mosaic.models))
        if any(any(self.todo(mosaic)) for mosaic in self.plan.mosaics):
            cluster.warm_up(self.tile_function(largest).loader)
            if cluster.kind == "dask" and "hats" in self.plan.config.formats:
                # the driver has nothing else to do until the first tile is there
                Thread(target=load_writers, name="surveycnn-load-writers", daemon=True).start()

    @property
    def limits(self) -> LimitsConfig:
        """How long units may take."""
        return self.plan.config.limits

    def care(self, limit: float) -> dict[str, Any]:
        """Arguments of :func:`execute` that say what is done about units that hang for `limit` seconds and lost clusters."""
        return self.cluster.care(limit)

    def stop(self) -> None:
        """End the waiting of all threads of this run; whoever has interrupted it says why."""
        if self._cluster is not None:
            self._cluster.stop()

    def tile_function(self, mosaic: MosaicPlan) -> RunTile:
        """What is called with each work unit of `mosaic`."""
        # Several Dask workers share the cores of a machine; a run in this process has all of them.
        n_threads = self._cluster.n_threads if self._cluster and self._cluster.kind == "dask" else None
        return RunTile.of(self.plan, mosaic, self.store, n_threads)

    def performance(self) -> dict[str, Any]:
        """What has been spent since the plan was opened, or when tiles ran last; publishing again changes no byte of it."""
        report = self.accounting.report(self.plan, self.store.engine_path)
        if report["tiles"]:
            write_json(self.store.performance_path, report)
            return report
        return read_json(self.store.performance_path) or report

    def has_results(self) -> bool:
        """Whether a band has been ingested or a tile has run."""
        paths = (self.store.chunk_path(mosaic.id) for mosaic in self.plan.mosaics)
        return any(ChunkStore.open(path).finished_bands() for path in paths if path.exists())

    def prepare(self, tiles: bool = True) -> None:
        """Start the cluster where a band, or with `tiles` a tile, is left to be computed.

        Called in the thread that interrupts are raised in, before others want the cluster: a wait for workers may take long, and
        is to end with the run.
        """
        self.expect("ingest", *(("infer",) if tiles else ()))
        if self.has_work(tiles):
            _ = self.cluster

    def expect(self, *stages: str) -> None:
        """Report how many units `stages` will have over all mosaics, as far as is known before they begin."""
        for mosaic in self.plan.mosaics:
            path = self.store.chunk_path(mosaic.id)
            missing = len(set(mosaic.inputs.bands) - set(ChunkStore.open(path).finished_bands() if path.exists() else ()))
            # ids of tiles come from the pixels
            n_tiles = len(mosaic.grid) if missing or "infer" not in stages else sum(self.todo(mosaic))
            for stage, n_units in (("ingest", missing), ("infer", n_tiles)):
                if stage in stages:
                    self._units.set(stage, mosaic.id, n_units)
        for stage in stages:
            if self._units.totals[stage]:
                self.progress.expect(stage, self._units.totals[stage])

    def begin(self, stage: str, mosaic: MosaicPlan, n_units: int) -> None:
        """Report that the units of a mosaic begin."""
        n_more = self._units.begin(stage, mosaic.id, n_units)
        self.progress.expect(stage, self._units.totals[stage])
        if n_more:
            self.progress.add(stage, n_more)

    def advance(self, stage: str, mosaic: str) -> None:
        """Report that a unit of a mosaic has ended."""
        self._units.advance(stage, mosaic)
        self.progress.advance(stage)

    def has_work(self, tiles: bool = True) -> bool:
        """Whether a band, or with `tiles` a tile, is left to be computed."""
        for mosaic in self.plan.mosaics:
            path = self.store.chunk_path(mosaic.id)
            if not path.exists() or set(mosaic.inputs.bands) - set(ChunkStore.open(path).finished_bands()):
                return True
            if tiles and any(self.todo(mosaic)):
                return True
        return False

    def todo(self, mosaic: MosaicPlan) -> bytearray:
        """1 for each tile of `mosaic` without a valid result, 0 for the others; as it was before the session ran any."""
        if mosaic.id not in self._todo:
            store = self.store
            self._todo[mosaic.id] = bytearray(
                store.tile_record(unit.tile, unit.unit_id) is None for unit in self.plan.units(mosaic)
            )
        return self._todo[mosaic.id]

    def unfinished(self, mosaic: MosaicPlan) -> Iterator[WorkUnit]:
        """Work units of `mosaic` without a valid result now."""
        self._todo.pop(mosaic.id, None)
        return compress(self.plan.units(mosaic), self.todo(mosaic))

    def say_engine(self) -> None:
        """Report the engine, once it is known."""
        note = None if self._engine else read_engine_note(self.store.engine_path)
        if note:
            self._engine = note.description
            self.progress.message(f"engine {self._engine}")


@contextmanager
def open_session(
    config: SurveyConfig, *, fresh: bool = False, update: bool = False, progress: Progress | None = None
) -> Iterator[Session]:
    """Plan a run and hold its work directory; everything that can be refused without reading pixels is refused here.

    Parameters
    ----------
    fresh
        Forget what an earlier run has left in the work directory.
    update
        Keep of a run with another plan what does not depend on the changes, where it would be refused otherwise.

    Raises
    ------
    UserError
        Where an input, a setting, a model or the work directory cannot be used.
    """
    if fresh and update:
        raise ConfigError("--fresh (start over) and --update (keep what is still right) exclude each other: give one of them")
    progress, accounting = progress or Silent(), Accounting()
    with accounting.stage(START_UP):
        plan = check_run(config)
    store = WorkStore(config.work_path)
    is_new = not store.root.exists()
    with writing_into(store.root, alone=False), store.lock(), ExitStack() as stack:
        if fresh:
            store.clear()
        bind_plan(store, plan, update=update, say=progress.message)
        for note in plan.notes:
            progress.message(note)
        store.sweep()
        store.sweep_logs()
        session = Session(plan, store, progress, stack, accounting)
        try:
            yield session
            session.performance()
            store.sweep()
        except UserError:
            if is_new and not session.has_results():
                store.forget(config.output_path)
            raise


def ingest_mosaic(session: Session, mosaic: MosaicPlan) -> list[dict[str, Any]]:
    """Bring the images of one mosaic into its chunk store; bands that are complete are left alone.

    Returns
    -------
    Records of all bands: path, sha256, zero point, seconds, ...
    """
    inputs, core_px = mosaic.inputs, session.plan.config.tiling.core_px
    chunks = ChunkStore.create(session.store.chunk_path(mosaic.id), **mosaic.chunk_layout)
    planned = next(planned for planned in session.plan.config.mosaics if planned.id == mosaic.id)
    check_unchanged(session.store, planned, inputs, chunks)
    _write_sources(session, mosaic)
    done = chunks.finished_bands()
    # of many mosaics one may lack a band; where there is one alone, it is a mistake
    function = IngestBand(chunks.path, core_px, may_be_empty=len(session.plan.mosaics) > 1)
    units = [BandUnit(image, i, grid) for i, (image, grid) in enumerate(zip(inputs.images, inputs.grids, strict=True))]
    tasks = [Task(function, unit, str(session.store.root)) for unit in units if unit.image.band not in done]
    if tasks:
        session.begin("ingest", mosaic, len(tasks))
        with session.accounting.stage("ingest"):
            for outcome in _run(session, "ingest", mosaic, tasks):
                if outcome.state != "done":
                    image = outcome.task.unit.image
                    raise InputError(f"image {image.path!r} of mosaic {mosaic.id!r} cannot be ingested: {outcome.reason}")
        session.accounting.add_ingested(inputs.n_bytes * len(tasks) // len(units))
        session._todo.pop(mosaic.id, None)  # ids of tiles come from the pixels
    records = [chunks.band_record(band) or {} for band in inputs.bands]
    for note in (note for record in records for note in band_notes(record, mosaic.id)):
        session.progress.message(note)
    return records


def _write_sources(session: Session, mosaic: MosaicPlan) -> None:
    """Write the user's sources on a mosaic, where there are any and they are not there."""
    if session.plan.sources is not None:
        write_sources(session.store, mosaic.grid, session.plan.sources.on_mosaic(*placement(mosaic)))


def infer_mosaic(session: Session, mosaic: MosaicPlan) -> Counter[str]:
    """Run the tiles of one mosaic that have no valid result yet; returns how many ended in which state.

    Raises
    ------
    InputError
        Where the mosaic has not been ingested.
    """
    chunks = ChunkStore.open(session.store.chunk_path(mosaic.id))
    missing = [band for band in mosaic.inputs.bands if band not in chunks.finished_bands()]
    if missing:
        raise InputError(f"mosaic {mosaic.id!r} has not been ingested in {', '.join(missing)}: run the flow ingest, or survey")
    _write_sources(session, mosaic)
    with session.accounting.stage("infer"):
        return run_tiles(session, mosaic, lambda: session.tile_function(mosaic))


def run_tiles(session: Session, mosaic: MosaicPlan, make_function: Callable[[], Callable[[WorkUnit], Any]]) -> Counter[str]:
    """Run a function on the tiles of one mosaic that have no valid result; returns how many ended in which state.

    Parameters
    ----------
    make_function
        Makes the function once the cluster is there; it returns a :class:`surveycnn.run.stages.TileReport`.
    """
    todo = session.todo(mosaic)
    session._todo.pop(mosaic.id, None)  # after this it would not be true any more
    session._lost.pop(mosaic.id, None)  # a stage that is tried again has them among its tiles
    n_todo = sum(todo)
    if n_todo < len(todo):
        session.progress.message(f"mosaic {mosaic.id}: {len(todo) - n_todo} of {len(todo)} tiles are done already")
    session.begin("infer", mosaic, n_todo)
    if n_todo == 0:
        return Counter()
    cluster, function = session.cluster, make_function()
    folder, care = str(session.store.root), session.care(session.limits.tile_seconds)
    tasks = (Task(function, unit, folder) for unit in compress(session.plan.units(mosaic), todo))
    states: Counter[str] = Counter()
    for outcome in execute(cluster.executor, tasks, window=lambda: cluster.window, n_tasks=n_todo, **care):
        if not states:
            session.say_engine()
        states[_record(session, mosaic, outcome)] += 1
    return states


def settle_lost(session: Session) -> Counter[str]:
    """Run the tiles whose worker died, one at a time; call it when nothing else runs."""
    lost, session._lost = [task for tasks in session._lost.values() for task in tasks], {}
    states: Counter[str] = Counter()
    if lost:
        mosaics = {mosaic.id: mosaic for mosaic in session.plan.mosaics}
        with session.accounting.stage("infer"):
            care = session.care(session.limits.tile_seconds)
            for outcome in execute_alone(session.cluster.executor, lost, **care):
                states[_record(session, mosaics[outcome.task.unit.tile.mosaic], outcome)] += 1
    return states


def _run(session: Session, stage: str, mosaic: MosaicPlan, tasks: Iterable[Task]) -> Iterator[Outcome]:
    """Outcomes of tasks that are counted in the progress; those whose worker died are run again one by one at once.

    Tiles of other mosaics may run in the same workers meanwhile, and end them: so one death more is no proof either.
    """
    cluster, care = session.cluster, session.care(session.limits.ingest_seconds)
    lost = []
    for outcome in execute(cluster.executor, tasks, window=lambda: cluster.window, **care):
        if outcome.state == "lost":
            lost.append(outcome.task)
            continue
        session.advance(stage, mosaic.id)
        yield outcome
    for outcome in execute_alone(cluster.executor, lost, tries=ATTEMPTS, **care):
        session.advance(stage, mosaic.id)
        yield outcome


def _record(session: Session, mosaic: MosaicPlan, outcome: Outcome) -> str:
    """Note how a tile ended: failures in a file of their own, lost ones for later."""
    if outcome.state == "lost":
        session._lost.setdefault(mosaic.id, []).append(outcome.task)
        return outcome.state
    if outcome.state == "done":
        session.progress.found(outcome.result.n_sources)
        session.accounting.add_tile(mosaic, outcome.task.unit.tile, outcome.result.n_sources, outcome.result.seconds)
    if outcome.state in ("failed", "quarantined"):
        tile = outcome.task.unit.tile
        about = worker_failure(session.store.log_path, outcome.worker)
        session.store.write_failure(tile, outcome.state, outcome.reason, outcome.details, about)
        session.progress.failed(f"tile {tile.name} of mosaic {tile.mosaic} {outcome.state}: {outcome.reason}")
    session.advance("infer", mosaic.id)
    return outcome.state
