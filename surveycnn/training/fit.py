"""Training of one model from nothing: simulate, fit, calibrate, measure, write the package; an interrupted one goes on.

What is simulated and the state of the fit lie in a work folder. The flow ``train`` calls :func:`train`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ConfigError
from surveycnn.inference.predictor import Predictor, load_model
from surveycnn.inference.scaling import scale_stamps
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Domain, Outputs, Prior, Scaling, Task, Training
from surveycnn.models.lens import build_lens
from surveycnn.models.merger import build_merger
from surveycnn.models.morphology import QUESTIONS, build_morphology
from surveycnn.models.package import save_package
from surveycnn.models.photoz import build_photoz
from surveycnn.training.baselines import baseline_metrics
from surveycnn.training.calibration import fit_calibration
from surveycnn.training.data import LabelledStamps, aperture_magnitudes, batches, centre_cut, simulated, sky_noise, targets_of
from surveycnn.training.evaluate import Log, metrics_of, predict_all
from surveycnn.training.losses import loss_of

TASKS = ("lens", "morphology", "merger", "photoz")
PIXEL_SCALE = 0.2
N_COMPONENTS = 5
N_GOLDEN = 4
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
SURVEY_PRIOR = {"lens": 1e-3, "merger": 0.03}
"""Fractions of the sky's galaxies that the probabilities assume; a survey can put its own into the card."""
PRODUCT_VERSION = "0.1.0"
NOTES = (
    "A first, compact network, trained and measured on simulated stamps of this package alone: the metrics say how well it does "
    "on that simulation, not on a real survey. Check it on labelled objects of your own before you rely on its numbers."
)


@dataclass(frozen=True)
class Plan:
    """What a training does; the command in the card repeats it."""

    task: Task
    n_train: int
    n_valid: int
    n_test: int
    seed: int
    epochs: int
    batch_size: int
    conditions: str
    widths: tuple[int, ...] | None = None
    """Channels of the network's stages; None takes those that the shipped models have."""

    @property
    def command(self) -> str:
        values = {key: value for key, value in vars(self).items() if value is not None}
        settings = [f"--set {key}={list(value) if isinstance(value, tuple) else value}" for key, value in values.items()]
        return " ".join(["surveycnn run-flow train", *(setting.replace(", ", ",") for setting in settings)])


def train(
    task: Task,
    out_dir: str | Path,
    *,
    work_dir: str | Path,
    n_train: int = 8_000,
    n_valid: int = 1_500,
    n_test: int = 2_500,
    seed: int = 1,
    epochs: int = 14,
    batch_size: int = 128,
    conditions: str = "wide",
    widths: tuple[int, ...] | None = None,
    n_workers: int = 1,
    log: Log = print,
) -> Card:
    """Train a model of `task` on a simulation and write its package into `out_dir`.

    Parameters
    ----------
    work_dir
        Keeps the simulated stamps and, after each epoch, the state of the fit: the same call goes on from there.
    n_train, n_valid, n_test
        Stamps to fit on, to calibrate on, and to measure the card's metrics on; simulated from the seeds `seed`, + 1, + 2.
    conditions
        Name of the observing conditions of the simulation.
    widths
        Channels of the network's stages, each at half the resolution of the one before; None takes those of the shipped models.

    Raises
    ------
    ConfigError
        Where the task is not known or a number cannot be used.
    """
    plan = Plan(task, n_train, n_valid, n_test, seed, epochs, batch_size, conditions, widths)
    _check(plan)
    work_dir = Path(work_dir)
    sizes = (n_train, n_valid, n_test)
    sets = []
    for offset, n in enumerate(sizes):
        log(f"{task}: {n} stamps, seed {seed + offset}, conditions {conditions}")
        sets.append(
            simulated(task, n, seed=seed + offset, conditions=conditions, folder=work_dir / "stamps", n_workers=n_workers)
        )
    return train_on(plan, sets[0], sets[1], sets[2], out_dir, work_dir=work_dir, log=log)


