"""Loading a model onto the engine that will run it, and the check that it gives there what its package promises."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.inference import engines
from surveycnn.inference.cascade import BATCH_SHARE, CascadePredictor
from surveycnn.inference.choice import EngineChoice, engine_candidates, stamps_per_s
from surveycnn.inference.heads import columns_of
from surveycnn.inference.predictor import Predictor
from surveycnn.models.backend import keras_backend
from surveycnn.models.card import Card
from surveycnn.models.golden import FIRST_GOLDEN_FILE, Golden, golden_difference, read_first_golden, read_golden
from surveycnn.models.package import (
    FIRST_STAGE_FILE,
    checked_card,
    first_stage_card,
    load_first_stage,
    load_network,
    package_folder,
)
from surveycnn.models.package_files import GOLDEN_FILE, MODEL_FILE

GOLDEN_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
"""Allowed difference of an engine's raw outputs from the golden ones, by the precision of its arithmetic."""
COLUMN_TOLERANCE = {"bfloat16": 0.03, "float16": 0.01}
"""Allowed difference of a calibrated column, relative where the column is above 1: of a probability it is absolute."""


@dataclass(frozen=True)
class Loaded:
    """A model on the engine that was chosen for it."""

    predictor: Predictor
    choice: EngineChoice
    """Its batch size is the one that fits into the memory."""
    stamps_per_s: dict[str, float]
    """Of each candidate, where there were several."""
    folder: Path
    """Of the package."""

    @cached_property
    def bare_rate(self) -> float:
        """Stamps per second of the forward pass alone, measured once."""
        return bare_rate(self.predictor, self.folder)


def load_model(
    name_or_path: str | Path,
    engine: str = "auto",
    precision: str = "auto",
    batch_size: str | int = "auto",
    n_threads: int | None = None,
    cascade: bool | None = None,
) -> Predictor:
    """Predictor of a shipped model or of the package at a path, verified on the engine that will run it.

    Parameters
    ----------
    engine
        ``auto``, ``tensorflow``, ``openvino``, ``jax`` or ``torch``; auto takes the fastest that is installed.
    precision
        ``auto`` is float32 everywhere, so that machines agree; ``bfloat16`` is faster with OpenVINO on CPUs that have it.
    batch_size
        Stamps per forward pass, to which they are padded; ``auto`` is 16 for OpenVINO, else 64 on a CPU and 512 on a GPU.
    n_threads
        CPU threads of the engine; None takes all cores that the process may use.
    cascade
        Whether the package's first stage stands before the network; None does as the card says.

    Raises
    ------
    ModelError
        Where the package fails its own card or golden file, has no first stage, or the engine is not to be had.
    """
    return load_fastest(name_or_path, engine_candidates(engine, precision, batch_size), n_threads, cascade).predictor


