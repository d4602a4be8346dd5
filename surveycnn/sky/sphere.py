"""Positions on the sphere: unit vectors, and right ascensions in their range."""

from __future__ import annotations

import numpy as np


def unit_vectors(ra: np.ndarray | float, dec: np.ndarray | float) -> np.ndarray:
    """Unit vectors of shape (..., 3) of positions in degrees."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def wrapped(lon: np.ndarray) -> np.ndarray:
    """Degrees in [0, 360): the remainder of a small negative number is 360 itself."""
    lon = lon % 360.0
    return np.where(lon == 360.0, 0.0, lon)
