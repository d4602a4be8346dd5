"""Structure of galaxies without a model of them, by statmorph, in one or more processes; kept on disk."""

from __future__ import annotations

import hashlib
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import ndimage

from surveycnn.errors import ConfigError
from surveycnn.evaluation.methods.pixels import noise_of
from surveycnn.models.backend import is_installed
from surveycnn.training.data import aperture_magnitudes

QUANTITIES = (
    "concentration",
    "asymmetry",
    "smoothness",
    "gini",
    "m20",
    "gini_m20_bulge",
    "gini_m20_merger",
    "multimode",
    "intensity",
    "deviation",
    "outer_asymmetry",
    "shape_asymmetry",
    "ellipticity_asymmetry",
    "ellipticity_centroid",
    "rpetro_circ",
    "rpetro_ellip",
    "rhalf_circ",
    "rhalf_ellip",
    "r20",
    "r80",
    "sersic_n",
    "sn_per_pixel",
)
"""Attributes of statmorph.SourceMorphology that are taken; see Rodriguez-Gomez et al. (2019, MNRAS 483, 4140)."""
N_FEATURES = len(QUANTITIES) + 3
BAND = 1
"""Measured in r."""
THRESHOLD_SIGMA = 1.5
SMOOTHING_PX = 1.5
CENTRE_PX = 4
PIECE = 32
VERSION = 1
"""Of the measurement; part of the name of what is kept."""


def measure_structure(stamps: np.ndarray, folder: Path | None, n_workers: int = 1) -> np.ndarray:
    """Features (object, value) float64 of stamps, NaN where one cannot be measured.

    Parameters
    ----------
    stamps
        (object, y, x, band) float32 nJy, bands g, r, i, NaN = no data.
    folder
        Where measurements are kept, and read the next time that the same stamps come; None keeps none.
    n_workers
        Processes.

    Returns
    -------
    np.ndarray
        QUANTITIES, then the magnitude r and the colours g - r and r - i.

    Raises
    ------
    ConfigError
        Where statmorph is not installed.
    """
    digest = hashlib.sha256(f"{VERSION} {stamps.shape} ".encode() + np.ascontiguousarray(stamps, np.float32).tobytes())
    kept = folder / f"{digest.hexdigest()[:24]}.npy" if folder else None
    if kept and kept.is_file():
        return np.load(kept, allow_pickle=False)
    if not is_installed("statmorph"):
        raise ConfigError(
            "statmorph is not installed: install the extra surveycnn[simulation], or leave out the method 'hc14_svm'"
        )
    noise = noise_of(stamps)[:, BAND]
    pieces = [(stamps[i : i + PIECE, ..., BAND], noise[i : i + PIECE]) for i in range(0, len(stamps), PIECE)]
    if n_workers == 1 or len(pieces) <= 1:
        found = [_measure_piece(*piece) for piece in pieces]
    else:
        # Spawned, not forked: the caller may hold threads of TensorFlow.
        with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_measure_piece, *zip(*pieces, strict=True)))
    measured = np.concatenate([np.concatenate(found), _colours(stamps)], axis=1)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f".{kept.stem}.{os.getpid()}.npy")
        np.save(temporary, measured)
        os.replace(temporary, kept)
    return measured


def _colours(stamps: np.ndarray) -> np.ndarray:
    magnitude = aperture_magnitudes(stamps)
    return np.stack([magnitude[:, 1], magnitude[:, 0] - magnitude[:, 1], magnitude[:, 1] - magnitude[:, 2]], axis=1)


def _measure_piece(images: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """QUANTITIES (object, value) of images (object, y, x) with NaN, `noise` (object,) per pixel."""
    return np.stack([measure_image(image, float(sigma)) for image, sigma in zip(images, noise, strict=True)])


def measure_image(image: np.ndarray, noise: float) -> np.ndarray:
    """QUANTITIES (value,) of the galaxy in the middle of an image (y, x) in nJy; NaN where there is none or one cannot be had."""
    missing = ~np.isfinite(image)
    pixels = np.where(missing, 0.0, image).astype(np.float64)
    segment, others = segments(pixels, noise)
    if not segment.any():
        return np.full(len(QUANTITIES), np.nan)
    import statmorph

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # it warns of whatever is faint, small or lopsided; all that counts here are the numbers
        warnings.simplefilter("ignore")
        try:
            found = statmorph.SourceMorphology(
                pixels,
                segment.astype(np.int32),
                1,
                mask=missing | others,
                weightmap=np.full(pixels.shape, noise),
                niter_bh_mid=0,  # hops are drawn at random
                sersic_fitting_args={"maxiter": 30},
            )
            values = np.array([float(getattr(found, name)) for name in QUANTITIES])
        except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError):
            return np.full(len(QUANTITIES), np.nan)
    return np.where(np.isfinite(values) & (values != -99.0), values, np.nan)  # -99: it could not be measured


def segments(pixels: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (y, x) bool of the galaxy in the middle, and of others, connected above 1.5 sigma in a smoothed image."""
    smoothed = ndimage.gaussian_filter(pixels, SMOOTHING_PX)
    labels, n = ndimage.label(smoothed > THRESHOLD_SIGMA * noise)
    y, x = (length // 2 for length in pixels.shape)
    middle = (slice(y - CENTRE_PX, y + CENTRE_PX), slice(x - CENTRE_PX, x + CENTRE_PX))
    light = np.bincount(labels[middle].ravel(), weights=smoothed[middle].ravel(), minlength=n + 1)
    light[0] = 0
    own = labels == light.argmax() if light.max() > 0 else np.zeros(pixels.shape, bool)
    return own, (labels > 0) & ~own
