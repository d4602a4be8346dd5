"""The pure heart of a run: one tile's pixels and the models in, its rows of the catalog out.

No paths, no scheduler, no clock: the same window gives the same rows anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from surveycnn.catalogs.columns import domain_column_name, source_schema
from surveycnn.catalogs.flags import flag_value
from surveycnn.run.memory import SOURCES_PER_BATCH
from surveycnn.schema import Schema
from surveycnn.sky.images import AB_ZEROPOINT_NJY
from surveycnn.sky.tiling import Tile
from surveycnn.sky.window import Window
from surveycnn.sources.detect import detect_sources, detection_image
from surveycnn.sources.identity import source_ids
from surveycnn.sources.photometry import measure_sources
from surveycnn.sources.stamps import cut_stamps

if TYPE_CHECKING:
    from surveycnn.inference.predictor import Predictor

Columns = dict[str, np.ndarray]
Step = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class DetectionSettings:
    """How sources are found."""

    bands: tuple[str, ...]
    threshold_sigma: float
    min_area_px: int


@dataclass(frozen=True)
class TileModel:
    """A model and the bands of the mosaic that it is given, in the order of its card."""

    predictor: Predictor
    bands: tuple[str, ...]
    ebv: float = 0.0
    """E(B-V) of the Milky Way in front of the mosaic, magnitudes."""


def process_tile(
    tile: Tile,
    window: Window,
    models: Callable[[], Sequence[TileModel]],
    settings: DetectionSettings,
    step: Step = lambda name: nullcontext(),
) -> xr.Dataset:
    """Rows of the sources whose peak lies in the core of `tile`, in the order of their source_id.

    Parameters
    ----------
    window
        Core and halo, all bands.
    models
        Called when there are sources to score, so that models can load while the tile is searched.
    step
        Context manager around each step (``detect``, ``measure``, ``load``, ``stamps``, ``predict``), for who wants to time them.

    Returns
    -------
    Dataset with the columns of :func:`tile_schema`.
    """
    with step("detect"):
        significance, mask, peaks = _find_sources(tile, window, settings)
    with step("measure"):
        columns = _measure(tile, window, significance, mask, peaks)
    with step("load"):
        loaded = models()
    scores = _score(window, columns, loaded, step)
    columns["flags"] = columns["flags"] | _model_flags(columns, scores, loaded)
    return tile_schema(window.bands, loaded).dataset(columns | scores)


def tile_schema(bands: Sequence[str], models: Sequence[TileModel]) -> Schema:
    """Columns of a tile's rows."""
    schema = source_schema(bands)
    for model in models:
        schema += model.predictor.schema
    return schema


@dataclass(frozen=True)
class _Peaks:
    y: np.ndarray
    x: np.ndarray
    flags: np.ndarray


def _find_sources(tile: Tile, window: Window, settings: DetectionSettings) -> tuple[np.ndarray, np.ndarray, _Peaks]:
    """Detection image, its mask, and the peaks (window pixels) that the tile owns, in the order of their source_id."""
    significance, mask = detection_image(window.image, window.rms, window.band_indices(settings.bands))
    found = detect_sources(
        significance,
        mask,
        threshold_sigma=settings.threshold_sigma,
        min_area_px=settings.min_area_px,
        open_edges=window.open_edges,
    )
    own = np.flatnonzero(tile.owns(found.peak_y + window.y0, found.peak_x + window.x0))
    own = own[np.lexsort((found.peak_x[own], found.peak_y[own]))]
    return significance, mask, _Peaks(found.peak_y[own], found.peak_x[own], found.flags[own])


