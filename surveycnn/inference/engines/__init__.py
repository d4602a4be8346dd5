"""What computes the forward pass: OpenVINO, or the Keras backend that is loaded (TensorFlow, JAX, torch).

An engine takes scaled stamps of one fixed batch shape and gives raw outputs. ``tf`` and ``openvino`` stand in this folder alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.models.backend import import_keras, is_installed, keras_backend, may_have_gpu

if TYPE_CHECKING:
    from surveycnn.inference.engines.exports import Export

KINDS = ("tensorflow", "openvino", "jax", "torch")
PRECISIONS = ("float32", "bfloat16", "float16")
CPU_BATCH = 64
OPENVINO_BATCH = 16
"""What OpenVINO computes for so many stamps at a time stays in the cache: a twentieth faster than 64 on one core. Other engines
lose more in their calls than they gain."""
GPU_BATCH = 512


_OUT_OF_MEMORY = re.compile(
    "RESOURCE_EXHAUSTED|OOM when allocating|out of memory|can't allocate memory|not enough memory|bad_alloc"
    "|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED|Cannot allocate memory|failed to allocate",
    re.IGNORECASE,
)
"""What TensorFlow, XLA, torch and OpenVINO say; none but TensorFlow and torch has an exception of its own for it."""


class OutOfDeviceMemory(Exception):
    """The batch does not fit on the device; the predictor halves it and goes on."""


@contextmanager
def memory_errors_named() -> Iterator[None]:
    """Raise OutOfDeviceMemory where the body runs out of memory, in whatever words its library says so."""
    try:
        yield
    except OutOfDeviceMemory:
        raise
    except Exception as error:
        if (
            isinstance(error, MemoryError)
            or type(error).__name__ == "ResourceExhaustedError"
            or _OUT_OF_MEMORY.search(str(error))
        ):
            raise OutOfDeviceMemory(str(error)[:1000]) from error
        raise


class Engine(Protocol):
    """A network compiled for one batch shape."""

    kind: str
    precision: str
    batch_size: int
    on_device: bool
    """Whether it computes on a device with a memory of its own; it then has `call_on_device` for tensors that lie there."""

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Raw outputs (batch_size, output) float32 of scaled stamps (batch_size, y, x, band) and further inputs, all float32."""


class Network:
    """A network as engines take it: a Keras model that is loaded when one asks for it, or its export.

    Parameters
    ----------
    load
        Gives the Keras model.
    sha256
        Digest of its file, by which the export is kept for other processes; None keeps none.
    """

    def __init__(self, load: Callable[[], Any], sha256: str | None = None):
        self._load, self._sha256 = load, sha256

    @cached_property
    def keras(self) -> Any:
        """The Keras model."""
        return self._load()

    @cached_property
    def exported(self) -> Export:
        """The export for OpenVINO; where it is kept already, neither Keras nor TensorFlow is imported."""
        from surveycnn.inference.engines import exports, openvino

        def make() -> Export:
            return openvino.export(self._load())  # not kept here: the engine does without the Keras model

        return make() if self._sha256 is None else exports.kept_export(self._sha256, make)


def available_engines() -> list[str]:
    """Kinds whose packages are installed."""
    return [kind for kind in KINDS if is_installed(kind)]


def has_gpu() -> bool:
    """Whether the Keras backend sees a GPU; Keras is imported only where there can be one."""
    if not may_have_gpu():
        return False
    keras = import_keras()
    return any("gpu" in device.lower() or "cuda" in device.lower() for device in keras.distribution.list_devices())


def resolve_kind(kind: str) -> str:
    """The engine that `kind` stands for on this machine.

    ``auto`` is the Keras backend where there is a GPU or the backend is not TensorFlow, which OpenVINO's exports come from; else
    OpenVINO where it is installed. There the answer is known: it takes 2.98 s of a core (AMD EPYC, AVX-512) for 1000 lens stamps,
    TensorFlow 3.26 s, and to time both at the start would cost the ten seconds that TensorFlow takes to import.

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
    backend = keras_backend()
    if kind == "auto":
        return "openvino" if backend == "tensorflow" and is_installed("openvino") and not has_gpu() else backend
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


def make_engine(
    kind: str, model: Any, *, batch_size: int, precision: str = "float32", n_threads: int | None = None, xla: bool = False
) -> Engine:
    """Compile a network.

    Parameters
    ----------
    kind
        One that :func:`resolve_kind` gave.
    model
        Keras model or :class:`Network`.
    batch_size
        Stamps of every call.
    precision
        Of the arithmetic inside; inputs and outputs are float32.
    n_threads
        CPU threads of OpenVINO; None takes all cores that the process may use. TensorFlow's hold for the whole process
        (:func:`limit_threads`).
    xla
        Whether TensorFlow compiles with XLA.

    Raises
    ------
    ModelError
        Where the precision is not to be had.
    OutOfDeviceMemory
        Where the network does not fit for that many stamps.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r} is not known: expected auto, {', '.join(PRECISIONS)}")
    network = model if isinstance(model, Network) else Network(lambda: model)
    if kind == "openvino":
        from surveycnn.inference.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(network.exported, batch_size, precision, n_threads or len(os.sched_getaffinity(0)))
    if precision != "float32":
        raise ModelError(
            f"precision {precision!r} is not to be had from the engine {kind!r}: use float32, or the engine openvino"
        )
    if kind == "tensorflow":
        import_keras()  # which holds back what TensorFlow says at its import
        from surveycnn.inference.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(network.keras, batch_size, xla)
    if kind == "jax":
        from surveycnn.inference.engines.jax import JaxEngine

        return JaxEngine(network.keras, batch_size)
    from surveycnn.inference.engines.torch import TorchEngine

    return TorchEngine(network.keras, batch_size)
