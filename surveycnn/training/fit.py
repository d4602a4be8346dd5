"""Training of one model from nothing: simulate, fit, calibrate, measure, write the package; an interrupted one goes on.

What is simulated and the state of the fit lie in a work folder. The flow ``train`` calls :func:`train`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.inference.heads import mixture_parameters
from surveycnn.inference.load import keras_predictor, load_model
from surveycnn.inference.predictor import Predictor
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Metric
from surveycnn.models.package import Golden, save_package
from surveycnn.training.baselines import baseline_metrics
from surveycnn.training.calibration import concentration_factor, error_factor, fit_calibration, width_factor
from surveycnn.training.committee import predicted as predicted_raw
from surveycnn.training.committee import train_committee
from surveycnn.training.data import LabelledStamps, Log, centre_cut, fluxes_of, inputs_of, simulated, targets_of
from surveycnn.training.evaluate import Findings, held_out_findings, predict_all
from surveycnn.training.first_card import first_card
from surveycnn.training.held_out import HeldOut, held_out_sets
from surveycnn.training.plan import Plan
from surveycnn.training.reliability import prior_weights
from surveycnn.training.selection import spectroscopic

N_GOLDEN = 4
SURVEY_MIX_FACTOR = 5.5
"""Stamps in the survey's mix per stamp of validation: one in eleven is a lens, which makes half as many lenses."""


@dataclass(frozen=True)
class Sets:
    """Stamps of one training."""

    train: LabelledStamps
    valid: LabelledStamps
    """Stops the fit."""
    test: LabelledStamps
    """Of the kind that is trained on."""
    calibration: Callable[[], LabelledStamps] | None = None
    """What the score is calibrated on, asked for after the fit; None is `valid`."""
    held_out: Callable[[], Mapping[str, HeldOut]] | None = None
    """Sets to be measured on instead of `test`, by the prefix of their metrics; asked for after the fit."""


def train(plan: Plan, out_dir: str | Path, *, work_dir: str | Path, n_workers: int = 1, log: Log = print) -> Card:
    """Train the model of `plan` on a simulation and write its package into `out_dir`.

    Parameters
    ----------
    plan
        Its sets to fit on, to stop and calibrate on, and to measure on are simulated from the seeds `seed`, + 1, + 2; the
        held-out sets of lens finders are the same for all of them (:mod:`surveycnn.training.held_out`).
    work_dir
        Keeps the simulated stamps and, after each epoch, the state of the fit: the same call goes on from there.
    n_workers
        Processes that simulate.
    """
    folder = Path(work_dir) / "stamps"

    def simulate(n: int, offset: int, mix: str = "train") -> LabelledStamps:
        seed, conditions = plan.seed + offset, plan.conditions
        return simulated(plan.task, n, seed=seed, conditions=conditions, mix=mix, folder=folder, n_workers=n_workers, log=log)

    fit_on, valid = simulate(plan.n_train, 0), simulate(plan.n_valid, 1)
    sets = Sets(fit_on, valid, valid, held_out=lambda: held_out_sets(plan, folder, n_workers, log))
    if plan.task == "lens":
        sets = replace(sets, calibration=lambda: simulate(int(SURVEY_MIX_FACTOR * plan.n_valid), 1, "survey"))
    return train_on(plan, sets, out_dir, work_dir=Path(work_dir), log=log)


def train_on(plan: Plan, sets: Sets, out_dir: str | Path, *, work_dir: Path, log: Log = print) -> Card:
    """The same on given stamps."""
    keras = import_keras()
    keras.utils.set_random_seed(plan.seed)
    card = first_card(plan, sets.train)
    state = work_dir / f"fit-{plan.task}-{hashlib.sha256(plan.command.encode()).hexdigest()[:12]}"
    card, model = train_committee(plan, card, sets.train, sets.valid, state=state, log=log)
    card = _calibrated(card, model, sets.calibration() if sets.calibration else sets.valid)
    golden = _golden(card, sets.test)
    save_package(out_dir, model, card, golden)
    # measured on the package as it was written, through the engine that users get
    measured = _measured(load_model(Path(out_dir).resolve()), sets, card, log)
    metrics = measured.metrics
    if plan.selected:
        metrics |= _selected_metrics(plan, sets, state, log)
    card = save_package(out_dir, model, card.model_copy(update={"metrics": metrics, "reliability": measured.reliability}), golden)
    for name, metric in metrics.items():
        log(f"{plan.task}: {name} = {metric.value} {list(metric.interval or ())}")
    shutil.rmtree(state, ignore_errors=True)
    return card


