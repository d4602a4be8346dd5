"""Publishes a table as a catalog: HATS collection, Zarr store, FITS table, coverage and provenance, verified, then swapped in.

The last step of a run. What is written here is read by `surveycnn.catalogs.query` and by anybody's lsdb, xarray and astropy.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import xarray as xr

from surveycnn.catalogs.formats import write_fits, write_zarr
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.source import COVERAGE, FITS, HATS, PROVENANCE, REPORT, ZARR, count_rows, open_sources
from surveycnn.catalogs.swap import replace_entries
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.errors import ConfigError, SchemaError, SurveyCNNError, without_secrets
from surveycnn.full_disk import writing_into

if TYPE_CHECKING:
    from mocpy import MOC

FORMATS = ("hats", "zarr", "fits")
MANAGED = (HATS, ZARR, FITS, COVERAGE, PROVENANCE, REPORT)
"""Every name in the output folder that belongs to the catalog; the rest of the folder is not ours to touch."""
PARTITION_ROWS = 1_000_000


def publish(
    table: pa.Table | xr.Dataset,
    out_dir: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    coverage: MOC | None = None,
    provenance: Mapping[str, object] | None = None,
    name: str = "catalog",
    partition_rows: int = PARTITION_ROWS,
) -> Path:
    """Write the catalog in `formats` and let it replace the one in `out_dir` at the end, or leave that one as it was.

    Parameters
    ----------
    table
        Rows sorted by HEALPix order-29 index, then source_id, as :func:`surveycnn.catalogs.merge.merge_tiles` gives them.
    out_dir
        Folder of the catalog; other things in it stay.
    coverage
        Sky that was searched, for coverage.fits.
    provenance
        What the run knows about itself; rows, columns and digests of the files are added. Equal contents give equal bytes.
    name
        Name that the HATS collection carries.
    partition_rows
        Largest number of rows of a HATS partition.

    Returns
    -------
    Folder of the catalog.

    Raises
    ------
    ConfigError
        For a format that does not exist.
    SchemaError
        For rows that are not sorted or not unique.
    StorageError
        Where nothing can be written there any more, for instance because the disk is full.
    """
    unknown = [kind for kind in formats if kind not in FORMATS]
    if unknown or not formats:
        raise ConfigError(f"formats are {list(formats)!r}, known are {list(FORMATS)}: give at least one of these")
    table = table if isinstance(table, pa.Table) else dataset_to_arrow(table)
    _check_rows(table)
    out_dir = Path(out_dir)
    with writing_into(out_dir), replace_entries(out_dir, MANAGED) as staging:
        _write_formats(table, staging, formats, name, partition_rows)
        _check_conserved(staging, table)
        if coverage is not None:
            coverage.save(staging / COVERAGE, format="fits")
        _write_provenance(staging, table, formats, name, provenance or {})
    return out_dir


def load_writers() -> None:
    """Import what a catalog is written with, which takes hats some seconds, ahead of its use."""
    with contextlib.suppress(ImportError):  # said again, and seen, where it is used
        importlib.import_module("surveycnn.catalogs.hats_writer")


def _check_rows(table: pa.Table) -> None:
    """Raise SchemaError unless rows are sorted by position and source_id, and source_id is unique."""
    missing = [column for column in ("source_id", "ra", "dec") if column not in table.column_names]
    if missing:
        raise SchemaError(f"columns {missing} are missing: a catalog needs source_id, ra and dec")
    source_id = table["source_id"].to_numpy()
    unique, counts = np.unique(source_id, return_counts=True)
    if len(unique) < len(source_id):
        raise SchemaError(f"source_id is not unique, for instance {unique[counts > 1][:3].tolist()}")
    index = healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy())
    steps = np.diff(index)
    if np.any(steps < 0) or np.any((steps == 0) & (np.diff(source_id) < 0)):
        raise SchemaError("rows are not sorted by HEALPix order-29 index and source_id: merge or sort them first")


def _write_formats(table: pa.Table, staging: Path, formats: Sequence[str], name: str, partition_rows: int) -> None:
    if "hats" in formats:
        # hats takes seconds to import and serves nothing else
        from surveycnn.catalogs.hats_writer import write_hats

        write_hats(table, staging / HATS, name=name, partition_rows=partition_rows)
    if "zarr" in formats:
        write_zarr(table, staging / ZARR, {"name": name})
    if "fits" in formats:
        write_fits(table, staging / FITS)


def _check_conserved(folder: Path, table: pa.Table) -> None:
    """Raise unless every format that was written holds the rows of `table`, each once, when read back."""
    for kind, n_found in count_rows(folder).items():
        if n_found != table.num_rows:
            raise SurveyCNNError(
                f"{kind} of the catalog has {n_found} rows when read back, expected {table.num_rows}: nothing is published"
            )
    expected = table["source_id"].to_numpy()
    for kind, source in open_sources(folder).items():
        found = np.concatenate([part["source_id"].to_numpy() for part in source.scan(["source_id"], None)] or [expected[:0]])
        if not np.array_equal(found, expected):
            n_lost = np.setdiff1d(expected, found).size
            raise SurveyCNNError(
                f"{kind} of the catalog has other rows when read back, {n_lost} of {len(expected)} are lost: nothing is published"
            )


def _write_provenance(
    staging: Path, table: pa.Table, formats: Sequence[str], name: str, provenance: Mapping[str, object]
) -> None:
    catalog = {
        "name": name,
        "rows": table.num_rows,
        "columns": table.column_names,
        "formats": [kind for kind in FORMATS if kind in formats],
        "files": file_digests(staging),
    }
    text = json.dumps({**provenance, "catalog": catalog}, indent=2, sort_keys=True, default=str, allow_nan=False)
    (staging / PROVENANCE).write_text(without_secrets(text) + "\n")


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the catalog in `folder`, but provenance and report, by path relative to it."""
    digests = {}
    for entry in (folder / name for name in (HATS, ZARR, FITS, COVERAGE)):
        files = (
            sorted(path for path in entry.rglob("*") if path.is_file()) if entry.is_dir() else [entry] if entry.is_file() else []
        )
        for path in files:
            with path.open("rb") as stream:
                digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests
