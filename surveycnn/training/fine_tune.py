"""Training of a model further, on labelled stamps of a user's: the last layer first, then all, slowly, only as far as it helps.

What works with few labels (Walmsley et al. 2023, JOSS 8, 5312, Zoobot): a low learning rate that falls from the last layer to the
first one, normalisations that stay as they are, and an early stop.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.inference.load import keras_predictor, load_model
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Training
from surveycnn.models.golden import read_golden
from surveycnn.models.package import load_package, save_package
from surveycnn.training.calibration import fit_calibration, is_separable
from surveycnn.training.data import LabelledStamps, Log, joined, subset
from surveycnn.training.evaluate import predict_all
from surveycnn.training.label_metrics import few_labels, label_metrics
from surveycnn.training.losses import binary
from surveycnn.training.optimise import Schedule, fit
from surveycnn.training.reliability import prior_weights

HEAD_RATE, ALL_RATE = 1e-3, 2e-4
"""Peak learning rates of the last layer, and of all of them after it."""
FIRST_LAYER = 0.05
"""Learning rate of the first layer over that of the last one where all learn; it falls evenly in between."""
PATIENCE = 5
MANY = 200
"""Labels of the rarer class to learn from, above which all layers learn."""
MIN_CALIBRATION = 20
"""Labels of each class below which the calibration of the model that was trained further stays."""
MAX_REPEATS = 50


@dataclass(frozen=True)
class LabelSets:
    """Labelled stamps in three parts; no object of the sky is in two of them."""

    train: LabelledStamps
    stop: LabelledStamps
    """Stops the fit, and calibrates."""
    test: LabelledStamps
    """Held out: what both models are measured on."""


@dataclass(frozen=True)
class Tuning:
    """How a model is trained further."""

    parent: Path
    """Folder of the package."""
    name: str
    about: str
    """Where the labels come from, for the card."""
    command: str
    epochs: int
    batch_size: int
    seed: int
    layers: str = "auto"
    survey_prior: float | None = None


def fine_tune(
    tuning: Tuning, sets: LabelSets, out_dir: Path, *, state: Path, log: Log, further: LabelledStamps | None = None
) -> Card:
    """Train the network of a package further and write the package of the new one; an interrupted call goes on.

    Parameters
    ----------
    sets
        Of the task and the bands of the parent.
    state
        Folder of the unfinished fit.
    further
        Simulated stamps that join the training part, so that what they have taught is not forgotten.
    """
    parent, model = load_package(tuning.parent)
    y = {name: is_positive(getattr(sets, name), parent.task) for name in ("train", "stop", "test")}
    card = _card_before(tuning, parent)
    assert card.prior is not None
    train_all = _all_layers_learn(tuning, card, y["train"])
    prior = card.prior.training
    train_set = balanced(sets.train, y["train"], prior)
    train_set = train_set if further is None else joined([train_set, further])
    can_stop = 0 < y["stop"].sum() < len(y["stop"])
    stop_set, stop_y = (sets.stop, y["stop"]) if can_stop else (sets.train, y["train"])
    weights = prior_weights(stop_y, prior)
    notes = [] if can_stop else ["The part that stops the fit has one class alone: it was stopped on what it was trained on."]
    best = 0
    for number, network in enumerate(members_of(model, card)):
        phases = [("head", HEAD_RATE)] + ([("all", ALL_RATE)] if train_all else [])
        for phase, rate in phases if tuning.epochs else []:
            rates = prepare(network, phase)
            about = Schedule(tuning.epochs, tuning.batch_size, tuning.seed + number, rate, PATIENCE, 0.0, rates, may_stay=True)
            name, home = f"{tuning.name}, {'last layer' if phase == 'head' else 'all layers'}", state / f"member{number}-{phase}"
            losses = fit(
                network, card, train_set, stop_set, about, state=home, log=log, name=name, loss=binary, valid_weights=weights
            )
            best = max(best, int(np.argmin(losses)))
    model.trainable = True
    if tuning.epochs and not best:
        notes.append("No epoch was better than the model it started from: its weights are unchanged.")
    if train_all and card.has_distance:
        model, card = without_distance(model, card)
        notes.append("All layers have learned: there is no distance from the training set any more.")
    card, said = _calibrated(card, model, sets.stop, y["stop"])
    notes += [said, *few_labels(y["test"])]
    card = card.model_copy(update={"notes": " ".join([*notes, card.notes])})
    card = card.model_copy(update={"training": _training(tuning, y["train"], further)})
    golden = read_golden(tuning.parent, parent)
    save_package(out_dir, model, card, golden)
    before, after = (load_model(folder.resolve(), cascade=False) for folder in (tuning.parent, out_dir))
    metrics = label_metrics(predict_all(before, sets.test), predict_all(after, sets.test), y["test"], card)
    card = save_package(out_dir, model, card.model_copy(update={"metrics": metrics}), golden)
    for note in notes:
        log(f"{tuning.name}: {note}")
    shutil.rmtree(state, ignore_errors=True)
    return card


def is_positive(data: LabelledStamps, task: str) -> np.ndarray:
    """(object,) bool labels of a set for lenses or mergers."""
    return np.asarray(data.labels[f"is_{task}"], bool)


def balanced(data: LabelledStamps, y: np.ndarray, prior: float) -> LabelledStamps:
    """The set with the rarer class repeated, so that the share of positives is near `prior`; augmentation tells repeats apart."""
    wanted = prior / (1 - prior) * (~y).sum() / max(y.sum(), 1)
    rare, times = (y, wanted) if wanted >= 1 else (~y, 1 / wanted)
    repeats = min(round(times), MAX_REPEATS) - 1
    return joined([data, *[subset(data, np.flatnonzero(rare))] * repeats]) if repeats > 0 else data


def members_of(model: Any, card: Card) -> list[Any]:
    """Networks of a committee from scaled stamps to raw outputs, which share their weights with it; or the model itself."""
    keras = import_keras()
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model) and layer.name.startswith("member")]
    if inner:
        return [keras.Model(layer.inputs, layer.outputs[-1], name=layer.name) for layer in inner]
    if card.has_distance:
        raise ModelError(
            f"model {card.name!r} gives a distance from its training set and is no committee of this package: which of its "
            "layers may learn cannot be told; start from a shipped model, or from one without domain.feature_distance"
        )
    return [model]


def prepare(network: Any, phase: str) -> dict[str, float]:
    """Let the last layer learn, or all but the normalisations, and give the factor on the learning rate of each."""
    keras = import_keras()
    layers = [layer for layer in _flat(network) if layer.weights]
    fixed = (keras.layers.BatchNormalization, keras.layers.Normalization)
    learning = [layer for layer in layers if not isinstance(layer, fixed)]
    if not learning:
        raise ModelError("the network has no layer with weights that could learn")
    chosen = learning[-1:] if phase == "head" else learning
    for layer in layers:
        layer.trainable = layer in chosen
    factors = np.geomspace(FIRST_LAYER, 1.0, len(learning))[-len(chosen) :]
    return {layer.name: float(factor) for layer, factor in zip(chosen, factors, strict=True)}


def _flat(network: Any) -> list[Any]:
    """Layers of a network and of the networks in it."""
    return [inner for layer in network.layers for inner in (_flat(layer) if hasattr(layer, "layers") else [layer])]


def without_distance(model: Any, card: Card) -> tuple[Any, Card]:
    """A committee without its last output, which says how far a stamp is from a training set that is no longer the whole one."""
    assert card.domain is not None
    raw = model.layers[-1].input[0]  # of the concatenation that ends every committee
    domain = card.domain.model_copy(update={"feature_distance": None})
    return import_keras().Model(model.inputs, raw, name=model.name), card.model_copy(update={"domain": domain})


def _all_layers_learn(tuning: Tuning, card: Card, y: np.ndarray) -> bool:
    if card.task == "merger":
        if tuning.layers == "all":
            raise ModelError(
                "layers is 'all', but only the last layer of a merger model can learn from labels, as they have no times"
            )
        return False
    return tuning.layers == "all" or (tuning.layers == "auto" and min(y.sum(), (~y).sum()) >= MANY)


def _card_before(tuning: Tuning, parent: Card) -> Card:
    """The card of the new model but for what is found out: the parent's metrics and first stage are not its own."""
    prior = parent.prior
    if tuning.survey_prior is not None and prior is not None:
        prior = prior.model_copy(update={"survey": tuning.survey_prior})
    changes: dict[str, Any] = {
        "name": tuning.name,
        "version": f"{parent.version}+labels",
        "prior": prior,
        "cascade": None,
        "metrics": {},
        "reliability": None,
    }
    return parent.model_copy(update=changes | {"notes": f"Trained further from {parent.name} {parent.version}."})


