"""A small valid catalog in every format, for the kinds that mutate catalogs or query them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.catalogs import columns
from surveycnn.catalogs.coverage import Footprint, coverage_moc
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.schema import Schema
from surveycnn.sky.wcs import read_wcs
from surveycnn.sources.identity import PIXEL_BITS, mosaic_key

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
        "mosaic": rng.choice(np.array(["m1", "m2"], dtype=object), N_ROWS),
        "is_primary": rng.random(N_ROWS) < 0.9,
        "flags": rng.integers(0, 16, N_ROWS).astype("i4"),
        "pz_weight": rng.dirichlet(np.ones(3), N_ROWS).astype("f4"),
        "pz_sigma": np.abs(values["pz_sigma"]) + np.float32(0.01),
    }
    keys = np.array([mosaic_key(mosaic) for mosaic in values["mosaic"]], dtype="i8")
    values["source_id"] = (keys << PIXEL_BITS) + rng.permutation(1000)[:N_ROWS]
    order = np.lexsort((values["source_id"], healpix_index(values["ra"], values["dec"])))
    table = dataset_to_arrow(schema.dataset({name: column[order] for name, column in values.items()}))
    coverage = coverage_moc([Footprint("m1", read_wcs(header()), NY, NX, ())])
    return publish(table, folder, coverage=coverage, provenance=_provenance(folder), name="fuzz", partition_rows=25)


def _provenance(folder: Path) -> dict[str, Any]:
    """What a run records, as far as something reads it."""
    mosaics, digest = ("m1", "m2"), "0" * 64
    grid = {"ny": 40, "nx": 30, "core_px": 32, "halo_px": 8}
    planned = [{"id": name, "images": [{"band": "g", "path": f"{name}.fits", "weight": "w.fits"}]} for name in mosaics]
    model = {"task": "lens", "version": "1", "digest": digest, "reference": "of-somebody", "prior": 0.001}
    return {
        "config": {"name": "fuzz", "work_dir": str(folder / "work"), "mosaics": planned},
        "run_digest": digest,
        "versions": {"surveycnn": "0"},
        "mosaics": dict.fromkeys(mosaics, grid),
        "inputs": dict.fromkeys(mosaics, {"g": {"zeropoint": 27.0, "digests": {"image": digest, "weight": digest}}}),
        "models": {"lens": model | {"sha256": {}}},
        "skipped_models": {"m2": {}},
    }
