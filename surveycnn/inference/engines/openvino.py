"""The OpenVINO engine: the network exported once from TensorFlow, and compiled for the CPU."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.inference.at_work import n_at_work
from surveycnn.inference.engines import as_argument, memory_errors_named
from surveycnn.inference.engines.exports import Export
from surveycnn.models.backend import import_keras, import_openvino

_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVINOEngine:
    """An exported network in OpenVINO: a tenth faster than TensorFlow on a CPU, and ten seconds sooner at work.

    Several threads may call it at once. While several are at work on tiles, each has one core; one alone has all of them. The
    numbers are the same: no sum of a network goes over several threads.
    """

    kind = "openvino"
    on_device = False
    shared = True

    def __init__(self, exported: Export, batch_size: int, precision: str, n_threads: int):
        ov = import_openvino()
        self.batch_size, self.precision = batch_size, precision
        core = ov.Core()
        supported = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision != "float32" and {"bfloat16": "BF16", "float16": "FP16"}[precision] not in supported:
            raise ModelError(
                f"precision {precision!r} is not to be had on this CPU, which has {', '.join(supported)}: use auto or float32"
            )
        with memory_errors_named():
            network = core.read_model(exported.xml, exported.weights)
            shapes = {i: [batch_size, *list(given.partial_shape)[1:]] for i, given in enumerate(network.inputs)}
            network.reshape(shapes)
        self._core, self._network, self._n_threads = core, network, n_threads
        self._wide: Any = self._compiled(n_streams=1).create_infer_request()
        self._narrow: Any = None
        self._lock, self._of_thread = threading.Lock(), threading.local()

    def _compiled(self, n_streams: int) -> Any:
        options = {
            "INFERENCE_PRECISION_HINT": _TYPES[self.precision],  # left alone, OpenVINO takes bfloat16 where the CPU has it
            "INFERENCE_NUM_THREADS": self._n_threads,
            "NUM_STREAMS": n_streams,
            "ENABLE_CPU_PINNING": False,  # several workers, or streams, would all be pinned to the same first cores
        }
        with memory_errors_named():
            return self._core.compile_model(self._network, "CPU", options)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        given = {number: np.ascontiguousarray(values) for number, values in enumerate(inputs)}
        if n_at_work() > 1 and self._n_threads > 1:
            return _infer(self._own_request(), given)
        with self._lock:
            return _infer(self._wide, given)

    def _own_request(self) -> Any:
        """What the calling thread computes with on one core."""
        if not hasattr(self._of_thread, "request"):
            with self._lock:
                self._narrow = self._narrow or self._compiled(n_streams=self._n_threads)
            self._of_thread.request = self._narrow.create_infer_request()
        return self._of_thread.request


def _infer(request: Any, given: dict[int, np.ndarray]) -> np.ndarray:
    with memory_errors_named():
        return np.array(request.infer(given, share_inputs=True)[0], np.float32)


def export(model: Any) -> Export:
    """A Keras model in OpenVINO's format, its weights in float32, for any batch size."""
    backend = import_keras().backend.backend()
    if backend != "tensorflow":
        raise ModelError(
            f"engine 'openvino' converts from TensorFlow, but Keras runs on {backend!r}: unset KERAS_BACKEND, or use {backend!r}"
        )
    import tensorflow as tf

    ov = import_openvino()
    function = tf.function(lambda *inputs: model(as_argument(inputs), training=False), autograph=False)
    shapes = [(None, *tensor.shape[1:]) for tensor in model.inputs]
    concrete = function.get_concrete_function(*(tf.TensorSpec(shape, tf.float32) for shape in shapes))
    converted = ov.convert_model(concrete)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        ov.save_model(converted, path, compress_to_fp16=False)
        return Export(path.read_bytes(), path.with_suffix(".bin").read_bytes())
