"""What a worker process keeps between units: the models, loaded once and shared by its threads."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class EngineNote:
    """What a run's first worker has found about engines, and all others follow, so that no choice can differ between them."""

    kind: str
    precision: str
    xla: bool
    """Whether TensorFlow's XLA compiles the network."""
    batch_size: int
    """Stamps a forward pass."""
    device: str
    """Name of the CPU or GPU."""
    stamps_per_s: dict[str, float]
    """Of each candidate that was timed; empty where one alone was sensible."""
    bare: dict[str, float]
    """Stamps per second of the forward pass alone, on one worker with its threads, by the reference of the model."""

    @property
    def description(self) -> str:
        """One line for people."""
        name = f"{self.kind} {self.precision}" + (" with XLA" if self.xla else "")
        rates = [f"{Path(reference).name} {rate:,.0f} stamps/s" for reference, rate in self.bare.items()]
        return ", ".join([name, f"batches of {self.batch_size}", self.device, *rates])


def read_engine_note(path: Path) -> EngineNote | None:
    """The note at `path`, or None where there is none that can be read."""
    try:
        return EngineNote(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def predictor_for(key: ModelKey, engine: EngineConfig, n_threads: int | None, note_path: Path | None = None) -> Predictor:
    """The predictor of a model, loaded at the first call in this process.

    Parameters
    ----------
    n_threads
        Threads of the engine; None leaves it to the engine.
    note_path
        Where the run keeps its :class:`EngineNote`; without one, this process chooses by itself.

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
    note_path: Path | None = None

    def __call__(self) -> None:
        for key in self.keys:
            predictor_for(key, self.engine, self.n_threads, self.note_path)
