"""Model packages on disk: written whole, and believed only after their digests and golden outputs agree.

A package is a folder with ``model.keras``, ``card.yaml`` and ``golden.npz``, and for a cascade ``first_stage.keras`` and
``first_stage.npz``; the shipped ones lie beside this module.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.models.backend import import_keras
from surveycnn.models.card import CARD_FILE, Card, Cascade, Metric, read_card, write_card
from surveycnn.models.package_files import GOLDEN_FILE, MODEL_FILE, file_findings, file_sha256

FIRST_STAGE_FILE = "first_stage.keras"
FIRST_GOLDEN_FILE = "first_stage.npz"
"""Outputs of the first stage for the examples of the golden file."""
PACKAGES = Path(__file__).parent / "packages"

GOLDEN_TOLERANCE = 1e-3
"""Allowed difference of a raw output from its golden value, absolute and relative; engines agree to about 1e-5."""

_FIRST_STAGE_ENTRIES: dict[str, set[str] | None] = {FIRST_STAGE_FILE: None, FIRST_GOLDEN_FILE: {"raw.npy"}}
_GOLDEN_ENTRIES = {"stamps.npy", "inputs.npy", "raw.npy"}
_PHOTOMETRY_ENTRIES = {"photometry.npy", "photometry_inputs.npy"}


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
    _save_network(folder / MODEL_FILE, model)
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


def add_first_stage(folder: str | Path, model: Any, cascade: Cascade, metrics: Mapping[str, Metric] | None = None) -> Card:
    """Put a first stage into the package in `folder`, whose network stays as it is, and give back the new card.

    Parameters
    ----------
    model
        Keras model with the inputs of the package's network and one output (object, 1).
    cascade
        Its size is filled in here.
    metrics
        Further metrics of the card.
    """
    folder = Path(folder)
    card = read_card(folder)
    golden = read_golden(folder, card)
    _check_shapes(model, first_stage_card(card))
    (folder / CARD_FILE).unlink()
    _save_network(folder / FIRST_STAGE_FILE, model)
    raw = import_keras().ops.convert_to_numpy(model(golden.network_inputs, training=False))
    np.savez_compressed(folder / FIRST_GOLDEN_FILE, raw=np.asarray(raw, np.float32))
    digests = {name: file_sha256(folder / name) for name in _FIRST_STAGE_ENTRIES}
    cascade = cascade.model_copy(update={"n_weights": model.count_params(), "flops": _flops(model)})
    changed = {"cascade": cascade, "sha256": card.sha256 | digests, "metrics": card.metrics | dict(metrics or {})}
    card = card.model_copy(update=changed)
    write_card(folder, card)
    return card


def first_stage_card(card: Card) -> Card:
    """Card of the first stage by itself: the inputs of the network, one logit, no distance."""
    return card.model_copy(update={"domain": None, "cascade": None})


def load_first_stage(folder: str | Path, card: Card, *, golden: bool = True) -> Any:
    """Keras model of the first stage in a package whose files have been verified; its golden outputs are checked on request."""
    model = _keras_model(Path(folder) / FIRST_STAGE_FILE, card)
    _check_shapes(model, first_stage_card(card))
    if golden:
        _check_golden(read_first_golden(folder, card), model, FIRST_GOLDEN_FILE)
    return model


def read_first_golden(folder: str | Path, card: Card) -> Golden:
    """Examples of the golden file with the outputs of the first stage."""
    golden = read_golden(folder, card)
    try:
        with np.load(Path(folder) / FIRST_GOLDEN_FILE, allow_pickle=False) as arrays:
            raw = arrays["raw"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{FIRST_GOLDEN_FILE} cannot be read: {error}") from error
    if raw.shape != (len(golden.raw), 1):
        raise ModelError(f"{FIRST_GOLDEN_FILE} has raw {raw.shape}, expected {(len(golden.raw), 1)}")
    return replace(golden, raw=raw)


def _save_network(path: Path, model: Any) -> None:
    """Write a network without the optimizer and the loss, which are no part of it."""
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    bare.save(path)


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
    _refuse(folder, findings)
    return card, model


def checked_card(folder: Path) -> Card:
    """Card of a package whose files are as it says; none of them is unpacked or run, and Keras is not imported.

    Raises
    ------
    ModelError
        With all that is wrong with the files.
    """
    card = read_card(folder)
    _refuse(folder, _file_findings(folder, card))
    return card


def _refuse(folder: Path, findings: list[str]) -> None:
    if findings:
        raise ModelError(f"model package {str(folder)!r} is refused: {'; '.join(findings)}")


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


def _file_findings(folder: Path, card: Card) -> list[str]:
    further = None if card.cascade is None else _FIRST_STAGE_ENTRIES
    return file_findings(folder, card.sha256, _golden_entries(card), further)


def _inspect(folder: Path, card: Card, golden: bool) -> tuple[list[str], Any]:
    """Findings and, where there are none that forbid it, the Keras model."""
    findings = _file_findings(folder, card)
    if findings:
        return findings, None
    try:
        model = _keras_model(folder / MODEL_FILE, card)
        _check_shapes(model, card)
        if golden:
            _check_golden(read_golden(folder, card), model, GOLDEN_FILE)
        if golden and card.cascade is not None:
            load_first_stage(folder, card)
    except ModelError as error:
        return [str(error)], None
    return [], model


def _keras_model(path: Path, card: Card) -> Any:
    try:
        return import_keras().saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises anything on a broken file, and each means that the model cannot be had
        raise ModelError(
            f"{path.name} (written by Keras {card.keras}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _check_shapes(model: Any, card: Card) -> None:
    found = ([tuple(tensor.shape[1:]) for tensor in model.inputs], tuple(model.output_shape[1:]))
    expected = (card.input_shapes, (card.n_outputs,))
    if found != expected:
        (shapes, output), (own_shapes, own_output) = found, expected
        texts = [" and ".join(map(str, some)) for some in (shapes, own_shapes)]
        raise ModelError(f"the network goes from {texts[0]} to {output}, the card says from {texts[1]} to {own_output}")


def _check_golden(golden: Golden, model: Any, name: str) -> None:
    found = import_keras().ops.convert_to_numpy(model(golden.network_inputs, training=False))
    difference = golden_difference(found, golden.raw)
    if difference > GOLDEN_TOLERANCE:
        raise ModelError(f"outputs differ from {name} by {difference:.2g}, allowed are {GOLDEN_TOLERANCE:.2g}")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
