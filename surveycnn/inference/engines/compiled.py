"""Functions of tensors compiled by the Keras backend that is loaded: what goes on beside the networks on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surveycnn.models.backend import import_keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which takes and gives tensors, compiled once for each combination of shapes; as it is on torch."""
    backend = import_keras().backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, reduce_retracing=True)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function