def train_on(
    plan: Plan,
    train_set: LabelledStamps,
    valid_set: LabelledStamps,
    test_set: LabelledStamps,
    out_dir: str | Path,
    *,
    work_dir: Path,
    log: Log = print,
) -> Card:
    """The same on given stamps."""
    keras = import_keras()
    keras.utils.set_random_seed(plan.seed)
    card = first_card(plan, train_set)
    model = build_model(card, train_set, plan.widths)
    state = work_dir / f"fit-{plan.task}-{hashlib.sha256(plan.command.encode()).hexdigest()[:12]}"
    fit(model, card, train_set, valid_set, plan, state=state, log=log)
    if card.prior is not None:
        raw = Predictor(card, model, kind=keras.backend.backend(), precision="float32", batch_size=256).predict_raw(
            valid_set.stamps
        )
        card = card.model_copy(update={"calibration": fit_calibration(raw[:, 0], targets_of(valid_set, card)[:, 0] > 0.5)})
    golden = centre_cut(np.array(test_set.stamps[:N_GOLDEN]), card.stamp_px)
    scaled = scale_stamps(golden, card.scaling, card.bands)
    save_package(out_dir, model, card, golden, scaled)
    # measured on the package as it was written, through the engine that users get
    metrics = metrics_of(card, predict_all(load_model(Path(out_dir).resolve()), test_set), test_set)
    log(f"{plan.task}: metrics of the baseline")
    metrics |= baseline_metrics(train_set, test_set, card)
    card = save_package(out_dir, model, card.model_copy(update={"metrics": metrics}), golden, scaled)
    for name, metric in metrics.items():
        log(f"{plan.task}: {name} = {metric.value} {list(metric.interval or ())}")
    shutil.rmtree(state, ignore_errors=True)
    return card


def first_card(plan: Plan, data: LabelledStamps) -> Card:
    """Card of a model that is about to be trained on `data`: scaling, priors and domain come from there."""
    keras = import_keras()
    task, outputs, prior = plan.task, Outputs(), None
    if task == "merger":
        times = np.asarray(data.labels["time_myr"])[np.asarray(data.labels["is_merger"], bool)]
        outputs = Outputs(time_mean=round(float(times.mean()), 1), time_scale=round(max(float(times.std()), 1.0), 1))
    elif task == "morphology":
        outputs = Outputs(questions=QUESTIONS)
    elif task == "photoz":
        outputs = Outputs(n_components=N_COMPONENTS)
    if task in SURVEY_PRIOR:
        fraction = float(np.clip(np.mean(data.labels[f"is_{task}"]), 0.01, 0.99))
        prior = Prior(training=round(fraction, 4), survey=SURVEY_PRIOR[task])
    return Card(
        name=task,
        version=PRODUCT_VERSION,
        task=task,
        bands=list(data.bands),
        pixel_scale=PIXEL_SCALE,
        stamp_px=min(32 if task == "photoz" else 64, data.stamps.shape[1]),
        scaling=Scaling(softening={band: round(noise, 3) for band, noise in sky_noise(data).items()}),
        outputs=outputs,
        prior=prior,
        calibration=None if prior is None else Calibration(),
        domain=domain_of(data, plan.conditions),
        training=Training(
            simulation=f"surveycnn.simulation, conditions {plan.conditions}",
            seed=plan.seed,
            n=len(data),
            command=plan.command,
            epochs=plan.epochs,
        ),
        licence="BSD-3-Clause",
        keras=keras.__version__,
        notes=NOTES,
    )


def domain_of(data: LabelledStamps, conditions: str) -> Domain:
    """Ranges of the central 99 % of a set: i magnitudes as measured in a circle of 2 arcsec radius, seeing and depth in i."""
    index = data.bands.index("i")
    starts = range(0, len(data), 2000)
    magnitudes = [aperture_magnitudes(data.stamps[start : start + 2000])[:, index] for start in starts]
    seeing, depth = None, f"conditions {conditions}"
    if {"fwhm_i", "sigma_i"} <= set(data.truth):
        fwhm, noise = (np.asarray(data.truth[name], float) for name in ("fwhm_i", "sigma_i"))
        seeing = _central_range(fwhm)
        five_sigma = 5 * noise * np.sqrt(4 * np.pi) * fwhm / 2.355 / PIXEL_SCALE
        shallowest, deepest = _central_range(31.4 - 2.5 * np.log10(five_sigma))
        depth += f": 5 sigma point sources of {shallowest} to {deepest} mag in i"
    return Domain(band="i", magnitude=_central_range(np.concatenate(magnitudes)), seeing_arcsec=seeing, depth=depth)


