"""Pixels of stamps as the finders need them: the middle of the lens and radii around it."""

from __future__ import annotations

import numpy as np

PIXEL_SCALE = 0.2
"""arcsec per pixel"""


def lens_centre(image: np.ndarray, width_px: float = 3.0, n_steps: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Centres y, x (object,) in pixels, each (object, 1, 1), of the light nearest to the middle of images (object, y, x).

    Centroid under a Gaussian of `width_px` that moves with it, no further than 4 pixels from the middle.
    """
    y, x = (np.arange(length, dtype=np.float64) for length in image.shape[1:])
    middle = [(length - 1) / 2 for length in image.shape[1:]]
    light = np.clip(image, 0, None).astype(np.float64)
    centre = [np.full(len(image), value) for value in middle]
    for _ in range(n_steps):
        in_y = np.exp(-0.5 * ((y - centre[0][:, None]) / width_px) ** 2)
        in_x = np.exp(-0.5 * ((x - centre[1][:, None]) / width_px) ** 2)
        total = np.einsum("oyx,oy,ox->o", light, in_y, in_x) + 1e-12
        moments = (np.einsum("oyx,oy,ox->o", light, in_y * y, in_x), np.einsum("oyx,oy,ox->o", light, in_y, in_x * x))
        for axis, moment in enumerate(moments):
            # the weight pulls the centroid of a source of its own width half of the way only
            step = np.where(total > 1e-9, 2 * (moment / total - centre[axis]), 0.0)
            centre[axis] = np.clip(centre[axis] + np.clip(step, -1, 1), middle[axis] - 4, middle[axis] + 4)
    return centre[0][:, None, None], centre[1][:, None, None]


def radius_of(shape: tuple[int, int], centre: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Distances (object, y, x) in arcsec of the pixels from the centres."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return PIXEL_SCALE * np.hypot(y - centre[0], x - centre[1])
