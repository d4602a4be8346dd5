"""What the models say of a tile's sources: stamps, forward passes, and the bits that say how far to trust them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from surveycnn.catalogs.columns import domain_column_name
from surveycnn.catalogs.flags import flag_value
from surveycnn.inference.device import DeviceTile, Gathered, block_px, upload_stamps
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


def score(window: Window, columns: Columns, models: Sequence[TileModel], step: Step) -> tuple[Columns, dict[str, np.ndarray]]:
    """Output columns of all models for the sources in `columns`, NaN where a model gives no number, and (object,) bool for each
    task whether a stamp of its model lacks pixels.

    What a model gives does not depend on the others: stamps are cut once for those that want the same ones, and only for those.
    `step` is put around the steps ``stamps``, ``predict`` and, within the latter, ``forward``: the calls of the engines alone.
    """
    n_sources = len(columns["y"])
    incomplete: dict[str, np.ndarray] = {model.predictor.card.task: np.zeros(n_sources, bool) for model in models}
    scores: Columns = {}
    groups = _by_geometry(models)
    with step("stamps"):
        tile = _device_tile(window, groups) if n_sources else None
    for geometry, group in groups:
        n_piece, cut = _cutter(window, columns, geometry, group, tile)
        pieces: list[Columns] = []
        for start in range(0, max(n_sources, 1), n_piece):
            some = slice(start, min(start + n_piece, n_sources))
            with step("stamps"):
                stamps = cut(some)
            found: Columns = {}
            with step("predict"):
                for model in group:
                    found |= _predict(model, stamps, columns, some, step)
            gaps = stamps.gaps()
            for model in group:
                incomplete[model.predictor.card.task][some] = gaps
            pieces.append(found)
        scores |= {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return scores, incomplete


@dataclass(frozen=True)
class _Geometry:
    """Of stamps."""

    size: int
    pixel_scale: float
    orientation: str
    bands: frozenset[str]


def _by_geometry(models: Sequence[TileModel]) -> list[tuple[_Geometry, list[TileModel]]]:
    """Models that can share stamps: resampled ones of another size, or with other bands beside them, may differ in a last bit."""
    groups: dict[_Geometry, list[TileModel]] = {}
    for model in models:
        card = model.predictor.card
        geometry = _Geometry(card.stamp_px, card.pixel_scale, card.orientation, frozenset(model.bands))
        groups.setdefault(geometry, []).append(model)
    return list(groups.items())


@dataclass(frozen=True)
class _HostStamps:
    """Stamps in this process's memory."""

    values: np.ndarray
    """(object, y, x, band)"""
    bands: tuple[str, ...]

    def gaps(self) -> np.ndarray:
        """(object,) whether any value is missing."""
        return np.isnan(self.values).any(axis=(1, 2, 3))

    def predict(self, model: TileModel, *given: Any) -> xr.Dataset:
        """What a model gives for them and further arguments of :meth:`Predictor.predict`."""
        return model.predictor.predict(self.values[..., _places(model.bands, self.bands)], *given)


@dataclass(frozen=True)
class _DeviceStamps:
    """The first `n` of stamps on the device."""

    values: Gathered
    n: int
    bands: tuple[str, ...]

    def gaps(self) -> np.ndarray:
        """(object,) whether any value is missing."""
        return self.values.gaps(self.n)

    def predict(self, model: TileModel, *given: Any) -> xr.Dataset:
        """What a model gives for them and further arguments of :meth:`Predictor.predict`."""
        bands = [self.bands.index(band) for band in model.bands]
        return model.predictor.predict_gathered(self.values, self.n, bands, *given)


_Stamps = _HostStamps | _DeviceStamps


