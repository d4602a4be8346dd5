"""Whole mosaics of a simulated sky with known truth: what the pipeline is tested and demonstrated on.

A field of galaxies and stars after the counts, with lenses and mergers planted away from each other, on a sloping sky,
with one PSF per band, written as FITS images with WCS and zero point beside a table of what is where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from surveycnn.errors import ConfigError
from surveycnn.simulation.conditions import AB_ZEROPOINT_NJY, PIXEL_SCALE_ARCSEC, SURVEYS, Exposure, draw_exposures, draw_noise
from surveycnn.simulation.planted import SceneObject, draw_field, plant_lenses, plant_mergers
from surveycnn.simulation.render import draw_light

_CODE = 10
"""Part of the seed: mosaics share nothing with stamps of the same seed."""
_MIN_CELL_PX = 100
"""Room that a planted object needs."""
_EDGE_PX = 60
_SKY_SIGMA = 40.0
"""Level of the sky in units of its noise."""


@dataclass(frozen=True)
class Scene:
    """A mosaic before the noise."""

    model: np.ndarray
    """(band, y, x) float32 nJy."""
    exposures: tuple[Exposure, ...]
    truth: Table


def simulate_mosaic(
    out_dir: str | Path,
    *,
    ny: int = 2000,
    nx: int = 2000,
    bands: Sequence[str] = ("g", "r", "i", "z"),
    seed: int = 0,
    n_lenses: int = 8,
    n_mergers: int = 8,
    density: float = 1.0,
    conditions: str = "lsst",
    zeropoint: float = 27.0,
    ra: float = 150.1,
    dec: float = 2.2,
) -> Table:
    """Write `<band>.fits` for each band and `truth.fits` into `out_dir`; returns the truth.

    The images (ny, nx) are float32 in units of the AB magnitude `zeropoint` (header MAGZP), 0.2 arcsec per pixel, NaN = no data,
    with a sky that is neither zero nor flat. The result depends on the arguments alone.

    Parameters
    ----------
    n_lenses, n_mergers
        Bright, clear examples planted on a jittered grid.
    density
        Factor on the counts of field galaxies and stars.
    conditions
        lsst, kids or wide.
    ra, dec
        Centre of the mosaic, degrees.

    Returns
    -------
    Table
        x, y (0-based pixel centres), ra, dec (deg), kind, redshift, mag_i, radius and theta_e (arcsec), time_myr; NaN = does not
        apply.

    Raises
    ------
    ConfigError
        Where the mosaic has no room for what shall be planted, or a band is unknown.
    """
    _check(ny, nx, bands, n_lenses + n_mergers)
    scene = draw_scene(ny, nx, tuple(bands), seed, n_lenses, n_mergers, density, conditions)
    wcs = tangent_wcs(ny, nx, ra, dec)
    truth = scene.truth
    truth["ra"], truth["dec"] = wcs.all_pix2world(truth["x"], truth["y"], 0)
    truth["ra"].unit = truth["dec"].unit = "deg"
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    missing = _missing_pixels(_rng(seed, 3), ny, nx, truth)
    for index, exposure in enumerate(scene.exposures):
        image = _observe_band(_rng(seed, 4, index), scene.model[index], exposure, missing)
        image *= np.float32(10 ** (0.4 * (zeropoint - AB_ZEROPOINT_NJY)))
        _write_image(out_dir / f"{exposure.band}.fits", image, wcs, exposure, zeropoint, seed)
    _write_truth(out_dir / "truth.fits", truth)
    return truth


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_CODE, *key)))


def _check(ny: int, nx: int, bands: Sequence[str], n_planted: int) -> None:
    known = sorted(SURVEYS["lsst"])
    unknown = [band for band in bands if band not in known]
    if unknown or not bands:
        raise ConfigError(f"cannot simulate bands {list(bands)!r}: choose from {known}")
    if "i" not in bands:
        raise ConfigError(f"cannot simulate bands {list(bands)!r}: magnitudes are drawn in 'i', which must be among them")
    rooms = max(ny - 2 * _EDGE_PX, 0) // _MIN_CELL_PX * (max(nx - 2 * _EDGE_PX, 0) // _MIN_CELL_PX)
    if rooms < max(n_planted, 1):
        raise ConfigError(
            f"a mosaic of {ny} x {nx} px has room for {rooms} planted lenses and mergers, not for {n_planted}: make it larger"
        )


def tangent_wcs(ny: int, nx: int, ra: float, dec: float) -> WCS:
    """Gnomonic WCS, north up and east left, with (ra, dec) in the middle of the mosaic."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(nx + 1) / 2.0, (ny + 1) / 2.0]
    wcs.wcs.cd = np.diag([-1.0, 1.0]) * PIXEL_SCALE_ARCSEC / 3600.0
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.array_shape = (ny, nx)
    return wcs


