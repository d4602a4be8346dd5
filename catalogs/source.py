"""Where the rows of a published catalog are read from: HATS partitions, or the Zarr store or FITS table where there are none.

A source gives its columns without reading rows, and its rows in the order of the catalog, only the columns and the sky asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from surveycnn.catalogs import formats
from surveycnn.catalogs.columns import HEALPIX_COLUMN
from surveycnn.catalogs.file_source import FileSource
from surveycnn.catalogs.healpix import pixel_range
from surveycnn.catalogs.reading import reading
from surveycnn.catalogs.regions import Region
from surveycnn.errors import CatalogError

HATS, ZARR, FITS = "hats", "catalog.zarr", "catalog.fits"
COVERAGE, PROVENANCE, REPORT = "coverage.fits", "provenance.json", "report.html"
HATS_MAIN = "sources"
"""Folder of the rows inside the HATS collection."""

_PARTITION = re.compile(r".*/Norder=(\d+)/Dir=\d+/Npix=(\d+)\.parquet")


class Source(Protocol):
    """Columns and rows of a catalog."""

    schema: pa.Schema
    """Columns of the catalog with their metadata; the HEALPix index of HATS is not among them."""

    def count(self) -> int:
        """Number of rows, without reading them."""

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        """Tables of `columns`, in the order of the catalog; rows outside of `region` may be left out, those inside not."""


@dataclass(frozen=True)
class Partition:
    """A Parquet file of the HATS collection and the half-open range of order-29 indices of its pixel."""

    path: Path
    start: int
    stop: int


def hats_partitions(hats_dir: Path) -> list[Partition]:
    """Partitions of a collection in the order of the rows."""
    found = []
    for path in (hats_dir / HATS_MAIN / "dataset").glob("Norder=*/Dir=*/Npix=*.parquet"):
        match = _PARTITION.fullmatch(path.as_posix())
        if match is not None:
            found.append(Partition(path, *pixel_range(int(match[1]), int(match[2]))))
    return sorted(found, key=lambda partition: partition.start)


class HatsSource:
    """Rows of a HATS collection."""

    def __init__(self, hats_dir: Path):
        self.hats_dir = hats_dir
        self._schema_path = hats_dir / HATS_MAIN / "dataset" / "_common_metadata"
        with reading(self._schema_path):
            self._partitions = hats_partitions(hats_dir)
            self._stored, self._identity = pq.read_schema(self._schema_path), _identity(self._schema_path)
        self.schema = pa.schema([field for field in self._stored if field.name != HEALPIX_COLUMN])

    def count(self) -> int:
        with reading(self.hats_dir):
            return sum(pq.read_metadata(partition.path).num_rows for partition in self._partitions)

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        ranges = region.healpix_ranges() if region is not None else []
        for partition in self._partitions:
            condition = None
            if region is not None:
                inside = [(start, stop) for start, stop in ranges if start < partition.stop and stop > partition.start]
                if not inside:
                    continue
                condition = _row_filter(inside, region)
            with reading(partition.path):
                try:
                    file = pads.dataset(str(partition.path), schema=self._stored, format="parquet")
                    rows = file.to_table(columns=list(columns), filter=condition)
                    rows.validate(full=True)
                finally:  # the reason of a file that is gone, too
                    self._check_same()
            yield rows

    def _check_same(self) -> None:
        """Raise CatalogError where another catalog has taken the place of the one that was opened: its partitions are others."""
        if _identity(self._schema_path) != self._identity:
            raise CatalogError(f"the catalog in {str(self.hats_dir.parent)!r} has been published anew: open it again")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from a later one of the same name; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _row_filter(ranges: list[tuple[int, int]], region: Region) -> pc.Expression:
    """Filter from which Parquet's statistics tell the row groups that need not be read."""
    index, (dec_min, dec_max) = pc.field(HEALPIX_COLUMN), region.dec_limits()
    condition = pc.scalar(False)
    for start, stop in ranges:
        condition = condition | ((index >= start) & (index < stop))
    return condition & (pc.field("dec") >= dec_min) & (pc.field("dec") <= dec_max)


class TableSource:
    """Rows in memory: a result that further steps are applied to."""

    def __init__(self, table: pa.Table):
        self._table = table
        self.schema = table.schema

    def count(self) -> int:
        return self._table.num_rows

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        yield self._table.select(list(columns))


def open_source(folder: Path) -> Source:
    """Source of the catalog in `folder`: HATS if there, else Zarr, else FITS.

    Raises
    ------
    CatalogError
        Where there is none of them.
    """
    if (folder / HATS / HATS_MAIN / "dataset" / "_common_metadata").is_file():
        return HatsSource(folder / HATS)
    for name in (ZARR, FITS):
        if (folder / name).exists():
            return FileSource(folder / name)
    if not folder.is_dir():
        raise CatalogError(f"there is no folder {str(folder)!r}: give the output folder of a survey run")
    found = sorted(path.name for path in folder.iterdir())[:8]
    expected = f"expected {HATS}/, {ZARR} or {FITS}"
    raise CatalogError(f"{str(folder)!r} holds no catalog: {expected}, found {found}; run `surveycnn run-flow survey` first")


def count_rows(folder: Path) -> dict[str, int]:
    """Rows of each format in a catalog folder, from the files themselves; formats that are not there are left out."""
    counts = {}
    if (folder / HATS).is_dir():
        counts["hats"] = HatsSource(folder / HATS).count()
    counts |= {name: formats.count(folder / path) for name, path in (("zarr", ZARR), ("fits", FITS)) if (folder / path).exists()}
    return counts


def open_sources(folder: Path) -> dict[str, Source]:
    """Source of each format in a catalog folder."""
    sources: dict[str, Source] = {"hats": HatsSource(folder / HATS)} if (folder / HATS).is_dir() else {}
    return sources | {
        kind: FileSource(folder / path) for kind, path in (("zarr", ZARR), ("fits", FITS)) if (folder / path).exists()
    }
