"""Pixels of stamps as the methods need them: noise, signal to noise, other sizes, turned and mirrored copies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

FRAME_PX = 4


def filled(stamps: np.ndarray) -> np.ndarray:
    """Stamps with 0, the sky, where there is no data (NaN); a copy in float32."""
    return np.nan_to_num(np.asarray(stamps, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def noise_of(stamps: np.ndarray) -> np.ndarray:
    """Noise per pixel (object, band) in nJy: 1.4826 MAD of the outer 4 pixels; where they hold no data, the median of the rest.

    Parameters
    ----------
    stamps
        (object, y, x, band) nJy, NaN = no data.
    """
    ny, nx = stamps.shape[1:3]
    edge = np.ones((ny, nx), bool)
    edge[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = False
    pixels = np.where(np.isfinite(stamps[:, edge]), stamps[:, edge], np.nan).astype(np.float64)
    known = np.isfinite(pixels).sum(axis=1) >= FRAME_PX * FRAME_PX
    pixels = np.where(known[:, None, :], pixels, 0.0)
    scatter = 1.4826 * np.nanmedian(np.abs(pixels - np.nanmedian(pixels, axis=1, keepdims=True)), axis=1)
    noise = np.where(known & (scatter > 0), scatter, np.nan)
    for band in range(noise.shape[1]):
        values = noise[np.isfinite(noise[:, band]), band]
        noise[~np.isfinite(noise[:, band]), band] = np.median(values) if len(values) else 1.0
    return noise


def stretched(stamps: np.ndarray) -> np.ndarray:
    """arcsinh of the signal to noise per pixel (object, y, x, band) float32: linear in the noise, logarithmic in bright cores."""
    return np.arcsinh(filled(stamps) / noise_of(stamps)[:, None, None, :].astype(np.float32))


UNIT_RANGE = (-2.0, 8.0)
"""arcsinh of the signal to noise that becomes 0 and 1: from -3.6 to 1490 sigma per pixel."""


def unit_stretch(stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 (object, y, x, band) float32 of stamps without NaN, an arcsinh in units of `noise` (band,)."""
    low, high = UNIT_RANGE
    return np.clip((np.arcsinh(stamps / noise) - low) / (high - low), 0, 1).astype(np.float32)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Images (object, y, x, band) as `size` x `size` pixels over the same sky, bilinear; unchanged where they are that."""
    if images.shape[1:3] == (size, size):
        return images
    in_y, in_x = (_bilinear(length, size) for length in images.shape[1:3])
    rows = np.tensordot(images, in_y, axes=(1, 1))  # (object, x, band, y)
    return np.ascontiguousarray(np.tensordot(rows, in_x, axes=(1, 1)).transpose(0, 2, 3, 1))


@lru_cache(maxsize=16)
def _bilinear(length: int, size: int) -> np.ndarray:
    """Weights (size, length) float32: pixel edges fall on pixel edges at both ends."""
    at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    weights = np.zeros((size, length), np.float32)
    for shift in (0, 1):
        pixel = np.clip(np.floor(at).astype(int) + shift, 0, length - 1)
        np.add.at(weights, (np.arange(size), pixel), np.clip(1 - np.abs(at - np.floor(at) - shift), 0, 1))
    return weights


def in_symmetries(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (object, y, x, band), square, each in one of the eight symmetries of the square."""
    out = np.empty_like(images)
    for turn, members in enumerate(np.array_split(rng.permutation(len(images)), 8)):
        turned = np.rot90(images[members], turn % 4, axes=(1, 2))
        out[members] = turned[:, ::-1] if turn >= 4 else turned
    return out


def turned_zoomed_shifted(
    images: np.ndarray, rng: np.random.Generator, *, zoom: tuple[float, float], shift: float, size: int
) -> np.ndarray:
    """Images (object, size, size, band) turned by any angle, mirrored or not, zoomed and shifted, bilinear in one step.

    Parameters
    ----------
    images
        (object, y, x, band) float32.
    zoom
        Smallest and largest factor by which the sky shrinks or grows.
    shift
        Largest shift along an axis, in units of the image's length.
    size
        Pixels of the result; without a zoom it shows the sky of the whole image. The outermost pixels go on outwards.
    """
    out = np.empty((len(images), size, size, images.shape[3]), np.float32)
    lengths = np.array(images.shape[1:3])
    for image, target in zip(images, out, strict=True):
        angle, mirror = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [1, mirror]
        matrix = turn * (lengths / size / rng.uniform(*zoom))[:, None]
        middle = (lengths - 1) / 2 + rng.uniform(-shift, shift, 2) * lengths
        offset = middle - matrix @ np.full(2, (size - 1) / 2)
        for band in range(images.shape[3]):
            ndimage.affine_transform(image[..., band], matrix, offset, output=target[..., band], order=1, mode="nearest")
    return out
