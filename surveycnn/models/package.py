"""Model packages on disk: written whole, and believed only after their digests and golden outputs agree.

A package is a folder with ``model.keras``, ``card.yaml`` and ``golden.npz``; the shipped ones lie beside this module.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.models.backend import import_keras
from surveycnn.models.card import CARD_FILE, Card, read_card, write_card

MODEL_FILE = "model.keras"
GOLDEN_FILE = "golden.npz"
PACKAGES = Path(__file__).parent / "packages"

GOLDEN_TOLERANCE = 1e-3
"""Allowed difference of a raw output from its golden value, absolute and relative; engines agree to about 1e-5."""

_KERAS_ENTRIES = {"metadata.json", "config.json", "model.weights.h5"}
_GOLDEN_ENTRIES = {"stamps.npy", "inputs.npy", "raw.npy"}
_PHOTOMETRY_ENTRIES = {"photometry.npy", "photometry_inputs.npy"}
_OWN = ("keras.layers.", "keras.initializers.", "keras.DTypePolicy", "keras.src.models.functional.Functional", "keras.src.ops.")
_MARKERS = {"__keras_tensor__", "__tuple__", "__slice__"}
"""Names in a configuration that stand for plain values."""
_RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
"""Layers that run code or open files of their own."""
_MAX_UNPACKED_BYTES = 1 << 30
_MAX_RATIO = 100
"""A zip entry that unpacks to more than this many times its size is a bomb, not a network."""


@dataclass(frozen=True)
class Golden:
    """Examples with the outputs that a network must give."""

    stamps: np.ndarray
    """(object, y, x, band) nJy."""
    inputs: np.ndarray
    """The same scaled."""
    photometry: np.ndarray | None = None
    """(object, 2, band) measured fluxes and their errors, nJy, where the network takes them."""
    photometry_inputs: np.ndarray | None = None
    """(object, 2 * band), the same scaled."""
    raw: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(object, output)."""

    @property
    def network_inputs(self) -> Any:
        """As a Keras model takes them: one array, or a list."""
        return self.inputs if self.photometry_inputs is None else [self.inputs, self.photometry_inputs]

    @property
    def fluxes(self) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """Measured fluxes and their errors, both (object, band) nJy, where the network takes them."""
        return (None, None) if self.photometry is None else (self.photometry[:, 0], self.photometry[:, 1])


