"""The merger classifier with staging: one logit, and the time from first pericentre with its uncertainty."""

from __future__ import annotations

from typing import Any

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import WIDTHS, dense_head, residual_features


def build_merger(stamp_px: int = 64, n_bands: int = 3, widths: tuple[int, ...] = WIDTHS, dropout: float = 0.2) -> Any:
    """Keras model from scaled stamps (object, y, x, band) to (object, 3): logit, scaled time, log variance of the scaled time."""
    keras = import_keras()
    inputs = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    return keras.Model(inputs, dense_head(residual_features(inputs, widths), 3, dropout=dropout), name="merger")
