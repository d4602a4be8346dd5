"""Stamps as a survey's pipeline cuts them from whole mosaics: blends, fragments, wings of stars and all, none of them a positive.

Where a training looks for what its network takes for lenses or mergers; stands behind :mod:`surveycnn.training.mining`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from surveycnn.simulation.conditions import AB_ZEROPOINT_NJY, PIXEL_SCALE_ARCSEC, STAMP_PX
from surveycnn.simulation.render import observe
from surveycnn.simulation.scene import draw_scene
from surveycnn.simulation.stamps import GRI, StampSet
from surveycnn.sources.centroid import windowed_centroids
from surveycnn.sources.detect import detect_sources, detection_image
from surveycnn.sources.stamps import cut_stamps

SIDE_PX = 1600
N_PLANTED = 12
"""Mergers in a mosaic without lenses, lenses in one without mergers."""
DENSITY = 2.0
"""Factor on the counts of the sky: crowded, so that more blends come by."""
_FAINTEST = 22.8
"""i magnitude in a circle of 2 arcsec radius."""
_CODE = 11
_THRESHOLD, _MIN_AREA_PX = 3.0, 5
_CENTROID_SIGMA_PX = 2.0


def mosaic_parts(task: str, n_mosaics: int, *, seed: int, conditions: str, n_workers: int = 1) -> Iterator[StampSet]:
    """The objects brighter than i = 22.8 of each of `n_mosaics` simulated mosaics without positives, as stamps in g, r, i.

    Parameters
    ----------
    task
        lens or merger.
    """
    jobs = ([task] * n_mosaics, [seed] * n_mosaics, range(n_mosaics), [conditions] * n_mosaics)
    if n_workers == 1 or n_mosaics == 1:
        yield from map(detected_stamps, *jobs)
        return
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(detected_stamps, *jobs)


def detected_stamps(task: str, seed: int, number: int, conditions: str, side: int = SIDE_PX) -> StampSet:
    """Stamps of the objects detected in one mosaic; it depends on the arguments alone."""
    entropy = np.random.SeedSequence(seed, spawn_key=(_CODE, number))
    mosaic_seed, noise_seed = (int(value) for value in entropy.generate_state(2))
    n_lenses, n_mergers = (N_PLANTED, 0) if task == "merger" else (0, N_PLANTED)
    scene = draw_scene(side, side, GRI, mosaic_seed, n_lenses, n_mergers, DENSITY, conditions)
    image = observe(np.random.default_rng(noise_seed), scene.model, scene.exposures).astype(np.float32)
    rms = np.stack([np.full((side, side), exposure.sigma, np.float32) for exposure in scene.exposures])
    significance, mask = detection_image(image, rms, range(len(GRI)))
    found = detect_sources(significance, mask, threshold_sigma=_THRESHOLD, min_area_px=_MIN_AREA_PX)
    y, x, _ = windowed_centroids(significance, found.peak_y, found.peak_x, _CENTROID_SIGMA_PX)
    stamps = cut_stamps(image, y, x, STAMP_PX, 1.0)
    bright = _magnitude_i(stamps) < _FAINTEST
    n = int(bright.sum())
    labels = {f"is_{task}": np.zeros(n, bool)}
    if task == "merger":
        labels |= {"time_myr": np.full(n, np.nan, np.float32), "encounter": np.full(n, -1)}
    truth = {"kind": np.full(n, "mosaic"), "mosaic": np.full(n, number)}
    return StampSet(task, stamps[bright], GRI, labels, truth)


def _magnitude_i(stamps: np.ndarray) -> np.ndarray:
    """AB magnitude (object,) in a circle of 2 arcsec radius; infinite where the flux is not positive."""
    axis = (np.arange(STAMP_PX) - (STAMP_PX - 1) / 2.0) * PIXEL_SCALE_ARCSEC
    inside = np.hypot(axis[:, None], axis[None, :]) <= 2.0
    flux = np.nansum(stamps[:, inside, GRI.index("i")], axis=1)
    return AB_ZEROPOINT_NJY - 2.5 * np.log10(np.maximum(flux, 1e-9))
