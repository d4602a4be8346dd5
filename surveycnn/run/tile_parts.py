"""What a tile's file holds that is still right when the plan has changed, and how the rest is added to it.

The rows of a tile, found and measured, stay while pixels and settings stay; columns and flags of each model come and go alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import xarray as xr

from surveycnn.catalogs.columns import FLAGS
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow
from surveycnn.run.plan import WorkUnit
from surveycnn.run.scoring import Columns
from surveycnn.run.store import TileRecord, WorkStore
from surveycnn.run.tile import all_flags


@dataclass(frozen=True)
class KeptTile:
    """The rows of a tile with the columns of those models that are as they were."""

    table: pa.Table
    record: TileRecord

    @property
    def source_columns(self) -> Columns:
        """Positions and fluxes, which models need."""
        names = [name for name in self.table.column_names if name in ("x", "y") or name.startswith("flux_")]
        return {name: arrow_to_numpy(self.table[name]) for name in names}


def read_kept(store: WorkStore, unit: WorkUnit, parts: Mapping[str, str]) -> KeptTile | None:
    """What of a tile's file can stay; None where its rows come from other pixels or settings, or cannot be read.

    Parameters
    ----------
    parts
        Part id of each model that is wanted, by task.
    """
    found = store.any_record(unit.tile)
    if found is None or found[1].rows_id != unit.rows_id:
        return None
    record = found[1]
    try:
        table = store.read_rows(unit.tile)
    except (OSError, pa.ArrowInvalid):
        return None
    gone = {task: part for task, part in record.models.items() if parts.get(task) != part.id}
    table = table.drop_columns([name for part in gone.values() for name in part.columns])
    return KeptTile(table, replace(record, models={task: part for task, part in record.models.items() if task not in gone}))


def completed(table: pa.Table, datasets: Iterable[xr.Dataset]) -> pa.Table:
    """`table` with the columns of models added, and with the flags of all that is in it."""
    for dataset in datasets:
        added = dataset_to_arrow(dataset)
        for field in added.schema:
            table = table.append_column(field, added[field.name])
    bits = {name: arrow_to_numpy(table[name]) for name in table.column_names if name.startswith(FLAGS)}
    place = table.column_names.index("flags")
    return table.set_column(place, table.schema.field(place), pa.array(all_flags(bits)))