def _measure(tile: Tile, window: Window, significance: np.ndarray, mask: np.ndarray, peaks: _Peaks) -> Columns:
    """Columns of :func:`source_schema` in mosaic coordinates."""
    measured = measure_sources(
        window.image,
        window.rms,
        window.masked,
        significance,
        mask,
        peaks.y,
        peaks.x,
        peaks.flags,
        pixel_scale=window.pixel_scale,
        open_edges=window.open_edges,
    )
    n_sources = peaks.y.size
    x, y = measured.x + window.x0, measured.y + window.y0
    ra, dec = window.wcs.pixel_to_world_values(x, y) if n_sources else (np.zeros(0), np.zeros(0))
    columns: Columns = {
        "source_id": source_ids(tile.mosaic, peaks.y + window.y0, peaks.x + window.x0, tile.ny, tile.nx),
        "ra": np.asarray(ra, "f8"),
        "dec": np.asarray(dec, "f8"),
        "mosaic": np.full(n_sources, tile.mosaic, dtype=object),
        "x": x,
        "y": y,
        "is_primary": np.ones(n_sources, bool),
        "flags": measured.flags.astype("i4"),
        "flux_radius": (measured.flux_radius_px * window.pixel_scale).astype("f4"),
    }
    for index, band in enumerate(window.bands):
        columns[f"flux_{band}"] = measured.flux[index].astype("f4")
        columns[f"flux_err_{band}"] = measured.flux_err[index].astype("f4")
    return columns


def _score(window: Window, columns: Columns, models: Sequence[TileModel], step: Step) -> Columns:
    """Output columns of all models for the sources in `columns`; a row of NaN where a model gives no number.

    Stamps are cut once for all models that want the same geometry and bands from the same images.
    """
    y, x = columns["y"] - window.y0, columns["x"] - window.x0
    pieces: list[Columns] = []
    for start in range(0, max(y.size, 1), SOURCES_PER_BATCH):
        some = slice(start, start + SOURCES_PER_BATCH)
        found: Columns = {}
        for size, scale, group in _by_geometry(models):
            bands = sorted({band for model in group for band in model.bands}, key=window.bands.index)
            with step("stamps"):
                image = window.image[window.band_indices(bands)]
                stamps = cut_stamps(image, y[some], x[some], size=size, step=scale / window.pixel_scale)
            for model in group:
                with step("predict"):
                    found |= _predict(model, stamps, bands, columns, some)
        pieces.append(found)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _by_geometry(models: Sequence[TileModel]) -> list[tuple[int, float, list[TileModel]]]:
    """Models that can share stamps: (largest stamp in pixels, pixel scale in arcsec, models)."""
    groups: dict[float, list[TileModel]] = {}
    for model in models:
        groups.setdefault(model.predictor.card.pixel_scale, []).append(model)
    return [(max(m.predictor.card.stamp_px for m in group), scale, group) for scale, group in groups.items()]


def _predict(model: TileModel, stamps: np.ndarray, bands: Sequence[str], columns: Columns, some: slice) -> Columns:
    """What a model gives for the stamps, in `bands`, of `some` of the sources in `columns`."""
    own = stamps[..., [bands.index(band) for band in model.bands]]
    flux, flux_err = None, None
    if model.predictor.card.photometry is not None:
        names = ("flux", "flux_err")
        flux, flux_err = (np.stack([columns[f"{name}_{band}"][some] for band in model.bands], axis=1) for name in names)
    dataset = model.predictor.predict(own, flux, flux_err, ebv=np.full(len(own), model.ebv) if model.ebv else None)
    return {str(name): values.values for name, values in dataset.data_vars.items()}


def _model_flags(columns: Columns, scores: Columns, models: Sequence[TileModel]) -> np.ndarray:
    """Bits that say how far the models' numbers can be trusted."""
    flags = np.zeros(columns["flags"].shape, "i4")
    for model in models:
        card = model.predictor.card
        if card.domain is not None and card.domain.band in card.bands:
            band = model.bands[card.bands.index(card.domain.band)]
            bright, faint = card.domain.magnitude
            magnitude = magnitudes(columns[f"flux_{band}"])
            flags[~((magnitude >= bright) & (magnitude <= faint))] |= flag_value(f"outside_domain_{card.task}")
        if card.has_distance:
            flags[scores[domain_column_name(card.task)] > 1] |= flag_value(f"outside_domain_{card.task}")
        first = scores[next(iter(model.predictor.schema))]
        flags[np.isnan(first)] |= flag_value("no_prediction")
    return flags


def magnitudes(flux_njy: np.ndarray) -> np.ndarray:
    """AB magnitudes of fluxes in nJy, NaN where the flux is not positive.

    >>> magnitudes(np.array([1e4, -1.0]))
    array([21.4,  nan])
    """
    flux = np.asarray(flux_njy, np.float64)
    positive = np.where(flux > 0, flux, np.nan)
    return AB_ZEROPOINT_NJY - 2.5 * np.log10(positive)
