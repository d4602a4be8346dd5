"""Going on with a run whose plan has changed: what can stay stays, what depends on the change is done again.

A tile's file says by its ids whether it is right (:mod:`surveycnn.run.units`), whatever happens on the way; here is found out
beforehand what there will be to do, and what nobody needs any more is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from surveycnn.run.changes import all_changes, changed_files, first_few
from surveycnn.run.plan import MosaicPlan, Plan
from surveycnn.run.store import WorkStore
from surveycnn.sky.chunks import ChunkStore


@dataclass
class Update:
    """What another plan changes in a work directory."""

    changes: list[str] = field(default_factory=list)
    """One text for each difference between the plans."""
    files: list[str] = field(default_factory=list)
    """Input files with other bytes than are in the chunk store."""
    suspects: list[str] = field(default_factory=list)
    """Input files of another size or time than they had; nobody has read them."""
    removed: list[str] = field(default_factory=list)
    """Mosaics that are not in the plan any more: their pixels and tiles go."""
    anew: list[str] = field(default_factory=list)
    """Mosaics whose chunk store cannot stay, as its shape, bands, grid or shards are others, or it is of another version."""
    bands: dict[str, list[str]] = field(default_factory=dict)
    """Bands to ingest, by mosaic."""
    tiles: Counter[str] = field(default_factory=Counter)
    """Tiles that run ``whole``, for some ``models`` alone, that only lose ``columns``, and that are ``kept``."""
    models: Counter[str] = field(default_factory=Counter)
    """Tiles that run for a model alone, by its name."""

    @property
    def n_bands(self) -> int:
        return sum(map(len, self.bands.values()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "changes": self.changes,
            "changed_files": self.files,
            "suspect_files": self.suspects,
            "mosaics_removed": self.removed,
            "bands": self.n_bands,
            "tiles": {kind: self.tiles[kind] for kind in ("whole", "models", "columns", "kept")},
            "models": dict(self.models),
        }

    def lines(self) -> list[str]:
        """What has changed, and what there is to do."""
        return [f"since the work directory was made: {first_few(self._texts())}", f"an update takes: {self.to_do()}"]

    def _texts(self) -> list[str]:
        found = [f"file {path} has other bytes than were ingested" for path in self.files]
        suspects = [f"file {path} has another size or time than it had: --update reads it again" for path in self.suspects]
        return self.changes + found + suspects

    def to_do(self) -> str:
        """What there is to do, in a line."""
        parts = [f"ingest of {_counted(self.n_bands, 'band')}"] if self.n_bands else []
        parts += [f"{_counted(self.tiles['whole'], 'tile')} to run"] if self.tiles["whole"] else []
        parts += [f"{_counted(n, 'tile')} for model {name} alone" for name, n in self.models.items()]
        parts += [f"the loss of columns of {_counted(self.tiles['columns'], 'tile')}"] if self.tiles["columns"] else []
        parts += [f"{_counted(self.tiles['kept'], 'tile')} as before"] if self.tiles["kept"] else []
        return ", ".join(parts + [f"mosaic {name} gone with its tiles" for name in self.removed])


def _counted(n: int, word: str) -> str:
    """A number of things.

    >>> _counted(1, "band"), _counted(20, "tile")
    ('1 band', '20 tiles')
    """
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def find_update(store: WorkStore, plan: Plan, *, is_read: bool = True) -> Update | None:
    """What `plan` changes in a work directory; None where nothing, or where there is no run yet.

    Parameters
    ----------
    is_read
        Read input files whose size or time is another than it was; if not, they count as changed.
    """
    record = store.read_plan()
    if record is None or not {"digest", "fingerprint"} <= record.keys():
        return None
    update = Update(all_changes(record, plan))
    planned = {mosaic.id for mosaic in plan.mosaics}
    update.removed += sorted(set(record["fingerprint"]["mosaics"]) - planned)
    for mosaic in plan.mosaics:
        _look_at_pixels(update, store, record, plan, mosaic, is_read)
    if not (update.changes or update.files or update.suspects):
        return None
    for mosaic in plan.mosaics:
        _count_tiles(update, store, plan, mosaic)
    return update


def _look_at_pixels(
    update: Update, store: WorkStore, record: Mapping[str, Any], plan: Plan, mosaic: MosaicPlan, is_read: bool
) -> None:
    """Note which bands of a mosaic have to be ingested, as they are not there or come from something else."""
    path = store.chunk_path(mosaic.id)
    old, new = record["fingerprint"], plan.fingerprint
    if path.exists() and (
        old["version"] != new["version"]
        or mosaic.id not in old["mosaics"]
        or not ChunkStore.is_made_with(path, **mosaic.chunk_layout)
    ):
        update.anew.append(mosaic.id)
    if not path.exists() or mosaic.id in update.anew:
        update.bands[mosaic.id] = list(mosaic.inputs.bands)
        return
    chunks = ChunkStore.open(path)
    was, is_now = (_by_band(tree["mosaics"][mosaic.id]) for tree in (old, new))
    changed = dict(changed_files(record.get("file_stamps", {}), mosaic.inputs, chunks, is_read=is_read))
    (update.files if is_read else update.suspects).extend(sorted(set(changed.values())))
    finished = chunks.finished_bands()
    bands = [band for band in is_now if band in changed or band not in finished or was.get(band) != is_now[band]]
    update.bands |= {mosaic.id: bands} if bands else {}


def _by_band(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What each band of a mosaic is read from, as of :meth:`surveycnn.run.inputs.MosaicInputs.fingerprint`."""
    pairs = zip(fingerprint["images"], fingerprint["grids"], strict=True)
    return {image["band"]: [image, grid] for image, grid in pairs}


