"""Are fluxes what they should be? Bias, scatter and pulls of measured fluxes against the truth, per band.

    python -m benchmarks.photometry_truth FOLDER                    # HSC blends with injected sources
    python -m benchmarks.photometry_truth SURVEY.yaml TRUTH.fits    # a simulated mosaic

FOLDER holds the .npz files that :mod:`benchmarks.real_sky_blends` describes; what was injected into them is measured. TRUTH.fits
has columns x, y (0-based pixels), kind and mag_<band> for some of the bands. Sources are detected as in a survey, and the nearest
within 1 arcsec of a true position is taken. `--neighbours keep` leaves the light of neighbours in the apertures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from benchmarks.real_sky_blends import BAD_BITS, PIXEL_SCALE, ZEROPOINT
from surveycnn.catalogs.flags import has_flag
from surveycnn.config import load_config
from surveycnn.errors import InputError
from surveycnn.run.tile import DetectionMaps, DetectionSettings
from surveycnn.run.widen import open_tile
from surveycnn.sky.zeropoints import AB_ZEROPOINT_NJY
from surveycnn.sources.detect import detect_sources, detection_image, smooth
from surveycnn.sources.photometry import BandPixels, DetectionImage, Measured, Pixels, measure_sources

HSC_BANDS = ("g", "r", "i", "z", "y")
MATCH_ARCSEC = 1.0
MIN_AREA_PX = 5
OUTLIER_MAG = 0.5
FAINTEST = 10.0
"""Least signal to noise of the true flux, in a band's own error, of what enters the table."""
COLOURS = (("g", "r"), ("r", "i"), ("i", "z"))


@dataclass(frozen=True)
class Sample:
    """Measured and true fluxes of some sources."""

    bands: tuple[str, ...]
    true: np.ndarray
    """(source, band) nJy; NaN = not known."""
    flux: np.ndarray
    """(source, aperture, band) nJy; the Kron-like aperture and the fixed one."""
    error: np.ndarray
    """(source, aperture, band) nJy."""
    is_star: np.ndarray
    """(source,) bool."""
    is_blended: np.ndarray
    """(source,) bool, the flag."""
    n_true: int
    """Sources in the truth, found or not."""


def measure(pixels: BandPixels, maps: DetectionMaps, threshold: float, neighbours: str) -> Measured:
    """Measurements of all sources of a window or a cutout."""
    found = detect_sources(
        maps.significance,
        maps.mask,
        threshold_sigma=threshold,
        min_area_px=MIN_AREA_PX,
        open_edges=pixels.open_edges,
        smoothed=maps.smoothed,
    )
    detection = DetectionImage(maps.significance, maps.mask, None if neighbours == "keep" else found)
    return measure_sources(pixels, detection, found.peak_y, found.peak_x, found.flags)


def sample_hsc(folder: Path, threshold: float, neighbours: str) -> Sample:
    """Injected sources of all cutouts in `folder`."""
    rows: list[tuple] = []
    n_true = 0
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise InputError(f"folder {str(folder)!r} holds no .npz files: give that of the blends")
    for path in paths:
        with np.load(path) as arrays:
            bad = (arrays["mask"] & sum(1 << bit for bit in BAD_BITS)) != 0
            scale = np.float32(10 ** (0.4 * (AB_ZEROPOINT_NJY - ZEROPOINT)))
            image = np.where(bad, np.float32(np.nan), arrays["images"] * scale)
            truth, rms = arrays["matched"], np.sqrt(arrays["variance"]) * scale
        n_true += truth.size
        significance, mask = detection_image(image, rms, [0, 1, 2])
        maps = DetectionMaps(significance, mask, smooth(significance, mask, normalise=True))
        got = measure(Pixels(image, rms, bad, np.zeros_like(bad), PIXEL_SCALE), maps, threshold, neighbours)
        mags = np.stack([truth[f"{band}magVar"] for band in HSC_BANDS], axis=1)
        rows += match(got, truth["y"], truth["x"], mags, truth["sourceType"] == b"star", PIXEL_SCALE)
    return sample(HSC_BANDS, rows, n_true)


def sample_mosaic(config_path: str, truth_path: str, threshold: float, neighbours: str) -> Sample:
    """Simulated sources of a mosaic."""
    from benchmarks.tiling_invariance import ingest

    config, truth = load_config(config_path), Table.read(truth_path)
    truth.convert_bytestring_to_unicode()
    mosaic = config.mosaics[0]
    mags = np.full((len(truth), len(mosaic.bands)), np.nan)
    for index, band in enumerate(mosaic.bands):
        if f"mag_{band}" in truth.colnames:
            mags[:, index] = np.ma.filled(truth[f"mag_{band}"], np.nan)
    rows: list[tuple] = []
    with tempfile.TemporaryDirectory() as folder:
        store = ingest(mosaic, Path(folder) / "mosaic.zarr", config.tiling.core_px)
        wanted = tuple(band for band in mosaic.bands if band in (config.detection.bands or "gri"))
        settings = DetectionSettings(wanted, threshold, MIN_AREA_PX, config.detection.combine)
        for core in store.grid(config.tiling.halo_px, config.tiling.core_px):
            with open_tile(store, core, settings) as (_, window, maps):
                got = measure(window, maps, threshold, neighbours)
            own = np.flatnonzero(core.owns(np.asarray(truth["y"]), np.asarray(truth["x"])))
            y, x = np.asarray(truth["y"])[own] - window.y0, np.asarray(truth["x"])[own] - window.x0
            rows += match(got, y, x, mags[own], np.asarray(truth["kind"])[own] == "star", window.pixel_scale)
    return sample(mosaic.bands, rows, len(truth))


