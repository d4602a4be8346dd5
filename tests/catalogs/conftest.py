"""Tables and published catalogs of made-up sources, shared by the tests of the catalogs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surveycnn.catalogs import columns
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.schema import Schema

TableMaker = Callable[..., pa.Table]


def make_table(
    n_rows: int, *, seed: int = 0, ra: float = 352.0, dec: float = -31.0, size: float = 1.0, whole_sky: bool = False
) -> pa.Table:
    """Sorted rows with every kind of column, some of the floats NaN, in a square of `size` degrees or all over the sky."""
    rng = np.random.default_rng(seed)
    schema = columns.source_schema(["g", "r"]) + Schema([*columns.lens_columns(), *columns.photoz_columns(3)])
    values = {name: variable.empty(n_rows) for name, variable in schema.items()}
    for name, column in values.items():
        if column.dtype.kind == "f":
            values[name] = rng.normal(size=column.shape).astype(column.dtype)
            values[name][rng.random(n_rows) < 0.05] = np.nan
    if whole_sky:
        values["ra"], values["dec"] = rng.uniform(0, 360, n_rows), np.degrees(np.arcsin(rng.uniform(-1, 1, n_rows)))
    else:
        values["ra"], values["dec"] = ((centre + size * (rng.random(n_rows) - 0.5)) for centre in (ra, dec))
    values["ra"] %= 360
    values |= {
        "source_id": rng.permutation(10 * n_rows)[:n_rows].astype("i8"),
        "mosaic": rng.choice(np.array(["kids352", "m1"], dtype=object), n_rows),
        "is_primary": rng.random(n_rows) < 0.9,
        "flags": rng.integers(0, 16, n_rows).astype("i4"),
        "pz_weight": rng.dirichlet(np.ones(3), n_rows).astype("f4"),
        "pz_sigma": np.abs(values["pz_sigma"]),
    }
    order = np.lexsort((values["source_id"], healpix_index(values["ra"], values["dec"])))
    return dataset_to_arrow(schema.dataset({name: column[order] for name, column in values.items()}))


@pytest.fixture(scope="session")
def table_maker() -> TableMaker:
    return make_table


@pytest.fixture(scope="session")
def table() -> pa.Table:
    return make_table(1500)


@pytest.fixture(scope="session")
def published(table, tmp_path_factory) -> Path:
    """Folder of a catalog of `table` in several partitions; not to be changed."""
    return publish(table, tmp_path_factory.mktemp("catalog") / "kids", partition_rows=300, name="kids", provenance={"seed": 0})


@pytest.fixture(scope="session")
def sky_published(tmp_path_factory) -> tuple[pa.Table, Path]:
    """A table all over the sky, the poles and the meridian of zero included, and the folder of its catalog."""
    table = make_table(4000, seed=1, whole_sky=True)
    return table, publish(table, tmp_path_factory.mktemp("catalog") / "sky", partition_rows=500, formats=["hats"])
