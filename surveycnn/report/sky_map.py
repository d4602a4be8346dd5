"""Map of the sky: a flat one of a small survey, Hammer's equal-area projection of a large one; east is to the left."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from surveycnn.report.density import Density
from surveycnn.report.figures import Figure, compact, ticks

LARGEST_FLAT_DEG = 50.0
SIDE_PX = 460
_MARGINS = 56 + 56, 12 + 44


def sky_map(density: Density) -> Markup:
    """Density of the sources on the sky, in cells of HEALPix."""
    ra, dec = density.corners()
    centre = _middle(ra)
    d_ra = (ra - centre + 180) % 360 - 180
    # a cell at the edge of the map stays in one piece
    d_ra = np.where(d_ra - d_ra[:, :1] > 180, d_ra - 360, np.where(d_ra - d_ra[:, :1] < -180, d_ra + 360, d_ra))
    values = density.per_arcmin2
    low, high = _limits(values)
    scaled = (values - low) / (high - low)
    cell = 60 * math.degrees(math.sqrt(4 * math.pi / 12)) / 2**density.order
    alt = (
        f"Map of {len(values)} sky cells of {compact(cell)} arcmin: "
        f"{compact(float(values.min()))} to {compact(float(values.max()))} sources per square arcmin"
    )
    place = _flat if max(np.ptp(d_ra), np.ptp(dec)) < LARGEST_FLAT_DEG and np.abs(dec).max() < 85 else _hammer
    return place(alt, d_ra, dec, centre, scaled, (compact(low), compact(high)))


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Ends of the scale: a few cells may be beyond."""
    low, high = (float(value) for value in np.quantile(values, (0.01, 0.99)))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1.0


def _middle(ra: np.ndarray) -> float:
    """Mean right ascension in degrees, whatever lies at 0."""
    angle = np.radians(ra)
    return math.degrees(math.atan2(np.sin(angle).mean(), np.cos(angle).mean())) % 360


def _flat(alt: str, d_ra: np.ndarray, dec: np.ndarray, centre: float, values: np.ndarray, ends: tuple[str, str]) -> Markup:
    stretch = math.cos(math.radians(float(dec.mean())))
    x, y = d_ra * stretch, dec
    half = max(np.ptp(x), np.ptp(y)) * 0.52 + 1e-6
    width = float(np.clip(np.ptp(x) * 0.52, half * 0.4, half))
    height = float(np.clip(np.ptp(y) * 0.52, half * 0.4, half))
    x0, y0 = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2
    scale = (SIDE_PX - _MARGINS[0]) / (2 * max(width, height))
    figure = Figure(
        alt,
        x=(x0 + width, x0 - width),
        y=(y0 - height, y0 + height),
        x_label="right ascension [deg]",
        y_label="declination [deg]",
        width=round(2 * width * scale) + _MARGINS[0],
        height=round(2 * height * scale) + _MARGINS[1],
        right=56,
    )
    figure.polygons(x, y, values, *ends)
    first, last = ((x0 + sign * width) / stretch + centre for sign in (-1, 1))
    marks = [((value - centre) * stretch, text) for value, text in _wrapped(ticks(first, last, 4))]
    return figure.svg(x_ticks=marks)


def _wrapped(found: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Ticks of right ascension with texts from 0 to 360."""
    digits = max((len(text.partition(".")[2]) for _, text in found), default=0)
    return [(value, f"{value % 360:.{digits}f}") for value, _ in found]


def _hammer(alt: str, d_ra: np.ndarray, dec: np.ndarray, centre: float, values: np.ndarray, ends: tuple[str, str]) -> Markup:
    figure = Figure(alt, x=(-2.05, 2.05), y=(-1.05, 1.05), x_label="", y_label="", width=640, height=340, right=56)
    x, y = hammer(d_ra, dec)
    # cells of a survey in pieces are small on the whole sky: each is drawn as large as a dot at least
    least = 0.012
    grow = np.maximum(1.0, least / np.maximum(np.ptp(x, axis=1), 1e-9))[:, None]
    x, y = (
        mean + (values_ - mean) * grow
        for values_, mean in ((x, x.mean(axis=1, keepdims=True)), (y, y.mean(axis=1, keepdims=True)))
    )
    for meridian in range(-180, 181, 60):
        figure.line(*hammer(np.full(91, float(meridian)), np.linspace(-90, 90, 91)), "graticule")
    for parallel in range(-60, 61, 30):
        figure.line(*hammer(np.linspace(-180, 180, 181), np.full(181, float(parallel))), "graticule")
    figure.polygons(x, y, values, *ends)
    x_ticks = [
        (float(hammer(np.array([lon]), np.array([0.0]))[0][0]), f"{(lon + centre) % 360:.0f}°")
        for lon in (-120.0, -60.0, 0.0, 60.0, 120.0)
    ]
    y_ticks = [
        (float(hammer(np.array([0.0]), np.array([lat]))[1][0]), f"{lat:.0f}°".replace("-", "−"))
        for lat in (-60.0, -30.0, 0.0, 30.0, 60.0)
    ]
    return figure.svg(x_ticks=x_ticks, y_ticks=y_ticks)


def hammer(d_ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hammer's projection of degrees from the central meridian, east to the left: x within 2, y within 1.

    >>> [float(value[0].round(3)) for value in hammer(np.array([-180.0]), np.array([0.0]))]
    [2.0, 0.0]
    """
    lon, lat = -np.radians(d_ra) / 2, np.radians(dec)
    z = np.sqrt((1 + np.cos(lat) * np.cos(lon)) / 2)
    return 2 * np.cos(lat) * np.sin(lon) / z / math.sqrt(2), np.sin(lat) / z / math.sqrt(2)
