"""The lens finder: a compact residual network with one logit."""

from __future__ import annotations

from typing import Any

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import WIDTHS, dense_head, residual_features


def build_lens(stamp_px: int = 64, n_bands: int = 3, widths: tuple[int, ...] = WIDTHS, dropout: float = 0.2) -> Any:
    """Keras model from scaled stamps (object, y, x, band) to the logit (object, 1) of being a strong lens."""
    keras = import_keras()
    inputs = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    return keras.Model(inputs, dense_head(residual_features(inputs, widths), 1, dropout=dropout), name="lens")
