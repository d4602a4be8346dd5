"""Stamps of blends cut from the Hyper Suprime-Cam survey: small images in g r i z y without WCS, one .npz file each.

Keys that are read: ``images`` and ``mask`` (band, y, x), ``footprint`` (y, x) of the detected pixels, ``centers`` (peak, 2) = y
and x of the peaks, ``matched`` = what was injected into the real images, with x, y, sourceType, imagVar and redshift.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surveycnn.errors import InputError
from surveycnn.sky.zeropoints import AB_ZEROPOINT_NJY
from surveycnn.sources.stamps import cut_stamps

BAD_BITS = (0, 1, 8)
"""BAD, SAT and NO_DATA of the survey's mask."""
ZEROPOINT = 27.0
PIXEL_SCALE = 0.168
N_BANDS = 3
"""The first ones: g, r, i."""
APERTURE_ARCSEC = 0.5
"""Radius within which the brightest peak is sought."""
INJECTED_PX = 3.0
"""Largest distance between a peak and what was injected there."""
SAME_PX = 6
"""Pixels to each side of a peak that are compared with those of another one."""
SAME = 0.1
"""Largest relative difference of two images of the same source: cutouts of neighbouring patches of sky overlap."""


@dataclass(frozen=True)
class Blend:
    """One cutout."""

    name: str
    image: np.ndarray
    """(band, y, x) nJy, bands g r i; NaN = bad."""
    footprint: np.ndarray
    """(y, x) bool, True where something was detected."""
    peaks: np.ndarray
    """(peak, 2) y, x in pixels."""
    injected: tuple[str, ...]
    """What was injected at each peak; empty where the source is real."""


def read_blends(folder: Path) -> list[Blend]:
    """Blends of all .npz files in `folder`, by name.

    Raises
    ------
    InputError
        Where the folder holds none.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise InputError(f"folder {str(folder)!r} holds no .npz files: give that of the blends")
    return [_read_blend(path) for path in paths]


def _read_blend(path: Path) -> Blend:
    with np.load(path) as arrays:
        is_bad = (arrays["mask"][:N_BANDS] & sum(1 << bit for bit in BAD_BITS)) != 0
        nanojansky = arrays["images"][:N_BANDS] * np.float32(10 ** (0.4 * (AB_ZEROPOINT_NJY - ZEROPOINT)))
        peaks = arrays["centers"]
        injected = tuple(_injected_at(arrays["matched"], y, x) for y, x in peaks)
        return Blend(path.stem, np.where(is_bad, np.nan, nanojansky), arrays["footprint"], peaks, injected)


def _injected_at(matched: np.ndarray, y: float, x: float) -> str:
    """Kind, magnitude and redshift of what was injected within :data:`INJECTED_PX` of a peak."""
    near = matched[np.hypot(matched["y"] - y, matched["x"] - x) <= INJECTED_PX]
    if not near.size:
        return ""
    redshift = f" z {near['redshift'][0]:.2f}" if near["sourceType"][0] == b"galaxy" else ""
    return f"{near['sourceType'][0].decode()} i {near['imagVar'][0]:.1f}{redshift}"


def aperture_flux(image: np.ndarray, y: float, x: float, radius_px: float) -> float:
    """Sum of the last band of (band, y, x) within `radius_px`; pixels without data count nothing."""
    rows, cols = np.indices(image.shape[1:])
    return float(np.nansum(image[-1][np.hypot(rows - y, cols - x) <= radius_px]))


def coverage(stamps: np.ndarray) -> np.ndarray:
    """(object,) share of the pixels of (object, y, x, band) that have data."""
    return np.isfinite(stamps).mean(axis=(1, 2, 3))


def is_same(first: tuple[Blend, float, float], second: tuple[Blend, float, float]) -> bool:
    """Whether two (blend, y, x) show one source: their pixels agree."""
    size = 2 * SAME_PX + 1
    a, b = (cut_stamps(blend.image, np.array([y]), np.array([x]), size, 1.0)[0] for blend, y, x in (first, second))
    both = np.isfinite(a) & np.isfinite(b)
    return bool(both.any() and np.sum((a[both] - b[both]) ** 2) <= SAME**2 * np.sum(a[both] ** 2))


def brightest_covered(blend: Blend, size: int, scale: float, least: float, is_real: bool = False) -> int | None:
    """The brightest peak with data in at least the share `least` of its stamp of `size` pixels of `scale` arcsec.

    Only peaks where nothing was injected count if `is_real`.
    Brightness is that of the last band within :data:`APERTURE_ARCSEC`. None where no stamp has so much data.
    """
    y, x = blend.peaks.T.astype(np.float64)
    covered = coverage(cut_stamps(blend.image, y, x, size, scale / PIXEL_SCALE))
    fluxes = [aperture_flux(blend.image, *peak, APERTURE_ARCSEC / PIXEL_SCALE) for peak in blend.peaks]
    wanted = (covered >= least) & (np.array([not text for text in blend.injected]) if is_real else True)
    usable = [(flux, index) for index, flux in enumerate(fluxes) if wanted[index]]
    return max(usable)[1] if usable else None


def with_sky_around(blend: Blend, margin_px: int) -> Blend:
    """The blend with `margin_px` of empty sky around it; its bad pixels stay bad.

    The sky is noise of the scatter that the pixels outside of the footprint have, seeded by the blend's name. A cutout is the
    bounding box of what was detected, so what lies beyond is mostly sky; a neighbour that was there is missing.
    """
    rng = np.random.default_rng(zlib.crc32(blend.name.encode()))
    ny, nx = blend.footprint.shape
    shape = (ny + 2 * margin_px, nx + 2 * margin_px)
    wide = np.stack([rng.normal(0, sky_scatter(image, blend.footprint), shape) for image in blend.image]).astype(np.float32)
    wide[:, margin_px : margin_px + ny, margin_px : margin_px + nx] = blend.image
    return Blend(blend.name, wide, np.pad(blend.footprint, margin_px), blend.peaks + margin_px, blend.injected)


def sky_scatter(image: np.ndarray, footprint: np.ndarray) -> float:
    """Standard deviation of the pixels of (y, x) outside of `footprint` and below their median, taken as one half of a Gaussian.

    The upper half holds the wings of what was detected.
    """
    sky = image[~footprint & np.isfinite(image)]
    below = sky[sky <= np.median(sky)] if sky.size else sky
    if below.size < 10:
        raise InputError("a blend has fewer than 20 pixels of sky, too few to tell its noise")
    return float(np.sqrt(np.mean((below - below.max()) ** 2)))
