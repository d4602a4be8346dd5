"""A smooth elliptical model of the lens's light, for many stamps at once."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

WIDTHS_PX = (1.5, 2.5, 4.0, 6.5, 10.5, 17.0)
"""Scatter of the Gaussians whose sum stands for a Sersic profile under any seeing."""
CORE_PX = 5.0
SMOOTHINGS_PX = (1.0, 2.0)
CLIP_SIGMA = 3.0
N_CLIPS = 3
_GROUP = 256


def subtract_lens(light: np.ndarray, noise: np.ndarray, centre: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Stamps without the light of their lens, and the flux of its core.

    The model's shape comes from the last band, the reddest. In each band it is the sum of that model and of two smoothed copies,
    for a wider point spread function, fitted to the inner 1 arcsec alone, so that an arc farther out does not pull it up.

    Parameters
    ----------
    light
        (object, y, x, band) nJy, no NaN.
    noise
        (object, band) nJy per pixel.
    centre
        y and x (object, 1, 1) of the lenses, pixels.

    Returns
    -------
    residual
        (object, y, x, band) nJy.
    core
        (object, band) nJy of the model within 1 arcsec, at least the noise there.
    """
    residual, core = np.empty_like(light), np.empty((len(light), light.shape[3]))
    for start in range(0, len(light), _GROUP):
        part = slice(start, start + _GROUP)
        y0, x0 = centre[0][part], centre[1][part]
        model = elliptical_model(light[part, ..., -1], noise[part, -1], (y0, x0))
        y, x = np.ogrid[: light.shape[1], : light.shape[2]]
        inner = np.hypot(y - y0, x - x0) <= CORE_PX
        copies = np.stack([model, *(ndimage.gaussian_filter(model, (0, width, width)) for width in SMOOTHINGS_PX)], axis=-1)
        inside = copies * inner[..., None]
        normal = np.einsum("oyxk,oyxl->okl", inside, inside)
        ridge = 1e-5 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-12
        amplitudes = np.linalg.solve(normal + ridge * np.eye(copies.shape[-1]), np.einsum("oyxk,oyxb->okb", inside, light[part]))
        lens = copies @ amplitudes[:, None]
        residual[part] = light[part] - lens
        floor = noise[part] * np.sqrt(inner.sum(axis=(1, 2)))[:, None]
        core[part] = np.maximum((lens * inner[..., None]).sum(axis=(1, 2)), floor)
    return residual, core


def elliptical_model(image: np.ndarray, noise: np.ndarray, centre: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Sum of elliptical Gaussians of one centre and shape (object, y, x), fitted to images (object, y, x).

    Least squares; pixels that stand out above the model by `CLIP_SIGMA` of noise and of 10 % of the model are left out of the
    next fit, so that neighbours and arcs are not modelled.
    """
    radius = elliptical_radius(image, centre)
    basis = np.exp(-0.5 * (radius[..., None] / np.array(WIDTHS_PX)) ** 2)
    basis /= np.square(WIDTHS_PX)
    weight, model = np.ones_like(image), np.zeros_like(image)
    ridge = 1e-6 * np.eye(len(WIDTHS_PX))
    for _ in range(N_CLIPS):
        weighted = basis * weight[..., None]
        flat = weighted.reshape(len(image), -1, len(WIDTHS_PX)).transpose(0, 2, 1)
        normal = flat @ basis.reshape(len(image), -1, len(WIDTHS_PX))
        scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
        right = flat @ image.reshape(len(image), -1, 1)
        amplitudes = np.linalg.solve(normal + (scale + 1e-12) * ridge, right)[..., 0]
        model = np.einsum("oyxk,ok->oyx", basis, amplitudes)
        limit = CLIP_SIGMA * np.hypot(noise[:, None, None], 0.1 * model)
        weight = (image - model < limit).astype(image.dtype)
    return model


def elliptical_radius(image: np.ndarray, centre: tuple[np.ndarray, np.ndarray], width_px: float = 5.0) -> np.ndarray:
    """Radii (object, y, x) in pixels of the ellipses of the light, from its second moments under a round Gaussian.

    The weight's own roundness is taken out by subtracting its inverse; the axis ratio is 0.4 at least.
    """
    y, x = np.ogrid[: image.shape[1], : image.shape[2]]
    dy, dx = y - centre[0], x - centre[1]
    weighted = np.clip(image, 0, None) * np.exp(-0.5 * (dy**2 + dx**2) / width_px**2)
    total = weighted.sum(axis=(1, 2)) + 1e-12
    yy, xx, xy = ((weighted * product).sum(axis=(1, 2)) / total for product in (dy * dy, dx * dx, dy * dx))
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    large, small = (1 / np.maximum(1 / np.maximum(m, 0.1) - 1 / width_px**2, 1e-3) for m in (half + spread, half - spread))
    ratio = np.clip(np.sqrt(small / large), 0.4, 1.0)[:, None, None]
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)[:, None, None]
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    return np.hypot(along * np.sqrt(ratio), across / np.sqrt(ratio))
