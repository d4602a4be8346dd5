"""Sources from a table of the user: positions that are measured and scored as they are, instead of detected ones.

Read and checked when a run is planned, brought to pixels of each mosaic at ingest, and measured tile by tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS

from surveycnn.errors import InputError
from surveycnn.paths import is_url, split_path
from surveycnn.sky.files import file_sha256
from surveycnn.sky.sphere import unit_vectors
from surveycnn.sky.wcs import pixel_positions, sky_positions, wcs_from_text
from surveycnn.sources.centroid import on_grid
from surveycnn.tables.arrays import array_of_column
from surveycnn.tables.files import read_table
from surveycnn.tables.positions import check_positions, column_named, degrees_of

ID_NAMES = ("source_id", "id", "object_id", "objid", "number")
"""Columns that are taken for the ids of sources if none is named, in any case of letters."""

_GRID_POINTS = 17
_MARGIN = 1.1
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class PlacedSources:
    """Sources of a table that lie on a mosaic; arrays of shape (source,)."""

    row: np.ndarray
    """int64, 0-based row in the user's table."""
    y: np.ndarray
    """float64, mosaic pixels, to 1 / 8192 px."""
    x: np.ndarray
    ra: np.ndarray
    """float64, degrees, ICRS."""
    dec: np.ndarray
    input_id: np.ndarray
    """int64, or objects that are text."""

    @property
    def has_text_ids(self) -> bool:
        return self.input_id.dtype == object


@dataclass(frozen=True, eq=False)
class SourceTable:
    """Positions and ids of a user's table, checked."""

    path: str
    sha256: str
    """Of the file."""
    ra: np.ndarray
    """(source,) float64, degrees in [0, 360), ICRS."""
    dec: np.ndarray
    input_id: np.ndarray
    """(source,) int64, or objects that are text."""
    id_column: str
    """Column that the ids come from; empty where they are the row numbers."""
    _placed: dict[tuple[str, int, int], PlacedSources] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.ra.size

    @property
    def has_text_ids(self) -> bool:
        return self.input_id.dtype == object

    @property
    def record(self) -> dict[str, str | int]:
        """What is kept about the table, as plain values."""
        return {"path": self.path, "sha256": self.sha256, "n_rows": len(self), "id_column": self.id_column}

    def on_mosaic(self, wcs_header: str, ny: int, nx: int) -> PlacedSources:
        """Sources whose nearest pixel lies on a mosaic, in the order of their rows; kept for the next call."""
        key = (wcs_header, ny, nx)
        if key not in self._placed:
            self._placed[key] = self._place(wcs_from_text(wcs_header), ny, nx)
        return self._placed[key]

    def _place(self, wcs: WCS, ny: int, nx: int) -> PlacedSources:
        near = _near(wcs, ny, nx, self.ra, self.dec)
        x, y = (on_grid(values) for values in pixel_positions(wcs, self.ra[near], self.dec[near]))
        on = (y >= -0.5) & (y < ny - 0.5) & (x >= -0.5) & (x < nx - 0.5)
        row = near[on]
        return PlacedSources(row, y[on], x[on], self.ra[row], self.dec[row], self.input_id[row])


def count_sources(table: SourceTable, mosaics: Sequence[tuple[str, int, int]]) -> list[int]:
    """Number of sources on each mosaic, given as (WCS header, ny, nx), and last of those that lie on none.

    Raises
    ------
    InputError
        Where all lie outside.
    """
    placed = [table.on_mosaic(*mosaic) for mosaic in mosaics]
    outside = np.ones(len(table), bool)
    for some in placed:
        outside[some.row] = False
    if outside.all():
        corners = [sky_positions(wcs_from_text(header), *_outline(ny, nx)) for header, ny, nx in mosaics]
        ra, dec = (np.concatenate(values) for values in zip(*corners, strict=True))
        raise InputError(
            f"none of the {len(table)} sources of {table.path!r} lies on a mosaic: they are at {_range(table.ra, table.dec)}, "
            f"the mosaics at {_range(ra, dec)}: check that detection.ra and detection.dec are columns of ICRS positions"
        )
    return [*(some.row.size for some in placed), int(np.count_nonzero(outside))]


