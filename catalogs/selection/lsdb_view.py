"""A selection as a lazy lsdb catalog: partitions that it cannot touch are left out, its steps select from each of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.selection.limits import Sky
from surveycnn.catalogs.selection.steps import Step, limits_of, selected_rows

if TYPE_CHECKING:
    import lsdb
    import pandas as pd


def lazy_selection(
    opened: lsdb.Catalog, steps: Sequence[Step], schema: pa.Schema, sky: Sky, columns: Sequence[str]
) -> lsdb.Catalog:
    """The rows of an lsdb catalog, of its margin too, that pass steps, each of which looks at one row alone.

    Parameters
    ----------
    opened
        Catalog with the columns that the steps need.
    schema
        Types of the columns that the steps need.
    columns
        Columns of the result.
    """
    from mocpy import MOC

    for region in limits_of(steps).regions:
        ranges = np.array(region.healpix_ranges(), dtype=np.uint64).reshape(-1, 2)
        opened = opened.moc_search(MOC.from_depth29_ranges(29, ranges), fine=False)
    return opened.map_partitions(_selected, tuple(steps), schema, sky)[list(columns)]


def _selected(frame: pd.DataFrame, steps: tuple[Step, ...], schema: pa.Schema, sky: Sky) -> pd.DataFrame:
    table = pa.table([pa.array(frame[field.name]).cast(field.type) for field in schema], schema=schema)
    return frame.iloc[selected_rows(table, steps, sky)]
