"""Networks between Keras and the files of a package: written bare, and built of bytes that have been checked."""

from __future__ import annotations

import math
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card
from surveycnn.models.network_config import checked_config
from surveycnn.models.package_files import checked_network, file_sha256

_BUILDING = threading.RLock()
_MAX_ACTIVATIONS = 1 << 33
"""Bytes of all layers' outputs for one stamp."""


def write_network(path: Path, model: Any) -> str:
    """Write a network without the optimizer and the loss, which are no part of it; gives the digest of the file.

    Raises
    ------
    ModelError
        Where it has layers with which nobody could load it.
    """
    checked_config(path.name, model.to_json().encode())
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    bare.save(path)
    sha256 = file_sha256(path)
    checked_network(path.parent, path.name, {path.name: sha256})
    return sha256


def read_network(folder: str | Path, name: str, card: Card) -> Any:
    """Keras model in a file of a package whose digest is that of the card.

    Raises
    ------
    ModelError
        Where the file is not what the card says, or no network that may be loaded.
    """
    entries, n_stored = checked_network(Path(folder), name, card.sha256)
    try:
        with tempfile.TemporaryDirectory() as home, _at_most(n_stored):
            path = Path(home) / "network.keras"
            _write_entries(path, entries)
            model = import_keras().saving.load_model(path, compile=False, safe_mode=True)
        activations = activation_bytes(model)
    except Exception as error:  # Keras raises anything on a broken file, and each means that the model cannot be had
        raise ModelError(f"{name} (written by Keras {card.keras}) cannot be loaded: {_reason(error)}") from error
    if activations > _MAX_ACTIVATIONS:
        raise ModelError(f"{name}: the outputs of all layers take {activations} bytes a stamp, allowed are {_MAX_ACTIVATIONS}")
    return model


def _write_entries(path: Path, entries: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _reason(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text[:500]}{'...' if len(text) > 500 else ''}"


@contextmanager
def _at_most(n_values: int) -> Iterator[None]:
    """Refuse a layer that wants more weights than are stored, before memory is taken for them."""
    layer_class = import_keras().layers.Layer
    add_weight, thread, left = layer_class.add_weight, threading.get_ident(), [n_values]

    def counted(self: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            left[0] -= math.prod([shape] if isinstance(shape, int) else shape or ())
            if left[0] < 0:
                raise ModelError(f"its layers have more weights than the {n_values} that are stored")
        return add_weight(self, shape, *args, **kwargs)

    with _BUILDING:
        layer_class.add_weight = counted
        try:
            yield
        finally:
            layer_class.add_weight = add_weight


def activation_bytes(model: Any) -> int:
    """Bytes of the outputs of all layers for one stamp.

    A network that is called several times, on views of a stamp, keeps the activations of one call at a time.
    """
    outputs = [tensor.shape[1:] for layer in _all_layers(model, per_call=False) for tensor in _as_list(layer.output)]
    return sum(4 * math.prod(shape) for shape in outputs)


def flops(model: Any) -> int:
    """Floating point operations of the convolutions and dense layers for one stamp; the rest costs little beside them."""
    layers = import_keras().layers
    total = 0
    for layer in _all_layers(model, per_call=True):
        if isinstance(layer, layers.Conv2D | layers.Dense):
            places = np.prod(layer.output.shape[1:-1])  # the kernel is applied at each pixel of the output; a dense one once
            total += int(2 * np.prod(layer.kernel.shape) * places)
    return total


def _all_layers(model: Any, *, per_call: bool) -> list[Any]:
    """Layers of a network and of the networks in it; with `per_call` as often as each is called."""
    found = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            n_calls = max(1, len(layer._inbound_nodes)) if per_call else 1  # Keras has no public name for the calls
            found += _all_layers(layer, per_call=per_call) * n_calls
        else:
            found.append(layer)
    return found


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
