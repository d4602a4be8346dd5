"""Training of a cascade's first stage: a small network learns from the labels and from what a shipped lens model says.

The package that it is given to keeps its network; it gains two files, the card's section `cascade` and the metrics of both
stages together. A distilled network follows its teacher better than one that sees labels alone (Hinton et al. 2015, arXiv
1503.02531).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ConfigError
from surveycnn.inference.heads import calibrated
from surveycnn.inference.load import load_model
from surveycnn.inference.predictor import Predictor
from surveycnn.models.backend import import_keras
from surveycnn.models.card import CARD_FILE, Card, Cascade, Metric
from surveycnn.models.first_stage import WIDTHS, build_first_stage
from surveycnn.models.package import add_first_stage, find_card, first_stage_card, package_folder
from surveycnn.models.package_files import GOLDEN_FILE, MODEL_FILE
from surveycnn.training.calibration import fit_calibration
from surveycnn.training.committee import predicted as predicted_raw
from surveycnn.training.data import LabelledStamps, Log, joined, simulated
from surveycnn.training.evaluate import finder_metrics
from surveycnn.training.first_stage_metrics import first_stage_metrics, passed_metric
from surveycnn.training.fit import SURVEY_MIX_FACTOR
from surveycnn.training.held_out import HELD_OUT_SEED, HeldOut, held_out_sets
from surveycnn.training.mining import SEED_OFFSET, mosaic_objects
from surveycnn.training.optimise import Schedule, fit
from surveycnn.training.plan import Plan
from surveycnn.training.precision import in_precision
from surveycnn.training.reliability import prior_weights

TEACHER_SHARE = 0.5
"""Of the teacher's probability in what is learned; the rest is the label, which the teacher may have wrong."""
PASSED = 0.05
"""Share of the negatives of the survey's mix that go on, on the validation set: this fixes the threshold."""
MOSAIC_SEED = HELD_OUT_SEED + 5
"""Of the mosaics on whose objects `passed` is measured; no training takes it."""
N_MOSAICS = 8
CHUNK = 2048


@dataclass(frozen=True)
class FirstStageSets:
    """Stamps of one training; all but the first two are asked for after the fit."""

    train: LabelledStamps
    valid: LabelledStamps
    """Stops the fit."""
    survey: Callable[[], LabelledStamps]
    """In the survey's mix: fixes the threshold and the calibration."""
    objects: Callable[[], LabelledStamps]
    """What a survey detects: how many pass."""
    held_out: Callable[[], dict[str, HeldOut]]
    """What is measured on, by the prefix of the metrics."""


def train_first_stage(plan: Plan, out_dir: str | Path, *, work_dir: str | Path, n_workers: int = 1, log: Log = print) -> Card:
    """Write the package of the model `plan.first_stage_of` with a first stage into `out_dir`.

    The sets are those of a training of the lens model with the same settings, so that none is simulated twice. The cascade is
    left off: whoever ships the package decides.
    """
    folder = Path(work_dir) / "stamps"

    def simulate(n: int, offset: int, mix: str = "train") -> LabelledStamps:
        seed, conditions = plan.seed + offset, plan.conditions
        return simulated(plan.task, n, seed=seed, conditions=conditions, mix=mix, folder=folder, n_workers=n_workers, log=log)

    def objects(n: int, seed: int) -> LabelledStamps:
        about: dict[str, Any] = {"conditions": plan.conditions, "folder": folder, "n_workers": n_workers, "log": log}
        return mosaic_objects(plan.task, n, seed=seed, **about)

    train_set = [simulate(plan.n_train, 0)]
    if plan.mosaics:  # what a survey detects is fainter than what a finder is trained on
        train_set.append(objects(plan.mosaics, plan.seed + SEED_OFFSET))
    sets = FirstStageSets(
        joined(train_set),
        simulate(plan.n_valid, 1),
        lambda: simulate(int(SURVEY_MIX_FACTOR * plan.n_valid), 1, "survey"),
        lambda: objects(N_MOSAICS, MOSAIC_SEED),
        lambda: held_out_sets(plan, folder, n_workers, log),
    )
    return train_first_stage_on(plan, sets, out_dir, work_dir=Path(work_dir), log=log)