def load_fastest(
    name_or_path: str | Path, candidates: Sequence[EngineChoice], n_threads: int | None = None, cascade: bool | None = None
) -> Loaded:
    """The model on the fastest of the candidates that give its golden outputs; one candidate is taken without a timing."""
    folder = package_folder(name_or_path)
    card = _with_cascade(checked_card(folder), cascade)
    network = engines.Network(partial(_keras_model, folder, card, n_threads), _export_key(card, MODEL_FILE))
    found, rates, errors = [], {}, []
    for candidate in candidates:
        try:
            n = max(candidate.batch_size // BATCH_SHARE, 1) if card.has_cascade else candidate.batch_size
            predictor = Predictor(card, partial(_compile, network, card, candidate, n_threads), n)
            check_golden(predictor, folder)
            if card.has_cascade:
                predictor = _behind_first_stage(predictor, folder, candidate, n_threads)
        except ModelError as error:
            errors.append(error)
            continue
        if len(candidates) > 1:
            rates[str(candidate)] = bare_rate(predictor, folder)
        found.append((rates.get(str(candidate), 0.0), predictor, candidate))
    if not found:
        raise errors[0]
    _, predictor, choice = max(found, key=lambda item: item[0])
    fitting = predictor.engine.batch_size * (BATCH_SHARE if card.has_cascade else 1)
    return Loaded(predictor, replace(choice, batch_size=min(choice.batch_size, fitting)), rates, folder)


def _with_cascade(card: Card, cascade: bool | None) -> Card:
    """The card with its cascade on or off; None leaves it as it is."""
    if cascade and card.cascade is None:
        raise ModelError(f"model {card.name!r} has no first stage: leave cascade out, or train one (train takes first_stage_of)")
    if cascade is None or card.cascade is None:
        return card
    return card.model_copy(update={"cascade": card.cascade.model_copy(update={"enabled": cascade})})


def _behind_first_stage(whole: Predictor, folder: Path, choice: EngineChoice, n_threads: int | None) -> CascadePredictor:
    """The cascade of a predictor and the first stage of its package, on the same engine."""

    def load() -> Any:
        engines.limit_threads(n_threads)
        return load_first_stage(folder, whole.card, golden=False)

    card = first_stage_card(whole.card)
    network = engines.Network(load, _export_key(card, FIRST_STAGE_FILE))
    first = Predictor(card, partial(_compile, network, card, choice, n_threads), choice.batch_size)
    _check_outputs(first, folder, read_first_golden(folder, whole.card), FIRST_GOLDEN_FILE)
    return CascadePredictor(whole, first)


def keras_predictor(card: Card, model: Any, batch_size: int = 256) -> Predictor:
    """Predictor of a network that is in no package yet, on the Keras backend that is loaded."""
    choice = EngineChoice(keras_backend(), "float32", batch_size)
    return Predictor(card, partial(_compile, engines.Network(lambda: model), card, choice, None), batch_size)


def bare_rate(predictor: Predictor, folder: str | Path) -> float:
    """Stamps per second of the forward pass alone, on the golden examples of the package in `folder`."""
    golden = read_golden(folder, predictor.card)
    inputs = [golden.inputs] if golden.photometry_inputs is None else [golden.inputs, golden.photometry_inputs]
    if isinstance(predictor, CascadePredictor):
        return predictor.rate(stamps_per_s(predictor.first.engine, inputs), stamps_per_s(predictor.whole.engine, inputs))
    return stamps_per_s(predictor.engine, inputs)


def check_golden(predictor: Predictor, folder: str | Path) -> None:
    """Raise ModelError unless `predictor` gives the golden outputs of the package in `folder`, scaling included.

    Below float32 the calibrated columns are held as well, and the order of the examples by logit or redshift.
    """
    golden = read_golden(folder, predictor.card)
    raw = _check_outputs(predictor, folder, golden, GOLDEN_FILE)
    precision = predictor.engine.precision
    if precision != "float32":
        finding = _column_finding(predictor.card, raw, golden.raw, COLUMN_TOLERANCE[precision])
        if finding:
            raise ModelError(f"model package {str(folder)!r} is refused in {precision}: {finding}; use float32")


def _check_outputs(predictor: Predictor, folder: str | Path, golden: Golden, name: str) -> np.ndarray:
    """Raw outputs for the golden examples, which are those of the file `name`."""
    try:
        raw = predictor.predict_raw(golden.stamps, *golden.fluxes)
    except ModelError:
        raise
    except Exception as error:  # whatever the engine raises, the network cannot be used
        raise ModelError(
            f"model package {str(folder)!r} is refused: the engine {predictor.engine.kind!r} cannot run it on {name}: "
            f"{type(error).__name__}: {str(error)[:500]}"
        ) from error
    difference, allowed = golden_difference(raw, golden.raw), GOLDEN_TOLERANCE[predictor.engine.precision]
    if difference > allowed:
        raise ModelError(
            f"model package {str(folder)!r} is refused: the engine {predictor.engine.kind!r} gives outputs that differ from "
            f"{name} by {difference:.2g}, allowed are {allowed:.2g}"
        )
    return raw


def _column_finding(card: Card, raw: np.ndarray, golden_raw: np.ndarray, allowed: float) -> str:
    """The first column that `raw` moves too far or ranks otherwise, empty where there is none."""
    found, golden = columns_of(card, raw), columns_of(card, golden_raw)
    for name, expected in golden.items():
        difference = golden_difference(found[name], expected)
        if expected.ndim == 1 and not name.endswith("_logit") and difference > allowed:
            return f"column {name!r} differs from that of {GOLDEN_FILE} by {difference:.2g}, allowed are {allowed:.2g}"
        if name.endswith("_logit") or name == "z_phot":
            steps, own_steps = (np.subtract.outer(values, values) for values in (expected, found[name]))
            if ((steps > allowed) & (own_steps <= 0)).any():
                return f"the examples are in another order by {name!r} than in {GOLDEN_FILE}"
    return ""


def _keras_model(folder: Path, card: Card, n_threads: int | None) -> Any:
    engines.limit_threads(n_threads)
    return load_network(folder, card, golden=False)


def _export_key(card: Card, name: str) -> str:
    """Names the export of a network of a package: by its file, and by all that the card says of it and Keras alone can verify."""
    n_weights = card.cascade.n_weights if name == FIRST_STAGE_FILE and card.cascade else card.n_weights
    said = [card.sha256[name], n_weights, card.activation_bytes, card.input_shapes, card.n_outputs]
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _compile(
    network: engines.Network, card: Card, choice: EngineChoice, n_threads: int | None, batch_size: int
) -> engines.Engine:
    """The engine for `batch_size` stamps a call, or for the largest half, quarter, ... of them that fits into the memory."""
    while True:
        try:
            return engines.make_engine(
                choice.kind, network, batch_size=batch_size, precision=choice.precision, n_threads=n_threads, xla=choice.xla
            )
        except engines.OutOfDeviceMemory as error:
            if batch_size == 1:
                raise ModelError(f"one stamp of model {card.name!r} does not fit into the device's memory") from error
            batch_size //= 2
