"""Our convolutions with a classifier behind them, where the photo-z network has Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.evaluation.methods.pixels import in_symmetries
from surveycnn.evaluation.methods.redshifts import N_BINS, BinnedRedshifts
from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import dense_head, residual_features
from surveycnn.models.photoz import WIDTHS


class Binned(BinnedRedshifts):
    """The residual blocks of surveycnn.models.photoz and a softmax over 180 bins, trained on their cross-entropy.

    Beside `pasquet19` it tells what another network does, beside our model what Gaussians do.
    """

    name = "binned"
    title = "Our convolutions, 180 bins"
    reference = "this package, with the bins of Pasquet et al. 2019"

    def __init__(
        self,
        *,
        n_train: int = 50_000,
        epochs: int = 8,
        batch_size: int = 64,
        rate: float = 2e-3,
        n_bins: int = N_BINS,
        stamp_px: int = 32,
    ) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)
        self.n_bins = self.checked("n_bins", n_bins)
        self.stamp_px = self.checked("stamp_px", stamp_px)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The network."""
        keras = import_keras()
        inputs = keras.Input(shape)
        features = residual_features(inputs, WIDTHS, depth=1)
        return keras.Model(inputs, dense_head(features, self.n_bins, dropout=0.1), name="binned")

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each in one of the eight symmetries of the square."""
        return in_symmetries(images, rng)
