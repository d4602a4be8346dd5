"""What detection sees where pixels tell nothing: holes in a star are bridged, and a saturated plateau rises to its middle.

Without it a bright star shatters along the columns that it has saturated, or has its peak at the far end of one. Both steps look
at most :data:`REACH_PX` pixels far, and change only where sources are found and cut apart, not what is measured.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

REACH_PX = 16
"""How far a pixel's value depends on others."""

_BRIDGED_PX = 8
"""Holes up to twice as wide are bridged."""

_LESS = np.float32(0.99)
"""Of the neighbours' mean, for each pixel inwards: peaks stay on pixels with data."""

_RISE = 0.05


def bridge_holes(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` (y, x) with masked pixels near good ones at a little less than the mean of their neighbours.

    Filled from the rims inwards; what is further than 8 pixels from any good pixel stays as it is. Sums are elementwise,
    so that a pixel is bit-equal in any window that reaches that far.
    """
    if mask.all() or not mask.any():
        return image
    # how many steps from a good pixel; beyond the window there is none
    depth = np.pad(distance_transform_cdt(mask, "chessboard"), 1, constant_values=_BRIDGED_PX + 1)
    rows, cols = np.nonzero((depth > 0) & (depth <= _BRIDGED_PX))
    depth_of = depth[rows, cols]
    filled = np.pad(image, 1)
    for step in range(1, _BRIDGED_PX + 1):
        y, x = rows[depth_of == step], cols[depth_of == step]
        total, count = np.zeros((2, y.size), np.float32)
        for dy, dx in product((-1, 0, 1), repeat=2):
            good = depth[y + dy, x + dx] < step
            total += np.where(good, filled[y + dy, x + dx], np.float32(0))
            count += good
        filled[y, x] = _LESS * total / count
    return filled[1:-1, 1:-1]


def raise_saturated(image: np.ndarray, saturated: np.ndarray) -> np.ndarray:
    """`image` (y, x) with `saturated` pixels raised by their distance from the nearest that is not.

    The widest part of a plateau is the star, the narrow ones its trails.
    """
    if not saturated.any():
        return image
    depth = np.minimum(distance_transform_edt(saturated), REACH_PX).astype(np.float32)
    return image * (1 + np.float32(_RISE) * depth)
