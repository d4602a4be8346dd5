"""What the models say of a tile's sources: stamps, forward passes, and the bits that say how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surveycnn.catalogs.columns import domain_column_name
from surveycnn.catalogs.flags import flag_value
from surveycnn.inference.predictor import Predictor, Step
from surveycnn.run.memory import SOURCES_PER_BATCH
from surveycnn.sky.wcs import local_jacobian
from surveycnn.sky.window import Window
from surveycnn.sky.zeropoints import AB_ZEROPOINT_NJY
from surveycnn.sources.stamps import cut_stamps
from surveycnn.sources.turned_stamps import cut_turned_stamps, sky_matrices

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class TileModel:
    """A model and the bands of the mosaic that it is given, in the order of its card."""

    predictor: Predictor
    bands: tuple[str, ...]
    ebv: float = 0.0
    """E(B-V) of the Milky Way in front of the mosaic, magnitudes."""


def score(window: Window, columns: Columns, models: Sequence[TileModel], step: Step) -> tuple[Columns, np.ndarray]:
    """Output columns of all models for the sources in `columns`, NaN where a model gives no number, and the bits of their stamps.

    Stamps are cut once for all models that want the same geometry and bands from the same images. `step` is put around the steps
    ``stamps``, ``predict`` and, within the latter, ``forward``: the calls of the engines alone.
    """
    y, x = columns["y"] - window.y0, columns["x"] - window.x0
    incomplete = np.zeros(y.size, bool)
    pieces: list[Columns] = []
    for start in range(0, max(y.size, 1), SOURCES_PER_BATCH):
        some = slice(start, start + SOURCES_PER_BATCH)
        found: Columns = {}
        for geometry, group in _by_geometry(models):
            bands = sorted({band for model in group for band in model.bands}, key=window.bands.index)
            with step("stamps"):
                stamps = _stamps(window, bands, y[some], x[some], geometry)
                incomplete[some] |= np.isnan(stamps).any(axis=(1, 2, 3))
            for model in group:
                with step("predict"):
                    found |= _predict(model, stamps, bands, columns, some, step)
        pieces.append(found)
    scores = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return scores, np.where(incomplete, np.int32(flag_value("stamp_incomplete")), np.int32(0))


@dataclass(frozen=True)
class _Geometry:
    """Of stamps."""

    size: int
    pixel_scale: float
    orientation: str


def _by_geometry(models: Sequence[TileModel]) -> list[tuple[_Geometry, list[TileModel]]]:
    """Models that can share stamps, of the size of the largest."""
    groups: dict[tuple[float, str], list[TileModel]] = {}
    for model in models:
        card = model.predictor.card
        groups.setdefault((card.pixel_scale, card.orientation), []).append(model)
    return [(_Geometry(max(m.predictor.card.stamp_px for m in group), *key), group) for key, group in groups.items()]


def _stamps(window: Window, bands: Sequence[str], y: np.ndarray, x: np.ndarray, geometry: _Geometry) -> np.ndarray:
    """(object, y, x, band) stamps at (`y`, `x`), in pixels of the window."""
    image = window.image[window.band_indices(list(bands))]
    if geometry.orientation == "mosaic":
        return cut_stamps(image, y, x, geometry.size, geometry.pixel_scale / window.pixel_scale)
    matrix = sky_matrices(local_jacobian(window.wcs, x + window.x0, y + window.y0), geometry.pixel_scale)
    return cut_turned_stamps(image, y, x, geometry.size, matrix)


def _predict(model: TileModel, stamps: np.ndarray, bands: Sequence[str], columns: Columns, some: slice, step: Step) -> Columns:
    """What a model gives for the stamps, in `bands`, of `some` of the sources in `columns`."""
    own = stamps[..., [bands.index(band) for band in model.bands]]
    flux, flux_err = None, None
    if model.predictor.card.photometry is not None:
        names = ("flux", "flux_err")
        flux, flux_err = (np.stack([columns[f"{name}_{band}"][some] for band in model.bands], axis=1) for name in names)
    ebv = np.full(len(own), model.ebv) if model.ebv else None
    dataset = model.predictor.predict(own, flux, flux_err, ebv, step)
    return {str(name): values.values for name, values in dataset.data_vars.items()}


def model_flags(columns: Columns, scores: Columns, models: Sequence[TileModel]) -> np.ndarray:
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
