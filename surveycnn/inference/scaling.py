"""From fluxes to what a network sees; called by the predictor and by the training, never by users' code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.inference.engines import Engine
from surveycnn.models.card import Card, PhotometryScaling, Scaling

MAX_SCALED = 30.0
"""Scaled values are kept within this: a damaged pixel of 1e30 nJy must not overflow where a network takes the sinh."""


def scale_stamps(stamps: np.ndarray, scaling: Scaling, bands: Sequence[str]) -> np.ndarray:
    """``asinh(flux / softening)`` per band.

    Parameters
    ----------
    stamps
        (object, y, x, band) nJy; NaN and infinite = no data.
    bands
        Names along the last axis.

    Returns
    -------
    np.ndarray
        (object, y, x, band) float32, 0 where there are no data: the sky's level, as stamps are sky-subtracted.
    """
    scaled = np.empty(stamps.shape, np.float32)
    scale_into(scaled, stamps, inverse_softening(scaling, bands))
    return scaled


def inverse_softening(scaling: Scaling, bands: Sequence[str]) -> np.ndarray:
    """(band,) float32, 1 / nJy."""
    return np.array([1 / scaling.softening[band] for band in bands], np.float32)


def scale_into(out: np.ndarray, stamps: np.ndarray, inverse: np.ndarray, passed: np.ndarray | None = None) -> np.ndarray:
    """Write what :func:`scale_stamps` gives into `out`, float32 of the shape of `stamps`.

    Parameters
    ----------
    inverse
        From :func:`inverse_softening`.
    passed
        (object, band) float32 share of the light that the stamps are first divided by.

    Returns
    -------
    (object,) number of values without data.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for band, factor in enumerate(inverse):  # one at a time: a product along the short last axis takes three times as long
            plane = out[..., band]
            if passed is None:
                np.multiply(stamps[..., band], factor, out=plane)
            else:
                np.divide(stamps[..., band], passed[:, band, None, None], out=plane)
                np.multiply(plane, factor, out=plane)
        np.arcsinh(out, out=out)
    suspect = np.flatnonzero(~np.isfinite(out).all(axis=(1, 2, 3)))
    np.clip(out, -MAX_SCALED, MAX_SCALED, out=out)
    n_missing = np.zeros(len(out), np.int64)
    if suspect.size:
        missing = ~np.isfinite(stamps[suspect])
        n_missing[suspect] = np.count_nonzero(missing, axis=(1, 2, 3))
        out[suspect] = np.where(missing, np.float32(0), out[suspect])
    return n_missing


def is_blank(n_missing: np.ndarray, n_values: int) -> np.ndarray:
    """(object,) whether so many missing ones of a stamp's `n_values` values are too many for a prediction: more than half."""
    return n_missing > 0.5 * n_values


class HostStamps:
    """Stamps of one model in this process's memory: nJy, on their way into a network.

    Attributes
    ----------
    n_missing
        (object,) values without data of each stamp; known once it has been scaled.
    """

    def __init__(self, card: Card, values: np.ndarray, passed: np.ndarray | None = None):
        """`values` (object, y, x, band) are of `card.input_shape`; `passed` as for :func:`scale_into`."""
        self._card, self._values = card, values
        self._passed = None if passed is None else passed.astype(np.float32, copy=False)
        self.n_missing = np.zeros(len(values), np.int64)
        self._buffer = np.empty((0, *card.input_shape), np.float32)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, some: Any) -> HostStamps:
        """Those of a slice or a mask."""
        return HostStamps(self._card, self._values[some], None if self._passed is None else self._passed[some])

    def inputs(self, some: slice, n: int, others: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the network takes for the stamps `some`, and for zeros behind them up to `n`, until the next call.

        Parameters
        ----------
        others
            Further inputs (n, ...), handed on.
        """
        if len(self._buffer) != n:
            self._buffer = np.empty((n, *self._card.input_shape), np.float32)
        stamps = self._values[some]
        inverse = inverse_softening(self._card.scaling, self._card.bands)
        passed = None if self._passed is None else self._passed[some]
        self.n_missing[some] = scale_into(self._buffer[: len(stamps)], stamps, inverse, passed)
        self._buffer[len(stamps) :] = 0
        return [self._buffer, *others]

    def call(self, engine: Engine, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Raw outputs (n, output) float32 of an engine."""
        return engine(*inputs)


def scale_photometry(flux: np.ndarray, flux_err: np.ndarray, scaling: PhotometryScaling, bands: Sequence[str]) -> np.ndarray:
    """``asinh(flux / softening)`` of all bands, then ``log(flux_err / softening)`` of all bands.

    Parameters
    ----------
    flux, flux_err
        (object, band) nJy; NaN = no data.

    Returns
    -------
    np.ndarray
        (object, 2 * band) float32, 0 where there are no data.
    """
    softening = np.array([scaling.softening[band] for band in bands])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = np.concatenate([np.arcsinh(flux / softening), np.log(flux_err / softening)], axis=1)
    known = np.isfinite(values) & np.tile(np.isfinite(flux) & (np.asarray(flux_err) > 0), 2)
    return np.where(known, np.clip(values, -MAX_SCALED, MAX_SCALED), 0.0).astype(np.float32)


def network_inputs(
    card: Card, stamps: np.ndarray, flux: np.ndarray | None = None, flux_err: np.ndarray | None = None
) -> list[np.ndarray]:
    """What the network of `card` takes: scaled stamps and, where it takes them, scaled fluxes."""
    inputs = [scale_stamps(stamps, card.scaling, card.bands)]
    if card.photometry is not None:
        assert flux is not None and flux_err is not None
        inputs.append(scale_photometry(flux, flux_err, card.photometry, card.bands))
    return inputs


def transmission(card: Card, ebv: np.ndarray) -> np.ndarray:
    """Share of the light (object, band) that passes the dust of the Milky Way of E(B-V) = `ebv` (object,) magnitudes.

    >>> from types import SimpleNamespace
    >>> transmission(SimpleNamespace(bands=["r"], extinction={"r": 2.5}), np.array([0.0, 1.0]))
    array([[1. ],
           [0.1]])
    """
    extinction = np.array([card.extinction.get(band, 0.0) for band in card.bands])
    return 10.0 ** (-0.4 * np.multiply.outer(np.asarray(ebv, np.float64), extinction))
