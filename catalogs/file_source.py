"""Rows of a published catalog from its Zarr store or FITS table, where no HATS collection was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from surveycnn.catalogs import formats
from surveycnn.catalogs.reading import reading
from surveycnn.catalogs.regions import Region


class FileSource:
    """Rows of a Zarr store or FITS table of ours, whose columns are read whole."""

    def __init__(self, path: Path):
        self._path = path
        self._read = formats.read_zarr if path.suffix == ".zarr" else formats.read_fits
        with reading(path):
            self.schema = formats.schema_of(path)

    def count(self) -> int:
        with reading(self._path):
            return formats.count(self._path)

    def scan(self, columns: Sequence[str], region: Region | None) -> Iterator[pa.Table]:
        # a table without columns would forget how many rows it has
        with reading(self._path):
            table = self._read(self._path, list(columns) or self.schema.names[:1])
        yield table
