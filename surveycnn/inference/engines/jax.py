"""The JAX engine: the whole network compiled by XLA for one batch shape, its weights on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.inference import engines
from surveycnn.inference.engines import as_argument, input_shapes, memory_errors_named


class JaxEngine:
    """A Keras model (JAX backend) as one compiled function."""

    kind = "jax"
    precision = "float32"

    def __init__(self, model: Any, batch_size: int):
        import jax

        self.batch_size, self.on_device = batch_size, engines.has_gpu()
        self._weights = [variable.value for variable in model.trainable_variables]
        self._rest = [variable.value for variable in model.non_trainable_variables]

        def forward(weights: Any, rest: Any, *inputs: Any) -> Any:
            # the default rounds what convolutions take to ten bits on GPUs from Ampere on
            with jax.default_matmul_precision("float32"):
                return model.stateless_call(weights, rest, as_argument(inputs), training=False)[0]

        shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in input_shapes(model, batch_size)]
        with memory_errors_named():
            self._function = jax.jit(forward).lower(self._weights, self._rest, *shapes).compile()

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        return self.call_on_device(*inputs)

    def call_on_device(self, *inputs: Any) -> np.ndarray:
        """The same from arrays that are on the device."""
        with memory_errors_named():
            return np.asarray(self._function(self._weights, self._rest, *inputs), np.float32)
