"""The survey of the soak: two mosaics that overlap, small enough for a run of seconds, cut into tiles enough to be killed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from astropy.io import fits
from astropy.wcs import WCS

BANDS = {"g": 0.7, "r": 1.0, "i": 1.2, "z": 1.3}
"""Flux of a source in each band over that in r."""
NY, NX, OVERLAP_PX = 384, 448, 64
CORE_PX, HALO_PX = 64, 96
N_SOURCES = 250
_ZEROPOINT = 27.0
_STAMP_PX = 24


def write_survey(folder: Path, seed: int = 1) -> Path:
    """Draw Gaussian sources on a noisy sky, cut them into two mosaics, and write the configuration; returns its path."""
    rng = np.random.default_rng(seed)
    sky = _draw(rng)
    middle = NX // 2
    windows = {"west": slice(0, middle + OVERLAP_PX // 2), "east": slice(middle - OVERLAP_PX // 2, NX)}
    folder.mkdir(parents=True, exist_ok=True)
    for band, colour in BANDS.items():
        image = (colour * sky + 30 + rng.normal(0, 1, sky.shape)).astype(np.float32)
        for name, cols in windows.items():
            header = _wcs(cols.start).to_header()
            header["MAGZP"] = _ZEROPOINT
            fits.writeto(folder / f"{name}_{band}.fits", image[:, cols], header, overwrite=True)
    mosaics = [{"id": name, "images": [{"band": band, "path": f"{name}_{band}.fits"} for band in BANDS]} for name in windows]
    survey = {
        "name": "soak",
        "mosaics": mosaics,
        "tiling": {"core_px": CORE_PX, "halo_px": HALO_PX},
        "models": ["photoz"],
        # chosen by a timing otherwise, and another engine has other last bits
        "engine": {"kind": "openvino", "precision": "float32", "batch_size": 16},
    }
    path = folder / "survey.yaml"
    path.write_text(yaml.safe_dump(survey, sort_keys=False))
    return path


def _draw(rng: np.random.Generator) -> np.ndarray:
    """Image (y, x) of Gaussians of magnitude 18 to 23, in units of the zero point."""
    image = np.zeros((NY, NX))
    for y0, x0 in rng.uniform(0, (NY, NX), (N_SOURCES, 2)):
        rows = np.arange(max(int(y0) - _STAMP_PX, 0), min(int(y0) + _STAMP_PX, NY))
        cols = np.arange(max(int(x0) - _STAMP_PX, 0), min(int(x0) + _STAMP_PX, NX))
        size, flux = rng.uniform(1.5, 3), 10 ** (-0.4 * (rng.uniform(18, 23) - _ZEROPOINT))
        squared = (rows[:, None] - y0) ** 2 + (cols[None, :] - x0) ** 2
        image[np.ix_(rows, cols)] += flux / (2 * np.pi * size**2) * np.exp(-squared / (2 * size**2))
    return image


def _wcs(x0: int) -> WCS:
    """TAN projection of the part of the sky that begins at column `x0`."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [NX / 2 + 0.5 - x0, NY / 2 + 0.5]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    return wcs