def _cutter(
    window: Window, columns: Columns, geometry: _Geometry, group: Sequence[TileModel], tile: DeviceTile | None
) -> tuple[int, Callable[[slice], _Stamps]]:
    """A function that cuts stamps of some of the sources in `columns`, and for how many at once.

    These are whole batches of the engines, so that but the last of a tile is filled up.
    """
    bands = _bands_of(window, group)
    image = window.image[_places(bands, window.bands)]
    y, x = columns["y"] - window.y0, columns["x"] - window.x0
    n_batch = max(model.predictor.engine.batch_size for model in group)

    def on_host(some: slice) -> _Stamps:
        return _HostStamps(_stamps(window, image, y[some], x[some], geometry), bands)

    def uploaded(some: slice) -> _Stamps:
        stamps = _stamps(window, image, y[some], x[some], geometry)
        return _DeviceStamps(upload_stamps(stamps, n_batch), len(stamps), bands)

    def on_device(some: slice) -> _Stamps:
        assert tile is not None
        step = geometry.pixel_scale / window.pixel_scale
        of = [window.bands.index(band) for band in bands]
        return _DeviceStamps(tile.stamps(y[some], x[some], geometry.size, step, n_batch, of), len(y[some]), bands)

    if not _is_on_device(group):
        return max(SOURCES_PER_BATCH // n_batch, 1) * n_batch, on_host
    return n_batch, uploaded if tile is None or geometry.orientation == "sky" else on_device


def _is_on_device(group: Sequence[TileModel]) -> bool:
    """Whether the engines of all models of a group run on a GPU."""
    return all(getattr(model.predictor.engine, "on_device", False) for model in group)


def _device_tile(window: Window, groups: Sequence[tuple[_Geometry, Sequence[TileModel]]]) -> DeviceTile | None:
    """The window's pixels on the device, where stamps are to be cut there."""
    sizes = [
        block_px(geometry.size, geometry.pixel_scale / window.pixel_scale)
        for geometry, group in groups
        if geometry.orientation == "mosaic" and _is_on_device(group)
    ]
    return DeviceTile(window.image, max(sizes)) if sizes else None


def _bands_of(window: Window, group: Sequence[TileModel]) -> tuple[str, ...]:
    """Bands that the models of a group take, in the order of the window."""
    return tuple(sorted({band for model in group for band in model.bands}, key=window.bands.index))


def _places(bands: Sequence[str], among: Sequence[str]) -> slice | list[int]:
    """Places of `bands`, as a slice where they follow each other, which copies nothing."""
    places = [among.index(band) for band in bands]
    first, last = places[0], places[-1] + 1
    return slice(first, last) if places == list(range(first, last)) else places


def _stamps(window: Window, image: np.ndarray, y: np.ndarray, x: np.ndarray, geometry: _Geometry) -> np.ndarray:
    """(object, y, x, band) stamps of `image` at (`y`, `x`), in pixels of the window."""
    if geometry.orientation == "mosaic":
        return cut_stamps(image, y, x, geometry.size, geometry.pixel_scale / window.pixel_scale)
    matrix = sky_matrices(local_jacobian(window.wcs, x + window.x0, y + window.y0), geometry.pixel_scale)
    return cut_turned_stamps(image, y, x, geometry.size, matrix)


def _predict(model: TileModel, stamps: _Stamps, columns: Columns, some: slice, step: Step) -> Columns:
    """What a model gives for the stamps of `some` of the sources in `columns`."""
    flux, flux_err = None, None
    if model.predictor.card.photometry is not None:
        names = ("flux", "flux_err")
        flux, flux_err = (np.stack([columns[f"{name}_{band}"][some] for band in model.bands], axis=1) for name in names)
    ebv = np.full(some.stop - some.start, model.ebv) if model.ebv else None
    dataset = stamps.predict(model, flux, flux_err, ebv, step)
    return {str(name): values.values for name, values in dataset.data_vars.items()}


def model_flags(columns: Columns, scores: Columns, model: TileModel, incomplete: np.ndarray) -> np.ndarray:
    """Bits (int32) that say how far a model's numbers can be trusted; `incomplete` is what :func:`score` says of its stamps."""
    card = model.predictor.card
    flags = np.where(incomplete, np.int32(flag_value("stamp_incomplete")), np.int32(0))
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
