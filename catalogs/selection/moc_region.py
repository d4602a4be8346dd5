"""The region of a MOC: the HEALPix cells of a footprint or of a mask, from mocpy or from a file.

A region like a cone: queries take it, and so does a cross-match for what lies around its rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surveycnn.catalogs.healpix import ORDER, healpix_index
from surveycnn.catalogs.selection.sky_ranges import END, SLACK_DEG, Ranges, cell_centres, cell_radius_deg, merged_ranges
from surveycnn.errors import CatalogError

if TYPE_CHECKING:
    from mocpy import MOC

_LIMITS_ORDER = 7
_BASE_CELL_DEG = 58.6
_FINEST = 18
_FORMATS = {b"SIMPLE": "fits", b"{": "json"}


@dataclass(frozen=True, eq=False)
class MocRegion:
    """Positions in the cells of a MOC."""

    starts: np.ndarray
    """(range,) int64, first order-29 indices, ascending."""
    stops: np.ndarray
    """(range,) int64, one more than the last indices; the ranges do not overlap."""

    @classmethod
    def of(cls, moc: MOC | str | Path) -> MocRegion:
        """Region of a space MOC, or of a file of one in FITS, JSON or ASCII.

        Raises
        ------
        CatalogError
            Where it is none, or the file is not there or broken.
        """
        from mocpy import MOC

        where = f"{str(moc)!r}" if isinstance(moc, str | Path) else "the MOC"
        found = read_moc(moc) if isinstance(moc, str | Path) else moc
        if not isinstance(found, MOC):
            raise CatalogError(f"moc: {type(moc).__name__} is no MOC of the sky: give a mocpy.MOC or a file of one")
        ranges = np.asarray(found.to_depth29_ranges).reshape(-1, 2)
        starts, stops = ranges.astype(np.int64).T
        if np.any(ranges > END) or np.any(starts >= stops) or np.any(starts[1:] <= stops[:-1]):
            raise CatalogError(f"moc: {where} has cells that are not on the sky, or not in order: it is damaged: fetch it again")
        return cls(starts, stops)

    @classmethod
    def around(cls, vectors: np.ndarray, radius_deg: float) -> MocRegion:
        """Region of cells that holds all positions within a radius, up to some degrees, of unit vectors (n, 3); NaN has none."""
        import cdshealpix

        # cells beside that of a position are so wide that nothing within a quarter of their nominal side is beyond them
        order = int(np.clip(np.floor(np.log2(_BASE_CELL_DEG / (4 * radius_deg))), 0, _FINEST))
        shift = 2 * (ORDER - order)
        x, y, z = vectors[np.isfinite(vectors).all(axis=1)].T
        index = healpix_index(np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y))))
        own = np.unique(index >> shift)
        cells = np.unique(cdshealpix.neighbours(own.astype(np.uint64), order)) if len(own) else own
        cells = cells[cells >= 0]
        return cls(cells << shift, (cells + 1) << shift)

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        inside = np.isfinite(ra) & (np.abs(dec) <= 90)
        inside[inside] = self.contains_index(healpix_index(ra[inside], dec[inside]))
        return inside

    def contains_index(self, index: np.ndarray) -> np.ndarray:
        """Boolean array (n,), True for order-29 indices inside."""
        place = np.searchsorted(self.starts, index, side="right")
        return (place > 0) & (index < np.concatenate([[0], self.stops])[place])

    def healpix_ranges(self) -> Ranges:
        return merged_ranges(self.starts, self.stops)

    def dec_limits(self) -> tuple[float, float]:
        if not len(self.starts):
            return 0.0, 0.0
        # the poles of the order-7 cells that a range touches at its ends and passes through
        shift = 2 * (ORDER - _LIMITS_ORDER)
        cells = np.arange(12 << (2 * _LIMITS_ORDER))
        first = np.searchsorted(self.starts, (cells + 1) << shift)
        touched = (first > 0) & (np.concatenate([[0], self.stops])[first] > cells << shift)
        z = cell_centres(cells[touched], _LIMITS_ORDER)[:, 2]
        south, north = np.degrees(np.arcsin(np.clip([z.min(), z.max()], -1, 1)))
        reach = cell_radius_deg(_LIMITS_ORDER) + SLACK_DEG
        return float(south - reach), float(north + reach)


def read_moc(path: str | Path) -> MOC:
    """MOC of a file in FITS, JSON or ASCII, which its first bytes tell.

    Raises
    ------
    CatalogError
        Where there is no such file, or it holds no MOC.
    """
    from mocpy import MOC

    try:
        with open(path, "rb") as stream:
            start = stream.read(80).lstrip()
        kind = next((kind for token, kind in _FORMATS.items() if start.startswith(token)), "ascii")
        if kind == "json":
            _check_json(Path(path))
        return MOC.load(str(path), format=kind)
    except (FileNotFoundError, IsADirectoryError):
        raise CatalogError(f"moc: there is no file {str(path)!r}: correct the path") from None
    except Exception as error:  # whatever a broken file makes the library raise
        raise CatalogError(
            f"moc: {str(path)!r} cannot be read as a MOC ({type(error).__name__}: {_first_line(error)}): expected FITS, "
            "JSON or ASCII as mocpy and Aladin write them"
        ) from error


def _check_json(path: Path) -> None:
    """Raise ValueError unless the file is a JSON object of lists of cells by order: mocpy takes any other for an empty MOC."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    orders = {str(order) for order in range(30)}
    if not isinstance(tree, dict) or not all(key in orders and isinstance(cells, list) for key, cells in tree.items()):
        raise ValueError('no object such as {"8": [1, 2], "9": [16]}, cells by order')


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def coverage_name(model: str) -> str:
    """Name of the file in a catalog's folder that has the sky which a model has searched.

    >>> coverage_name("lens")
    'coverage_lens.fits'
    """
    return f"coverage_{model}.fits"


def read_model_coverage(folder: Path | None, model: str, catalog: str) -> MOC:
    """MOC of the sky that a model has searched, from the folder of the catalog of that name.

    Raises
    ------
    CatalogError
        Where the catalog has none.
    """
    before, after = coverage_name("*").split("*")
    files = {path.name[len(before) : -len(after)]: path for path in sorted(folder.glob(coverage_name("*")))} if folder else {}
    if model not in files:
        there = f"it has those of {', '.join(files)}" if files else "it has none of any model"
        raise CatalogError(
            f"catalog {catalog!r} has no coverage of a model {model!r}: {there}; the coverage of the survey is in .coverage, and "
            "`surveycnn run-flow publish` writes those of its models"
        )
    return read_moc(files[model])
