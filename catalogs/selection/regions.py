"""Regions of the sky: which positions lie inside, and which ranges of HEALPix indices cover them.

Pure geometry on the unit sphere: right ascension wraps, poles are points like others, edges are inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from surveycnn.catalogs.selection.sky_ranges import SLACK_DEG, covering_ranges
from surveycnn.catalogs.selection.sky_ranges import Ranges as Ranges
from surveycnn.errors import CatalogError
from surveycnn.sky.sphere import unit_vectors, wrapped

_EDGE_RAD = 4e-15
"""Positions so near to the edge of a polygon are on it: what rounding leaves of those that were put there."""

_MAX_RA = 720
"""Some turns are understood; beyond, it is no right ascension, and rounding would show."""


class Region(Protocol):
    """A part of the sky."""

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Boolean array of shape (n,), True for positions (degrees) inside or on the edge; NaN is outside."""

    def healpix_ranges(self) -> Ranges:
        """Half-open ranges of order-29 indices that cover the region: a few, sorted and apart; none where nothing is inside."""

    def dec_limits(self) -> tuple[float, float]:
        """Declinations in degrees between which the region lies."""


def separation_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles in degrees between unit vectors of shape (..., 3), exact from zero to 180 degrees."""
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))


@dataclass(frozen=True)
class Cone:
    """Positions within a radius of a centre."""

    ra: float
    dec: float
    radius_deg: float

    def __post_init__(self) -> None:
        _check_position("cone", self.ra, self.dec)
        if not 0 <= self.radius_deg <= 180:
            raise CatalogError(f"cone: radius is {self.radius_deg * 3600:g} arcsec, expected 0 to 648000 (180 degrees)")

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        return self._distance_deg(unit_vectors(ra, dec)) <= 0

    def healpix_ranges(self) -> Ranges:
        return covering_ranges(self._distance_deg, unit_vectors(self.ra, self.dec), self.radius_deg)

    def dec_limits(self) -> tuple[float, float]:
        return self.dec - self.radius_deg - SLACK_DEG, self.dec + self.radius_deg + SLACK_DEG

    def _distance_deg(self, vectors: np.ndarray) -> np.ndarray:
        return separation_deg(vectors, unit_vectors(self.ra, self.dec)) - self.radius_deg


@dataclass(frozen=True)
class Box:
    """Positions between two meridians, eastward from `ra_min` to `ra_max`, and two parallels.

    A position on a pole lies at the right ascension that it is given with.
    """

    ra_min: float
    ra_max: float
    dec_min: float
    dec_max: float

    def __post_init__(self) -> None:
        _check_position("box", self.ra_min, self.dec_min)
        _check_position("box", self.ra_max, self.dec_max)
        if self.dec_min > self.dec_max:
            raise CatalogError(f"box: dec_min {self.dec_min!r} is above dec_max {self.dec_max!r}: exchange them")

    @property
    def is_zone(self) -> bool:
        """True where every right ascension is inside."""
        return self.ra_max - self.ra_min >= 360

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        return (dec >= self.dec_min) & (dec <= self.dec_max) & self._is_between(ra)

    def _is_between(self, ra: np.ndarray) -> np.ndarray:
        """Mask of the right ascensions from the western to the eastern side."""
        if self.is_zone:
            return np.isfinite(ra)
        west, east = wrapped(np.array([self.ra_min, self.ra_max]))
        ra = wrapped(np.asarray(ra))
        return (ra >= west) & (ra <= east) if west <= east else (ra >= west) | (ra <= east)

    def healpix_ranges(self) -> Ranges:
        width = 360.0 if self.is_zone else (self.ra_max - self.ra_min) % 360
        centre = unit_vectors(self.ra_min + width / 2, (self.dec_min + self.dec_max) / 2)
        # within 90 degrees of the central meridian a corner is the farthest point
        corners = unit_vectors(self.ra_min, np.array([self.dec_min, self.dec_max]))
        reach = float(separation_deg(corners, centre).max()) if width <= 180 else 180.0
        return covering_ranges(self._distance_deg, centre, reach)

    def dec_limits(self) -> tuple[float, float]:
        return self.dec_min, self.dec_max

    def _distance_deg(self, vectors: np.ndarray) -> np.ndarray:
        dec = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
        beyond = np.maximum(self.dec_min - dec, dec - self.dec_max)
        if self.is_zone:
            return beyond
        pole = np.array([0.0, 0.0, 1.0])
        starts = unit_vectors(np.array([self.ra_min, self.ra_max]), np.zeros(2))
        sides = np.min([_arc_distance_deg(vectors, one, pole, self.dec_min, self.dec_max) for one in starts], axis=0)
        between = self._is_between(np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])))
        return np.where(between, np.where(beyond > 0, beyond, np.maximum(beyond, -sides)), sides)


@dataclass(frozen=True)
class Polygon:
    """Positions inside a polygon of great circles, convex or not, that lies within 90 degrees of its centre.

    Where its edges cross, what they go round twice is outside.
    """

    vertices: tuple[tuple[float, float], ...]
    _vectors: np.ndarray = field(init=False, repr=False, compare=False)
    _centre: np.ndarray = field(init=False, repr=False, compare=False)

    @classmethod
    def of(cls, vertices: Sequence[tuple[float, float]]) -> Polygon:
        """Polygon of (ra, dec) pairs in degrees; the last may repeat the first."""
        try:
            pairs = np.asarray(vertices, dtype=float)
        except (TypeError, ValueError) as error:
            raise CatalogError(f"polygon: vertices are no pairs (ra, dec) of numbers: {error}") from None
        if pairs.ndim != 2 or pairs.shape[1:] != (2,):
            raise CatalogError(f"polygon: vertices have shape {pairs.shape}, expected pairs (ra, dec)")
        if len(pairs) > 1 and np.array_equal(pairs[0], pairs[-1]):
            pairs = pairs[:-1]
        return cls(tuple((float(ra), float(dec)) for ra, dec in pairs))

    def __post_init__(self) -> None:
        if len(set(self.vertices)) < 3:
            raise CatalogError(f"polygon: {len(set(self.vertices))} different vertices, expected at least 3")
        for ra, dec in self.vertices:
            _check_position("polygon", ra, dec)
        vectors = unit_vectors(*np.array(self.vertices).T)
        norm = np.linalg.norm(vectors.sum(axis=0))
        centre = vectors.sum(axis=0) / norm if norm > 1e-9 else vectors[0]
        if norm <= 1e-9 or (vectors @ centre).min() < np.cos(np.radians(89)):
            raise CatalogError("polygon: vertices reach 90 degrees from their centre: divide it into smaller polygons")
        object.__setattr__(self, "_vectors", vectors)
        object.__setattr__(self, "_centre", centre)

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        return self._contains(unit_vectors(ra, dec))

    def _contains(self, vectors: np.ndarray) -> np.ndarray:
        # the gnomonic projection turns great circles into straight lines
        x, y, front = _gnomonic(vectors, self._centre)
        px, py, _ = _gnomonic(self._vectors, self._centre)
        inside, on_edge = np.zeros((2, *np.shape(x)), dtype=bool)
        tolerance = _EDGE_RAD * (1 + x**2 + y**2)
        for x0, y0, x1, y1 in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
            dx, dy, length = x1 - x0, y1 - y0, np.hypot(x1 - x0, y1 - y0)
            if dy != 0:
                inside ^= ((y0 > y) != (y1 > y)) & (x < dx * ((y - y0) / dy) + x0)
            if length > 0:
                along, aside = ((x - x0) * dx + (y - y0) * dy) / length, ((x - x0) * dy - (y - y0) * dx) / length
                on_edge |= (np.abs(aside) <= tolerance) & (along >= -tolerance) & (along <= length + tolerance)
        return (inside | on_edge) & front

    def healpix_ranges(self) -> Ranges:
        return covering_ranges(self._distance_deg, self._centre, float(separation_deg(self._vectors, self._centre).max()))

    def dec_limits(self) -> tuple[float, float]:
        limits = [dec for _, dec in self.vertices]
        for start, along, length in self._edges():
            turn = np.degrees(np.arctan2(along[2], start[2]))  # there the great circle of the edge is farthest north
            top = np.degrees(np.arccos(np.clip(np.linalg.norm(np.cross(start, along)[:2]), 0, 1)))
            extremes = ((turn, 90 - top), (turn - 180, top - 90), (turn + 180, top - 90))
            limits += [dec for angle, dec in extremes if 0 < angle < length]
        poles = self._contains(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
        limits += [pole for pole, is_inside in zip((90.0, -90.0), poles, strict=True) if is_inside]
        return float(min(limits)) - SLACK_DEG, float(max(limits)) + SLACK_DEG

    def _edges(self) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        """Start of each edge, the unit vector that it sets out along, and its length in degrees."""
        for start, end in zip(self._vectors, np.roll(self._vectors, -1, axis=0), strict=True):
            along = (end - start) - ((end - start) @ start) * start
            if np.linalg.norm(along) > 0:
                yield start, along / np.linalg.norm(along), float(separation_deg(start, end))

    def _distance_deg(self, vectors: np.ndarray) -> np.ndarray:
        border = np.min([_arc_distance_deg(vectors, start, along, 0, length) for start, along, length in self._edges()], axis=0)
        return np.where(self._contains(vectors), -border, border)


def _arc_distance_deg(vectors: np.ndarray, start: np.ndarray, along: np.ndarray, low: float, high: float) -> np.ndarray:
    """Distances (n,) from the arc between the angles `low` and `high` of the great circle from `start` along `along`, degrees."""
    angle = np.degrees(np.arctan2(vectors @ along, vectors @ start))
    ends = [np.cos(np.radians(end)) * start + np.sin(np.radians(end)) * along for end in (low, high)]
    nearest_end = np.minimum(*(separation_deg(vectors, end) for end in ends))
    aside = np.degrees(np.arcsin(np.clip(np.abs(vectors @ np.cross(start, along)), 0, 1)))
    return np.where((angle >= low) & (angle <= high), aside, nearest_end)


def _gnomonic(vectors: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plane coordinates about `centre`, and which vectors lie on its side of the sphere."""
    east = np.cross([0.0, 0.0, 1.0], centre)
    east = east / np.linalg.norm(east) if np.linalg.norm(east) > 1e-12 else np.array([1.0, 0.0, 0.0])
    depth = vectors @ centre
    front = depth > 1e-6
    depth = np.where(front, depth, 1.0)
    return vectors @ east / depth, vectors @ np.cross(centre, east) / depth, front


def _check_position(what: str, ra: float, dec: float) -> None:
    if not abs(ra) <= _MAX_RA or not -90 <= dec <= 90:
        expected = f"expected ra from -{_MAX_RA} to {_MAX_RA} and dec from -90 to 90 degrees"
        raise CatalogError(f"{what}: position is ({ra!r}, {dec!r}), {expected}")
