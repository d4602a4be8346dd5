"""The pure heart of a run: one tile's pixels and the models in, its rows of the catalog out.

No paths, no scheduler, no clock: the same window gives the same rows anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from surveycnn.catalogs.columns import FLAGS, flags_column, model_flags_column, model_flags_name, source_schema
from surveycnn.errors import SchemaError
from surveycnn.run.scoring import Columns, Step, TileModel, model_flags, score
from surveycnn.schema import Schema
from surveycnn.sky.tiling import Tile
from surveycnn.sky.wcs import sky_positions
from surveycnn.sky.window import Window
from surveycnn.sources.bad_pixels import bridge_holes, raise_saturated
from surveycnn.sources.catalog import PlacedSources
from surveycnn.sources.chi_squared import chi_squared_map
from surveycnn.sources.detect import detect_sources, detection_image, smooth
from surveycnn.sources.identity import row_ids, source_ids
from surveycnn.sources.photometry import DetectionImage, measure_sources


@dataclass(frozen=True)
class DetectionSettings:
    """How sources are found."""

    bands: tuple[str, ...]
    threshold_sigma: float
    min_area_px: int
    combine: Literal["sum", "chi2"] = "sum"
    aperture_arcsec: float = 2.0
    """Diameter of the fixed aperture."""


def process_tile(
    tile: Tile,
    window: Window,
    models: Callable[[], Sequence[TileModel]],
    settings: DetectionSettings,
    step: Step = lambda name: nullcontext(),
    given: PlacedSources | None = None,
    maps: DetectionMaps | None = None,
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
    given
        Sources of the tile from a user's table, in the order of their rows, to take instead of the detected ones. What is
        detected then only says whose light a pixel holds.
    maps
        Those of the window, where they are there already.

    Returns
    -------
    Dataset with the columns of :func:`tile_schema`.
    """
    if given is not None and not given.row.size:
        return tile_schema(window.bands, models(), given).empty()
    with step("detect"):
        detection, peaks = _find_sources(tile, window, maps or detection_maps(window, settings), settings)
        if given is not None:
            peaks = _given_peaks(window, detection, given)
    with step("measure"):
        columns = _measure(tile, window, detection, peaks, settings.aperture_arcsec, recentre=given is None)
        columns = _on_sky(columns | (_given_columns(tile, given) if given is not None else {}))
    with step("load"):
        loaded = models()
    columns[FLAGS] = columns["flags"]
    columns |= model_columns(window, columns, loaded, step)
    return tile_schema(window.bands, loaded, given).dataset(columns | {"flags": all_flags(columns)})


def model_columns(window: Window, columns: Columns, models: Sequence[TileModel], step: Step) -> Columns:
    """What models say of sources, and the bits that each sets: columns of :func:`part_schema` of each.

    Parameters
    ----------
    window
        In those bands at least that the models take.
    columns
        Positions and fluxes of the sources, as a tile file has them.
    """
    scores, incomplete = score(window, columns, models, step)
    bits = {}
    for model in models:
        task = model.predictor.card.task
        bits[model_flags_name(task)] = model_flags(columns, scores, model, incomplete[task])
    return scores | bits


def all_flags(columns: Columns) -> np.ndarray:
    """Flags (int32) of sources from the columns of a tile that hold the bits of its parts."""
    parts = [values for name, values in columns.items() if name.startswith(FLAGS)]
    return np.bitwise_or.reduce(parts).astype(np.int32)


def _on_sky(columns: Columns) -> Columns:
    """Rows with a position: the corners of an all-sky projection lie beyond the sky, whatever their pixels hold."""
    n_lost = np.count_nonzero(~(np.isfinite(columns["x"]) & np.isfinite(columns["y"])))
    if n_lost:
        raise SchemaError(f"{n_lost} of {len(columns['x'])} sources have no position in their mosaic")
    on_sky = np.isfinite(columns["ra"]) & np.isfinite(columns["dec"])
    return columns if on_sky.all() else {name: values[on_sky] for name, values in columns.items()}


def tile_schema(bands: Sequence[str], models: Sequence[TileModel], given: PlacedSources | None = None) -> Schema:
    """Columns of a tile's rows: those of the catalog, and private ones that say which part of the run has set which flags."""
    schema = source_schema(bands, None if given is None else given.has_text_ids) + Schema([flags_column()])
    for model in models:
        schema += part_schema(model)
    return schema