def draw_scene(
    ny: int, nx: int, bands: tuple[str, ...], seed: int, n_lenses: int, n_mergers: int, density: float, conditions: str
) -> Scene:
    """Draw the conditions, place the objects and add them up, each on a stamp of its own."""
    exposures = draw_exposures(_rng(seed, 0), conditions, bands)
    places = _grid_places(_rng(seed, 1), ny, nx, n_lenses + n_mergers)
    objects = plant_lenses(_rng(seed, 2, 0), exposures, places[:n_lenses])
    objects += plant_mergers(_rng(seed, 2, 1), exposures, places[n_lenses:])
    objects += draw_field(_rng(seed, 2, 2), bands, ny, nx, density, keep_free=places)
    model = np.zeros((len(bands), ny, nx), np.float32)
    for thing in objects:
        add_object(model, thing, exposures)
    return Scene(model, exposures, _truth_table(objects))


def _grid_places(rng: np.random.Generator, ny: int, nx: int, n: int) -> np.ndarray:
    """`n` positions (n, 2) y, x in pixels: cells of a grid in random order, jittered, away from the edges."""
    height, width = ny - 2 * _EDGE_PX, nx - 2 * _EDGE_PX
    rows = max(1, min(height // _MIN_CELL_PX, int(np.ceil(np.sqrt(max(n, 1) * height / width)))))
    columns = min(width // _MIN_CELL_PX, int(np.ceil(max(n, 1) / rows)))
    while rows * columns < n:
        rows += 1
    cells = rng.permutation(rows * columns)[:n]
    y = (cells // columns + 0.5 + rng.uniform(-0.2, 0.2, n)) * height / rows + _EDGE_PX
    x = (cells % columns + 0.5 + rng.uniform(-0.2, 0.2, n)) * width / columns + _EDGE_PX
    return np.column_stack([y, x])


def add_object(model: np.ndarray, thing: SceneObject, exposures: Sequence[Exposure]) -> None:
    """Add one object to `model` (band, y, x), in place."""
    _, ny, nx = model.shape
    size = thing.size_px
    y0, x0 = round(thing.y) - size // 2, round(thing.x) - size // 2
    middle = (size - 1) / 2.0
    centre = (thing.y - y0 - middle, thing.x - x0 - middle)
    stamp = draw_light(thing.light, exposures, size=size, centre=centre)
    top, bottom, left, right = max(y0, 0), min(y0 + size, ny), max(x0, 0), min(x0 + size, nx)
    if top < bottom and left < right:
        model[:, top:bottom, left:right] += stamp[:, top - y0 : bottom - y0, left - x0 : right - x0]


def _observe_band(rng: np.random.Generator, model: np.ndarray, exposure: Exposure, missing: np.ndarray) -> np.ndarray:
    """One band (y, x) float32 nJy with noise, a sloping sky and NaN where `missing`."""
    image = model + draw_noise(rng, model, exposure)
    y = np.linspace(-1.0, 1.0, model.shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, model.shape[1], dtype=np.float32)[None, :]
    slope_y, slope_x, bow = rng.uniform(-2.0, 2.0, 3)
    image += exposure.sigma * (_SKY_SIGMA + slope_y * y + slope_x * x + bow * x * y)
    image[missing] = np.nan
    return image.astype(np.float32)


def _missing_pixels(rng: np.random.Generator, ny: int, nx: int, truth: Table) -> np.ndarray:
    """Pixels (y, x) without data: an elliptical hole and a bad column, clear of what was planted."""
    planted = truth[(truth["kind"] == "lens") | (truth["kind"] == "merger")]
    y, x = ny / 2.0, nx / 2.0
    for _ in range(100):
        y, x = rng.uniform(0.1, 0.9) * ny, rng.uniform(0.1, 0.9) * nx
        if not len(planted) or np.hypot(planted["y"] - y, planted["x"] - x).min() > 70.0:
            break
    rows, columns = np.ogrid[:ny, :nx]
    hole = ((rows - y) / 15.0) ** 2 + ((columns - x) / 25.0) ** 2 < 1.0
    hole[int(y) : int(y) + 60, int(x)] = True
    return hole


def _truth_table(objects: list[SceneObject]) -> Table:
    names = ("x", "y", "kind", "redshift", "mag_i", "radius", "theta_e", "time_myr")
    truth = Table({name: [getattr(thing, name) for thing in objects] for name in names})
    truth["x"].unit = truth["y"].unit = "pix"
    truth["radius"].unit = truth["theta_e"].unit = "arcsec"
    truth["mag_i"].unit, truth["time_myr"].unit = "mag", "Myr"
    return truth


def _write_image(path: Path, image: np.ndarray, wcs: WCS, exposure: Exposure, zeropoint: float, seed: int) -> None:
    header = wcs.to_header()
    header["MAGZP"] = (zeropoint, "AB magnitude of one data unit")
    header["FILTER"] = exposure.band
    header["SEEING"] = (round(exposure.fwhm, 4), "[arcsec] FWHM of the PSF")
    header["SKYRMS"] = (round(exposure.sigma * 10 ** (0.4 * (zeropoint - AB_ZEROPOINT_NJY)), 6), "noise per pixel")
    header["SIMSEED"] = (seed, "seed of the simulation")
    temporary = path.with_name(f".{path.name}.tmp")
    fits.PrimaryHDU(image, header).writeto(temporary, overwrite=True)
    temporary.replace(path)


def _write_truth(path: Path, truth: Table) -> None:
    temporary = path.with_name(f".{path.name}.tmp.fits")
    truth.write(temporary, format="fits", overwrite=True)
    temporary.replace(path)