def _golden(card: Card, data: LabelledStamps) -> Golden:
    """The first stamps of a set for the golden file."""
    some = slice(0, N_GOLDEN)
    stamps = centre_cut(np.array(data.stamps[some]), card.stamp_px)
    inputs = inputs_of(data, card, some)
    if card.photometry is None:
        return Golden(stamps, *inputs)
    return Golden(stamps, inputs[0], np.stack(fluxes_of(data, card, some), axis=1), inputs[1])  # type: ignore[arg-type]


def _calibrated(card: Card, model: Any, data: LabelledStamps) -> Card:
    """The card with its calibration, scores fitted with the classes weighted to the training's prior."""
    if card.task == "photoz":
        raw = predicted_raw(model, card, data)[:, : 3 * card.n_components]
        width = round(width_factor(partial(mixture_parameters, raw), np.asarray(data.labels["redshift"], np.float64)), 4)
        return card.model_copy(update={"calibration": Calibration(width=width)})
    predictor = keras_predictor(card, model)
    predicted = predict_all(predictor, data)
    if card.task == "morphology":
        factors = {}
        for question, answers in card.questions.items():
            concentration = np.stack([predicted[f"morph_{question}_{answer}_conc"].values for answer in answers], axis=1)
            known = np.isfinite(concentration).all(axis=1)
            factors[question] = round(concentration_factor(concentration[known], data.labels[question][known]), 4)
        return card.model_copy(update={"calibration": Calibration(concentration=factors)})
    assert card.prior is not None
    logit, is_positive = predicted[f"{card.task}_logit"].values, targets_of(data, card)[:, 0] > 0.5
    known = np.isfinite(logit)
    logit, y = logit[known].astype(np.float64), is_positive[known]
    calibration = fit_calibration(logit, y, prior_weights(y, card.prior.training))
    if card.task == "merger":
        staged = known & is_positive
        columns = (predicted["merger_time"].values, predicted["merger_time_err"].values, data.labels["time_myr"])
        factor = error_factor(*(np.asarray(values, np.float64)[staged] for values in columns))
        calibration = calibration.model_copy(update={"time_err": round(factor, 4)})
    return card.model_copy(update={"calibration": calibration})


def _selected_metrics(plan: Plan, sets: Sets, state: Path, log: Log) -> dict[str, Metric]:
    """Metrics on the test set of a twin that was trained and calibrated on a spectroscopic selection of the same stamps."""
    train_set, valid_set = spectroscopic(sets.train, plan.seed), spectroscopic(sets.valid, plan.seed + 1)
    share = len(train_set) / len(sets.train)
    log(f"{plan.task}: the same training on the {share:.0%} that a spectroscopic survey would have selected")
    twin = replace(plan, selected=None)
    card = first_card(twin, train_set)
    card, model = train_committee(twin, card, train_set, valid_set, state=state / "selected", log=log)
    card = _calibrated(card, model, valid_set)
    predictor = keras_predictor(card, model)
    test = {"selected_": (sets.held_out() if sets.held_out else {"": HeldOut("train", sets.test)})[""]}
    text = f"; trained on a spectroscopic selection, {len(train_set)} of {len(sets.train)} galaxies, measured on all"
    found = held_out_findings(predictor, test, log).metrics
    return {name: metric.model_copy(update={"definition": metric.definition + text}) for name, metric in found.items()}


def _measured(predictor: Predictor, sets: Sets, card: Card, log: Log) -> Findings:
    held_out = sets.held_out() if sets.held_out else {"": HeldOut("train", sets.test)}
    found = held_out_findings(predictor, held_out, log)
    if card.task == "lens" and sets.held_out:
        return found  # its baselines are the finders of the challenge
    log(f"{card.task}: metrics of the baseline")
    return replace(found, metrics=found.metrics | baseline_metrics(sets.train, held_out[""].data, card))
