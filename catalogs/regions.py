"""Regions of the sky: which positions lie inside, and which ranges of HEALPix indices cover them.

Pure geometry on the unit sphere: right ascension wraps, poles are points like others, edges are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from surveycnn.catalogs.healpix import ORDER
from surveycnn.errors import CatalogError
from surveycnn.sky.sphere import unit_vectors

MAX_RANGES = 32
"""Index ranges handed to the Parquet filter at most; more cost more than they save."""

_SLACK_DEG = 1e-6
"""Grown before it is covered by pixels, so that rounding loses no row."""

Ranges = list[tuple[int, int]]


class Region(Protocol):
    """A part of the sky."""

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Boolean array of shape (n,), True for positions (degrees) inside or on the edge; NaN is outside."""

    def healpix_ranges(self) -> Ranges:
        """Half-open ranges of order-29 indices that cover the region, sorted."""

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
        return separation_deg(unit_vectors(ra, dec), unit_vectors(self.ra, self.dec)) <= self.radius_deg

    def healpix_ranges(self) -> Ranges:
        return cone_ranges(self.ra, self.dec, self.radius_deg)

    def dec_limits(self) -> tuple[float, float]:
        return self.dec - self.radius_deg - _SLACK_DEG, self.dec + self.radius_deg + _SLACK_DEG


@dataclass(frozen=True)
class Box:
    """Positions between two meridians, eastward from `ra_min` to `ra_max`, and two parallels."""

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
        inside = (dec >= self.dec_min) & (dec <= self.dec_max)
        if self.is_zone:
            return inside & np.isfinite(ra)
        west, east, ra = self.ra_min % 360, self.ra_max % 360, np.mod(ra, 360)
        return inside & ((ra >= west) & (ra <= east) if west <= east else (ra >= west) | (ra <= east))

    def healpix_ranges(self) -> Ranges:
        width = (self.ra_max - self.ra_min) % 360
        if self.is_zone or width > 180:
            return [(0, 12 << (2 * ORDER))]
        ra, dec = self.ra_min + width / 2, (self.dec_min + self.dec_max) / 2
        # within 90 degrees of the central meridian a corner is the farthest point
        corners = unit_vectors(self.ra_min, np.array([self.dec_min, self.dec_max]))
        return cone_ranges(ra, dec, float(separation_deg(corners, unit_vectors(ra, dec)).max()))

    def dec_limits(self) -> tuple[float, float]:
        return self.dec_min, self.dec_max


@dataclass(frozen=True)
class Polygon:
    """Positions inside a polygon of great circles, convex or not, that lies within 90 degrees of its centre."""

    vertices: tuple[tuple[float, float], ...]
    _vectors: np.ndarray = field(init=False, repr=False, compare=False)
    _centre: np.ndarray = field(init=False, repr=False, compare=False)

    @classmethod
    def of(cls, vertices: Sequence[tuple[float, float]]) -> Polygon:
        """Polygon of (ra, dec) pairs in degrees; the last may repeat the first."""
        pairs = np.asarray(vertices, dtype=float)
        if pairs.ndim != 2 or pairs.shape[1:] != (2,):
            raise CatalogError(f"polygon: vertices have shape {pairs.shape}, expected pairs (ra, dec)")
        if len(pairs) > 1 and np.array_equal(pairs[0], pairs[-1]):
            pairs = pairs[:-1]
        return cls(tuple((float(ra), float(dec)) for ra, dec in pairs))

    def __post_init__(self) -> None:
        if len(self.vertices) < 3:
            raise CatalogError(f"polygon: {len(self.vertices)} different vertices, expected at least 3")
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
        # the gnomonic projection turns great circles into straight lines
        x, y, front = _gnomonic(unit_vectors(ra, dec), self._centre)
        px, py, _ = _gnomonic(self._vectors, self._centre)
        inside = np.zeros(np.shape(x), dtype=bool)
        for x0, y0, x1, y1 in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
            if y0 != y1:
                inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * ((y - y0) / (y1 - y0)) + x0)
        return inside & front

    def _radius_deg(self) -> float:
        return float(separation_deg(self._vectors, self._centre).max())

    def healpix_ranges(self) -> Ranges:
        x, y, z = self._centre
        return cone_ranges(
            float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y)))), self._radius_deg()
        )

    def dec_limits(self) -> tuple[float, float]:
        dec, radius = float(np.degrees(np.arcsin(np.clip(self._centre[2], -1, 1)))), self._radius_deg()
        return dec - radius - _SLACK_DEG, dec + radius + _SLACK_DEG


def cone_ranges(ra: float, dec: float, radius_deg: float) -> Ranges:
    """Ranges of order-29 indices that cover a cone: at most MAX_RANGES, sorted and apart."""
    import astropy.units as u
    import cdshealpix
    from astropy.coordinates import Latitude, Longitude

    radius_deg += _SLACK_DEG
    if radius_deg >= 60:
        return [(0, 12 << (2 * ORDER))]
    # pixels of about a quarter of the radius
    depth = int(np.clip(np.floor(np.log2(58.6 / radius_deg)) + 2, 0, 20))
    lon, lat = Longitude(ra % 360, u.deg), Latitude(np.clip(dec, -90, 90), u.deg)
    pixels, depths, _ = cdshealpix.cone_search(lon, lat, radius_deg * u.deg, depth)
    shift = 2 * (ORDER - depths.astype(np.int64))
    starts, stops = pixels.astype(np.int64) << shift, (pixels.astype(np.int64) + 1) << shift
    return _merge_ranges(np.sort(starts), np.sort(stops))


def _merge_ranges(starts: np.ndarray, stops: np.ndarray) -> Ranges:
    """Join touching ranges, then those with the smallest gaps until MAX_RANGES are left."""
    gaps = starts[1:] - stops[:-1]
    widest = np.sort(gaps)[::-1][: MAX_RANGES - 1]
    limit = max(1, widest[-1]) if len(widest) else 1
    cut = np.flatnonzero(gaps >= limit)[: MAX_RANGES - 1] if len(gaps) else np.array([], dtype=int)
    firsts, lasts = np.concatenate([[0], cut + 1]).astype(int), np.concatenate([cut, [len(stops) - 1]]).astype(int)
    return [(int(starts[first]), int(stops[last])) for first, last in zip(firsts, lasts, strict=True)]


def _gnomonic(vectors: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plane coordinates about `centre`, and which vectors lie on its side of the sphere."""
    east = np.cross([0.0, 0.0, 1.0], centre)
    east = east / np.linalg.norm(east) if np.linalg.norm(east) > 1e-12 else np.array([1.0, 0.0, 0.0])
    depth = vectors @ centre
    front = depth > 1e-6
    depth = np.where(front, depth, 1.0)
    return vectors @ east / depth, vectors @ np.cross(centre, east) / depth, front


def _check_position(what: str, ra: float, dec: float) -> None:
    if not np.isfinite(ra) or not -90 <= dec <= 90:
        raise CatalogError(f"{what}: position is ({ra!r}, {dec!r}), expected a finite ra and dec from -90 to 90 degrees")
