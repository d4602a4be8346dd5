"""The torch engine: the network without gradients, on the device that Keras takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.inference import engines
from surveycnn.inference.engines import as_argument, memory_errors_named
from surveycnn.models.backend import import_keras


class TorchEngine:
    """A Keras model (torch backend). ``torch.compile`` takes 110 s on the lens network and gives nothing on a CPU."""

    kind = "torch"
    precision = "float32"

    def __init__(self, model: Any, batch_size: int):
        import torch

        self._without_gradients = torch.inference_mode
        self.batch_size, self.on_device = batch_size, engines.has_gpu()
        self._model = model
        torch.backends.cudnn.allow_tf32 = False  # by default ten bits of what convolutions take, on GPUs from Ampere on
        self._to_tensor = import_keras().ops.convert_to_tensor

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        with memory_errors_named():
            return self.call_on_device(*(self._to_tensor(values) for values in inputs))

    def call_on_device(self, *inputs: Any) -> np.ndarray:
        """The same from tensors that are on the device."""
        with memory_errors_named(), self._without_gradients():
            return self._model(as_argument(inputs), training=False).cpu().numpy()
