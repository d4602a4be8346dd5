"""Stretches of a catalog's rows, cut without regard to partitions: what a chunk, or a part of a file, of other formats takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.columns import HEALPIX_COLUMN
from surveycnn.catalogs.publishing.pieces import Piece


@dataclass(frozen=True)
class Stretch:
    """Rows of the catalog that follow one another."""

    first: int
    """Number of the first of them in the catalog."""
    n_rows: int
    places: tuple[tuple[Path, int, int], ...]
    """Partition, its first row of the stretch, and how many of its rows."""

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows, without the HEALPix index; the checksums of their pages are verified."""
        return pa.concat_tables([_rows(path, skipped, n_rows, columns) for path, skipped, n_rows in self.places])


@dataclass(frozen=True)
class WriteStretch:
    """Writes the rows of a stretch into a file of another format."""

    write: Callable[[Any, int, pa.Table], None]
    path: Path | Sequence[Path]
    schema: pa.Schema

    def __call__(self, stretch: Stretch) -> None:
        self.write(self.path, stretch.first, stretch.read().cast(self.schema))


def stretches(folder: Path, pieces: Sequence[Piece], step: int, start: int = 0, stop: int | None = None) -> list[Stretch]:
    """The rows of `pieces`, or those from `start` to `stop`, cut every `step` rows.

    Parameters
    ----------
    folder
        Catalog whose partitions the pieces are.
    """
    begins = np.concatenate([[0], np.cumsum([piece.n_rows for piece in pieces])]).astype(int)
    stop = int(begins[-1]) if stop is None else stop
    found = []
    for first in range(start, stop, step):
        last = min(first + step, stop)
        places = []
        for number in range(int(np.searchsorted(begins, first, side="right")) - 1, int(np.searchsorted(begins, last))):
            begin, end = max(first, int(begins[number])), min(last, int(begins[number + 1]))
            if end > begin:
                places.append((folder / pieces[number].name, begin - int(begins[number]), end - begin))
        found.append(Stretch(first, last - first, tuple(places)))
    return found


def _rows(path: Path, skipped: int, n_rows: int, columns: Sequence[str] | None) -> pa.Table:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        begins = np.cumsum([0] + [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)])
        groups = [n for n in range(file.num_row_groups) if begins[n] < skipped + n_rows and begins[n + 1] > skipped]
        names = columns if columns is not None else [name for name in file.schema_arrow.names if name != HEALPIX_COLUMN]
        return file.read_row_groups(groups, list(names)).slice(skipped - int(begins[groups[0]]), n_rows)
