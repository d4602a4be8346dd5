"""The engine for JAX and torch: the Keras backend that is loaded, compiled where the backend can."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.inference import engines
from surveycnn.inference.engines import as_argument
from surveycnn.models.backend import import_keras


class KerasEngine:
    """A Keras model on its own backend."""

    precision = "float32"

    def __init__(self, model: Any, batch_size: int, kind: str):
        self.batch_size, self.kind, self.on_device = batch_size, kind, engines.has_gpu()
        self._model = model
        self._to_numpy = import_keras().ops.convert_to_numpy

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        return np.asarray(self._to_numpy(self._model.predict_on_batch(as_argument(inputs))), np.float32)

    def call_on_device(self, *inputs: Any) -> np.ndarray:
        """The same from tensors that are on the device."""
        return self(*inputs)
