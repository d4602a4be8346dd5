"""What most people call: Keras's own ``Model.predict``, as an engine for comparison. It is no part of the package."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.inference.engines import as_argument
from surveycnn.models.backend import import_keras

CALL_STAMPS = 512
"""Stamps that are given to one call, of which each costs some 50 ms by itself."""
BATCH = 64


class PredictEngine:
    """A Keras model through ``Model.predict`` in batches of 64; rows that are padding are not computed."""

    kind = "tensorflow"
    precision = "float32"

    def __init__(self, model: Any, batch_size: int, *settings: Any, **more: Any):
        self.batch_size = batch_size
        self._model = model

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        n = 1 + int(np.flatnonzero(inputs[0].any(axis=(1, 2, 3))).max(initial=0))
        out = np.zeros((self.batch_size, *self._model.output_shape[1:]), np.float32)
        out[:n] = self._model.predict(as_argument([values[:n] for values in inputs]), batch_size=BATCH, verbose=0)
        return out


def use_predict() -> list[str]:
    """Have ``engine.kind: tensorflow`` mean :class:`PredictEngine` in this process; the overrides that go with it."""
    import_keras()  # without TensorFlow's start-up messages
    from surveycnn.inference.engines import tensorflow

    tensorflow.TensorFlowEngine = PredictEngine  # type: ignore[misc,assignment]
    return ["engine.kind=tensorflow", f"engine.batch_size={CALL_STAMPS}"]
