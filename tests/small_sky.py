"""A small mosaic with known sources, drawn with numpy alone, for tests of everything but the science."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from astropy.io import fits
from astropy.wcs import WCS

ZEROPOINT = 27.0
BANDS = ("g", "r", "i", "z")
COLOURS = {"g": 0.7, "r": 1.0, "i": 1.2, "z": 1.3}


def small_wcs(ny: int, nx: int, ra: float = 150.0, dec: float = 2.0, pixel_scale: float = 0.2) -> WCS:
    """TAN projection of pixels of `pixel_scale` arcsec, slightly rotated."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [nx / 2 + 0.5, ny / 2 + 0.5]
    step, angle = pixel_scale / 3600, np.radians(10)
    wcs.wcs.cd = step * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return wcs


def draw_sources(ny: int, nx: int, rng: np.random.Generator, n_sources: int = 150) -> np.ndarray:
    """Image (y, x) of elliptical Gaussians of magnitude 18 to 23, in units of the zero point."""
    image = np.zeros((ny, nx))
    y, x = np.mgrid[:ny, :nx]
    for _ in range(n_sources):
        y0, x0 = rng.uniform(0, ny), rng.uniform(0, nx)
        size, q = rng.uniform(1.8, 3.5), rng.uniform(0.5, 1)
        flux = 10 ** (-0.4 * (rng.uniform(18, 23) - ZEROPOINT))
        rows, cols = slice(max(int(y0) - 30, 0), int(y0) + 31), slice(max(int(x0) - 30, 0), int(x0) + 31)
        r2 = ((y[rows, cols] - y0) / q) ** 2 + (x[rows, cols] - x0) ** 2
        image[rows, cols] += flux / (2 * np.pi * q * size**2) * np.exp(-r2 / (2 * size**2))
    return image


def write_small_sky(folder: Path, *, ny: int, nx: int, rng: np.random.Generator, bands: tuple[str, ...] = BANDS) -> Path:
    """Write one FITS file per band and survey.yaml into `folder`."""
    sources = draw_sources(ny, nx, rng)
    slope = np.linspace(0, 3, nx)[None, :] + np.linspace(0, 2, ny)[:, None]
    header = small_wcs(ny, nx).to_header()
    header["MAGZP"] = ZEROPOINT
    for band in bands:
        image = COLOURS[band] * sources + 50 + slope + rng.normal(0, 1.0, (ny, nx))
        image[200:210, 300:330] = np.nan
        fits.writeto(folder / f"{band}.fits", image.astype("f4"), header)
    write_survey(folder, bands)
    return folder


def write_survey(folder: Path, bands: tuple[str, ...] = BANDS, **changes: object) -> Path:
    """Write survey.yaml for the images in `folder`."""
    images = [{"band": band, "path": f"{band}.fits"} for band in bands]
    survey = {
        "name": "small",
        "mosaics": [{"id": "m1", "images": images}],
        "tiling": {"core_px": 256, "halo_px": 96},
        "cluster": "serial",
        "report": False,
    }
    path = folder / "survey.yaml"
    path.write_text(yaml.safe_dump(survey | changes, sort_keys=False))
    return path
