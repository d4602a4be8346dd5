"""The one place where Keras, TensorFlow and OpenVINO are imported, with their start-up messages and telemetry off."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_LOCK = threading.Lock()
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""One of them is there where a Linux machine, or a container on it, can have a GPU of NVIDIA or AMD."""


def import_keras() -> ModuleType:
    """Keras on the backend that ``KERAS_BACKEND`` names (TensorFlow by default), without its start-up messages."""
    with _LOCK:
        if "keras" in sys.modules and hasattr(sys.modules["keras"], "Model"):
            return sys.modules["keras"]
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        # TensorFlow writes to file descriptor 2 before its log level is read, at the import and at the first look for GPUs
        with _muffled_stderr():
            keras = importlib.import_module("keras")
            if keras.backend.backend() == "tensorflow":
                _prepare_tensorflow()
        return keras


def keras_backend() -> str:
    """Name of the backend that Keras runs on or would run on, without importing it, which takes ten seconds."""
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "backend"):
        return str(sys.modules["keras"].backend.backend())
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras"))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads((home / "keras.json").read_text()).get("backend") or "tensorflow")
    return "tensorflow"


def may_have_gpu() -> bool:
    """Whether a GPU can be here at all; Keras is asked only then."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return not sys.platform.startswith("linux") or any(os.path.exists(path) for path in _GPU_DEVICES)


def _prepare_tensorflow() -> None:
    """One GPU at most, of which memory is taken as it is needed: dask-cuda puts the worker's own GPU first."""
    tf = importlib.import_module("tensorflow")
    gpus = tf.config.list_physical_devices("GPU")[:1]
    with contextlib.suppress(RuntimeError):  # the devices are in use already: somebody else's settings stand
        tf.config.set_visible_devices(gpus, "GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)


def import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which would report the import and every conversion."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "not installed": it has a stub for that
    return importlib.import_module("openvino")


def is_installed(package: str) -> bool:
    """Whether `package` can be imported, without importing it."""
    return package in sys.modules or importlib.util.find_spec(package) is not None


@contextlib.contextmanager
def _muffled_stderr() -> Iterator[None]:
    """Hold back what is written to file descriptor 2; given out after all where the body raises."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
