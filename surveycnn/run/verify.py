"""Checks a published catalog against its work directory: tiles computed again must give the rows that are there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import xarray as xr

from surveycnn.catalogs.tables import arrow_to_dataset
from surveycnn.errors import CatalogError
from surveycnn.run.changes import changes_since
from surveycnn.run.plan import MosaicPlan, Plan, WorkUnit, make_plan
from surveycnn.run.resume import planned_config
from surveycnn.run.stages import RunTile, StepClock
from surveycnn.run.store import WorkStore, read_json

RELATIVE_TOLERANCE = 1e-3
"""Of a number computed again, perhaps by another engine or on another machine."""


def recompute_tiles(catalog: str | Path, n_tiles: int, seed: int = 0) -> list[str]:
    """Findings of `n_tiles` finished tiles, drawn at random and computed again from the chunk store; empty when all agree.

    Raises
    ------
    CatalogError
        Where the work directory of the catalog is gone.
    """
    provenance = read_json(Path(catalog) / "provenance.json")
    if provenance is None:
        raise CatalogError(f"{str(catalog)!r} has no provenance.json: it is not the output of a run")
    store = WorkStore(Path(provenance["config"]["work_dir"]))
    if not store.plan_path.exists():
        raise CatalogError(f"the work directory {str(store.root)!r} of this catalog is gone: its tiles cannot be computed again")
    plan, record = make_plan(planned_config(store)), read_json(store.plan_path) or {}
    if record.get("digest") == provenance["run_digest"] != plan.digest:
        raise CatalogError(
            f"inputs or models have changed since this catalog was made ({changes_since(record, plan)}): its tiles cannot be "
            "computed again: bring back what was there, or run the survey anew"
        )
    if plan.digest != provenance["run_digest"]:
        raise CatalogError(f"the work directory {str(store.root)!r} now belongs to another run: its tiles cannot be compared")
    done = [(m, u) for m in plan.mosaics for u in plan.units(m) if store.tile_record(u.tile, u.unit_id) is not None]
    drawn = random.Random(seed).sample(done, min(n_tiles, len(done)))
    return [finding for mosaic, unit in drawn for finding in _compare(plan, store, mosaic, unit)]


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
