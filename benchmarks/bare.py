"""The bare parts of a survey, which nobody can do without: reading the images, SEP's background and extraction, the forward
passes of the networks on stamps that lie in memory.

Each is done as fast as is honest: one array per thread of a pool where threads help, and the faster of one and several threads is
taken. Stamps are cut and scaled before the clock of the forward passes starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import sep
from astropy.io import fits
from astropy.table import Table

from benchmarks.timed import Lap, Parts, lap
from surveycnn.config import ImageConfig, SurveyConfig
from surveycnn.inference.at_work import at_work
from surveycnn.inference.load import load_model
from surveycnn.inference.predictor import Predictor
from surveycnn.inference.scaling import network_inputs
from surveycnn.paths import split_path
from surveycnn.run.local_cluster import n_cores
from surveycnn.sky.background import MESH_PX
from surveycnn.sky.images import open_image
from surveycnn.sky.wcs import pixel_scale_arcsec, read_wcs
from surveycnn.sky.zeropoints import to_njy, zeropoint_of
from surveycnn.sources.stamps import cut_stamps

DETECTION_BANDS = ("g", "r", "i")
PIXSTACK = 1_000_000
"""Pixels that SEP keeps at a time: enough for 10,000 px of a crowded field; more cost time by themselves."""
READ, BACKGROUND, EXTRACTION = "read the FITS arrays", "SEP background of each", "SEP extraction on their sum"


def read_array(image: ImageConfig) -> np.ndarray:
    """(y, x) float32 in data units, native byte order: what SEP and the networks can take."""
    file, hdu = split_path(image.path)
    data = fits.getdata(file, hdu, memmap=False)
    return np.ascontiguousarray(data if image.plane is None else data[image.plane], np.float32)


def subtract_background(array: np.ndarray) -> float:
    """Noise of a (y, x) array, from which its background is subtracted in place."""
    background = sep.Background(array, bw=MESH_PX, bh=MESH_PX)
    background.subfrom(array)
    return float(background.globalrms)


def extract(strips: Sequence[np.ndarray], noise: float, config: SurveyConfig, pool: ThreadPoolExecutor) -> int:
    """Number of sources that SEP finds in the strips of an image."""
    sep.set_extract_pixstack(PIXSTACK)
    sigma, area = config.detection.threshold_sigma, config.detection.min_area_px
    return sum(pool.map(lambda strip: len(sep.extract(strip, sigma, err=noise, minarea=area)), strips))


def summed(arrays: Sequence[np.ndarray], noise: Sequence[float]) -> np.ndarray:
    """Sum of arrays, each in units of its noise."""
    total = arrays[0] / np.float32(noise[0])
    for array, sigma in zip(arrays[1:], noise[1:], strict=True):
        total += array / np.float32(sigma)
    return total


def pixel_parts(config: SurveyConfig, n_threads: int) -> tuple[dict[str, Lap], list[np.ndarray]]:
    """Times of reading, background and extraction with `n_threads`; the arrays of all bands, background subtracted.

    Pixels without data become 0 between the clocks, as SEP cannot take them.
    """
    images = config.mosaics[0].images
    with ThreadPoolExecutor(n_threads) as pool:
        taken, arrays = lap(lambda: list(pool.map(read_array, images)))
        parts = {READ: taken}
        for array in arrays:
            np.nan_to_num(array, copy=False, nan=0, posinf=0, neginf=0)
        parts[BACKGROUND], noise = lap(lambda: list(pool.map(subtract_background, arrays)))
        wanted = config.detection.bands or DETECTION_BANDS
        found = [k for k, image in enumerate(images) if image.band in wanted] or list(range(len(images)))

        def detect() -> int:
            total = summed([arrays[k] for k in found], [noise[k] for k in found])
            return extract(np.array_split(total, n_threads), len(found) ** 0.5, config, pool)

        parts[EXTRACTION], _ = lap(detect)
    return parts, arrays


def to_flux(config: SurveyConfig, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """(band, y, x) nJy of the arrays of all bands, and their pixel scale in arcsec."""
    mosaic, factors = config.mosaics[0], []
    for image in mosaic.images:
        with open_image(image.path, image.plane) as opened:
            scale = pixel_scale_arcsec(read_wcs(mosaic.wcs or opened.header), opened.ny, opened.nx)
            factors.append(to_njy(zeropoint_of(opened.photometry, image.zeropoint, path=image.path, pixel_scale=scale)))
    return np.stack([array * np.float32(factor) for array, factor in zip(arrays, factors, strict=True)]), scale


def batches_of(
    predictor: Predictor, bands: Sequence[str], image: np.ndarray, scale: float, rows: Table
) -> list[list[np.ndarray]]:
    """What the engine of `predictor` takes for all sources in `rows`: scaled, in whole batches, the last one padded.

    Stamps are cut along the pixels, turned or not: the time does not depend on what they show.
    """
    card, n = predictor.card, predictor.engine.batch_size
    own = image[[bands.index(band) for band in card.bands]]
    found = []
    for start in range(0, len(rows), n):
        some = rows[start : start + n]
        stamps = cut_stamps(own, np.asarray(some["y"]), np.asarray(some["x"]), card.stamp_px, card.pixel_scale / scale)
        fluxes: list[Any] = [None, None]
        if card.photometry is not None:
            fluxes = [np.stack([some[f"{name}_{band}"] for band in card.bands], axis=1) for name in ("flux", "flux_err")]
        inputs = network_inputs(card, stamps, *fluxes)
        found.append([np.concatenate([values, np.zeros((n - len(values), *values.shape[1:]), np.float32)]) for values in inputs])
    return found


def forward_parts(config: SurveyConfig, predictors: Sequence[Predictor], arrays: Sequence[np.ndarray], rows: Table) -> Parts:
    """Times of each network's forward passes on the stamps of all sources in `rows`, engine calls alone: in turn on all
    cores, and by as many threads as cores where the engine can be shared."""
    image, scale = to_flux(config, arrays)
    bands = [image.band for image in config.mosaics[0].images]
    names = [{ours: theirs for theirs, ours in config.bands.items()}.get(band, band) for band in bands]
    found = {}
    for predictor in predictors:
        batches, engine = batches_of(predictor, names, image, scale, rows), predictor.engine
        engine(*batches[0])
        name = f"forward pass of {predictor.card.name}, {engine.kind} {engine.precision}"
        found[name] = {1: lap(lambda engine=engine, batches=batches: [engine(*batch) for batch in batches])[0]}
        if getattr(engine, "shared", False):
            found[name][n_cores()] = _shared(engine, batches)
    return found


def _shared(engine: Any, batches: list[list[np.ndarray]]) -> Lap:
    """Time of the calls of an engine that threads share."""

    def call(some: list[list[np.ndarray]]) -> None:
        with at_work():
            for batch in some:
                engine(*batch)

    parts = [batches[k :: n_cores()] for k in range(n_cores())]
    with ThreadPoolExecutor(n_cores()) as pool:
        list(pool.map(call, [part[:1] for part in parts]))
        return lap(lambda: list(pool.map(call, parts)))[0]


def load_predictors(config: SurveyConfig) -> list[Predictor]:
    """The models of `config` on its engine with all cores."""
    engine = config.engine
    return [load_model(model, engine.kind, engine.precision, engine.batch_size) for model in config.models]


def bare_parts(config: SurveyConfig, predictors: Sequence[Predictor], rows: Table) -> Parts:
    """Times of each part by the number of threads that call; the engine has all cores either way."""
    found: Parts = {}
    for n_threads in sorted({1, n_cores()}):
        parts, arrays = pixel_parts(config, n_threads)
        for name, taken in parts.items():
            found.setdefault(name, {})[n_threads] = taken
    return found | forward_parts(config, predictors, arrays, rows)