def _central_range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [0.005, 0.995])
    return round(float(low), 2), round(float(high), 2)


def build_model(card: Card, data: LabelledStamps, widths: tuple[int, ...] | None = None) -> Any:
    """The network of the task with the shapes of `card`, weights at their start."""
    shape: dict[str, Any] = {"stamp_px": card.stamp_px, "n_bands": len(card.bands)} | (
        {"widths": tuple(widths)} if widths else {}
    )
    if card.task == "lens":
        return build_lens(**shape)
    if card.task == "merger":
        return build_merger(**shape)
    if card.task == "morphology":
        return build_morphology(card.n_outputs, **shape)
    start = np.quantile(data.labels["redshift"], np.linspace(0.1, 0.9, N_COMPONENTS))
    return build_photoz(N_COMPONENTS, **shape, start=list(map(float, start)))


def fit(
    model: Any, card: Card, train_set: LabelledStamps, valid_set: LabelledStamps, plan: Plan, *, state: Path, log: Log
) -> None:
    """Fit the weights in place: AdamW with a cosine to zero; after each epoch the state goes to disk."""
    keras = import_keras()
    data = batches(train_set, card, batch_size=plan.batch_size, seed=plan.seed)
    steps = len(data) * plan.epochs
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=LEARNING_RATE, warmup_steps=max(1, steps // 20))
    # XLA makes it slower on a CPU, by a factor of 1.5 to 2.5
    model.compile(keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=5.0), loss_of(card), jit_compile=False)
    valid = (
        scale_stamps(centre_cut(np.asarray(valid_set.stamps), card.stamp_px), card.scaling, card.bands),
        targets_of(valid_set, card),
    )
    epoch = _restore(model, state)
    while epoch < plan.epochs:
        started, data.epoch = time.monotonic(), epoch
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):  # its random numbers are no part of the state
                layer.seed_generator.state.assign([plan.seed, epoch])
        logs = model.fit(data, initial_epoch=epoch, epochs=epoch + 1, validation_data=valid, shuffle=False, verbose=0).history
        epoch += 1
        _keep(model, state, epoch)
        losses = f"loss {logs['loss'][0]:.4f} valid {logs['val_loss'][0]:.4f}"
        rate_ = len(data) * plan.batch_size / (time.monotonic() - started)
        log(f"{card.task}: epoch {epoch}/{plan.epochs} {losses}, {rate_:.0f} stamps/s")


def _keep(model: Any, state: Path, epoch: int) -> None:
    """Write weights and optimizer after `epoch` epochs; the name holds the epoch, a rename makes it valid."""
    state.mkdir(parents=True, exist_ok=True)
    model.save_weights(state / "part.weights.h5")
    os.replace(state / "part.weights.h5", state / f"epoch-{epoch:04d}.weights.h5")
    for old in sorted(state.glob("epoch-*.weights.h5"))[:-1]:
        old.unlink()


def _restore(model: Any, state: Path) -> int:
    """Epochs done: those of the newest state, whose weights and optimizer are taken, or 0."""
    kept = sorted(state.glob("epoch-*.weights.h5"))
    if not kept:
        return 0
    model.optimizer.build(model.trainable_variables)  # an optimizer that has not started has no places for its moments
    model.load_weights(kept[-1])
    return int(kept[-1].name.split("-")[1].split(".")[0])


def _check(plan: Plan) -> None:
    if plan.task not in TASKS:
        raise ConfigError(f"task {plan.task!r} is not known: expected {', '.join(TASKS)}")
    for key in ("n_train", "n_valid", "n_test", "epochs", "batch_size"):
        if getattr(plan, key) < 1:
            raise ConfigError(f"{key} is {getattr(plan, key)!r}, expected a whole number from 1")
