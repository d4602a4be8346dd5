"""Skies made by hypothesis, and judges of what lies where that share nothing with the package: plain, in extended precision."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

ANCHORS = [
    (0.0, 90.0),
    (123.0, -90.0),
    (0.0, 0.0),
    (np.nextafter(360, 0), -31.0),
    (45.0, np.degrees(np.arcsin(2 / 3))),
    (200.0, 5.0),
]
"""Places where a mistake would show: the poles, the meridian of zero from both sides, a corner of three HEALPix base cells."""
N_POINTS = 120
LONG = np.longdouble
RADIAN = LONG(np.pi) / LONG(180) + LONG("1.2246467991473531772e-16") / LONG(180)


@dataclass(frozen=True)
class Sky:
    """Positions in degrees, crowded around an anchor."""

    anchor: tuple[float, float]
    size: float
    """Degrees within which half of them lie."""
    ra: np.ndarray
    dec: np.ndarray


@st.composite
def skies(draw: st.DrawFn) -> Sky:
    """Positions around one of the anchors or anywhere, within an arcsecond or over the whole sky; some on poles and meridians."""
    anchor = draw(st.sampled_from(ANCHORS) | st.tuples(st.floats(0, 360), st.floats(-90, 90)))
    size = 10 ** draw(st.floats(-4, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ra, dec = around(*anchor, size * np.sqrt(2 * rng.random(N_POINTS)), rng.uniform(0, 360, N_POINTS))
    ra[:8], dec[:8] = [0, 0, np.nextafter(360, 0), 0, 77, 1e-300, anchor[0], 180], [90, -90, 0, anchor[1], -90, 0, anchor[1], 90]
    return Sky(anchor, size, ra, dec)


def around(ra: float, dec: float, distance: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n,) at a distance and position angle (n,) from one position, all in degrees; ra in [0, 360)."""
    lat, far, turn = np.radians(dec), np.radians(np.minimum(distance, 180)), np.radians(angle)
    sin_lat = np.clip(np.sin(lat) * np.cos(far) + np.cos(lat) * np.sin(far) * np.cos(turn), -1, 1)
    along = np.cos(lat) * np.cos(far) - np.sin(lat) * np.sin(far) * np.cos(turn)
    east = np.arctan2(np.sin(turn) * np.sin(far), along)
    found = (ra + np.degrees(east)) % 360
    return np.where(found >= 360, 0.0, found), np.degrees(np.arctan2(sin_lat, np.hypot(np.sin(turn) * np.sin(far), along)))


def vincenty_deg(
    ra_a: np.ndarray, dec_a: np.ndarray, ra_b: np.ndarray | float, dec_b: np.ndarray | float, real: type = LONG
) -> np.ndarray:
    """Angles in degrees on the sphere, by Vincenty's formula in extended precision, or that of `real`."""
    radian = real(RADIAN)
    delta = (np.asarray(ra_a, real) - np.asarray(ra_b, real)) * radian
    a, b = np.asarray(dec_a, real) * radian, np.asarray(dec_b, real) * radian
    across = np.hypot(np.cos(b) * np.sin(delta), np.cos(a) * np.sin(b) - np.sin(a) * np.cos(b) * np.cos(delta))
    return np.arctan2(across, np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(delta)) / radian


def in_box(sky: Sky, ra_min: float, ra_max: float, dec_min: float, dec_max: float) -> np.ndarray:
    """Mask of the positions in a box, by exact fractions."""
    width = Fraction(ra_max) - Fraction(ra_min)
    width = width if width >= 360 else width % 360
    east = [(Fraction(float(ra)) - Fraction(ra_min)) % 360 <= width for ra in sky.ra]
    return np.array(east) & (sky.dec >= dec_min) & (sky.dec <= dec_max)


def in_polygon(sky: Sky, vertices: list[tuple[float, float]], real: type = LONG) -> tuple[np.ndarray, np.ndarray]:
    """Mask of the positions that a polygon goes round an odd number of times, by the sum of the angles that its edges span at
    the position, and the distances in degrees from the nearest edge."""
    corners, places = _vectors(*np.array(vertices).T).astype(real), _vectors(sky.ra, sky.dec).astype(real)
    angle, nearest = np.zeros(len(places), real), np.full(len(places), real(180))
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        to_a, to_b = a - (places @ a)[:, None] * places, b - (places @ b)[:, None] * places
        angle += np.arctan2(np.sum(places * np.cross(to_a, to_b), axis=1), np.sum(to_a * to_b, axis=1))
        nearest = np.minimum(nearest, _angle(places, a))
        normal = np.cross(a, b)
        size = np.sqrt(normal @ normal)
        if size > 0:
            normal = normal / size
            foot = places - (places @ normal)[:, None] * normal
            is_beside = (foot @ np.cross(normal, a) >= 0) & (foot @ np.cross(b, normal) >= 0)
            nearest = np.where(
                is_beside, np.minimum(nearest, np.abs(np.degrees(np.arcsin(np.clip(places @ normal, -1, 1))))), nearest
            )
    turns = np.rint((angle / (2 * np.pi)).astype(float)).astype(int)
    return (turns % 2 == 1) & (places @ corners.sum(axis=0) > 0), nearest.astype(float)


def _vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    lon, lat = np.asarray(ra, LONG) * RADIAN, np.asarray(dec, LONG) * RADIAN
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _angle(vectors: np.ndarray, vector: np.ndarray) -> np.ndarray:
    across = np.cross(vectors, vector)
    return np.degrees(np.arctan2(np.sqrt(np.sum(across * across, axis=1)), vectors @ vector))
