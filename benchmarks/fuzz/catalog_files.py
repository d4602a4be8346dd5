"""A small valid catalog in every format, for the kinds that mutate catalogs or query them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from surveycnn.catalogs import columns
from surveycnn.catalogs.coverage import Footprint, coverage_moc
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publish import publish
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.schema import Schema
from surveycnn.sky.wcs import read_wcs

N_ROWS = 60


def write_catalog(folder: Path) -> Path:
    """Publish made-up sources in and around (150, 2) degrees into `folder`."""
    from benchmarks.fuzz.images import NX, NY, header

    rng = np.random.default_rng(5)
    schema = columns.source_schema(["g", "r"]) + Schema([*columns.lens_columns(), *columns.photoz_columns(3)])
    values = {name: variable.empty(N_ROWS) for name, variable in schema.items()}
    for name, column in values.items():
        if column.dtype.kind == "f":
            values[name] = rng.normal(1, 0.5, column.shape).astype(column.dtype)
            values[name][rng.random(N_ROWS) < 0.05] = np.nan
    values |= {
        "ra": rng.uniform(149.5, 150.5, N_ROWS),
        "dec": rng.uniform(1.5, 2.5, N_ROWS),
        "source_id": rng.permutation(1000)[:N_ROWS].astype("i8"),
        "mosaic": rng.choice(np.array(["m1", "m2"], dtype=object), N_ROWS),
        "is_primary": rng.random(N_ROWS) < 0.9,
        "flags": rng.integers(0, 16, N_ROWS).astype("i4"),
        "pz_weight": rng.dirichlet(np.ones(3), N_ROWS).astype("f4"),
        "pz_sigma": np.abs(values["pz_sigma"]) + np.float32(0.01),
    }
    order = np.lexsort((values["source_id"], healpix_index(values["ra"], values["dec"])))
    table = dataset_to_arrow(schema.dataset({name: column[order] for name, column in values.items()}))
    coverage = coverage_moc([Footprint("m1", read_wcs(header()), NY, NX, ())])
    provenance = {"config": {"name": "fuzz", "work_dir": str(folder / "work")}, "run_digest": "0" * 64}
    return publish(table, folder, coverage=coverage, provenance=provenance, name="fuzz", partition_rows=25)
