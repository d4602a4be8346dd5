"""What a worker process keeps between units: the models, loaded once and shared by its threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surveycnn.config import EngineConfig
from surveycnn.errors import ResumeError

if TYPE_CHECKING:
    from surveycnn.inference.predictor import Predictor

_lock = threading.Lock()
_loaded: dict[tuple[ModelKey, EngineConfig, int | None], Predictor] = {}


@dataclass(frozen=True)
class ModelKey:
    """A model package and the digest of the card and weights that the plan saw."""

    reference: str
    digest: str


def predictor_for(key: ModelKey, engine: EngineConfig, n_threads: int | None) -> Predictor:
    """The predictor of a model, loaded at the first call in this process.

    Parameters
    ----------
    n_threads
        Threads of the engine; None leaves it to the engine.

    Raises
    ------
    ResumeError
        Where the package has changed since the plan was made.
    """
    with _lock:
        predictor = _loaded.get((key, engine, n_threads))
        if predictor is None:
            from surveycnn.inference.load import load_model

            predictor = load_model(
                key.reference, engine=engine.kind, precision=engine.precision, batch_size=engine.batch_size, n_threads=n_threads
            )
            if predictor.card.digest != key.digest:
                raise ResumeError(f"model {key.reference!r} has changed since the run was planned: start again with --fresh")
            _loaded[key, engine, n_threads] = predictor
        return predictor


@dataclass(frozen=True)
class LoadModels:
    """A picklable function that loads models ahead of their first use."""

    keys: tuple[ModelKey, ...]
    engine: EngineConfig
    n_threads: int | None

    def __call__(self) -> None:
        for key in self.keys:
            predictor_for(key, self.engine, self.n_threads)
