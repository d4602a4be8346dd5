"""Publishes rows as a catalog: HATS collection, Zarr store, FITS table, coverage and provenance, verified, then swapped in.

The last step of a run. The sky is cut into pixels of about as many rows; each is merged, sorted and written by one call, on
whatever worker, and the other formats are made of these partitions, stretch by stretch: memory follows the pixel, not the
catalog. What is written here is read by `surveycnn.catalogs.query` and by anybody's lsdb, xarray and astropy.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import xarray as xr

from surveycnn.catalogs.formats.fits_table import fits_files
from surveycnn.catalogs.publishing.building import Builder, OldCatalog, Rows
from surveycnn.catalogs.publishing.merge import Spread, one_by_one
from surveycnn.catalogs.publishing.pieces import sha256_of
from surveycnn.catalogs.publishing.swap import finish, replace_entries
from surveycnn.catalogs.publishing.table_rows import TableRows
from surveycnn.catalogs.selection.moc_region import coverage_name
from surveycnn.catalogs.source import COVERAGE, FITS, HATS, PROVENANCE, REPORT, ZARR
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.errors import ConfigError, without_secrets
from surveycnn.full_disk import writing_into

if TYPE_CHECKING:
    from mocpy import MOC

FORMATS = ("hats", "zarr", "fits")
MANAGED = (HATS, ZARR, FITS, COVERAGE, PROVENANCE, REPORT)
"""Every name in the output folder that belongs to the catalog; the rest of the folder is not ours to touch."""
MAX_PARTITION_ROWS = 1_000_000
PARTITION_BYTES = 1 << 27
"""Of the rows of a partition in memory, where that comes to fewer rows: whoever writes one needs about three times as much."""


@dataclass(frozen=True)
class Published:
    """A catalog that has been published."""

    path: Path
    n_rows: int
    n_primary: int


def publish(
    table: pa.Table | xr.Dataset,
    out_dir: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    coverage: MOC | None = None,
    provenance: Mapping[str, object] | None = None,
    name: str = "catalog",
    partition_rows: int | None = None,
) -> Path:
    """Write a table as a catalog; see :func:`publish_rows`.

    Parameters
    ----------
    table
        Rows sorted by HEALPix order-29 index, then source_id, as :func:`.merge.merge_tiles` gives them.

    Returns
    -------
    Folder of the catalog.

    Raises
    ------
    SchemaError
        For rows that are not sorted or not unique.
    """
    _check_formats(formats)
    rows = TableRows(table if isinstance(table, pa.Table) else dataset_to_arrow(table))
    options: dict[str, Any] = {"formats": formats, "coverage": coverage, "provenance": provenance, "name": name}
    return publish_rows(rows, out_dir, partition_rows=partition_rows, **options).path


def publish_rows(
    rows: Rows,
    out_dir: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    coverage: MOC | None = None,
    model_coverages: Mapping[str, MOC] | None = None,
    provenance: Mapping[str, object] | None = None,
    name: str = "catalog",
    partition_rows: int | None = None,
    spread: Spread = one_by_one,
) -> Published:
    """Write the catalog in `formats` and let it replace the one in `out_dir` at the end, or leave that one as it was.

    Partitions of the old catalog that would come out the same are taken over.

    Parameters
    ----------
    out_dir
        Folder of the catalog; other things in it stay.
    coverage
        Sky that was searched, for coverage.fits.
    model_coverages
        Sky that each model has looked at, by its name, for coverage_<name>.fits.
    provenance
        What the run knows about itself; rows, columns and digests of the files are added. Equal contents give equal bytes.
    name
        Name that the HATS collection carries.
    partition_rows
        Largest number of rows of a HATS partition; by default a million, or as many as come to :data:`PARTITION_BYTES`.
    spread
        Makes the calls that write a piece each, perhaps on other machines, which see the same folders.

    Raises
    ------
    ConfigError
        For a format that does not exist.
    SurveyCNNError
        Where what was written is not what it should be.
    StorageError
        Where nothing can be written there any more, for instance because the disk is full.
    """
    _check_formats(formats)
    out_dir = Path(out_dir)
    limit = partition_rows or max(1, min(MAX_PARTITION_ROWS, PARTITION_BYTES // max(row_bytes(rows.schema), 1)))
    finish(out_dir)
    old = OldCatalog.of(out_dir)
    with writing_into(out_dir), replace_entries(out_dir, (*MANAGED, *old.entries)) as staging:
        builder = Builder(rows, staging, old, name, limit, spread)
        builder.write_partitions()
        if "zarr" in formats:
            builder.write_zarr()
        if "fits" in formats:
            builder.write_fits()
        if "hats" in formats:
            builder.write_collection()
        builder.check_conserved()
        if "hats" not in formats:
            shutil.rmtree(staging / HATS, ignore_errors=True)  # not there without rows
        for file, moc in _coverage_files(coverage, model_coverages or {}):
            moc.save(staging / file, format="fits")
        _write_provenance(builder, formats, provenance or {})
    return Published(out_dir, rows.n_rows, builder.n_primary)


def row_bytes(schema: pa.Schema) -> int:
    """Bytes of a row in memory, texts counted as ids of mosaics are."""
    total = 0
    for one in schema:
        kind, n_values = one.type, 1
        if pa.types.is_fixed_size_list(kind):
            kind, n_values = kind.value_type, kind.list_size
        total += n_values * (16 if pa.types.is_string(kind) else max(kind.bit_width // 8, 1))
    return total


def load_writers() -> None:
    """Import what a catalog is written with, which takes hats some seconds, ahead of its use."""
    with contextlib.suppress(ImportError):  # said again, and seen, where it is used
        importlib.import_module("surveycnn.catalogs.publishing.hats_writer")


def _coverage_files(coverage: MOC | None, by_model: Mapping[str, MOC]) -> Iterator[tuple[str, MOC]]:
    if coverage is not None:
        yield COVERAGE, coverage
    for model, moc in by_model.items():
        yield coverage_name(model), moc


def _check_formats(formats: Sequence[str]) -> None:
    unknown = [kind for kind in formats if kind not in FORMATS]
    if unknown or not formats:
        raise ConfigError(f"formats are {list(formats)!r}, known are {list(FORMATS)}: give at least one of these")


def _write_provenance(builder: Builder, formats: Sequence[str], provenance: Mapping[str, object]) -> None:
    files = file_digests(builder.folder, builder.spread)
    catalog = {
        "name": builder.name,
        "rows": builder.rows.n_rows,
        "columns": builder.rows.schema.names,
        "formats": [kind for kind in FORMATS if kind in formats],
        "files": files,
        "made_from": {file: digest for file, digest in builder.made_from.items() if file in files},
    }
    text = json.dumps({**provenance, "catalog": catalog}, indent=2, sort_keys=True, default=str, allow_nan=False)
    (builder.folder / PROVENANCE).write_text(without_secrets(text) + "\n")


def file_digests(folder: Path, spread: Spread = one_by_one) -> dict[str, str]:
    """SHA-256 of each file of the catalog in `folder`, but provenance and report, by path relative to it."""
    files: list[Path] = []
    for entry in (folder / HATS, folder / ZARR, *fits_files(folder), *sorted(folder.glob("coverage*.fits"))):
        files += sorted(path for path in entry.rglob("*") if path.is_file()) if entry.is_dir() else [entry] * entry.is_file()
    found = {path: path.stat() for path in files}
    by_inode = {(status.st_dev, status.st_ino): path for path, status in found.items()}  # cubes of Zarr are links
    digests = dict(zip(by_inode, spread(sha256_of, by_inode.values()), strict=True))
    return {path.relative_to(folder).as_posix(): digests[status.st_dev, status.st_ino] for path, status in sorted(found.items())}
