"""Builds the files of a catalog: partitions of the sky first, each by one call, then what is made of them.

Called by `surveycnn.catalogs.publishing.publish`, in a folder that nobody else sees yet.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from surveycnn.catalogs import healpix
from surveycnn.catalogs.formats.fits_header import is_text
from surveycnn.catalogs.formats.fits_table import create_fits_parts, write_fits_parts
from surveycnn.catalogs.formats.votable import votable_metadata
from surveycnn.catalogs.formats.zarr_store import SHARD_ROWS, create_zarr, write_zarr_rows
from surveycnn.catalogs.publishing.merge import FIRST_RINGS, NeedsMore, Spread
from surveycnn.catalogs.publishing.pieces import (
    HEALPIX_FIELD,
    INDEX_ROWS,
    MARGIN,
    MARGIN_ORDER,
    Kept,
    Part,
    Piece,
    WriteIndex,
    WriteMargin,
    WritePiece,
    margin_cells,
    piece_name,
)
from surveycnn.catalogs.publishing.stretches import Stretch, WriteStretch, stretches
from surveycnn.catalogs.publishing.tile_files import raise_damages
from surveycnn.catalogs.source import HATS, HATS_ID_INDEX, HATS_MAIN, PROVENANCE, ZARR, open_sources
from surveycnn.durable import read_json
from surveycnn.errors import SurveyCNNError

_OWN_FILE = re.compile(r"catalog_\d{3}\.fits|coverage_[\w-]+\.fits")
_CHECKED_ROWS = 1 << 20
_FITS_ROWS = 1 << 17


class Rows(Protocol):
    """Rows to be published, which are read pixel by pixel."""

    schema: pa.Schema
    n_rows: int
    id_sum: int
    """:func:`surveycnn.catalogs.publishing.tile_files.id_sum` of all source numbers; each is there once."""

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted cells of the sky that hold rows, and how many."""

    def part(self, order: int, pixel: int, n_rings: int = ...) -> Part:
        """The rows of a pixel of the sky."""

    def digest(self, part: Any) -> str:
        """What the rows of a part depend on; empty where that is not known."""


@dataclass(frozen=True)
class OldCatalog:
    """The catalog that is to be replaced, for what can be taken over from it."""

    folder: Path
    files: Mapping[str, str]
    """SHA-256 of each file."""
    made_from: Mapping[str, str]
    """What a file was made from, by :meth:`Rows.digest` and the like."""

    @classmethod
    def of(cls, folder: Path) -> OldCatalog:
        """The catalog in `folder`; without files where there is none with a record of what it was made from."""
        record = (read_json(folder / PROVENANCE) or {}).get("catalog")
        found = [record.get(key) if isinstance(record, dict) else None for key in ("files", "made_from")]
        files, made_from = (one if isinstance(one, dict) else {} for one in found)
        return cls(folder, files, made_from)

    @property
    def entries(self) -> list[str]:
        """Names of its files in the folder that not every catalog has: parts of a FITS table, coverages of models."""
        own = (self.folder / file for file in self.files if _OWN_FILE.fullmatch(file))
        # a folder or a link of that name is somebody else's, whatever the record says
        return sorted(path.name for path in own if path.is_file() and not path.is_symlink())

    def kept(self, name: str, made_from: str) -> Kept | None:
        """The file `name`, if it was made from the same."""
        if not made_from or self.made_from.get(name) != made_from or name not in self.files:
            return None
        return Kept(self.folder / name, self.files[name])


