"""What a worker process keeps between units: the models, loaded once and shared by its threads."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from surveycnn.config import EngineConfig
from surveycnn.durable import partial_path, sync_path
from surveycnn.errors import ModelError, ResumeError

if TYPE_CHECKING:
    from surveycnn.inference.choice import EngineChoice
    from surveycnn.inference.load import Loaded
    from surveycnn.inference.predictor import Predictor

_lock = threading.Lock()
_ready: dict[tuple[ModelKey, EngineConfig, int | None, Path | None], Predictor] = {}
_loaded: dict[tuple[ModelKey, tuple[EngineChoice, ...], int | None], Loaded] = {}


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
        rates = [f"{Path(reference).name} {rate:,.0f} stamps/s" for reference, rate in self.bare.items()]
        return ", ".join([str(self.choice), f"batches of {self.batch_size}", self.device, *rates])

    @property
    def choice(self) -> EngineChoice:
        """What all workers compute with."""
        from surveycnn.inference.choice import EngineChoice

        return EngineChoice(self.kind, self.precision, self.batch_size, self.xla)

    def fits(self, engine: EngineConfig) -> bool:
        """Whether it is what `engine` asks for; not where a run is resumed with another engine."""
        precision = "float32" if engine.precision == "auto" else engine.precision
        fits_batch = engine.batch_size == "auto" or self.batch_size <= engine.batch_size  # less where memory was short
        return engine.kind in ("auto", self.kind) and precision == self.precision and fits_batch


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
    ModelError
        Where this process cannot compute with what the run has chosen.
    """
    at = (key, engine, n_threads, note_path)
    with _lock:
        if at not in _ready or (note_path is not None and not note_path.exists()):
            if note_path is None:
                loaded = _load_alone(key, engine, n_threads)
            else:
                loaded = _load_agreed(key, engine, n_threads, note_path)
            _ready[at] = loaded.predictor
        return _ready[at]


def _load_alone(key: ModelKey, engine: EngineConfig, n_threads: int | None) -> Loaded:
    from surveycnn.inference.choice import engine_candidates

    return _load(key, engine_candidates(engine.kind, engine.precision, engine.batch_size), n_threads)


def _load_agreed(key: ModelKey, engine: EngineConfig, n_threads: int | None, path: Path) -> Loaded:
    """The model on the engine of the note at `path`, which is written where there is none and completed where it lacks a rate."""
    note = read_engine_note(path)
    if note is None or not note.fits(engine):
        loaded = _load_alone(key, engine, n_threads)
        note = _publish(path, _note_of(loaded), replaced=note)
        if note.choice == loaded.choice:
            return _with_rate(loaded, key, note, path)
    from surveycnn.inference.engines import resolve_kind

    try:
        resolve_kind(note.kind)
        loaded = _load(key, (note.choice,), n_threads)
    except ModelError as error:
        raise ModelError(
            f"this run computes with {note.description} ({str(path)!r}), which this worker cannot: {error}"
        ) from error
    return _with_rate(loaded, key, note, path)


def _load(key: ModelKey, candidates: tuple[EngineChoice, ...], n_threads: int | None) -> Loaded:
    from surveycnn.inference.load import load_fastest

    if (key, candidates, n_threads) not in _loaded:
        loaded = load_fastest(key.reference, candidates, n_threads)
        if loaded.predictor.card.digest != key.digest:
            raise ResumeError(
                f"model {key.reference!r} has changed since the run was planned: go on with --update, or start again with --fresh"
            )
        _loaded[key, candidates, n_threads] = _loaded[key, (loaded.choice,), n_threads] = loaded
    return _loaded[key, candidates, n_threads]


def _note_of(loaded: Loaded) -> EngineNote:
    from surveycnn.inference.choice import device_name

    choice = loaded.choice
    rates = {name: round(rate, 1) for name, rate in loaded.stamps_per_s.items()}
    return EngineNote(choice.kind, choice.precision, choice.xla, choice.batch_size, device_name(choice.kind), rates, {})


def _publish(path: Path, note: EngineNote, replaced: EngineNote | None) -> EngineNote:
    """The note that holds for the run: this one, or that of a worker that was earlier."""
    with _written(path, note) as temporary:
        if replaced is not None:
            os.replace(temporary, path)
            return note
        try:
            os.link(temporary, path)
        except FileExistsError:
            with _folder_lock(path.parent):
                found = read_engine_note(path)
                if found is None:  # damaged: without one for all, each worker would choose for itself
                    os.replace(temporary, path)
            return found or note
    return note


def _with_rate(loaded: Loaded, key: ModelKey, note: EngineNote, path: Path) -> Loaded:
    """Add the rate of a model to the note at `path` unless it is there."""
    if key.reference not in note.bare:
        rate = round(loaded.bare_rate, 1)
        with _folder_lock(path.parent):
            note = read_engine_note(path) or note
            with _written(path, replace(note, bare={key.reference: rate} | note.bare)) as temporary:
                os.replace(temporary, path)
    return loaded


@contextmanager
def _written(path: Path, note: EngineNote) -> Iterator[Path]:
    """Path of a file with the note, beside where it belongs; it is gone afterwards unless it has been renamed."""
    temporary = partial_path(path)
    try:
        temporary.write_text(json.dumps(asdict(note), indent=2))
        sync_path(temporary)
        yield temporary
        sync_path(path.parent)  # tiles must not outlive the choice of what computes them
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Keep other workers from completing a note at the same time; on a file system without locks a rate may get lost."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
