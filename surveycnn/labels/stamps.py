"""Stamps of sources as a run has given them to its models: the code of a tile, with a model that remembers what it sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import xarray as xr

from surveycnn.catalogs.query import Catalog
from surveycnn.errors import InputError
from surveycnn.inference.predictor import Predictor, Step, untimed
from surveycnn.labels.matching import Sources
from surveycnn.models.card import Card
from surveycnn.run.catalog_pixels import work_of
from surveycnn.run.scoring import TileModel, score
from surveycnn.run.widen import reopen_window
from surveycnn.sky.chunks import ChunkStore

BATCH = 64


class _NoEngine:
    """Stands where a predictor has its engine."""

    kind, precision, batch_size, on_device = "none", "float32", BATCH, False

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class StampRecorder(Predictor):
    """A predictor that keeps the stamps that it is given, and predicts nothing."""

    def __init__(self, card: Card):
        super().__init__(card, lambda n: _NoEngine(), BATCH)
        self.stamps: list[np.ndarray] = []

    def predict(
        self, stamps: np.ndarray, flux: Any = None, flux_err: Any = None, ebv: Any = None, step: Step = untimed
    ) -> xr.Dataset:
        """Rows of NaN."""
        self.stamps.append(np.array(stamps, np.float32))
        empty = self.schema.empty()
        blank = {str(name): np.zeros((len(stamps), *values.shape[1:]), values.dtype) for name, values in empty.data_vars.items()}
        return self.schema.dataset(blank)


def stamps_of(catalog: Catalog, sources: Sources, card: Card) -> np.ndarray:
    """Stamps (object, y, x, band) float32 nJy of sources of a catalog as the model of `card` is given them in a run.

    Raises
    ------
    InputError
        Where the catalog has no record of its run, its chunk store is gone or belongs to another run, or a band is missing.
    """
    work = _Work(catalog)
    stamps = np.empty((len(sources), *card.input_shape), np.float32)
    for mosaic in np.unique(sources.mosaic.astype(str)):
        chunks, bands = work.open(mosaic, card)
        grid = chunks.grid(work.halo_px)
        members = np.flatnonzero(sources.mosaic == mosaic)
        for row, col, some in _by_tile(sources.y[members], sources.x[members], grid.core_px):
            of = members[some]
            recorder = StampRecorder(card)
            with reopen_window(
                chunks, grid.tile(row, col), work.halo_px, [band for band in chunks.bands if band in bands]
            ) as window:
                columns = {"y": sources.y[of], "x": sources.x[of]}
                score(window, columns, [TileModel(recorder, bands)], lambda name: nullcontext())
            stamps[of] = np.concatenate(recorder.stamps)
    return stamps


def _by_tile(y: np.ndarray, x: np.ndarray, core_px: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Row and column of each tile with sources, and which they are."""
    rows, cols = (np.floor(values + 0.5).astype(int) // core_px for values in (y, x))
    for row, col in np.unique(np.stack([rows, cols], axis=1), axis=0):
        yield int(row), int(col), np.flatnonzero((rows == row) & (cols == col))


class _Work:
    """What the run of a catalog has left of its pixels."""

    def __init__(self, catalog: Catalog):
        self._name = str(catalog.path)
        try:
            provenance = catalog.provenance
            config = provenance["config"]
            self._bands = dict(config["bands"])
            self.halo_px = int(config["tiling"]["halo_px"])
            self.digest = str(provenance["run_digest"])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{self._name!r} has no record of its run: labels need a catalog that `surveycnn run-flow` has made"
            ) from None
        self._store = work_of(self._name)

    def open(self, mosaic: str, card: Card) -> tuple[ChunkStore, tuple[str, ...]]:
        """The chunk store of a mosaic, and its bands that the model of `card` is given."""
        chunks = ChunkStore.open(self._store.chunk_path(mosaic))
        bands = tuple(self._bands.get(band, band) for band in card.bands)
        missing = [band for band in bands if band not in chunks.finished_bands()]
        if missing:
            have = ", ".join(chunks.finished_bands())
            raise InputError(
                f"model {card.name!r} takes {', '.join(bands)}, and mosaic {mosaic!r} of {self._name!r} has no "
                f"{', '.join(missing)}: it has {have}; start from a model of these bands, or give a catalog that has them"
            )
        return chunks, bands