def _count_tiles(update: Update, store: WorkStore, plan: Plan, mosaic: MosaicPlan) -> None:
    """Count the tiles of a mosaic by what they need."""
    if mosaic.id in update.bands:  # their ids are not known before
        update.tiles["whole"] += len(mosaic.grid)
        return
    parts = {model: model.part_id(plan.config.engine.precision) for model in mosaic.models}
    for unit in plan.units(mosaic):
        found = store.any_record(unit.tile)
        if found is None or found[1].rows_id != unit.rows_id:
            update.tiles["whole"] += 1
            continue
        there = {task: part.id for task, part in found[1].models.items()}
        missing = [model.name for model, part in parts.items() if there.get(model.task) != part]
        update.models.update(missing)
        update.tiles["models" if missing else "kept" if found[0] == unit.unit_id else "columns"] += 1


def clear_outdated(store: WorkStore, plan: Plan, update: Update) -> None:
    """Remove what the new plan has no use for; the work directory stays one of the old plan until that is written."""
    record = store.read_plan() or {"fingerprint": {"mosaics": {}}}
    store.discard(store.root / "sources", store.root / "failures")
    store.discard(*(path for name in update.removed for path in (store.chunk_path(name), store.tiles_path(name))))
    store.discard(*(store.chunk_path(name) for name in update.anew))
    store.discard(*(store.tiles_path(name) for name in _cut_otherwise(record["fingerprint"], plan)))
    for name, bands in update.bands.items():
        if store.chunk_path(name).exists():
            chunks = ChunkStore.open(store.chunk_path(name), mode="r+")
            for band in bands:
                chunks.remove_record(band)


def _cut_otherwise(old: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Mosaics whose tiles have other cores than before, so that some files would be those of no tile."""
    for mosaic in plan.mosaics:
        was = old["mosaics"].get(mosaic.id)
        same = was and was["shape"] == [mosaic.inputs.ny, mosaic.inputs.nx]
        if was and not (same and old["tiling"]["core_px"] == plan.config.tiling.core_px):
            yield mosaic.id