def _training(tuning: Tuning, y: np.ndarray, further: LabelledStamps | None) -> Training:
    n_further = 0 if further is None else len(further)
    about = f"{tuning.about}; to learn from: {int(y.sum())} positives, {int((~y).sum())} negatives"
    about += f", and {n_further} simulated stamps" if n_further else ""
    return Training(simulation=about, seed=tuning.seed, n=len(y) + n_further, command=tuning.command, epochs=tuning.epochs)


def _calibrated(card: Card, model: Any, data: LabelledStamps, y: np.ndarray) -> tuple[Card, str]:
    """The card with a calibration at its prior, and what has become of it."""
    assert card.prior is not None
    n = min(int(y.sum()), int((~y).sum()))
    if n < MIN_CALIBRATION:
        return card, (
            f"The calibration is that of the parent: {n} labels of the rarer class are too few for another, "
            f"which takes {MIN_CALIBRATION}."
        )
    logit = predict_all(keras_predictor(card, model), data)[f"{card.task}_logit"].values.astype(np.float64)
    known = np.isfinite(logit)
    if is_separable(logit[known], y[known]):
        return card, "The calibration is that of the parent: the labels that would calibrate it are told apart without a mistake."
    found = fit_calibration(logit[known], y[known], prior_weights(y[known], card.prior.training))
    old = card.calibration or Calibration()
    new = old.model_copy(update={"temperature": found.temperature, "bias": found.bias})
    return card.model_copy(
        update={"calibration": new}
    ), f"Calibrated on {int(y.sum())} positives and {int((~y).sum())} negatives, weighted to the prior of the score."
