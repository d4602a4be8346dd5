"""Checks a published catalog against where it came from: tiles computed again give its rows, models and images are the same."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from surveycnn.catalogs.formats.reading import reading
from surveycnn.catalogs.source import PROVENANCE
from surveycnn.catalogs.tables import arrow_to_dataset
from surveycnn.errors import CatalogError, ModelError
from surveycnn.models.package import find_card, package_folder
from surveycnn.paths import split_path
from surveycnn.run.changes import changes_since
from surveycnn.run.plan import MosaicPlan, Plan, WorkUnit, make_plan
from surveycnn.run.resume import planned_config
from surveycnn.run.stages import RunTile, StepClock
from surveycnn.run.store import WorkStore, read_json
from surveycnn.sky.files import file_sha256, file_stamp

RELATIVE_TOLERANCE = 1e-3
"""Of a number computed again, perhaps by another engine or on another machine."""


def recompute_tiles(catalog: str | Path, n_tiles: int, seed: int = 0) -> list[str]:
    """Findings of `n_tiles` finished tiles, drawn at random and computed again from the chunk store, and of the images of their
    mosaics, whose digests are compared where they are local and still there; empty when all agree.

    Raises
    ------
    CatalogError
        Where the work directory of the catalog is gone.
    """
    provenance = read_json(Path(catalog) / PROVENANCE)
    if provenance is None:
        raise CatalogError(f"{str(catalog)!r} has no provenance.json: it is not the output of a run")
    with reading(Path(catalog) / PROVENANCE):
        store, digest = WorkStore(Path(provenance["config"]["work_dir"])), str(provenance["run_digest"])
    if not store.plan_path.exists():
        raise CatalogError(f"the work directory {str(store.root)!r} of this catalog is gone: its tiles cannot be computed again")
    plan, record = make_plan(planned_config(store)), store.read_plan() or {}
    if record.get("digest") == digest != plan.digest:
        raise CatalogError(
            f"inputs or models have changed since this catalog was made ({changes_since(record, plan)}): its tiles cannot be "
            "computed again: bring back what was there, or run the survey anew"
        )
    if plan.digest != digest:
        raise CatalogError(f"the work directory {str(store.root)!r} now belongs to another run: its tiles cannot be compared")
    done = [(m, u) for m in plan.mosaics for u in plan.units(m) if store.tile_record(u.tile, u.unit_id) is not None]
    drawn = random.Random(seed).sample(done, min(n_tiles, len(done)))
    findings = [finding for name in sorted({mosaic.id for mosaic, _ in drawn}) for finding in check_inputs(provenance, name)]
    return findings + [finding for mosaic, unit in drawn for finding in _compare(plan, store, mosaic, unit)]


def check_models(catalog: str | Path) -> list[str]:
    """Findings of the model packages at hand that are not those of the catalog; those that are not at hand are left out."""
    findings = []
    with reading(Path(catalog) / PROVENANCE):
        records = ((read_json(Path(catalog) / PROVENANCE) or {}).get("models") or {}).items()
        used = [(name, str(record["reference"]), dict(record["sha256"]), record.get("digest")) for name, record in records]
    for name, reference, digests, of_card in used:
        try:
            card, folder = find_card(reference), package_folder(reference)
        except ModelError:
            continue
        for file, digest in sorted(digests.items()):
            found = file_sha256(str(folder / file)) if (folder / file).is_file() else None
            if found != digest:
                findings.append(f"model {name!r}: {file} {_is_not(found, digest)}")
        if of_card not in (None, card.digest):
            findings.append(f"model {name!r}: its card is another one than the catalog was made with")
    return findings


def check_tile_rows(catalog: str | Path) -> list[str]:
    """Findings of the tile files that the rows come from, where the work directory is there and still belongs to that run."""
    provenance = read_json(Path(catalog) / PROVENANCE) or {}
    if not {"config", "catalog", "run_digest"} <= provenance.keys():
        return []
    with reading(Path(catalog) / PROVENANCE):
        store, n_published = WorkStore(Path(provenance["config"]["work_dir"])), operator.index(provenance["catalog"]["rows"])
    if (store.read_plan() or {}).get("digest") != provenance["run_digest"]:
        return []
    findings, n_rows = [], 0
    for path in sorted((store.root / "tiles").glob("*/[!.]*.parquet")):
        try:
            n_rows += pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException):
            findings.append(f"tile file {str(path)!r} is damaged: run the survey again, which computes it anew")
    if not findings and n_rows != n_published:
        findings.append(
            f"the tile files in {str(store.root)!r} hold {n_rows} rows, the catalog {n_published}: run the survey again"
        )
    return findings


def check_inputs(provenance: dict[str, Any], mosaic: str) -> Iterator[str]:
    """Findings of the local files of a mosaic; what has been removed or is remote is left out."""
    with reading(Path(PROVENANCE)):
        images = next(entry["images"] for entry in provenance["config"]["mosaics"] if entry["id"] == mosaic)
        files = [
            (split_path(image["path" if kind == "image" else kind])[0], str(digest))
            for image in images
            for kind, digest in ((provenance["inputs"][mosaic].get(image["band"])) or {}).get("digests", {}).items()
        ]
    for file, digest in files:
        found = None if file_stamp(file) is None else file_sha256(file)
        if found not in (None, digest):
            yield f"mosaic {mosaic!r}: file {file!r} {_is_not(found, digest)}"


def _is_not(found: str | None, digest: str) -> str:
    has = "is missing" if found is None else f"has sha256 {found[:12]}..."
    return f"{has}, the catalog was made with {digest[:12]}..."


def _compare(plan: Plan, store: WorkStore, mosaic: MosaicPlan, unit: WorkUnit) -> Iterator[str]:
    again = RunTile.of(plan, mosaic, store).rows(unit.tile, StepClock()).rows
    stored = arrow_to_dataset(pq.read_table(store.tile_path(unit.tile), partitioning=None))
    for finding in differences(stored, again):
        yield f"tile {unit.tile.name} of mosaic {mosaic.id}: {finding}"


def differences(stored: xr.Dataset, again: xr.Dataset) -> Iterator[str]:
    """What differs between two datasets of a tile's rows by more than the tolerance."""
    if not np.array_equal(stored["source_id"], again["source_id"]):
        n_lost = np.setdiff1d(stored["source_id"], again["source_id"]).size
        n_new = np.setdiff1d(again["source_id"], stored["source_id"]).size
        yield f"computed again, {n_lost} sources are missing and {n_new} are new"
        return
    for name in stored.data_vars:
        old, new = stored[name].values, again[name].values
        if old.dtype.kind == "f":
            same = np.isclose(old, new, rtol=RELATIVE_TOLERANCE, atol=RELATIVE_TOLERANCE, equal_nan=True)
        else:
            same = old == new
        if not same.all():
            yield f"computed again, {int((~same).sum())} values of {name} differ"