def shipped_models() -> dict[str, Path]:
    """Folder of each model that comes with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(PACKAGES.glob(f"*/{CARD_FILE}"))}


def package_folder(name_or_path: str | Path) -> Path:
    """Folder of a shipped model's name, or of a path.

    Raises
    ------
    ModelError
        Where it is neither.
    """
    shipped = shipped_models()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    path = Path(name_or_path)
    if not path.is_dir():
        raise ModelError(
            f"no model {str(name_or_path)!r}: shipped models are {', '.join(shipped) or 'none'}; "
            "expected one of them or the path of a model package"
        )
    return path


def find_card(name_or_path: str | Path) -> Card:
    """Card of a shipped model or of the package at a path; nothing is loaded but ``card.yaml``."""
    return read_card(package_folder(name_or_path))


def save_package(folder: str | Path, model: Any, card: Card, golden: Golden) -> Card:
    """Write a package and give back its card with the Keras version, sizes and digests filled in.

    Parameters
    ----------
    model
        Keras model with the inputs `card.input_shapes` and one output (object, `card.n_outputs`).
    golden
        Examples for the golden file; their outputs are computed here.
    """
    keras = import_keras()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD_FILE).unlink(missing_ok=True)  # a package without a card is no package: the card comes last
    _check_shapes(model, card)
    bare = type(model).from_config(model.get_config())  # without the optimizer and the loss, which are no part of a network
    bare.set_weights(model.get_weights())
    bare.save(folder / MODEL_FILE)
    raw = np.asarray(keras.ops.convert_to_numpy(model(golden.network_inputs, training=False)), np.float32)
    arrays: dict[str, Any] = {"stamps": np.float32(golden.stamps), "inputs": np.float32(golden.inputs), "raw": raw}
    if golden.photometry is not None:
        arrays |= {"photometry": golden.photometry, "photometry_inputs": np.float32(golden.photometry_inputs)}
    np.savez_compressed(folder / GOLDEN_FILE, **arrays)
    digests = {name: file_sha256(folder / name) for name in (MODEL_FILE, GOLDEN_FILE)}
    # a network that is called several times, on views of a stamp, keeps the activations of one call at a time
    outputs = [tensor.shape[1:] for layer in _all_layers(model, per_call=False) for tensor in _as_list(layer.output)]
    activations = int(sum(4 * np.prod(shape) for shape in outputs))
    sizes = {"n_weights": model.count_params(), "flops": _flops(model), "activation_bytes": activations}
    card = card.model_copy(update={"keras": keras.__version__, "sha256": digests} | sizes)
    write_card(folder, card)
    return card


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


def _flops(model: Any) -> int:
    """Floating point operations of the convolutions and dense layers for one stamp; the rest costs little beside them."""
    layers = import_keras().layers
    total = 0
    for layer in _all_layers(model, per_call=True):
        if isinstance(layer, layers.Conv2D | layers.Dense):
            places = np.prod(layer.output.shape[1:-1])  # the kernel is applied at each pixel of the output; a dense one once
            total += int(2 * np.prod(layer.kernel.shape) * places)
    return total


def load_package(name_or_path: str | Path, *, golden: bool = True) -> tuple[Card, Any]:
    """Card and Keras model of a package that has been verified.

    Parameters
    ----------
    golden
        Also run the golden inputs through Keras; a predictor does that on its own engine instead.

    Raises
    ------
    ModelError
        With all that is wrong with the package.
    """
    folder = package_folder(name_or_path)
    card = read_card(folder)
    findings, model = _inspect(folder, card, golden)
    if findings:
        raise ModelError(f"model package {str(folder)!r} is refused: {'; '.join(findings)}")
    return card, model


def check_package(folder: str | Path) -> list[str]:
    """All findings against the package in `folder`, empty for a good one; nothing in it is run before its files are checked."""
    try:
        card = read_card(folder)
    except ModelError as error:
        return [str(error)]
    return _inspect(Path(folder), card, golden=True)[0]


def read_golden(folder: str | Path, card: Card) -> Golden:
    """Examples of the golden file.

    Raises
    ------
    ModelError
        Where the file lacks an array or one has another shape than the card says.
    """
    try:
        with np.load(Path(folder) / GOLDEN_FILE, allow_pickle=False) as arrays:
            golden = Golden(**{Path(name).stem: arrays[name] for name in _golden_entries(card)})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{GOLDEN_FILE} cannot be read: {error}") from error
    n = len(golden.raw)
    shapes = {"stamps": (n, *card.input_shape), "inputs": (n, *card.input_shape), "raw": (n, card.n_outputs)}
    if card.photometry is not None:
        shapes |= {"photometry": (n, 2, len(card.bands)), "photometry_inputs": (n, 2 * len(card.bands))}
    wrong = [f"{name} {getattr(golden, name).shape}" for name, shape in shapes.items() if getattr(golden, name).shape != shape]
    if wrong or n == 0:
        expected = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ModelError(f"{GOLDEN_FILE} has {', '.join(wrong) or 'no examples'}, expected {expected} with at least one example")
    return golden


def _golden_entries(card: Card) -> set[str]:
    """Files in the golden file of a card."""
    return _GOLDEN_ENTRIES | (_PHOTOMETRY_ENTRIES if card.photometry else set())


def golden_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference between two arrays of raw outputs, relative where the expected value is above 1; inf with NaN."""
    difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    return float(np.where(np.isfinite(difference), difference, np.inf).max(initial=0.0))


