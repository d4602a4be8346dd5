"""Tile files as publishing sees them: where on the sky their rows are, and the rows themselves, verified.

Nothing here depends on how many files there are: each is looked at by one call, on whatever worker, and leaves a summary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.columns import PRIVATE
from surveycnn.catalogs.healpix import CELL_SHIFT, healpix_index
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import SurveyCNNError
from surveycnn.sources.identity import PIXEL_BITS

T = TypeVar("T")

FOOTER_TAIL = 8
"""Last bytes of a Parquet file: the length of its footer, and four letters."""


class DamagedTiles(SurveyCNNError):
    """Tile files whose bytes are not those that were written."""

    def __init__(self, damaged: Mapping[Path, str]):
        self.paths = tuple(damaged)
        shown = "; ".join(f"{str(path)!r} ({reason.splitlines()[0]})" for path, reason in list(damaged.items())[:3])
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        super().__init__(f"damaged tile file{'s' * (len(damaged) > 1)} {shown}{more}")


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file, in place of what it holds: a plain value, so that a worker can return it."""

    path: Path
    reason: str


@dataclass(frozen=True)
class TileSummary:
    """Where the rows of a tile file are."""

    path: Path
    n_rows: int
    cells: np.ndarray
    """Sorted cells of the sky that hold rows, (cell,) int64 of :data:`surveycnn.catalogs.healpix.CELL_ORDER`."""
    counts: np.ndarray
    """Rows in each."""
    mosaics: tuple[str, ...]
    """Mosaics that the rows come from: one, where a run has written the file."""
    id_groups: tuple[int, ...]
    """First bits of the source_id, which are those of the mosaic."""
    id_sum: int
    """Of :func:`id_sum`."""
    digest: str
    """SHA-256 of the footer, which has the sizes and limits of all columns, and what a run has noted about the file."""


def summarise(path: Path) -> TileSummary | Damage:
    """Summary of a tile file; of its pages, only those of the columns needed here are verified."""
    try:
        return _summary(path)
    except Exception as error:
        return damage(path, error)


def _summary(path: Path) -> TileSummary:
    table = _read(path, ["source_id", "ra", "dec", "mosaic"])
    source_id = table["source_id"].to_numpy()
    index = healpix_index(table["ra"].to_numpy(), table["dec"].to_numpy()) if len(source_id) else np.zeros(0, np.int64)
    cells, counts = np.unique(index >> CELL_SHIFT, return_counts=True)
    return TileSummary(
        path,
        len(source_id),
        cells,
        counts,
        tuple(sorted(table["mosaic"].unique().to_pylist())) if "mosaic" in table.column_names else (),
        tuple(np.unique(source_id >> PIXEL_BITS).tolist()),
        id_sum(source_id),
        _footer_digest(path),
    )


def damage(path: Path, error: Exception) -> Damage:
    """The damage that `error` tells of; raises it again where it tells of something else, such as a disk that is gone."""
    if isinstance(error, pa.ArrowException) or isinstance(error, OSError) and error.errno is None:
        return Damage(path, str(error))
    raise error


def raise_damages(found: Iterable[T | Damage]) -> list[T]:
    """What was found.

    Raises
    ------
    DamagedTiles
        Where there is damage among it; it names all files.
    """
    results: list[T] = []
    damages: dict[Path, str] = {}
    for one in found:
        if isinstance(one, Damage):
            damages[one.path] = one.reason
        else:
            results.append(one)
    if damages:
        raise DamagedTiles(dict(sorted(damages.items())))
    return results


def read_tile(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a tile file, without the columns that are none of the catalog's; the checksums of its pages are verified.

    Parameters
    ----------
    columns
        Those wanted; the ones that the file has not are left out. All by default.
    """
    return _read(path, columns)


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = [name for name in file.schema_arrow.names if not name.startswith(PRIVATE)]
        return file.read(names if columns is None else [name for name in columns if name in names])


def id_sum(source_id: np.ndarray) -> int:
    """Sum, modulo 2^64, of a mixing function of each number: equal for the same numbers in any order and any pieces.

    The function is the finaliser of splitmix64 (Steele, Lea and Flood 2014), so that a number that is lost and another that comes
    twice do not make up for one another.

    >>> id_sum(np.array([3, 1])) == (id_sum(np.array([1])) + id_sum(np.array([3]))) % 2**64
    True
    """
    with np.errstate(over="ignore"):
        mixed = source_id.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return int(np.sum(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64))


def groups_to_check(summaries: Sequence[TileSummary]) -> list[list[Path]]:
    """Files by the mosaics' bits in their source numbers: a number can only be twice in files of one group."""
    leader: dict[int, int] = {}
    group = list(range(len(summaries)))

    def root(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for number, summary in enumerate(summaries):
        for key in summary.id_groups:
            first, other = root(leader.setdefault(key, number)), root(number)
            group[max(first, other)] = min(first, other)
    files: dict[int, list[Path]] = {}
    for number, summary in enumerate(summaries):
        if summary.n_rows:
            files.setdefault(root(number), []).append(summary.path)
    return list(files.values())


def repeated_id(paths: Sequence[Path]) -> str:
    """What is wrong with the source numbers of some files, or an empty text where each is there once."""
    parts = [arrow_to_numpy(_read(path, ["source_id"])["source_id"]) for path in paths]
    source_id = np.concatenate(parts)
    unique, repeats = np.unique(source_id, return_counts=True)
    if len(unique) == len(source_id):
        return ""
    twice = unique[repeats > 1]
    names = sorted(str(path) for path, part in zip(paths, parts, strict=True) if np.isin(twice[:1], part).any())
    return f"{len(twice)} source_id appear more than once, for instance {twice[0]} in {names}"


def _footer_digest(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(-FOOTER_TAIL, 2)
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(-FOOTER_TAIL - length, 2)
        return hashlib.sha256(stream.read(length)).hexdigest()
