"""The fit of a network's weights: after each epoch the state goes to disk, and the same call goes on from there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.inference.engines import as_argument
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card
from surveycnn.training.data import LabelledStamps, Log, batches, inputs_of, targets_of
from surveycnn.training.losses import Loss, loss_of

LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
_BEST = "best.weights.h5"
_LOSSES = "losses.json"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns."""

    epochs: int
    batch_size: int
    seed: int
    learning_rate: float = LEARNING_RATE
    """At its peak, after a twentieth of the steps; a cosine brings it to zero."""
    patience: int | None = None
    """Epochs without a better validation loss after which the fit stops; the best epoch's weights are kept."""
    weight_decay: float = WEIGHT_DECAY
    rates: Mapping[str, float] = field(default_factory=dict)
    """Factor on the learning rate of the weights whose paths begin with a layer's name; 1 where it is not named."""
    may_stay: bool = False
    """Whether the weights at the start are the best ones where no epoch is better; for networks that are trained already."""


def fit(
    model: Any,
    card: Card,
    train_set: LabelledStamps,
    valid_set: LabelledStamps,
    schedule: Schedule,
    *,
    state: Path,
    log: Log,
    name: str = "",
    loss: Loss | None = None,
    valid_weights: np.ndarray | None = None,
) -> list[float]:
    """Fit the weights in place with AdamW, and give the validation losses, first that of the start where it may stay.

    Parameters
    ----------
    state
        Folder of the unfinished fit.
    name
        Goes into the log.
    loss
        None takes that of the task.
    valid_weights
        (object,) of the stamps of the validation set; None counts all the same.
    """
    data = batches(train_set, card, batch_size=schedule.batch_size, seed=schedule.seed)
    _compile(model, loss or loss_of(card), schedule, steps=len(data) * schedule.epochs)
    valid: tuple[Any, ...] = (as_argument(inputs_of(valid_set, card)), targets_of(valid_set, card))
    valid += () if valid_weights is None else (np.float32(valid_weights * len(valid_weights) / valid_weights.sum()),)
    losses = _restore(model, state)
    if schedule.may_stay and not losses:
        model.optimizer.build(model.trainable_variables)  # its state is part of what is kept
        losses.append(float(model.evaluate(*valid[:2], sample_weight=valid[2] if len(valid) > 2 else None, verbose=0)))
        _keep(model, state, losses)
    while (epoch := len(losses) - schedule.may_stay) < schedule.epochs and not _is_over(losses, schedule.patience):
        started, data.epoch = time.monotonic(), epoch
        _seed_dropout(model, schedule.seed, epoch)
        logs = model.fit(data, initial_epoch=epoch, epochs=epoch + 1, validation_data=valid, shuffle=False, verbose=0).history
        losses.append(logs["val_loss"][0])
        _keep(model, state, losses)
        rate = len(data) * schedule.batch_size / (time.monotonic() - started)
        text = f"loss {logs['loss'][0]:.4f} valid {losses[-1]:.4f}, {rate:.0f} stamps/s"
        log(f"{name or card.task}: epoch {epoch + 1}/{schedule.epochs} {text}")
    if schedule.patience is not None or schedule.may_stay:
        model.load_weights(state / _BEST)
    return losses


def _compile(model: Any, loss: Loss, schedule: Schedule, steps: int) -> None:
    keras = import_keras()
    peak = schedule.learning_rate
    rate = keras.optimizers.schedules.CosineDecay(peak / 30, steps, warmup_target=peak, warmup_steps=max(1, steps // 20))
    # XLA makes it slower on a CPU, by a factor of 1.5 to 2.5
    optimizer = _layerwise(schedule.rates)(rate, weight_decay=schedule.weight_decay, clipnorm=5.0)
    model.compile(optimizer, loss, jit_compile=False)


def _layerwise(rates: Mapping[str, float]) -> Any:
    """AdamW whose learning rate differs from layer to layer."""
    base: Any = import_keras().optimizers.AdamW
    ops = import_keras().ops
    if not rates:
        return base

    class LayerwiseAdamW(base):
        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
            factors = [rates.get(variable.path.split("/")[0], 1.0) for variable in variables]
            before = [ops.copy(variable.value) for variable in variables]
            super().apply(grads, trainable_variables)
            for variable, old, factor in zip(variables, before, factors, strict=True):
                if factor != 1.0:
                    variable.assign(old + factor * (variable.value - old))

    return LayerwiseAdamW


def _is_over(losses: list[float], patience: int | None) -> bool:
    """Whether the last `patience` epochs have not been better than the best before them."""
    return patience is not None and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Dropout's random numbers are no part of the state on disk: they follow from the epoch."""
    for layer in model.layers:
        if isinstance(layer, import_keras().layers.Dropout):
            layer.seed_generator.state.assign([seed, epoch])


def _keep(model: Any, state: Path, losses: list[float]) -> None:
    """Write weights and optimizer after the last epoch; the name holds the epoch, a rename makes it valid."""
    state.mkdir(parents=True, exist_ok=True)
    model.save_weights(state / "part.weights.h5")
    if losses[-1] <= min(losses):
        model.save_weights(state / "part-best.weights.h5")
        os.replace(state / "part-best.weights.h5", state / _BEST)
    (state / f"{_LOSSES}.part").write_text(json.dumps(losses))
    os.replace(state / f"{_LOSSES}.part", state / _LOSSES)
    os.replace(state / "part.weights.h5", state / f"epoch-{len(losses):04d}.weights.h5")
    for old in sorted(state.glob("epoch-*.weights.h5"))[:-1]:
        old.unlink()


def _restore(model: Any, state: Path) -> list[float]:
    """Validation losses of the epochs done: those of the newest state, whose weights and optimizer are taken, or none."""
    kept = sorted(state.glob("epoch-*.weights.h5"))
    if not kept:
        return []
    model.optimizer.build(model.trainable_variables)  # an optimizer that has not started has no places for its moments
    model.load_weights(kept[-1])
    epoch = int(kept[-1].name.split("-")[1].split(".")[0])
    return list(json.loads((state / _LOSSES).read_text())[:epoch])
