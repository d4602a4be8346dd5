"""Cross-match of a catalog with another table by position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from surveycnn.catalogs.regions import separation_deg
from surveycnn.catalogs.tables import arrow_to_numpy, astropy_to_arrow
from surveycnn.errors import CatalogError
from surveycnn.sky.sphere import unit_vectors

if TYPE_CHECKING:
    from surveycnn.catalogs.query import Catalog

SEPARATION = "separation"
"""Column that a cross-match adds, arcsec."""


def crossmatch(catalog: Catalog, other: object, radius_arcsec: float, suffix: str) -> pa.Table:
    """Rows of `catalog` with the columns, suffixed, of the nearest row of `other` within the radius, in the catalog's order.

    Raises
    ------
    CatalogError
        Where `other` has no positions, the radius is not one, or names collide.
    """
    if not 0 < radius_arcsec <= 3600:
        raise CatalogError(f"crossmatch: radius is {radius_arcsec:g} arcsec, expected above 0 and up to 3600")
    theirs = _as_arrow(other)
    ra, dec = (_degrees(theirs, name) for name in ("ra", "dec"))
    usable = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    vectors = unit_vectors(ra[usable], dec[usable])
    tree = cKDTree(vectors)
    theirs = theirs.rename_columns([name + suffix for name in theirs.column_names])
    _check_names(catalog, theirs)
    ours, rows, separations = [], [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for table in _around(catalog, vectors, radius_arcsec):
        position = unit_vectors(arrow_to_numpy(table["ra"]), arrow_to_numpy(table["dec"]))
        found, nearest = _nearest(tree, position, radius_arcsec)
        ours.append(table.filter(pa.array(found)).select(catalog.columns))
        rows.append(usable[nearest])
        separations.append(separation_deg(position[found], vectors[nearest]) * 3600)
    return _join(catalog, ours, theirs.take(np.concatenate(rows)), np.concatenate(separations))


def _nearest(tree: cKDTree, position: np.ndarray, radius_arcsec: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask of the positions that have a match, and the nearest match of each of those."""
    chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2)
    found = np.isfinite(position).all(axis=1)
    distance, nearest = tree.query(position[found], distance_upper_bound=np.nextafter(chord, 2))
    matched = np.isfinite(distance)
    found[found] = matched
    return found, nearest[matched]


def _around(catalog: Catalog, vectors: np.ndarray, radius_arcsec: float) -> Iterator[pa.Table]:
    """Tables of the catalog with positions, those far from all of `vectors` left unread where they lie together."""
    columns = list(dict.fromkeys([*catalog.columns, "ra", "dec"]))
    centre = vectors.sum(axis=0) if len(vectors) else np.zeros(3)
    if np.linalg.norm(centre) > 0:
        ra, dec = np.degrees(np.arctan2(centre[1], centre[0])), np.degrees(np.arctan2(centre[2], np.hypot(*centre[:2])))
        reach = separation_deg(vectors, centre / np.linalg.norm(centre)).max() * 3600 + radius_arcsec
        catalog = catalog.cone(ra, dec, min(reach * (1 + 1e-9) + 1e-3, 648_000))
    return catalog.scan(columns)


def _join(catalog: Catalog, ours: list[pa.Table], theirs: pa.Table, separation: np.ndarray) -> pa.Table:
    left = pa.concat_tables(ours) if ours else catalog.schema.empty_table()
    fields = [*catalog.schema, *theirs.schema]
    metadata = {"units": "arcsec", "ucd": "pos.angDistance", "description": "distance to the matched position"}
    fields.append(pa.field(SEPARATION, pa.float64(), metadata=metadata))
    return pa.table([*left.columns, *theirs.columns, pa.array(separation)], schema=pa.schema(fields))


def _check_names(catalog: Catalog, theirs: pa.Table) -> None:
    twice = sorted({*theirs.column_names, SEPARATION} & set(catalog.columns))
    if twice:
        raise CatalogError(f"crossmatch: columns {twice} are there already: give another suffix, or select others first")


def _as_arrow(other: object) -> pa.Table:
    """Arrow table of whatever the user matches with."""
    from astropy.table import Table

    if isinstance(other, str | Path):
        other = _read(Path(other))
    if isinstance(other, pa.Table):
        return other
    if isinstance(other, Table):
        return astropy_to_arrow(other)
    if hasattr(other, "to_arrow"):
        return other.to_arrow()
    if hasattr(other, "columns") and hasattr(other, "to_numpy"):
        return pa.Table.from_pandas(other, preserve_index=False)
    raise CatalogError(f"crossmatch: {type(other).__name__} is not understood: give a catalog, a table, a data frame or a path")


def _read(path: Path) -> object:
    """Catalog in a folder, or table in a file."""
    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    if not path.exists():
        raise CatalogError(f"crossmatch: there is no {str(path)!r}")
    if path.is_dir():
        from surveycnn.catalogs.query import open_catalog

        return open_catalog(path)
    if path.suffix == ".parquet":
        return pq.read_table(path, partitioning=None)
    try:
        return Table.read(path)
    except (IORegistryError, OSError, ValueError) as error:
        raise CatalogError(f"crossmatch: {str(path)!r} cannot be read as a table: {error}") from error


def _degrees(table: pa.Table, name: str) -> np.ndarray:
    """Column `name`, in any case, in degrees."""
    from astropy import units as u

    from surveycnn.catalogs.tables import field_attrs

    match = [column for column in table.column_names if column.lower() == name]
    if not match:
        raise CatalogError(
            f"crossmatch: the other table has no column {name!r}: found {table.column_names}; rename its positions"
        )
    values = arrow_to_numpy(table[match[0]]).astype(np.float64)
    unit = field_attrs(table.schema.field(match[0])).get("units", "deg")
    return values * u.Unit(unit).to(u.deg)
