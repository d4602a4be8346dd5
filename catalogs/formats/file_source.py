"""Rows of a published catalog from its Zarr store or FITS table, where no HATS collection was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import zarr

from surveycnn.catalogs.formats.fits_header import FitsLayout, fits_layout
from surveycnn.catalogs.formats.fits_table import NAME, check_parts, fits_chunk_starts, fits_files, read_rows
from surveycnn.catalogs.formats.parquet_piece import Group
from surveycnn.catalogs.formats.reading import reading
from surveycnn.catalogs.formats.row_index import even_slices, row_slices
from surveycnn.catalogs.formats.zarr_store import CHUNK_ROWS, SHARD_ROWS, chunk_starts_of, count_rows_of, open_zarr, read_group
from surveycnn.catalogs.selection.limits import Limits
from surveycnn.catalogs.selection.regions import Region
from surveycnn.errors import CatalogError

ZARR, FITS = "catalog.zarr", NAME


class _Chunks(NamedTuple):
    """Where the rows of a file that are sorted by HEALPix index begin."""

    starts: np.ndarray
    """Order-29 index of the first row of each chunk."""
    rows: int
    """Rows of a chunk."""


class ZarrFile:
    """Rows of a Zarr store."""

    def __init__(self, path: Path):
        self.path, self.marker = path, path / "zarr.json"

    @cached_property
    def _group(self) -> zarr.Group:
        return open_zarr(self.path)

    @cached_property
    def schema(self) -> pa.Schema:
        return read_group(self._group, None, slice(0, 0)).schema

    @property
    def n_rows(self) -> int:
        return count_rows_of(self._group)

    @cached_property
    def chunks(self) -> _Chunks | None:
        found = chunk_starts_of(self._group)
        return _Chunks(*found) if found is not None else None

    def read(self, columns: Sequence[str], rows: slice) -> pa.Table:
        return read_group(self._group, columns, rows)


class FitsFile:
    """Rows of a FITS table, or of one of its files."""

    def __init__(self, path: Path):
        self.path = self.marker = path

    @cached_property
    def _layout(self) -> FitsLayout:
        return fits_layout(self.path)

    @property
    def schema(self) -> pa.Schema:
        return self._layout.schema

    @property
    def n_rows(self) -> int:
        return self._layout.n_rows

    @cached_property
    def chunks(self) -> _Chunks | None:
        starts = fits_chunk_starts(self._layout, CHUNK_ROWS)
        return _Chunks(starts, CHUNK_ROWS) if starts is not None else None

    def read(self, columns: Sequence[str], rows: slice) -> pa.Table:
        return read_rows(self._layout, columns, rows)


@dataclass(frozen=True)
class FilePiece:
    """Rows of a file, for queries that read what their selections need first; goes to other machines as it is."""

    file: ZarrFile | FitsFile
    identity: tuple[int, int] | None

    def groups(self, limits: Limits) -> list[Group]:
        with reading(self.file.path):
            try:
                slices = _slices(self.file, next(iter(limits.regions), None))
            finally:  # the reason of a file that is gone, too
                _check_same(self.file, self.identity)
        return [Group(number, rows.start, rows.stop - rows.start) for number, rows in enumerate(slices)]

    def read(self, columns: Sequence[str], groups: Sequence[Group]) -> pa.Table:
        with reading(self.file.path):
            try:
                tables = [self.file.read(list(columns), slice(group.start, group.start + group.n_rows)) for group in groups]
            finally:
                _check_same(self.file, self.identity)
        return pa.concat_tables(tables)


class FileSource:
    """Rows of a Zarr store or FITS table of ours, of which those of a part of the sky are read alone."""

    def __init__(self, files: Sequence[ZarrFile | FitsFile]):
        self._files = files
        with reading(files[0].path):
            self._identities = [_identity(file.marker) for file in files]
            self.schema = files[0].schema

    def count(self) -> int:
        n_rows = 0
        for file in self._files:
            with reading(file.path):
                n_rows += file.n_rows
        return n_rows

    def pieces(self, limits: Limits) -> list[FilePiece]:
        """The files, in order."""
        return [FilePiece(file, identity) for file, identity in zip(self._files, self._identities, strict=True)]

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        # a table without columns would forget how many rows it has
        names = list(columns) or self.schema.names[:1]
        for file, identity in zip(self._files, self._identities, strict=True):
            with reading(file.path):
                slices = _slices(file, region)
            for rows in slices:
                with reading(file.path):
                    try:
                        table = file.read(names, rows)
                    finally:  # the reason of a file that is gone, too
                        _check_same(file, identity)
                yield table


def file_kinds(folder: Path) -> list[str]:
    """Which of zarr and fits a catalog folder has."""
    found = {"zarr": (folder / ZARR).exists(), "fits": bool(fits_files(folder))}
    return [kind for kind, is_there in found.items() if is_there]


def file_source(folder: Path, kind: str) -> FileSource:
    """Source of the catalog of a kind of :func:`file_kinds` in a folder.

    Raises
    ------
    CatalogError
        Where it cannot be read, or a file of a table in several is missing.
    """
    if kind == "zarr":
        return FileSource([ZarrFile(folder / ZARR)])
    paths = fits_files(folder)
    with reading(paths[0]):
        check_parts(paths)
    return FileSource([FitsFile(path) for path in paths])


def _slices(file: ZarrFile | FitsFile, region: Region | None) -> list[slice]:
    """Rows that are read at once, those of a region where they are known."""
    if region is None or file.chunks is None:
        return even_slices(0, file.n_rows, SHARD_ROWS)
    return row_slices(file.chunks.starts, file.chunks.rows, file.n_rows, region.healpix_ranges(), SHARD_ROWS)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from a later one of the same name; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _check_same(file: ZarrFile | FitsFile, identity: tuple[int, int] | None) -> None:
    """Raise CatalogError where another catalog has taken the place of the one that was opened: its rows are others."""
    if _identity(file.marker) != identity:
        raise CatalogError(f"the catalog in {str(file.path.parent)!r} has been published anew: open it again")
