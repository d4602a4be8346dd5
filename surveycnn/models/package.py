"""Model packages on disk: written whole, and believed only after their digests and golden outputs agree.

A package is a folder with ``model.keras``, ``card.yaml`` and ``golden.npz``, and for a cascade ``first_stage.keras`` and
``first_stage.npz``; the shipped ones lie beside this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError, did_you_mean
from surveycnn.models.backend import import_keras
from surveycnn.models.card import CARD_FILE, Card, Cascade, Metric, read_card, write_card
from surveycnn.models.golden import (
    FIRST_GOLDEN_ENTRIES,
    FIRST_GOLDEN_FILE,
    GOLDEN_TOLERANCE,
    MAX_EXAMPLES,
    Golden,
    golden_difference,
    golden_entries,
    read_first_golden,
    read_golden,
)
from surveycnn.models.network import activation_bytes, flops, read_network, write_network
from surveycnn.models.package_files import GOLDEN_FILE, MODEL_FILE, file_findings, file_sha256

FIRST_STAGE_FILE = "first_stage.keras"
PACKAGES = Path(__file__).parent / "packages"

_FIRST_STAGE_ENTRIES: dict[str, set[str] | None] = {FIRST_STAGE_FILE: None, FIRST_GOLDEN_FILE: FIRST_GOLDEN_ENTRIES}
_BATCH_BYTES = 1 << 30
"""Of activations, in a pass through a network for a check."""


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
        hint = did_you_mean(name_or_path, shipped)
        raise ModelError(
            f"there is no model {str(name_or_path)!r}: {hint}shipped models are {', '.join(shipped) or 'none'}; "
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
    if len(golden.inputs) > MAX_EXAMPLES:
        raise ModelError(f"{len(golden.inputs)} golden examples are given, expected at most {MAX_EXAMPLES}")
    digests = {MODEL_FILE: write_network(folder / MODEL_FILE, model)}
    raw = _outputs(model, golden)
    arrays: dict[str, Any] = {"stamps": np.float32(golden.stamps), "inputs": np.float32(golden.inputs), "raw": raw}
    if golden.photometry is not None:
        arrays |= {"photometry": np.float64(golden.photometry), "photometry_inputs": np.float32(golden.photometry_inputs)}
    np.savez_compressed(folder / GOLDEN_FILE, **arrays)
    digests[GOLDEN_FILE] = file_sha256(folder / GOLDEN_FILE)
    sizes = {"n_weights": model.count_params(), "flops": flops(model), "activation_bytes": activation_bytes(model)}
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
    digests = {FIRST_STAGE_FILE: write_network(folder / FIRST_STAGE_FILE, model)}
    np.savez_compressed(folder / FIRST_GOLDEN_FILE, raw=_outputs(model, golden))
    digests[FIRST_GOLDEN_FILE] = file_sha256(folder / FIRST_GOLDEN_FILE)
    cascade = cascade.model_copy(update={"n_weights": model.count_params(), "flops": flops(model)})
    changed = {"cascade": cascade, "sha256": card.sha256 | digests, "metrics": card.metrics | dict(metrics or {})}
    card = card.model_copy(update=changed)
    write_card(folder, card)
    return card


def first_stage_card(card: Card) -> Card:
    """Card of the first stage by itself: the inputs of the network, one logit, no distance."""
    return card.model_copy(update={"domain": None, "cascade": None})


def load_first_stage(folder: str | Path, card: Card, *, golden: bool = True) -> Any:
    """Keras model of the first stage in a package with that card; its golden outputs are checked on request."""
    model = read_network(folder, FIRST_STAGE_FILE, card)
    _check_shapes(model, first_stage_card(card))
    if card.cascade is not None:
        _check_sizes({"cascade.n_weights": (model.count_params(), card.cascade.n_weights)})
    if golden:
        _check_golden(read_first_golden(folder, card), model, FIRST_GOLDEN_FILE)
    return model


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
    return card, load_network(folder, card, golden=golden)


def load_network(folder: Path, card: Card, *, golden: bool = True) -> Any:
    """Keras model of a package with that card, verified as by :func:`load_package`."""
    findings, model = _inspect(folder, card, golden)
    _refuse(folder, findings)
    return model


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


def _file_findings(folder: Path, card: Card) -> list[str]:
    further = None if card.cascade is None else _FIRST_STAGE_ENTRIES
    return file_findings(folder, card.sha256, golden_entries(card), further)


def _inspect(folder: Path, card: Card, golden: bool) -> tuple[list[str], Any]:
    """Findings and, where there are none that forbid it, the Keras model."""
    findings = _file_findings(folder, card)
    if findings:
        return findings, None
    try:
        model = read_network(folder, MODEL_FILE, card)
        _check_shapes(model, card)
        found = {"n_weights": model.count_params(), "activation_bytes": activation_bytes(model)}
        _check_sizes({name: (value, getattr(card, name)) for name, value in found.items()})
        if golden:
            _check_golden(read_golden(folder, card), model, GOLDEN_FILE)
        if golden and card.cascade is not None:
            load_first_stage(folder, card)
    except ModelError as error:
        return [str(error)], None
    return [], model


def _check_shapes(model: Any, card: Card) -> None:
    try:
        found = ([tuple(tensor.shape[1:]) for tensor in model.inputs], tuple(model.output_shape[1:]))
    except (AttributeError, TypeError, ValueError) as error:  # a network that was never told its input
        raise ModelError(f"the network has no shape of its inputs and output: {error}") from error
    expected = (card.input_shapes, (card.n_outputs,))
    if found != expected:
        (shapes, output), (own_shapes, own_output) = found, expected
        texts = [" and ".join(map(str, some)) for some in (shapes, own_shapes)]
        raise ModelError(f"the network goes from {texts[0]} to {output}, the card says from {texts[1]} to {own_output}")


def _check_sizes(sizes: Mapping[str, tuple[int, int]]) -> None:
    """The plan gives memory by what the card says: pairs of what the network has and what the card says, by key."""
    wrong = [f"{name} is {found}, the card says {said}" for name, (found, said) in sizes.items() if found != said]
    if wrong:
        raise ModelError(f"the card is not that of the network: {'; '.join(wrong)}")


def _check_golden(golden: Golden, model: Any, name: str) -> None:
    difference = golden_difference(_outputs(model, golden), golden.raw)
    if difference > GOLDEN_TOLERANCE:
        raise ModelError(f"outputs differ from {name} by {difference:.2g}, allowed are {GOLDEN_TOLERANCE:.2g}")


def _outputs(model: Any, golden: Golden) -> np.ndarray:
    """Raw outputs (object, output) float32 for the golden examples, in batches that fit into memory."""
    ops, inputs = import_keras().ops, golden.network_inputs
    step = max(1, _BATCH_BYTES // max(1, activation_bytes(model)))
    found = []
    for start in range(0, len(golden.inputs), step):
        some = slice(start, start + step)
        batch = [values[some] for values in inputs] if isinstance(inputs, list) else inputs[some]
        try:
            raw = ops.convert_to_numpy(model(batch, training=False))
        except Exception as error:  # whatever the backend raises, the network cannot be used
            raise ModelError(
                f"the network cannot be run on its golden examples: {type(error).__name__}: {str(error)[:500]}"
            ) from error
        found.append(np.asarray(raw, np.float32))
    return np.concatenate(found)