def part_schema(model: TileModel) -> Schema:
    """Columns of a tile's rows that come and go with a model."""
    return model.predictor.schema + Schema([model_flags_column(model.predictor.card.task)])


@dataclass(frozen=True)
class _Peaks:
    y: np.ndarray
    x: np.ndarray
    flags: np.ndarray


def _given_peaks(window: Window, detection: DetectionImage, given: PlacedSources) -> _Peaks:
    """Positions of a user's sources in window pixels, with the bits of the detections that they lie on."""
    y, x = given.y - window.y0, given.x - window.x0
    flags = np.zeros(y.size, np.int32)
    if detection.found is not None:
        rows, cols = (np.floor(values + 0.5).astype(np.int64) for values in (y, x))
        flags = np.append(np.int32(0), detection.found.flags)[detection.found.segmentation[rows, cols]]
    return _Peaks(y, x, flags)


def _given_columns(tile: Tile, given: PlacedSources) -> Columns:
    """What a user's table says of its sources."""
    columns = {name: getattr(given, name) for name in ("ra", "dec", "x", "y", "input_id")}
    return columns | {"source_id": row_ids(tile.mosaic, given.row)}


@dataclass(frozen=True)
class DetectionMaps:
    """What sources are found and measured on, (y, x)."""

    significance: np.ndarray
    """float32, of the summed bands; 0 without data."""
    mask: np.ndarray
    """bool, True where no band has data."""
    smoothed: np.ndarray
    """float32, what the threshold is put on."""


def detection_maps(window: Window, settings: DetectionSettings) -> DetectionMaps:
    """Maps of a window, each pixel from its neighbours alone."""
    bands = window.band_indices(settings.bands)
    significance, mask = detection_image(window.image, window.rms, bands)
    if settings.combine == "chi2":
        smoothed = chi_squared_map(window.image, window.rms, bands, settings.threshold_sigma)
    else:
        smoothed = smooth(significance, mask, normalise=True)
    smoothed = bridge_holes(raise_saturated(smoothed, np.logical_or.reduce(window.saturated[bands])), mask)
    return DetectionMaps(significance, mask, smoothed)


def _find_sources(tile: Tile, window: Window, maps: DetectionMaps, settings: DetectionSettings) -> tuple[DetectionImage, _Peaks]:
    """Detection image, and the peaks (window pixels) that the tile owns, in the order of their source_id."""
    found = detect_sources(
        maps.significance,
        maps.mask,
        threshold_sigma=settings.threshold_sigma,
        min_area_px=settings.min_area_px,
        open_edges=window.open_edges,
        smoothed=maps.smoothed,
    )
    own = np.flatnonzero(tile.owns(found.peak_y + window.y0, found.peak_x + window.x0))
    own = own[np.lexsort((found.peak_x[own], found.peak_y[own]))]
    return DetectionImage(maps.significance, maps.mask, found), _Peaks(found.peak_y[own], found.peak_x[own], found.flags[own])


def _measure(
    tile: Tile, window: Window, detection: DetectionImage, peaks: _Peaks, aperture_arcsec: float, recentre: bool = True
) -> Columns:
    """Columns of :func:`source_schema` in mosaic coordinates."""
    measured = measure_sources(
        window, detection, peaks.y, peaks.x, peaks.flags, aperture_arcsec=aperture_arcsec, recentre=recentre
    )
    n_sources = peaks.y.size
    x, y = measured.x + window.x0, measured.y + window.y0
    ra, dec = sky_positions(window.wcs, x, y)
    columns: Columns = {
        "source_id": source_ids(tile.mosaic, peaks.y + window.y0, peaks.x + window.x0, tile.ny, tile.nx),
        "ra": ra,
        "dec": dec,
        "mosaic": np.full(n_sources, tile.mosaic, dtype=object),
        "x": x,
        "y": y,
        "is_primary": np.ones(n_sources, bool),
        "flags": measured.flags.astype("i4"),
        "flux_radius": (measured.flux_radius_px * window.pixel_scale).astype("f4"),
        "kron_radius": (measured.kron_radius_px * window.pixel_scale).astype("f4"),
    }
    for index, band in enumerate(window.bands):
        for name in ("flux", "flux_err", "flux_aper", "flux_aper_err"):
            columns[f"{name}_{band}"] = getattr(measured, name)[index].astype("f4")
    return columns
