"""Rows of a survey's catalog that are worth a look, chosen by size and flux, and their pixels from the chunk store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surveycnn.catalogs.flags import has_flag
from surveycnn.config import SurveyConfig
from surveycnn.errors import InputError
from surveycnn.run.store import WorkStore
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.window import Window
from surveycnn.sources.stamps import cut_stamps

Columns = Mapping[str, np.ndarray]

SHOWN_BANDS = ("g", "r", "i")
N_FOR_STARS = 100
"""Brightest sources of which the middle one is taken for a star."""
EXTENDED = 1.8
"""Radius of half the flux of the smallest galaxy that is shown, over that of stars."""
POINT_LIKE = 0.15
"""Largest relative difference of a star's radius from that of stars."""
CORE_PX = 512


def choose(columns: Columns, n: int, n_stars: int, faintest: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `n` galaxies and of `n_stars` stars, from fluxes and radii alone.

    Parameters
    ----------
    columns
        ``flux_i`` in nJy, ``flux_radius`` in arcsec and ``flags`` of the catalog.
    faintest
        AB magnitude in i.

    Returns
    -------
    galaxies
        Half of them the brightest of the extended sources, the rest the largest of the others; by flux.
    stars
        From the brightest to the faintest in equal steps of rank.
    """
    flux, radius = columns["flux_i"].astype(np.float64), columns["flux_radius"].astype(np.float64)
    is_usable = ~has_flag(columns["flags"], "edge") & (magnitude(flux) <= faintest) & np.isfinite(radius)
    rows = np.flatnonzero(is_usable)
    rows = rows[np.argsort(-flux[rows], kind="stable")]
    if rows.size == 0:
        raise InputError(f"the catalog has no sources of i <= {faintest:g} away from its edges: raise --faintest")
    of_stars = np.median(radius[rows[:N_FOR_STARS]])
    extended = rows[radius[rows] >= EXTENDED * of_stars]
    stars = rows[abs(radius[rows] / of_stars - 1) <= POINT_LIKE]
    brightest = extended[: (n + 1) // 2]
    others = extended[(n + 1) // 2 :]
    largest = others[np.argsort(-radius[others], kind="stable")][: n // 2]
    chosen = np.concatenate([brightest, largest])
    steps = np.unique(np.linspace(0, stars.size - 1, min(n_stars, stars.size)).astype(int))
    return chosen[np.argsort(-flux[chosen], kind="stable")], stars[steps]


def magnitude(flux: np.ndarray) -> np.ndarray:
    """AB magnitudes of nJy; infinite where there is no flux."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, 31.4 - 2.5 * np.log10(flux), np.inf)


def window_around(config: SurveyConfig, row: Mapping[str, Any], margin_arcsec: float) -> Window:
    """Pixels of the mosaic around a row of the catalog, bands g, r, i, at least `margin_arcsec` to each side."""
    store = ChunkStore.open(WorkStore(config.work_path).chunk_path(str(row["mosaic"])))
    halo = int(np.ceil(margin_arcsec / store.pixel_scale)) + 8
    tile = store.grid(halo_px=max(halo, 64), core_px=CORE_PX).tile(int(row["y"]) // CORE_PX, int(row["x"]) // CORE_PX)
    return store.read_window(tile, [config.bands.get(band, band) for band in SHOWN_BANDS])


def cut_around(image: np.ndarray, y: float, x: float, size: int, step: float) -> np.ndarray:
    """One stamp (y, x, band) of :func:`cut_stamps`."""
    return cut_stamps(image, np.array([y]), np.array([x]), size, step)[0]
