"""The predictor: stamps in nJy in, columns of the catalog out; scaling, padding and calibration happen inside.

It stands between the stamps of a tile and its rows; the flows, the Python API and the training's evaluation all use this one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import xarray as xr

from surveycnn.errors import InputError, ModelError, SurveyCNNError
from surveycnn.inference import engines
from surveycnn.inference.device import DeviceStamps, Gathered
from surveycnn.inference.heads import columns_of
from surveycnn.inference.scaling import HostStamps, is_blank, scale_photometry, transmission
from surveycnn.models.card import Card
from surveycnn.schema import Schema
from surveycnn.sources.stamp_photometry import stamp_photometry

MAX_WILD_STAMPS = 8
"""Stamps with data for which a network may give no number, whatever their share: pixels may hold anything."""
_DEVICE = threading.Lock()
"""One batch at a time in a process, but for engines that can be shared: the others use all cores, or the one GPU, that it has."""

Step = Callable[[str], AbstractContextManager[Any]]
"""Gives a context manager to put around a named step, for who wants to time it."""


def untimed(name: str) -> AbstractContextManager[Any]:
    """A :data:`Step` that does nothing."""
    return nullcontext()


class Predictor:
    """A model package on an engine. Safe to use from several threads.

    Attributes
    ----------
    card
        What the model takes and gives.
    schema
        Columns of what :meth:`predict` gives.
    """

    def __init__(self, card: Card, compile_engine: Callable[[int], engines.Engine], batch_size: int):
        """`compile_engine` gives the network of `card` for a number of stamps a call."""
        self.card = card
        self.schema: Schema = card.schema
        self._compile = compile_engine
        self._engine = compile_engine(batch_size)

    def __repr__(self) -> str:
        kind, precision, batch_size = self._engine.kind, self._engine.precision, self._engine.batch_size
        return f"Predictor({self.card.name!r}, engine={kind!r}, precision={precision!r}, batch_size={batch_size})"

    @property
    def engine(self) -> engines.Engine:
        """The engine in use: its kind, precision and batch size."""
        return self._engine

    def predict(
        self,
        stamps: np.ndarray,
        flux: np.ndarray | None = None,
        flux_err: np.ndarray | None = None,
        ebv: np.ndarray | None = None,
        step: Step = untimed,
    ) -> xr.Dataset:
        """Columns of :attr:`schema`, one row per stamp; they do not depend on which stamps come in one call.

        Parameters
        ----------
        stamps
            (object, y, x, band) float, nJy per pixel of `card.pixel_scale`, sky-subtracted, bands as in `card.bands`.
            NaN = no data. Larger stamps are cut at the centre.
        flux, flux_err
            (object, band) nJy, total fluxes as the catalog has them, for a model that takes them (`card.photometry`);
            NaN = no data. None measures them on the stamps as the survey measures its sources.
        ebv
            (object,) E(B-V) of the Milky Way in magnitudes, from which stamps and fluxes are freed by `card.extinction`; None or
            NaN leaves them as they are.
        step
            Put as ``forward`` around each call of the engine, the wait for other threads' calls left out.

        Returns
        -------
        xr.Dataset
            Rows are NaN where more than half of a stamp has no data.

        Raises
        ------
        InputError
            Where the array is no stack of stamps, has other bands, or is smaller than the model's stamps.
        """
        whole = self._checked(np.asarray(stamps))
        flux, flux_err = self._photometry(len(whole), lambda: whole, flux, flux_err)
        passed = self._passed(len(whole), ebv)
        return self._rows(HostStamps(self.card, self._cut(whole), passed), flux, flux_err, passed, step)

    def predict_gathered(
        self,
        gathered: Gathered,
        n: int,
        bands: Sequence[int],
        flux: np.ndarray | None = None,
        flux_err: np.ndarray | None = None,
        ebv: np.ndarray | None = None,
        step: Step = untimed,
    ) -> xr.Dataset:
        """The same for the first `n` of stamps on the device, `bands` being the places of the card's bands among theirs."""
        flux, flux_err = self._photometry(n, lambda: gathered.on_host(n, bands), flux, flux_err)
        passed = self._passed(n, ebv)
        stamps = DeviceStamps(self.card, gathered.values, bands, np.arange(n), passed)
        return self._rows(stamps, flux, flux_err, passed, step)

    def predict_raw(self, stamps: np.ndarray, flux: np.ndarray | None = None, flux_err: np.ndarray | None = None) -> np.ndarray:
        """Raw outputs (object, `card.n_outputs`) float32 of the network, for the training and the checks."""
        whole = self._checked(np.asarray(stamps))
        flux, flux_err = self._photometry(len(whole), lambda: whole, flux, flux_err)
        return self._raw(HostStamps(self.card, self._cut(whole)), flux, flux_err)

    def _rows(
        self, stamps: HostStamps | DeviceStamps, flux: Any, flux_err: Any, passed: np.ndarray | None, step: Step
    ) -> xr.Dataset:
        """Columns of :attr:`schema` for stamps and fluxes through dust that lets `passed` (object, band) of the light through."""
        if flux is not None and passed is not None:
            flux, flux_err = flux / passed, flux_err / passed
        raw, blank = self._raw(stamps, flux, flux_err, step), is_blank(stamps.n_missing, math.prod(self.card.input_shape))
        self._check_finite(raw, blank)
        columns = columns_of(self.card, raw)
        columns = {name: np.asarray(columns[name], variable.dtype) for name, variable in self.schema.items()}
        if blank.any():
            for values in columns.values():
                values[blank] = np.nan if values.dtype.kind == "f" else 0
        return self.schema.dataset(columns)

    def _check_finite(self, raw: np.ndarray, blank: np.ndarray) -> None:
        """Raise where most stamps with data have come to no number: that is the engine's fault, not that of a few wild pixels."""
        lost, n_usable = ~np.isfinite(raw).any(axis=1) & ~blank, np.count_nonzero(~blank)  # a first stage leaves some out
        if lost.sum() > max(MAX_WILD_STAMPS, n_usable / 2):
            raise SurveyCNNError(f"model {self.card.name!r} gave no number for {lost.sum()} of {n_usable} stamps with data")

    def _checked(self, stamps: np.ndarray) -> np.ndarray:
        """The stamps, where they are such as the model can take."""
        size, n_bands = self.card.stamp_px, len(self.card.bands)
        if stamps.ndim != 4 or stamps.dtype.kind not in "fiu":
            raise InputError(f"stamps have shape {stamps.shape} and dtype {stamps.dtype}, expected numbers (object, y, x, band)")
        if stamps.shape[3] != n_bands:
            raise InputError(
                f"stamps have {stamps.shape[3]} bands along the last axis, "
                f"but model {self.card.name!r} takes {n_bands}: {', '.join(self.card.bands)}"
            )
        if min(stamps.shape[1:3]) < size:
            raise InputError(
                f"stamps have {stamps.shape[1]} x {stamps.shape[2]} px, but model {self.card.name!r} needs {size} x {size}"
            )
        return stamps

    def _cut(self, stamps: np.ndarray) -> np.ndarray:
        size = self.card.stamp_px
        y, x = ((length - size) // 2 for length in stamps.shape[1:3])
        return stamps[:, y : y + size, x : x + size].astype(np.float32, copy=False)

    def _photometry(
        self, n: int, stamps: Callable[[], np.ndarray], flux: Any, flux_err: Any
    ) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """Fluxes and errors (object, band) of `n` stamps as given, or as measured on them; None for a model that takes none."""
        if self.card.photometry is None:
            return None, None
        if (flux is None) != (flux_err is None):
            raise InputError("flux and flux_err go together: give both, or neither to have them measured on the stamps")
        if flux is None:
            return stamp_photometry(stamps(), self.card.pixel_scale)
        shape = (n, len(self.card.bands))
        given = [np.asarray(values, np.float64) for values in (flux, flux_err)]
        for name, values in zip(("flux", "flux_err"), given, strict=True):
            if values.shape != shape:
                raise InputError(f"{name} has the shape {values.shape}, expected {shape}: a row per stamp, a column per band")
        return given[0], given[1]

    def _passed(self, n: int, ebv: np.ndarray | None) -> np.ndarray | None:
        """Share of the light (object, band) that passes the dust in front of `n` stamps; None where there is nothing to do."""
        if ebv is None or not self.card.extinction:
            return None
        ebv = np.asarray(ebv, np.float64)
        if ebv.shape != (n,):
            raise InputError(f"ebv has the shape {ebv.shape}, expected {(n,)}: one value per stamp")
        return transmission(self.card, np.where(np.isfinite(ebv), ebv, 0.0))

    def _raw(self, stamps: HostStamps | DeviceStamps, flux: Any = None, flux_err: Any = None, step: Step = untimed) -> np.ndarray:
        """Raw outputs (object, `card.n_outputs`) float32."""
        out, start = np.empty((len(stamps), self.card.n_outputs), np.float32), 0
        while start < len(stamps):
            engine = self._engine
            some = slice(start, min(start + engine.batch_size, len(stamps)))
            inputs = stamps.inputs(some, engine.batch_size, self._others(some, engine.batch_size, flux, flux_err))
            try:
                with nullcontext() if getattr(engine, "shared", False) else _DEVICE, step("forward"):
                    raw = stamps.call(engine, inputs)
            except engines.OutOfDeviceMemory as error:
                self._halve(engine, error)
                continue
            out[some] = raw[: some.stop - start]
            start = some.stop
        return out

    def _others(self, some: slice, n: int, flux: Any, flux_err: Any) -> list[np.ndarray]:
        """What the network takes beside stamps: scaled fluxes (n, 2 * band), zeros behind those of `some`."""
        if self.card.photometry is None:
            return []
        scaled = scale_photometry(flux[some], flux_err[some], self.card.photometry, self.card.bands)
        return [np.concatenate([scaled, np.zeros((n - len(scaled), scaled.shape[1]), np.float32)])]

    def _halve(self, engine: engines.Engine, error: Exception) -> None:
        """Replace an engine whose batch does not fit by one of half the batch, unless another thread has done so."""
        if engine.batch_size == 1:
            raise ModelError(f"one stamp of model {self.card.name!r} does not fit into the device's memory") from error
        with _DEVICE:
            if self._engine is engine:
                self._engine = self._compile(engine.batch_size // 2)