def train_first_stage_on(plan: Plan, sets: FirstStageSets, out_dir: str | Path, *, work_dir: Path, log: Log = print) -> Card:
    """The same on given stamps."""
    assert plan.first_stage_of is not None
    source, out_dir = package_folder(plan.first_stage_of), Path(out_dir)
    if find_card(source).task != "lens":
        raise ConfigError(f"first_stage_of is {plan.first_stage_of!r}, a {find_card(source).task} model: expected a lens model")
    state = work_dir / f"fit-first-stage-{hashlib.sha256(plan.command.encode()).hexdigest()[:12]}"
    teacher = load_model(source, cascade=False)
    model = _fitted(plan, teacher, sets, state, log)
    cascade, metrics = _measured_alone(plan, teacher, model, sets, state, log)
    _copy(source, out_dir)
    add_first_stage(out_dir, model, cascade, metrics)
    whole = load_model(out_dir, cascade=True)  # measured on the package as it was written, through the engine that users get
    for prefix, held_out in sets.held_out().items():
        log(f"first stage: measuring both stages on {len(held_out.data)} stamps, {prefix or 'main_'}set")
        metrics |= finder_metrics(whole, held_out, f"cascade_{prefix}")
    card = add_first_stage(out_dir, model, cascade, metrics)
    for name, metric in metrics.items():
        log(f"first stage: {name} = {metric.value} {list(metric.interval or ())}")
    shutil.rmtree(state, ignore_errors=True)
    return card


def _fitted(plan: Plan, teacher: Predictor, sets: FirstStageSets, state: Path, log: Log) -> Any:
    """The network, fitted to labels and the teacher's probabilities."""
    card = first_stage_card(teacher.card)
    train_set = distilled(teacher, sets.train, state / "teacher-train.npy", log)
    valid_set = distilled(teacher, sets.valid, state / "teacher-valid.npy", log)
    import_keras().utils.set_random_seed(plan.seed)
    schedule = Schedule(plan.epochs, plan.batch_size, plan.seed, patience=plan.patience)
    build = partial(build_first_stage, card.stamp_px, len(card.bands), plan.widths or WIDTHS)

    def train(model: Any) -> None:
        fit(model, card, train_set, valid_set, schedule, state=state, log=log, name="first stage")

    return in_precision(plan.precision, build, train)


def distilled(teacher: Predictor, data: LabelledStamps, kept: Path, log: Log) -> LabelledStamps:
    """The same stamps, their labels drawn half the way towards the probabilities that the teacher gives them."""
    probability = calibrated(teacher.card, teacher_logits(teacher, data, kept, log).astype(np.float64))[0]
    target = (1 - TEACHER_SHARE) * np.asarray(data.labels["is_lens"], np.float64) + TEACHER_SHARE * probability
    return LabelledStamps(data.task, data.bands, data.stamps, {"is_lens": target.astype(np.float32)})


def teacher_logits(teacher: Predictor, data: LabelledStamps, kept: Path, log: Log) -> np.ndarray:
    """Raw logits (object,) of the teacher, kept in a file as they take the time of an epoch."""
    if not kept.is_file():
        log(f"first stage: {teacher.card.name} scores {len(data)} stamps")
        starts = range(0, len(data), CHUNK)
        parts = [teacher.predict_raw(np.asarray(data.stamps[start : start + CHUNK]))[:, 0] for start in starts]
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.with_suffix(".part").open("wb") as file:
            np.save(file, np.concatenate(parts))
        kept.with_suffix(".part").replace(kept)
    return np.load(kept)


def _measured_alone(
    plan: Plan, teacher: Predictor, model: Any, sets: FirstStageSets, state: Path, log: Log
) -> tuple[Cascade, dict[str, Metric]]:
    """The card's section, and what passes and what is lost."""
    card, own = teacher.card, first_stage_card(teacher.card)
    assert card.prior is not None
    survey = sets.survey()
    logit, y = predicted_raw(model, own, survey)[:, 0].astype(np.float64), np.asarray(survey.labels["is_lens"], bool)
    threshold = round(float(np.quantile(logit[~y], 1 - PASSED)), 4)
    stays, weights = logit < threshold, prior_weights(y, card.prior.training)
    calibration = fit_calibration(logit[stays], y[stays], weights[stays])
    objects = predicted_raw(model, own, sets.objects())[:, 0]
    metrics = {"cascade_passed": passed_metric(objects >= threshold)}
    for prefix, held_out in sets.held_out().items():
        if held_out.mix == "hard":
            continue
        whole = teacher_logits(teacher, held_out.data, state / f"teacher-{prefix}test.npy", log)
        first = predicted_raw(model, own, held_out.data)[:, 0]
        found = first_stage_metrics(first >= threshold, whole, held_out.data.labels["is_lens"])
        metrics |= {f"cascade_{prefix}{name}": metric for name, metric in found.items()}
    cascade = Cascade(
        threshold=threshold,
        temperature=calibration.temperature,
        bias=calibration.bias,
        passed=metrics["cascade_passed"].value,
        lost=metrics["cascade_lost10"].value,
        command=plan.command,
    )
    return cascade, metrics


def _copy(source: Path, out_dir: Path) -> None:
    """The package as it is, without a first stage that it may have."""
    if out_dir.resolve() == source.resolve():
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in (MODEL_FILE, GOLDEN_FILE, CARD_FILE):
        shutil.copyfile(source / name, out_dir / name)