def read_sources(path: str, ra: str = "ra", dec: str = "dec", id_column: str | None = None) -> SourceTable:
    """Positions and ids of the table in `path`, a format of :func:`surveycnn.tables.files.read_table`.

    Parameters
    ----------
    ra, dec
        Columns in degrees, ICRS, or in another unit of angles that the file gives; right ascension from -180 to 360.
    id_column
        None takes the first of :data:`ID_NAMES` that is there, or else the 0-based row numbers.

    Raises
    ------
    InputError
        Where the table, a column, a position or an id cannot be used.
    """
    if is_url(path):
        raise InputError(f"key 'detection.catalog': {path!r} is a URL: copy the table here")
    file = Path(split_path(path)[0])
    stamp = (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else ()
    return _read(path, ra, dec, id_column, stamp)


@lru_cache(maxsize=1)
def _read(path: str, ra: str, dec: str, id_column: str | None, stamp: tuple[int, ...]) -> SourceTable:
    """The table of a file of that size and time: a run asks for it several times."""
    text = [id_column] if id_column else [spelt for name in ID_NAMES for spelt in (name, name.upper(), name.title())]
    table = read_table(path, text=text)
    where = f"catalog of sources {path!r}"
    if not table.num_rows:
        raise InputError(f"{where} has no rows: give the sources to measure, or leave detection.catalog out to detect them")
    names = table.column_names
    ra, dec = column_named(names, ra, "detection.ra", where), column_named(names, dec, "detection.dec", where)
    lon, lat = (degrees_of(table[name], table.schema.field(name), where) for name in (ra, dec))
    check_positions(lon, lat, where)
    name = column_named(names, id_column, "detection.id", where) if id_column else _customary_id(table)
    ids = _ids(table, name, where) if name else np.arange(table.num_rows, dtype=np.int64)
    lon = lon % 360.0
    return SourceTable(path, file_sha256(split_path(path)[0]), np.where(lon == 360.0, 0.0, lon), lat, ids, name)


def _customary_id(table: pa.Table) -> str:
    lower = {name.lower(): name for name in reversed(table.column_names)}
    return next((lower[name] for name in ID_NAMES if name in lower), "")


def _ids(table: pa.Table, name: str, where: str) -> np.ndarray:
    """Ids of the sources, each of its own: int64, or else text."""
    values = array_of_column(table[name], name)
    if values.ndim != 1:
        raise InputError(f"{where}: column {name!r} has several values per row, expected ids: name another in detection.id")
    plain = np.ma.getdata(values)
    missing = np.flatnonzero(np.ma.getmaskarray(values) | (plain != plain))
    if missing.size:
        raise InputError(
            f"{where}: {missing.size} rows have no {name!r}, the first is row {missing[0]} (counted from 0): fill them"
        )
    if values.dtype.kind == "f" and not (values == np.trunc(values)).all():
        raise InputError(
            f"{where}: column {name!r} holds fractions such as {values[values != np.trunc(values)][0]!r}, expected ids: "
            "name another column in detection.id"
        )
    ids = _whole_numbers(values)
    unique, first, counts = np.unique(ids, return_index=True, return_counts=True)
    if (counts > 1).any():
        again = np.flatnonzero(counts > 1)[0]
        rows = ", ".join(map(str, np.flatnonzero(ids == unique[again])[:_SHOWN]))
        n_again = int(np.count_nonzero(counts > 1))
        raise InputError(
            f"{where}: {n_again} ids in column {name!r} are those of several rows, such as {str(unique[again])!r} in rows {rows} "
            "(counted from 0): make them unique, or name another column in detection.id"
        )
    return ids


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """int64 where `values` are integers, whole floats, or text that is nothing else; objects of text otherwise."""
    if values.dtype.kind in "iuf" and (not values.size or np.abs(values.astype(np.float64)).max() < 2**63):
        return np.asarray(values, np.int64)
    text = np.array([str(value) for value in values.tolist()], dtype=object)
    try:
        numbers = np.array([int(value) for value in text], dtype=np.int64)
    except (ValueError, OverflowError):
        return text
    return numbers if all(str(number) == value for number, value in zip(numbers.tolist(), text, strict=True)) else text


def _outline(ny: int, nx: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y (n,) of a grid of points over a mosaic, to its borders."""
    y, x = np.meshgrid(np.linspace(-0.5, ny - 0.5, _GRID_POINTS), np.linspace(-0.5, nx - 0.5, _GRID_POINTS), indexing="ij")
    return x.ravel(), y.ravel()


def _near(wcs: WCS, ny: int, nx: int, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Rows of positions that can lie on a mosaic: those in a circle around it, all where it has parts beyond the sky."""
    around = np.stack(sky_positions(wcs, *_outline(ny, nx)))
    if not np.isfinite(around).all():
        return np.arange(ra.size)
    points = unit_vectors(*around)
    middle = points.mean(axis=0)
    radius = _MARGIN * np.linalg.norm(points - middle, axis=1).max()
    south, north = np.degrees(np.arcsin(np.clip(middle[2] + np.array([-radius, radius]), -1, 1)))
    rows = np.flatnonzero((dec >= south) & (dec <= north))
    return rows[np.linalg.norm(unit_vectors(ra[rows], dec[rows]) - middle, axis=1) <= radius]


def _range(ra: np.ndarray, dec: np.ndarray) -> str:
    """Where positions are on the sky, for people."""
    return f"ra {np.nanmin(ra):.4f} to {np.nanmax(ra):.4f}, dec {np.nanmin(dec):.4f} to {np.nanmax(dec):.4f}"