def _inspect(folder: Path, card: Card, golden: bool) -> tuple[list[str], Any]:
    """Findings and, where there are none that forbid it, the Keras model."""
    findings = file_findings(folder, card.sha256, _golden_entries(card))
    if findings:
        return findings, None
    try:
        model = import_keras().saving.load_model(folder / MODEL_FILE, compile=False, safe_mode=True)
        _check_shapes(model, card)
        if golden:
            _check_golden(folder, card, model)
    except ModelError as error:
        return [str(error)], None
    except Exception as error:  # Keras raises anything on a broken file, and each means that the model cannot be had
        return [f"{MODEL_FILE} (written by Keras {card.keras}) cannot be loaded: {type(error).__name__}: {error}"], None
    return [], model


def file_findings(folder: Path, sha256: Mapping[str, str], golden_entries: set[str]) -> list[str]:
    """What is wrong with the files of a package whose card has these digests, found without unpacking or running any of them."""
    findings = []
    for name, entries in ((MODEL_FILE, _KERAS_ENTRIES), (GOLDEN_FILE, golden_entries)):
        path = folder / name
        if not path.is_file():
            findings.append(f"{name} is missing")
        elif name not in sha256:
            findings.append(f"the card has no sha256 of {name}")
        elif (digest := file_sha256(path)) != sha256[name]:
            findings.append(f"{name} has sha256 {digest[:12]}..., the card says {sha256[name][:12]}...")
        else:
            findings += [f"{name}: {finding}" for finding in _zip_findings(path, entries)]
    if not findings:
        findings = _layer_findings(folder / MODEL_FILE)
    return findings


def _zip_findings(path: Path, allowed: set[str]) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except zipfile.BadZipFile as error:
        return [f"not a zip file: {error}"]
    findings = []
    names = [info.filename for info in infos]
    if sorted(names) != sorted(allowed):
        findings.append(f"entries are {sorted(names)}, expected {sorted(allowed)}")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > _MAX_UNPACKED_BYTES or any(info.file_size > _MAX_RATIO * max(info.compress_size, 1024) for info in infos):
        findings.append(f"unpacks to {unpacked} bytes from {path.stat().st_size}: too much for a network")
    return findings


def _layer_findings(path: Path) -> list[str]:
    """Objects in the network's configuration that are not Keras's own."""
    with zipfile.ZipFile(path) as archive:
        try:
            config = json.loads(archive.read("config.json"))
        except ValueError as error:
            return [f"{MODEL_FILE}: config.json is not JSON: {error}"]
    foreign = sorted({name for name in _classes(config) if not name.startswith(_OWN) or name.rsplit(".")[-1] in _RUN_CODE})
    return [f"{MODEL_FILE} has objects other than Keras's own layers: {', '.join(foreign)}"] if foreign else []


def _classes(config: Any) -> list[str]:
    """Dotted names of all classes that a Keras configuration would build."""
    if isinstance(config, list):
        return [name for item in config for name in _classes(item)]
    if not isinstance(config, dict):
        return []
    own = []
    if "class_name" in config and config["class_name"] not in _MARKERS:
        own = [f"{config.get('module')}.{config['class_name']}"]
        if config.get("registered_name") not in (None, config["class_name"]):
            own.append(str(config["registered_name"]))
    return own + [name for item in config.values() for name in _classes(item)]


def _check_shapes(model: Any, card: Card) -> None:
    found = ([tuple(tensor.shape[1:]) for tensor in model.inputs], tuple(model.output_shape[1:]))
    expected = (card.input_shapes, (card.n_outputs,))
    if found != expected:
        (shapes, output), (own_shapes, own_output) = found, expected
        texts = [" and ".join(map(str, some)) for some in (shapes, own_shapes)]
        raise ModelError(f"the network goes from {texts[0]} to {output}, the card says from {texts[1]} to {own_output}")


def _check_golden(folder: Path, card: Card, model: Any) -> None:
    golden = read_golden(folder, card)
    found = import_keras().ops.convert_to_numpy(model(golden.network_inputs, training=False))
    difference = golden_difference(found, golden.raw)
    if difference > GOLDEN_TOLERANCE:
        raise ModelError(f"outputs differ from {GOLDEN_FILE} by {difference:.2g}, allowed are {GOLDEN_TOLERANCE:.2g}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
