"""Who is measured: our models as users get them, and methods of the literature, both as columns of arrays per set.

A model gives the columns of the catalog; a method ``fractions`` (object, answer) for morphology, ``score`` for mergers, and
the redshift PDFs that `surveycnn.evaluation.redshifts` describes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from surveycnn.evaluation.kept import Arrays, digest_of, digest_of_files, digest_of_set, pieces
from surveycnn.evaluation.redshifts import EDGES
from surveycnn.inference.load import load_model
from surveycnn.inference.predictor import Predictor
from surveycnn.models.card import CARD_FILE, Card
from surveycnn.models.morphology import QUESTIONS
from surveycnn.models.package import find_card, package_folder
from surveycnn.training.data import LabelledStamps, Log
from surveycnn.training.evaluate import predict_all


class Entry(Protocol):
    """What is measured."""

    name: str
    stem: str
    """Of its files."""
    title: str
    reference: str
    task: str
    card: Card | None
    """None but for models."""
    questions: dict[str, list[str]]
    """Answers of the questions that its fractions are for; empty but for morphology."""
    prior: float | None
    """Share of positives that its score is for."""
    n_train: int | None
    n_passes: int | None
    n_weights: int | None

    @property
    def key(self) -> str:
        """Digest of all that the predictions depend on, but for the stamps."""

    def predict(self, data: LabelledStamps) -> Arrays:
        """Columns (object, ...) for all stamps of a set."""


class ModelEntry:
    """A model package through the predictor that users get; loaded when its predictions are not there yet."""

    reference = "this package"
    task: str
    card: Card | None
    prior: float | None
    n_train: int | None
    n_passes: int | None
    n_weights: int | None

    def __init__(self, name_or_path: str, engine: str):
        folder = package_folder(name_or_path)
        self.card = card = find_card(name_or_path)
        self._name_or_path, self._engine = name_or_path, engine
        self._predictor: Predictor | None = None
        self.name, self.stem, self.task, self.questions = name_or_path, card.name, card.task, card.questions
        self.title = f"surveycnn {card.name} {card.version}"
        self.prior = card.prior.training if card.prior else None
        self.n_train, self.n_passes, self.n_weights = card.training.n, card.training.epochs or None, card.n_weights
        self.key = digest_of_files([folder / CARD_FILE], engine)

    def predict(self, data: LabelledStamps) -> Arrays:
        self._predictor = self._predictor or load_model(self._name_or_path, engine=self._engine)
        return {str(name): column.values for name, column in predict_all(self._predictor, data).data_vars.items()}


class MethodEntry:
    """A method of the literature, trained on the evaluation's own training set."""

    card: Card | None = None
    n_train: int | None
    n_passes: int | None
    n_weights: int | None

    def __init__(self, method: Any, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log):
        folder.mkdir(parents=True, exist_ok=True)
        method.fit(train, valid, folder=folder, seed=seed, log=log)
        self._method = method
        self.name, self.title, self.reference, self.task = (
            str(getattr(method, key)) for key in ("name", "title", "reference", "task")
        )
        self.stem = self.name
        self.questions = QUESTIONS if self.task == "morphology" else {}
        self.prior: float | None = float(np.mean(train.labels["is_merger"])) if self.task == "merger" else None
        numbers = (getattr(method, key, None) for key in ("n_learned", "n_passes", "n_weights"))
        self.n_train, self.n_passes, self.n_weights = numbers
        source = Path(inspect.getfile(type(method)))
        self.key = digest_of_files([source, *_state_files(folder)], digest_of_set(train), digest_of_set(valid))

    def predict(self, data: LabelledStamps) -> Arrays:
        parts = [self._method.predict(stamps) for stamps in pieces(data)]
        if self.task == "photoz":
            joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != EDGES}
            return joined | {name: edges for name, edges in parts[0].items() if name == EDGES}
        found = np.concatenate([np.asarray(part, np.float64) for part in parts])
        return {"fractions" if self.task == "morphology" else "score": found}


def _state_files(folder: Path) -> list[Path]:
    """Files that a fit has left; what a method measures once and keeps beside them is no part of its state."""
    return sorted(folder.rglob("fitted.npz")) or sorted(path for path in folder.rglob("*") if path.is_file())


def make_method(factory: Callable[..., Any], epochs: int | None) -> Any:
    """A method of the literature; `epochs` is for those that are fitted in passes."""
    if epochs is not None and "epochs" in inspect.signature(factory).parameters:
        return factory(epochs=epochs)
    return factory()


def fit_folder(work: Path, name: str, train: LabelledStamps, valid: LabelledStamps, seed: int, epochs: int | None) -> Path:
    """Where a method keeps what it has learned from these sets in as many passes."""
    key = digest_of(digest_of_set(train), digest_of_set(valid), str(seed), str(epochs))
    return work / "methods" / f"{name}-fit-{key[:12]}"