@dataclass
class Builder:
    """A catalog that is being built."""

    rows: Rows
    folder: Path
    old: OldCatalog
    name: str
    partition_rows: int
    spread: Spread
    pieces: list[Piece] = field(default_factory=list)
    """Partitions that hold rows, in the order of the rows."""
    made_from: dict[str, str] = field(default_factory=dict)
    """What each file that can be taken over by the next catalog was made from."""
    _sky: list[tuple[int, int]] = field(default_factory=list)
    """Order and pixel of all partitions of the sky, those without rows included."""

    @property
    def n_primary(self) -> int:
        """Rows that are the one of their object."""
        return sum(piece.n_primary for piece in self.pieces)

    @property
    def sources(self) -> Path:
        """Folder of the partitions."""
        return self.folder / HATS / HATS_MAIN

    # -- partitions --------------------------------------------------------------------------------------------------------

    def write_partitions(self) -> None:
        """Merge, sort and write the rows pixel by pixel.

        Raises
        ------
        DamagedTiles
            Where tile files cannot be read as they were written.
        SurveyCNNError
            Where the partitions do not hold the rows that they should.
        """
        cells, counts = self.rows.cells
        self._sky = healpix.partition(cells, counts, self.partition_rows)
        done: dict[tuple[int, int], Piece] = {}
        todo, n_rings = [pixel for pixel in self._sky if _n_cells(cells, *pixel)], FIRST_RINGS
        while todo:
            write = WritePiece(self.sources, self._stored.metadata)
            results = self.spread(write, (self._unit(*pixel, n_rings) for pixel in todo))
            raise_damages(damage for found in results if isinstance(found, list) for damage in found)
            done |= {pixel: found for pixel, found in zip(todo, results, strict=True) if isinstance(found, Piece)}
            todo = [pixel for pixel, found in zip(todo, results, strict=True) if isinstance(found, NeedsMore)]
            n_rings *= 2
        self.pieces = [done[pixel] for pixel in self._sky if pixel in done]
        _check_count("hats", sum(piece.n_rows for piece in self.pieces), self.rows.n_rows)
        if sum(piece.id_sum for piece in self.pieces) % 2**64 != self.rows.id_sum:
            raise SurveyCNNError("hats of the catalog has other rows when read back than were merged: nothing is published")

    def _unit(self, order: int, pixel: int, n_rings: int) -> tuple[Part, Kept | None]:
        part = self.rows.part(order, pixel, n_rings)
        return part, self._kept(f"{HATS}/{HATS_MAIN}/{piece_name(order, pixel)}", self.rows.digest(part))

    def _kept(self, name: str, made_from: str) -> Kept | None:
        """File of the old catalog that can be taken over; what the new one is made from is noted."""
        if made_from:
            self.made_from[name] = made_from
        return self.old.kept(name, made_from)

    # -- what is made of them ----------------------------------------------------------------------------------------------

    def write_zarr(self) -> None:
        """Write the Zarr store, shard by shard."""
        path = self.folder / ZARR
        create_zarr(path, self.rows.schema, self.rows.n_rows, {"name": self.name}, is_sorted=True)
        self.spread(WriteStretch(write_zarr_rows, path, self.rows.schema), self._stretches(SHARD_ROWS))

    def write_fits(self) -> None:
        """Write the FITS table, in one file or several."""
        widths = {one.name: 1 for one in self.rows.schema if is_text(one.type)}
        for piece in self.pieces:
            widths = {name: max(width, piece.text_bytes[name]) for name, width in widths.items()}
        paths = create_fits_parts(self.folder, self.rows.schema, self.rows.n_rows, widths, is_sorted=True)
        self.spread(WriteStretch(write_fits_parts, paths, self.rows.schema), self._stretches(_FITS_ROWS))

    def _stretches(self, step: int) -> list[Stretch]:
        return stretches(self.sources, self.pieces, step)

    def write_collection(self) -> None:
        """Write what makes a HATS collection of the partitions: margins, the id index, metadata."""
        # hats takes seconds to import and serves nothing else
        from surveycnn.catalogs.publishing import hats_writer

        folder, schema = self.folder / HATS, self._stored
        pixels = [(piece.order, piece.pixel) for piece in self.pieces]
        properties = {"catalog_name": self.name, "hats_max_rows": self.partition_rows}
        hats_writer.write_main(folder, schema, pixels, self.rows.n_rows, **properties)
        hats_writer.write_maps(folder, *self.rows.cells)
        n_rows = self.spread(WriteMargin(folder / MARGIN, schema.metadata), self._margins()) if pixels else []
        margins = [pixel for pixel, n_found in zip(self._sky, n_rows, strict=False) if n_found]
        hats_writer.write_margin(folder, schema, margins, sum(n_rows), self.name)
        if pixels:
            n_ids = sum(self.spread(WriteIndex(folder / HATS_ID_INDEX, self.sources), self._index_files()))
            _check_count("the index of ids", n_ids, self.rows.n_rows)
            hats_writer.write_index(folder, self.rows.n_rows, self.name)
        hats_writer.write_collection(folder, self.name, has_index=bool(pixels))

    @cached_property
    def _stored(self) -> pa.Schema:
        """Columns of the Parquet files, with what STIL and astropy read of them."""
        schema = self.rows.schema.insert(0, HEALPIX_FIELD)
        return schema.with_metadata(votable_metadata(schema))

    def _margins(self) -> Iterator[tuple[int, int, list[Path], Kept | None]]:
        """Pixels, those of the empty sky included, with the partitions that have rows around each.

        lsdb needs them for a partner catalog that has rows where we have none.
        """
        starts = np.array([healpix.pixel_range(piece.order, piece.pixel)[0] for piece in self.pieces])
        shift = 2 * (healpix.ORDER - MARGIN_ORDER)
        for order, pixel in self._sky:
            holders = np.searchsorted(starts, margin_cells(order, pixel) << shift, side="right") - 1
            near = [self.pieces[number] for number in np.unique(holders[holders >= 0])]
            text = json.dumps([[piece.sha256 for piece in near], order, pixel])
            name = f"{HATS}/{MARGIN}/{piece_name(order, pixel)}"
            kept = self._kept(name, hashlib.sha256(text.encode()).hexdigest())
            yield order, pixel, [self.sources / piece.name for piece in near], kept

    def _index_files(self) -> Iterator[tuple[int, int, int, list[tuple[int, int]]]]:
        """Ranges of source numbers of about as many rows, with the partitions that may hold some of them."""
        ids = np.concatenate([piece.id_quantiles for piece in self.pieces])
        n_rows = np.concatenate([[piece.n_rows / len(piece.id_quantiles)] * len(piece.id_quantiles) for piece in self.pieces])
        order = np.argsort(ids)
        number = (np.cumsum(n_rows[order]) - n_rows[order]) // INDEX_ROWS
        firsts = ids[order][np.flatnonzero(np.diff(number, prepend=-1))]
        bounds = [-(2**63), *(int(one) for one in np.unique(firsts)[1:]), 2**63]
        for number, (first, after) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            near = [piece for piece in self.pieces if piece.id_quantiles[0] < after and piece.id_quantiles[-1] >= first]
            yield number, first, after - 1, [(piece.order, piece.pixel) for piece in near]

    # -- checks ------------------------------------------------------------------------------------------------------------

    def check_conserved(self) -> None:
        """Raise unless every format that was written holds the rows of the partitions, in their order, when read back."""
        for kind, source in open_sources(self.folder).items():
            if kind == "hats":
                continue  # each partition has been read back
            _check_count(kind, source.count(), self.rows.n_rows)
            found = source.scan(["source_id"], None)
            n_lost = _n_other(found, (stretch.read(["source_id"]) for stretch in self._stretches(_CHECKED_ROWS)))
            if n_lost:
                raise SurveyCNNError(
                    f"{kind} of the catalog has other rows when read back, {n_lost} of {self.rows.n_rows} are lost: nothing is "
                    "published"
                )


def _n_cells(cells: np.ndarray, order: int, pixel: int) -> int:
    """How many cells of a pixel hold rows."""
    start, stop = (bound >> healpix.CELL_SHIFT for bound in healpix.pixel_range(order, pixel))
    return int(np.diff(np.searchsorted(cells, (start, stop)))[0])


def _check_count(kind: str, n_found: int, n_rows: int) -> None:
    if n_found != n_rows:
        raise SurveyCNNError(f"{kind} of the catalog has {n_found} rows when read back, expected {n_rows}: nothing is published")


def _n_other(found: Iterator[pa.Table], expected: Iterator[pa.Table]) -> int:
    """How many of the expected source numbers are not at their place, at least one where any is not; pieces of any lengths."""
    rest = np.zeros(0, dtype=np.int64)
    n_other = 0
    for table in expected:
        wanted = table["source_id"].to_numpy()
        while len(rest) < len(wanted) and (more := next(found, None)) is not None:
            rest = np.concatenate([rest, more["source_id"].to_numpy()])
        here, rest = rest[: len(wanted)], rest[len(wanted) :]
        if not np.array_equal(here, wanted):
            n_other += max(1, np.setdiff1d(wanted, here).size)
    return n_other
