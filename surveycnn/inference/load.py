"""Loading a model onto the engine that will run it, and the check that it gives there what its package promises."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from surveycnn.errors import ModelError
from surveycnn.inference import engines
from surveycnn.inference.predictor import Predictor
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card
from surveycnn.models.package import GOLDEN_FILE, golden_difference, load_package, package_folder, read_golden

GOLDEN_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
"""Allowed difference of an engine's raw outputs from the golden ones, by the precision of its arithmetic."""


def load_model(
    name_or_path: str | Path,
    engine: str = "auto",
    precision: str = "auto",
    batch_size: str | int = "auto",
    n_threads: int | None = None,
) -> Predictor:
    """Predictor of a shipped model or of the package at a path, verified on the engine that will run it.

    Parameters
    ----------
    engine
        ``auto``, ``tensorflow``, ``openvino``, ``jax`` or ``torch``; auto takes the fastest that is installed.
    precision
        ``auto`` is float32 everywhere, so that machines agree; ``bfloat16`` is faster with OpenVINO on CPUs that have it.
    batch_size
        Stamps per forward pass, ``auto`` is 64 on a CPU and 512 on a GPU. Stamps are padded to it.
    n_threads
        CPU threads of the engine; None takes all cores that the process may use.

    Raises
    ------
    ModelError
        Where the package fails its own card or golden file, or the engine is not to be had.
    """
    folder = package_folder(name_or_path)
    kind = engines.resolve_kind(engine)
    engines.limit_threads(n_threads)
    card, model = load_package(folder, golden=False)
    precision = "float32" if precision == "auto" else precision
    compile_engine = partial(_compile, kind, model, precision, n_threads)
    predictor = Predictor(card, compile_engine, _batch_size(batch_size))
    check_golden(predictor, folder)
    return predictor


def keras_predictor(card: Card, model: Any, batch_size: int = 256) -> Predictor:
    """Predictor of a network that is in no package yet, on the Keras backend that is loaded."""
    return Predictor(card, partial(_compile, import_keras().backend.backend(), model, "float32", None), batch_size)


def _compile(kind: str, model: Any, precision: str, n_threads: int | None, batch_size: int) -> engines.Engine:
    return engines.make_engine(kind, model, batch_size=batch_size, precision=precision, n_threads=n_threads)


def check_golden(predictor: Predictor, folder: str | Path) -> None:
    """Raise ModelError unless `predictor` gives the golden outputs of the package in `folder`, scaling included."""
    golden = read_golden(folder, predictor.card)
    difference = golden_difference(predictor.predict_raw(golden.stamps, *golden.fluxes), golden.raw)
    allowed = GOLDEN_TOLERANCE[predictor.engine.precision]
    if difference > allowed:
        raise ModelError(
            f"model package {str(folder)!r} is refused: the engine {predictor.engine.kind!r} gives outputs that differ from "
            f"{GOLDEN_FILE} by {difference:.2g}, allowed are {allowed:.2g}"
        )


def _batch_size(batch_size: str | int) -> int:
    if batch_size == "auto":
        return engines.GPU_BATCH if engines.has_gpu() else engines.CPU_BATCH
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ModelError(f"batch_size is {batch_size!r}, expected auto or a whole number from 1")
    return batch_size
