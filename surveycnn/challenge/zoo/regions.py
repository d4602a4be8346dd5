"""Connected regions of many stamps at once, and the measures by which an arc is told from a blob."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from surveycnn.challenge.zoo.pixels import PIXEL_SCALE

_WITHIN_A_STAMP = np.zeros((3, 3, 3), bool)
_WITHIN_A_STAMP[1] = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True)
class Regions:
    """Measures of the regions, arrays (region,)."""

    owner: np.ndarray
    """Number of the stamp that a region lies in."""
    label: np.ndarray
    """Its value in the labels."""
    n_px: np.ndarray
    distance: np.ndarray
    """arcsec from the lens's centre to the region's centroid"""
    major: np.ndarray
    """Length of the major axis, arcsec: four times the scatter of the pixels along it."""
    minor: np.ndarray
    """The same along the minor axis."""
    misalignment: np.ndarray
    """Angle between the major axis and the tangent at the centroid, 0 to 90 degrees."""

    def __len__(self) -> int:
        return len(self.owner)


def find_regions(mask: np.ndarray, min_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (object, y, x), 0 = none, of 4-connected pixels of `mask`, and those (region,) that have `min_px` pixels or more."""
    labels, n_labels = ndimage.label(mask, _WITHIN_A_STAMP)
    counts = np.bincount(labels.ravel(), minlength=n_labels + 1)
    counts[0] = 0
    return labels, np.flatnonzero(counts >= min_px)


def measure_regions(labels: np.ndarray, kept: np.ndarray, centre: tuple[np.ndarray, np.ndarray]) -> Regions:
    """Shapes of the regions `kept` of `labels` from the moments of their pixels.

    Parameters
    ----------
    centre
        y and x (object, 1, 1) of the lenses, pixels.
    """
    owner, y, x = np.nonzero(labels)
    value = labels[owner, y, x]
    number = np.full(int(labels.max()) + 1, -1)
    number[kept] = np.arange(len(kept))
    inside = number[value] >= 0
    owner, region = owner[inside], number[value[inside]]
    dy, dx = y[inside] - centre[0][owner, 0, 0], x[inside] - centre[1][owner, 0, 0]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(region, values, minlength=len(kept)) / n_px

    n_px = np.bincount(region, minlength=len(kept))
    my, mx = mean(dy), mean(dx)
    # a pixel has a width too: 1/12 on the diagonal
    yy, xx, xy = mean(dy**2) - my**2 + 1 / 12, mean(dx**2) - mx**2 + 1 / 12, mean(dx * dy) - mx * my
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    along = 0.5 * np.arctan2(2 * xy, xx - yy)
    from_tangent = np.degrees(np.arctan2(my, mx) + np.pi / 2 - along) % 180
    owners = np.zeros(len(kept), int)
    owners[region] = owner
    return Regions(
        owner=owners,
        label=kept,
        n_px=n_px,
        distance=PIXEL_SCALE * np.hypot(my, mx),
        major=4 * PIXEL_SCALE * np.sqrt(half + spread),
        minor=4 * PIXEL_SCALE * np.sqrt(np.clip(half - spread, 1e-6, None)),
        misalignment=np.minimum(from_tangent, 180 - from_tangent),
    )


def sum_in_regions(image: np.ndarray, labels: np.ndarray, regions: Regions) -> np.ndarray:
    """Sums (region,) of `image` (object, y, x) over the pixels of each region."""
    sums = np.bincount(labels.ravel(), image.ravel().astype(np.float64), minlength=int(labels.max()) + 1)
    return sums[regions.label]


def sum_per_stamp(values: np.ndarray, regions: Regions, n_stamps: int) -> np.ndarray:
    """Sums (object,) of `values` (region,) over the regions of each stamp."""
    return np.bincount(regions.owner, values, minlength=n_stamps)
