"""The sky that was searched, as a MOC: the mosaics' footprints without the tiles that failed and the parts without data."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from surveycnn.catalogs.selection.regions import separation_deg
from surveycnn.sky.sphere import unit_vectors
from surveycnn.sky.wcs import sky_positions

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from mocpy import MOC

MOC_ORDER = 16
"""Cells of 3.2 arcsec along the borders."""
EDGE_POINTS = 16
"""Points along a side of a rectangle of pixels at most, to follow its curvature on the sky."""
MAX_REACH_DEG = 20
"""Larger mosaics are cut into pieces that reach less far from their middle."""

Window = tuple[int, int, int, int]
"""y0, y1, x0, x1 of a rectangle of pixels, half-open."""

_SQUARE_PX = 64
_MAX_CUTS = 64
_BASE_CELL_DEG = 58.6
_EDGE_DEG = 0.02
_SAME_POINT_DEG = 1e-9
_STRAIGHT_DEG = 1e-8


@dataclass(frozen=True)
class Footprint:
    """A mosaic's place on the sky."""

    mosaic: str
    wcs: WCS
    ny: int
    nx: int
    not_searched: tuple[Window, ...] = ()
    """Rectangles of pixels that were not searched: tiles that failed, blocks without data."""

    @property
    def digest(self) -> str:
        """SHA-256 of what the footprint is made of."""
        record = [
            self.mosaic,
            self.wcs.to_header_string(relax=True),
            self.ny,
            self.nx,
            [list(map(int, w)) for w in self.not_searched],
        ]
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()

    @property
    def moc_order(self) -> int:
        """Order of the largest HEALPix cells that are no larger than the pixels of the reference point."""
        return int(np.clip(np.ceil(np.log2(_BASE_CELL_DEG / self._pixel_deg)), 0, 29))

    @cached_property
    def _pixel_deg(self) -> float:
        """Side of a pixel at the reference point."""
        return float(np.sqrt(self.wcs.celestial.proj_plane_pixel_area().to_value("deg2")))

    def depth_arcsec(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Distances (n,) of pixel positions from the nearest border or part that was not searched, arcsec; negative outside.

        Measured on the sky, to the points that are nearest along rows and columns: the pixel scale may change over the mosaic.
        """
        place = self._vectors(y, x)
        inside = np.clip(y, -0.5, self.ny - 0.5), np.clip(x, -0.5, self.nx - 0.5)
        borders: list[tuple[np.ndarray | float, np.ndarray | float]]
        borders = [(-0.5, x), (self.ny - 0.5, x), (y, -0.5), (y, self.nx - 0.5)]
        depth = np.full(np.shape(y), 180.0)
        for foot_y, foot_x in chain(borders, self._gaps(y, x)):
            depth = np.fmin(depth, separation_deg(place, self._vectors(foot_y, foot_x)))  # fmin: a border may be off the sky
        is_inside = (inside[0] == y) & (inside[1] == x)
        return 3600 * np.where(is_inside, depth, -separation_deg(place, self._vectors(*inside)))

    def _gaps(self, y: np.ndarray, x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Nearest points (y, x) of the parts that were not searched, for squares of each size in turn."""
        squares = _squares(self.not_searched)
        for side in np.unique(squares[:, 2]):
            middle = squares[squares[:, 2] == side, :2] + (side - 1) / 2
            _, nearest = cKDTree(middle).query(np.stack([y, x], axis=-1), p=np.inf)
            low, high = middle[nearest].T - side / 2, middle[nearest].T + side / 2
            yield np.clip(y, low[0], high[0]), np.clip(x, low[1], high[1])

    def _vectors(self, y: np.ndarray | float, x: np.ndarray | float) -> np.ndarray:
        """Unit vectors (n, 3) of pixel positions; NaN off the sky."""
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        return unit_vectors(*sky_positions(self.wcs, x, y))

    def _outline(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ra and dec in degrees of points around a window, then of its middle; which of them begin a side.

        NaN off the sky, as the corners of all-sky maps.
        """
        y0, y1, x0, x1 = window
        along_y, along_x = ((stop - start) * self._steps(stop - start) for start, stop in ((y0, y1), (x0, x1)))
        flat_y, flat_x = np.zeros(len(along_y)), np.zeros(len(along_x))
        y = np.concatenate([y0 + flat_x, y0 + along_y, y1 + flat_x, y1 - along_y, [(y0 + y1) / 2]])
        x = np.concatenate([x0 + along_x, x1 + flat_y, x1 - along_x, x0 + flat_y, [(x0 + x1) / 2]])
        corners = np.cumsum([0, len(along_x), len(along_y), len(along_x)])
        return *sky_positions(self.wcs, x - 0.5, y - 0.5), corners

    def _steps(self, side_px: int) -> np.ndarray:
        """Where points lie along a side, in units of it: fewer on short ones, which are straight."""
        n_points = int(np.clip(np.ceil(side_px * self._pixel_deg / _EDGE_DEG), 1, EDGE_POINTS))
        return np.arange(n_points) / n_points

    def outlines(self, window: Window | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ra and dec in degrees around pieces of the mosaic, or of a window of it, that are small on the sky and lie on it.

        A mosaic of some degrees is one piece. A zone around the sky has no inside, and an all-sky map is cut at its border.
        """
        y0, y1, x0, x1 = window = window or (0, self.ny, 0, self.nx)
        ra, dec, corners = self._outline(window)
        vectors = unit_vectors(ra, dec)
        ra, dec, border, middle = ra[:-1], dec[:-1], vectors[:-1], vectors[-1]
        reach_deg = separation_deg(middle, border).max()  # NaN where something is off the sky
        if not reach_deg <= MAX_REACH_DEG and max(y1 - y0, x1 - x0) > max(self.ny, self.nx) / _MAX_CUTS:
            rows = [(y0, (y0 + y1) // 2), ((y0 + y1) // 2, y1)] if y1 - y0 >= x1 - x0 else [(y0, y1)]
            cols = [(x0, (x0 + x1) // 2), ((x0 + x1) // 2, x1)] if x1 - x0 >= y1 - y0 else [(x0, x1)]
            for row, col in product(rows, cols):
                yield from self.outlines((*row, *col))
            return
        moves = np.isfinite(ra) & ~(separation_deg(border, np.roll(border, 1, axis=0)) < _SAME_POINT_DEG)
        needed = moves & ~_on_straight_sides(border, corners)
        if moves.sum() >= 3:
            yield (ra[needed], dec[needed]) if needed.sum() >= 3 else (ra[moves], dec[moves])


def coverage_moc(footprints: Iterable[Footprint], order: int = MOC_ORDER) -> MOC:
    """MOC of the sky that at least one mosaic has searched.

    Cells cut by the border of a mosaic are inside, cells cut by that of a part that was not searched are outside. They are about
    as large as the mosaic's pixels if those are larger than the cells of `order`.
    """
    return union_moc((footprint_moc(footprint, order) for footprint in footprints), order)


def footprint_moc(footprint: Footprint, order: int = MOC_ORDER) -> MOC:
    """MOC of the sky that one mosaic has searched; see :func:`coverage_moc`."""
    cells = min(order, footprint.moc_order)
    searched = _polygons_moc(footprint.outlines(), cells)
    if not footprint.not_searched:
        return searched
    gaps = (footprint.outlines(window) for window in merge_windows(footprint.not_searched))
    return searched.difference(_polygons_moc(chain.from_iterable(gaps), cells))


def mosaic_mocs(footprints: Iterable[Footprint], order: int = MOC_ORDER) -> dict[str, MOC]:
    """MOC of the sky that each mosaic has searched, by its id."""
    return {footprint.mosaic: footprint_moc(footprint, order) for footprint in footprints}


def model_coverages(mocs: Mapping[str, MOC], models: Mapping[str, Set[str]], order: int = MOC_ORDER) -> dict[str, MOC]:
    """MOC of the sky that each model has searched, by its name; empty where it ran on no mosaic.

    Parameters
    ----------
    mocs
        Of :func:`mosaic_mocs`.
    models
        Ids of the mosaics on which each model ran: it is skipped where a band that it needs is missing.
    """
    return {name: union_moc((mocs[mosaic] for mosaic in sorted(ran)), order) for name, ran in models.items()}


def union_moc(mocs: Iterable[MOC], order: int = MOC_ORDER) -> MOC:
    """MOC of the sky in any of `mocs`, all at once; empty of none."""
    from mocpy import MOC

    empty = MOC.new_empty(max_depth=order)
    return empty.union(empty, *mocs)


def _on_straight_sides(border: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Mask of the points between corners that a great circle joins, which a polygon does not need: half the time with mocpy."""
    is_spare = np.zeros(len(border), dtype=bool)
    for start, stop in zip(corners, [*corners[1:], len(border)], strict=True):
        if stop > start + 1:
            normal = np.cross(border[start], border[stop % len(border)])
            aside = np.abs(border[start + 1 : stop] @ normal)
            is_spare[start + 1 : stop] = (aside <= np.radians(_STRAIGHT_DEG) * np.linalg.norm(normal)).all()
    return is_spare


def _polygons_moc(outlines: Iterable[tuple[np.ndarray, np.ndarray]], order: int) -> MOC:
    """MOC of the sky inside any of the outlines (ra, dec); the smaller side of each."""
    from mocpy import MOC

    by_size: defaultdict[int, list[np.ndarray]] = defaultdict(list)  # mocpy takes polygons of equal size at once
    for ra, dec in outlines:
        by_size[len(ra)] += [np.mod(ra, 360), dec]
    mocs = (MOC.from_polygons(vertices, max_depth=order, n_threads=1) for vertices in by_size.values())
    return union_moc(chain.from_iterable(mocs), order)


def empty_windows(has_data: np.ndarray, block_px: int, ny: int, nx: int) -> list[Window]:
    """Windows of the blocks of a mosaic that hold no data at all, those beside one another joined.

    Parameters
    ----------
    has_data
        Boolean array (block y, block x), True where a block of `block_px` pixels has data.
    """
    windows = []
    for row, blocks in enumerate(has_data):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], ~blocks, [False]]).astype(np.int8)))
        y0, y1 = row * block_px, min((row + 1) * block_px, ny)
        windows += [(y0, y1, int(x0) * block_px, min(int(x1) * block_px, nx)) for x0, x1 in edges.reshape(-1, 2)]
    return merge_windows(windows)


def merge_windows(windows: Sequence[Window]) -> list[Window]:
    """The same area in fewer windows: those of equal x range that follow one another in y are joined."""
    merged: list[Window] = []
    for window in sorted(windows, key=lambda window: (window[2], window[3], window[0])):
        if merged and merged[-1][2:] == window[2:] and merged[-1][1] == window[0]:
            merged[-1] = (merged[-1][0], window[1], *window[2:])
        else:
            merged.append(window)
    return merged


def _squares(windows: Sequence[Window]) -> np.ndarray:
    """Squares (square, 3), y0, x0 and side in pixels, that cover the same pixels as `windows`."""
    squares = [np.zeros((0, 3), dtype=np.int64)]
    for y0, y1, x0, x1 in windows:
        side = min(y1 - y0, x1 - x0, _SQUARE_PX)
        corners = [np.minimum(np.arange(start, stop, side), stop - side) for start, stop in ((y0, y1), (x0, x1))]
        y, x = np.meshgrid(*corners, indexing="ij")
        squares.append(np.stack([y.ravel(), x.ravel(), np.full(y.size, side)], axis=1))
    return np.concatenate(squares)
