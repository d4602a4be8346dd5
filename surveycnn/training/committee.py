"""Training of a model: a committee of networks, fitted twice where hard negatives or further stamps join the training set.

The model that comes out gives the mean of the members' outputs, and how far a stamp is from the training set in the
space of their features.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.inference.engines import as_argument
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card
from surveycnn.models.committee import committee, feature_network
from surveycnn.training.data import LabelledStamps, Log, inputs_of, joined, simulated
from surveycnn.training.first_card import build_model
from surveycnn.training.mining import REPEATS, SEED_OFFSET, SHARE, hardest, mosaic_objects
from surveycnn.training.optimise import Schedule, fit
from surveycnn.training.plan import Plan
from surveycnn.training.precision import in_precision

SECOND_ROUND = {"lens": 0.15, "merger": 0.15, "morphology": 0.33}
"""Epochs of the second fit over those of the first one."""
SECOND_RATE = 1e-3
"""Peak learning rate of the second fit."""
N_DOMAIN = 20_000
"""Stamps that the distribution of the features is measured on."""
SHRINKAGE = 0.02
"""Of the features' covariance towards a multiple of the identity: some features hardly vary in the training set."""
DOMAIN_QUANTILE = 0.99
"""Share of the validation set inside the domain."""


def train_committee(
    plan: Plan, card: Card, train_set: LabelledStamps, valid_set: LabelledStamps, *, state: Path, log: Log
) -> tuple[Card, Any]:
    """The card with the limit of the domain, and the model: from scaled stamps to raw outputs and the squared distance."""
    members = []
    for number in range(plan.members or 1):
        import_keras().utils.set_random_seed(plan.seed + number)
        fit_member = partial(_fit_member, number, plan, card, train_set, valid_set, state, log)
        members.append(in_precision(plan.precision, partial(build_model, card, train_set, plan.widths), fit_member))
    mean, whitening = _whitening([feature_network(member) for member in members], card, train_set)
    model = committee(members, mean, whitening, plan.views or 1, name=f"{card.task}_committee")
    distance = np.sqrt(predicted(model, card, valid_set)[:, -1])
    limit = round(float(np.quantile(distance, DOMAIN_QUANTILE)), 4)
    assert card.domain is not None
    return card.model_copy(update={"domain": card.domain.model_copy(update={"feature_distance": limit})}), model


def _fit_member(
    number: int,
    plan: Plan,
    card: Card,
    train_set: LabelledStamps,
    valid_set: LabelledStamps,
    state: Path,
    log: Log,
    model: Any,
) -> None:
    """Fit one member in place."""
    name, seed = f"{plan.task} member {number + 1}", plan.seed + number
    first = Schedule(plan.epochs, plan.batch_size, seed, patience=plan.patience)
    fit(model, card, train_set, valid_set, first, state=state / f"member{number}-first", log=log, name=name)
    further = further_stamps(plan, card, model, state, log, name)
    if further is None:
        return
    epochs = max(1, round(SECOND_ROUND[plan.task] * plan.epochs))
    second = Schedule(epochs, plan.batch_size, seed + 100, SECOND_RATE, patience=plan.patience)
    both = joined([train_set, *further])
    fit(model, card, both, valid_set, second, state=state / f"member{number}-second", log=log, name=f"{name}, again")


def further_stamps(plan: Plan, card: Card, model: Any, state: Path, log: Log, name: str) -> list[LabelledStamps] | None:
    """What joins the training set in a second fit: what the network takes for positives in mosaics, or disks; None without one.

    They are of no other use than to this member and the others: kept beside the other stamps.
    """
    folder, seed = state.parent / "stamps", plan.seed + SEED_OFFSET
    about: dict[str, Any] = {"seed": seed, "conditions": plan.conditions, "folder": folder, "n_workers": 2, "log": log}
    if plan.mosaics:
        objects = mosaic_objects(plan.task, plan.mosaics, **about)
        mined = hardest(objects, lambda stamps: predicted(model, card, stamps)[:, 0], SHARE[plan.task])
        log(f"{name}: {len(mined)} of {len(objects)} objects of {plan.mosaics} mosaics become hard negatives")
        return [mined] * REPEATS[plan.task]
    if plan.n_disks:
        return [simulated(plan.task, plan.n_disks, mix="disks", **about)]
    return None


def _whitening(networks: list[Any], card: Card, data: LabelledStamps) -> tuple[np.ndarray, np.ndarray]:
    """Mean (feature,) and the matrix (feature, feature) that makes the features of the training set white."""
    labels = {name: values[:N_DOMAIN] for name, values in data.labels.items()}
    some = LabelledStamps(data.task, data.bands, data.stamps[:N_DOMAIN], labels)
    features = np.concatenate([predicted(network, card, some) for network in networks], axis=1).astype(np.float64)
    mean, covariance = features.mean(axis=0), np.cov(features, rowvar=False)
    size = len(mean)
    covariance = (1.0 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / size * np.eye(size)
    values, vectors = np.linalg.eigh(covariance)
    return mean, (vectors / np.sqrt(values)) @ vectors.T


def predicted(network: Any, card: Card, data: LabelledStamps | np.ndarray, chunk: int = 1024) -> np.ndarray:
    """Outputs (object, value) float32 of a network for labelled stamps, or for bare ones in nJy."""
    labelled = LabelledStamps(card.task, tuple(card.bands), data) if isinstance(data, np.ndarray) else data
    starts = range(0, len(labelled), chunk)
    inputs = (as_argument(inputs_of(labelled, card, slice(start, start + chunk))) for start in starts)
    return np.concatenate([network.predict_on_batch(some) for some in inputs]).astype(np.float32)
