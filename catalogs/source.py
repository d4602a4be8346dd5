"""Where the rows of a published catalog are read from: HATS partitions, or the Zarr store or FITS table where there are none.

A source gives its columns without reading rows, and its rows in the order of the catalog, only the columns and the sky asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from surveycnn.catalogs.formats.file_source import FITS as FITS
from surveycnn.catalogs.formats.file_source import ZARR as ZARR
from surveycnn.catalogs.formats.file_source import file_kinds, file_source
from surveycnn.catalogs.formats.hats_source import HATS_MAIN as HATS_MAIN
from surveycnn.catalogs.formats.hats_source import HatsSource, is_hats
from surveycnn.catalogs.formats.hats_source import hats_partitions as hats_partitions
from surveycnn.catalogs.formats.parquet_piece import Group
from surveycnn.catalogs.selection.limits import Limits, Sky
from surveycnn.catalogs.selection.regions import Region
from surveycnn.errors import CatalogError
from surveycnn.paths import is_url

HATS = "hats"
COVERAGE, PROVENANCE, REPORT = "coverage.fits", "provenance.json", "report.html"
MODEL_COVERAGE = "coverage_{}.fits"
"""File of the sky that a model has looked at, by the model's name."""
HATS_ID_INDEX = "sources_id_index"
"""Folder of the index of source_id inside the HATS collection."""


class Piece(Protocol):
    """Rows that stand together in a catalog, such as those of a file; goes to other machines as it is."""

    def groups(self, limits: Limits) -> list[Group]:
        """Groups of rows, in order, that may hold rows within `limits`."""

    def read(self, columns: Sequence[str], groups: Sequence[Group]) -> pa.Table:
        """Columns, at least one, of all rows of some groups."""


class Source(Protocol):
    """Columns and rows of a catalog."""

    schema: pa.Schema
    """Columns of the catalog with their metadata; the HEALPix index of HATS is not among them."""

    def count(self) -> int:
        """Number of rows, without reading them."""

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        """Tables of `columns`, in the order of the catalog; rows outside of `region` may be left out, those inside not."""


@runtime_checkable
class PieceSource(Source, Protocol):
    """A source whose rows are read in any order."""

    def pieces(self, limits: Limits) -> Iterable[Piece]:
        """Pieces, in the order of the catalog, that may hold rows within `limits`."""


def sky_of(source: Source) -> Sky:
    """Which columns of a source hold positions."""
    return source.sky if isinstance(source, HatsSource) else Sky()


class TableSource:
    """Rows in memory: a result that further steps are applied to."""

    def __init__(self, table: pa.Table):
        self._table = table
        self.schema = table.schema

    def count(self) -> int:
        return self._table.num_rows

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        yield self._table.select(list(columns))


def local_folder(path: str | Path) -> Path:
    """Folder of a catalog on this machine.

    Raises
    ------
    CatalogError
        Where it is a URL.
    """
    if is_url(str(path)):
        raise CatalogError(
            f"catalog {str(path)!r} is a URL: copy its folder here; lsdb, xarray, astropy and DuckDB read it where it is "
            "(docs/cloud_storage.md)"
        )
    return Path(path)


def open_source(folder: Path) -> Source:
    """Source of the catalog in `folder`: HATS if there, else Zarr, else FITS.

    Raises
    ------
    CatalogError
        Where there is none of them.
    """
    for place in (folder / HATS, folder):
        if is_hats(place):
            return HatsSource(place)
    for kind in file_kinds(folder):
        return file_source(folder, kind)
    if not folder.is_dir():
        raise CatalogError(f"there is no folder {str(folder)!r}: give the output folder of a survey run")
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    expected = f"expected {HATS}/, {ZARR} or {FITS}"
    raise CatalogError(
        f"{str(folder)!r} holds no catalog: {expected}, found {found}; `surveycnn run-flow survey CONFIG` makes one"
    )


def count_rows(folder: Path) -> dict[str, int]:
    """Rows of each format in a catalog folder, from the files themselves; formats that are not there are left out."""
    counts = {}
    if (folder / HATS).is_dir():
        counts["hats"] = HatsSource(folder / HATS).count_stored()
    return counts | {kind: file_source(folder, kind).count() for kind in file_kinds(folder)}


def open_sources(folder: Path) -> dict[str, Source]:
    """Source of each format in a catalog folder."""
    sources: dict[str, Source] = {"hats": HatsSource(folder / HATS)} if (folder / HATS).is_dir() else {}
    return sources | {kind: file_source(folder, kind) for kind in file_kinds(folder)}
