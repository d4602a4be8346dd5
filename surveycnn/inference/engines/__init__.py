"""What computes the forward pass: TensorFlow, OpenVINO, or the Keras backend that is loaded (JAX, torch).

An engine takes scaled stamps of one fixed batch shape and gives raw outputs. ``tf`` and ``openvino`` stand in this folder alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.models.backend import import_keras, is_installed

KINDS = ("tensorflow", "openvino", "jax", "torch")
PRECISIONS = ("float32", "bfloat16", "float16")
CPU_BATCH = 64
GPU_BATCH = 512


class OutOfDeviceMemory(Exception):
    """The batch does not fit on the device; the predictor halves it and goes on."""


class Engine(Protocol):
    """A network compiled for one batch shape."""

    kind: str
    precision: str
    batch_size: int

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Raw outputs (batch_size, output) float32 of scaled stamps (batch_size, y, x, band) and further inputs, all float32."""


def available_engines() -> list[str]:
    """Kinds whose packages are installed."""
    return [kind for kind in KINDS if is_installed(kind)]


def has_gpu() -> bool:
    """Whether the Keras backend sees a GPU."""
    keras = import_keras()
    return any("gpu" in device.lower() or "cuda" in device.lower() for device in keras.distribution.list_devices())


def resolve_kind(kind: str) -> str:
    """The engine that `kind` stands for on this machine.

    ``auto`` is the Keras backend where there is a GPU, else OpenVINO where it is installed, else the Keras backend.

    Raises
    ------
    ModelError
        Where the engine is not known, not installed, or another Keras backend is loaded.
    """
    if kind not in ("auto", *KINDS):
        raise ModelError(f"engine {kind!r} is not known: expected auto, {', '.join(KINDS)}")
    if kind != "auto" and not is_installed(kind):
        raise ModelError(
            f"engine {kind!r} is not installed: installed are {', '.join(available_engines())}; install it, or use auto"
        )
    backend = import_keras().backend.backend()
    if kind == "auto":
        return "openvino" if is_installed("openvino") and not has_gpu() else backend
    if kind != "openvino" and kind != backend:
        raise ModelError(
            f"engine {kind!r} needs Keras on the backend {kind!r}, but {backend!r} is loaded: "
            f"set KERAS_BACKEND={kind} before the start"
        )
    return kind


def limit_threads(n_threads: int | None) -> None:
    """Hold TensorFlow to `n_threads` CPU threads; without effect once it has started. None takes all cores of the process."""
    if import_keras().backend.backend() == "tensorflow":
        from surveycnn.inference.engines.tensorflow import set_threads

        set_threads(n_threads or len(os.sched_getaffinity(0)))


def as_argument(inputs: Sequence[Any]) -> Any:
    """Inputs as a Keras model takes them: one by itself, several as a list."""
    return inputs[0] if len(inputs) == 1 else list(inputs)


def input_shapes(model: Any, batch_size: int) -> list[tuple[int, ...]]:
    """Shapes of all inputs of a Keras model for a batch of that size."""
    return [(batch_size, *tensor.shape[1:]) for tensor in model.inputs]


def make_engine(kind: str, model: Any, *, batch_size: int, precision: str = "float32", n_threads: int | None = None) -> Engine:
    """Compile a Keras model.

    Parameters
    ----------
    kind
        One that :func:`resolve_kind` gave.
    batch_size
        Stamps of every call.
    precision
        Of the arithmetic inside; inputs and outputs are float32.
    n_threads
        CPU threads of OpenVINO; None takes all cores that the process may use. TensorFlow's hold for the whole process
        (:func:`limit_threads`).
    """
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r} is not known: expected auto, {', '.join(PRECISIONS)}")
    if kind == "openvino":
        from surveycnn.inference.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(model, batch_size, precision, n_threads or len(os.sched_getaffinity(0)))
    if precision != "float32":
        raise ModelError(
            f"precision {precision!r} is not to be had from the engine {kind!r}: use float32, or the engine openvino"
        )
    if kind == "tensorflow":
        from surveycnn.inference.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(model, batch_size)
    from surveycnn.inference.engines.keras_backend import KerasEngine

    return KerasEngine(model, batch_size, kind)
