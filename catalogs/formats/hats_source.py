"""Rows of a HATS collection or catalog, ours or anybody's: a Parquet file, or a folder of them, for each HEALPix pixel."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from surveycnn.catalogs.columns import HEALPIX_COLUMN
from surveycnn.catalogs.formats.parquet_piece import Anchor, ParquetPiece, batches
from surveycnn.catalogs.formats.reading import inner_folder, read_properties, reading
from surveycnn.catalogs.healpix import ORDER, pixel_range
from surveycnn.catalogs.selection.ids import COLUMN, Ids, pixels_of
from surveycnn.catalogs.selection.limits import Limits, Sky
from surveycnn.catalogs.selection.regions import Region
from surveycnn.errors import CatalogError

COLLECTION, CATALOG = "collection.properties", ("hats.properties", "properties")
"""Files by which a collection and a catalog are known."""
HATS_MAIN = "sources"
"""Folder of the rows inside our collections."""

_PIXEL = re.compile(r"Norder=(\d+)/Dir=\d+/Npix=(\d+)(?:\.parquet|/[^/]+\.parquet)")


class HatsSource:
    """Rows of a HATS catalog, in the order of its pixels.

    Parameters
    ----------
    folder
        Folder of a collection, or of a catalog.
    """

    def __init__(self, folder: Path):
        self.hats_dir = folder
        """Folder that was given, which lsdb opens, too."""
        self._collection = read_properties(folder / COLLECTION) if (folder / COLLECTION).is_file() else {}
        main = inner_folder(folder, self._collection.get("hats_primary_table_url") or _default_main(folder))
        self._properties = next((read_properties(main / name) for name in CATALOG if (main / name).is_file()), {})
        anchor = main / "dataset" / "_common_metadata"
        with reading(anchor):
            paths = _partition_paths(main)
            if not anchor.is_file() and paths:
                anchor = paths[0][2]
            stored, self._anchor = pq.read_schema(anchor), Anchor.of(anchor)
            index = self._properties.get("hats_col_healpix", HEALPIX_COLUMN)
            order = int(self._properties.get("hats_col_healpix_order") or ORDER)
        ra, dec = (self._properties.get(f"hats_col_{name}") or name for name in ("ra", "dec"))
        self.sky = Sky(ra, dec, index if index in stored.names and 0 <= order <= ORDER else None, order)
        self.schema = pa.schema([field for field in stored if field.name != index])
        """Columns with their metadata; the HEALPix index is not among them."""
        self.partitions = [
            ParquetPiece(path, *_inclusive(order, pixel), stored, self.sky, self._anchor, folder.parent)
            for order, pixel, path in paths
        ]

    @property
    def ra_column(self) -> str:
        """Name of the column of right ascensions, degrees."""
        return self.sky.ra

    @property
    def dec_column(self) -> str:
        """Name of the column of declinations, degrees."""
        return self.sky.dec

    def count(self) -> int:
        """Number of rows as the catalog's properties state it, or as its files do where they state none."""
        stated = self._properties.get("hats_nrows", "")
        return int(stated) if stated.isdecimal() and len(stated) < 16 else self.count_stored()

    def count_stored(self) -> int:
        """Number of rows that the files hold."""
        return sum(piece.count() for piece in self.partitions)

    def pieces(self, limits: Limits) -> Iterator[ParquetPiece]:
        """Files, in order, whose pixels meet the regions; none is opened."""
        known = [self._with_ids(condition) for condition in limits.conditions if isinstance(condition, Ids)]
        return (
            piece
            for piece in self.partitions
            if limits.meet_indices(piece.first, piece.last)
            and all(found is None or (piece.first, piece.last) in found for found in known)
        )

    def _with_ids(self, ids: Ids) -> set[tuple[int, int]] | None:
        """First and last index of the pixels that have rows with some ids; None where no index tells."""
        words = self._collection.get("all_indexes", "").split()
        name = dict(zip(words[::2], words[1::2], strict=False)).get(COLUMN)
        if name is None or not (index := inner_folder(self.hats_dir, name)).is_dir():
            return None
        return {_inclusive(order, pixel) for order, pixel in pixels_of(index, ids)}

    def scan(self, columns: Sequence[str], region: Region | None = None) -> Iterator[pa.Table]:
        """Tables of `columns`, of some ten thousand rows or a row group, in order; rows outside of `region` may be left out,
        those inside not."""
        limits = Limits((region,) if region is not None else ())
        for piece in self.pieces(limits):
            for groups in batches(piece.groups(limits)):
                yield piece.read(list(columns), groups)


def open_hats(path: str | Path) -> HatsSource:
    """A HATS catalog that anybody has made, without reading its rows.

    Parameters
    ----------
    path
        Folder of a collection, of a catalog, or of a survey's output.

    Raises
    ------
    CatalogError
        Where there is none.
    """
    folder = Path(path)
    for place in (folder, folder / "hats"):
        if is_hats(place):
            return HatsSource(place)
    expected = f"expected {COLLECTION} or {CATALOG[0]}"
    found = sorted(entry.name for entry in folder.iterdir())[:8] if folder.is_dir() else "no folder"
    raise CatalogError(f"{str(folder)!r} is no HATS catalog: {expected}, found {found}")


def is_hats(folder: Path) -> bool:
    """Whether a folder looks like a HATS collection or catalog."""
    return any((folder / name).is_file() for name in (COLLECTION, *CATALOG)) or (folder / HATS_MAIN / "dataset").is_dir()


def hats_partitions(hats_dir: Path) -> list[ParquetPiece]:
    """Partitions of a collection in the order of the rows."""
    return HatsSource(hats_dir).partitions


def _default_main(folder: Path) -> str:
    """Folder of the rows where no collection names it: that which was given, or the one that our collections have."""
    return HATS_MAIN if not (folder / "dataset").is_dir() and (folder / HATS_MAIN).is_dir() else "."


def _partition_paths(main: Path) -> list[tuple[int, int, Path]]:
    """Order, pixel and path of each Parquet file, in the order of the pixels, then of the names.

    Those that are lost are there, too, and are missed when they are read.
    """
    found, dataset = [], main / "dataset"
    for pattern in ("Norder=*/Dir=*/Npix=*.parquet", "Norder=*/Dir=*/Npix=*/*.parquet"):
        for path in dataset.glob(pattern):
            match = _PIXEL.fullmatch(path.relative_to(dataset).as_posix())
            if match is not None:
                found.append((int(match[1]), int(match[2]), path))
    for order, pixel in _listed_pixels(main / "partition_info.csv") - {(order, pixel) for order, pixel, _ in found}:
        name = f"Norder={order}/Dir={pixel // 10_000 * 10_000}/Npix={pixel}.parquet"
        found.append((order, pixel, dataset / name))
    for order, _, path in found:
        if not 0 <= order <= ORDER:
            raise ValueError(f"{path.name!r} is in Norder={order}, expected 0 to {ORDER}")
    return sorted(found, key=lambda place: (pixel_range(place[0], place[1]), place[2].name))


def _listed_pixels(path: Path) -> set[tuple[int, int]]:
    """Order and pixel of each partition that a catalog says to have; empty where it does not say."""
    if not path.is_file():
        return set()
    with reading(path), path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"Norder", "Npix"} <= set(rows.fieldnames or ()):
            raise ValueError(f"columns are {rows.fieldnames}, expected Norder and Npix")
        return {(int(row["Norder"]), int(row["Npix"])) for row in rows}


def _inclusive(order: int, pixel: int) -> tuple[int, int]:
    start, stop = pixel_range(order, pixel)
    return start, stop - 1
