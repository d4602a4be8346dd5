"""Finds the rows of a part of the sky in files whose rows are sorted by HEALPix index, from the index of some of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.selection.regions import Ranges


def is_sorted_by_healpix(table: pa.Table) -> bool:
    """Whether the rows have positions, and are in the order of their HEALPix order-29 indices."""
    if not all(name in table.column_names and table.schema.field(name).type == pa.float64() for name in ("ra", "dec")):
        return False
    ra, dec = (table[name].to_numpy() for name in ("ra", "dec"))
    return bool(np.isfinite(ra).all() and (np.abs(dec) <= 90).all() and (np.diff(healpix_index(ra, dec)) >= 0).all())


def row_slices(starts: np.ndarray, chunk_rows: int, n_rows: int, ranges: Ranges, most_rows: int) -> list[slice]:
    """Slices of at most `most_rows` rows, in order, of the chunks of rows that may have an index in `ranges`.

    Parameters
    ----------
    starts
        HEALPix order-29 index of the first row of each chunk.
    ranges
        Half-open ranges of indices.

    >>> row_slices(np.array([0, 10, 20, 30]), 2, 7, [(12, 14), (30, 31)], 4)
    [slice(2, 4, None), slice(4, 7, None)]
    """
    wanted = np.zeros(len(starts), dtype=bool)
    for start, stop in ranges:
        # rows of one index may begin in the chunk before the one that begins with it
        first = np.searchsorted(starts, start, side="left") - 1
        wanted[max(first, 0) : np.searchsorted(starts, stop, side="left")] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    slices = []
    for first, last in edges.reshape(-1, 2) * chunk_rows:
        slices += even_slices(int(first), min(int(last), n_rows), most_rows)
    return slices


def even_slices(first: int, last: int, most_rows: int) -> list[slice]:
    """Slices of at most `most_rows` rows from `first` to before `last`, cut at multiples of `most_rows`."""
    edges = [first, *range((first // most_rows + 1) * most_rows, last, most_rows), last]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False) if stop > start]