def match(got: Measured, y: np.ndarray, x: np.ndarray, mags: np.ndarray, is_star: np.ndarray, pixel_scale: float) -> list[tuple]:
    """Rows (true fluxes, fluxes, errors, star, blended) of the true sources that have a detection near them.

    Where two true sources share their nearest detection, the brighter one has it.
    """
    taken: set[int] = set()
    rows = []
    for k in np.argsort(np.nanmin(mags, axis=1)) if got.y.size else ():
        distance = np.hypot(got.y - y[k], got.x - x[k])
        nearest = int(np.argmin(distance))
        if distance[nearest] * pixel_scale > MATCH_ARCSEC or nearest in taken:
            continue
        taken.add(nearest)
        flux = np.stack([got.flux[:, nearest], got.flux_aper[:, nearest]])
        error = np.stack([got.flux_err[:, nearest], got.flux_aper_err[:, nearest]])
        true = 10 ** (0.4 * (AB_ZEROPOINT_NJY - mags[k]))
        rows.append((true, flux, error, is_star[k], has_flag(got.flags[nearest], "blended")))
    return rows


def sample(bands: tuple[str, ...], rows: list[tuple], n_true: int) -> Sample:
    """One sample of the rows of :func:`match`."""
    if not rows:
        raise InputError(f"none of the {n_true} true sources was found: check that the truth belongs to the images")
    true, flux, error, is_star, is_blended = (np.array(column) for column in zip(*rows, strict=True))
    return Sample(bands, true, flux, error, is_star, is_blended, n_true)


def spread(values: np.ndarray) -> float:
    """1.4826 times the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def statistics(true: np.ndarray, flux: np.ndarray, error: np.ndarray) -> str:
    """Cells of a row: n, bias, sigma, outliers, median and width of the pulls; all arguments (source,)."""
    good = np.isfinite(true) & np.isfinite(flux) & (true > FAINTEST * error)
    true, flux, error = true[good], flux[good], error[good]
    if true.size < 5:
        return f"{true.size} | | | | |"
    with np.errstate(invalid="ignore", divide="ignore"):
        offset = np.nan_to_num(-2.5 * np.log10(flux / true), nan=99)
    pull = (flux - true) / error
    outliers = np.mean(np.abs(offset) > OUTLIER_MAG)
    return (
        f"{true.size} | {np.median(offset):+.3f} | {spread(offset):.3f} | {100 * outliers:.1f} % "
        f"| {np.median(pull):+.2f} | {spread(pull):.2f}"
    )


def table(given: Sample) -> Iterator[str]:
    """Lines of the table in Markdown."""
    yield "| aperture | what | band | n | bias, mag | sigma, mag | > 0.5 mag | median pull | width of pulls |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for number, aperture in enumerate(("Kron-like", "fixed")):
        for name, rows in groups(given):
            for index, band in enumerate(given.bands):
                if np.isfinite(given.true[:, index]).any():
                    cells = statistics(given.true[rows, index], given.flux[rows, number, index], given.error[rows, number, index])
                    yield f"| {aperture} | {name} | {band} | {cells} |"
    for name, rows in groups(given):
        yield from colours(given, name, rows)


def groups(given: Sample) -> Iterator[tuple[str, np.ndarray]]:
    """Names and rows (source,) bool of the groups that are told apart."""
    for kind, is_kind in (("stars", given.is_star), ("galaxies", ~given.is_star)):
        for state, is_state in (("isolated", ~given.is_blended), ("blended", given.is_blended)):
            yield f"{kind}, {state}", is_kind & is_state


def colours(given: Sample, name: str, rows: np.ndarray) -> Iterator[str]:
    """Lines of the colours of a group."""
    for number, aperture in enumerate(("Kron-like", "fixed")):
        for blue, red in COLOURS:
            if blue not in given.bands or red not in given.bands:
                continue
            first, second = given.bands.index(blue), given.bands.index(red)
            both = given.true[rows][:, [first, second]], given.flux[rows][:, number, [first, second]]
            error = given.error[rows][:, number, [first, second]]
            good = (both[0] > FAINTEST * error).all(axis=1) & (both[1] > 0).all(axis=1)
            if good.sum() < 5:
                continue
            ratio = np.log10(both[1][good] / both[0][good])
            offset = -2.5 * (ratio[:, 0] - ratio[:, 1])
            outliers = 100 * np.mean(np.abs(offset) > OUTLIER_MAG)
            cells = f"{good.sum()} | {np.median(offset):+.3f} | {spread(offset):.3f} | {outliers:.1f} %"
            yield f"| {aperture} | {name} | {blue} - {red} | {cells} | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder of HSC blends, or the configuration of a survey")
    parser.add_argument("truth", nargs="?", help="table of the true sources of the survey's first mosaic")
    parser.add_argument("--threshold", type=float, default=3.0, help="detection threshold, sigma")
    parser.add_argument("--neighbours", choices=("replace", "keep"), default="replace", help="light of neighbours in apertures")
    given = parser.parse_args()
    if given.truth:
        result = sample_mosaic(given.source, given.truth, given.threshold, given.neighbours)
    else:
        result = sample_hsc(Path(given.source), given.threshold, given.neighbours)
    print(f"{len(result.true)} of {result.n_true} true sources found; those below {FAINTEST:g} sigma of a band left out\n")
    print("\n".join(table(result)))


if __name__ == "__main__":
    main()
