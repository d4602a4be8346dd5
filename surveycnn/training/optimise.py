"""The fit of a network's weights: after each epoch the state goes to disk, and the same call goes on from there."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveycnn.inference.engines import as_argument
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card
from surveycnn.training.data import LabelledStamps, Log, batches, inputs_of, targets_of
from surveycnn.training.losses import loss_of

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
) -> None:
    """Fit the weights in place with AdamW; `state` is the folder of the unfinished fit, `name` goes into the log."""
    data = batches(train_set, card, batch_size=schedule.batch_size, seed=schedule.seed)
    _compile(model, card, schedule, steps=len(data) * schedule.epochs)
    valid = (as_argument(inputs_of(valid_set, card)), targets_of(valid_set, card))
    epoch, losses = _restore(model, state)
    while epoch < schedule.epochs and not _is_over(losses, schedule.patience):
        started, data.epoch = time.monotonic(), epoch
        _seed_dropout(model, schedule.seed, epoch)
        logs = model.fit(data, initial_epoch=epoch, epochs=epoch + 1, validation_data=valid, shuffle=False, verbose=0).history
        epoch += 1
        losses.append(logs["val_loss"][0])
        _keep(model, state, losses)
        rate = len(data) * schedule.batch_size / (time.monotonic() - started)
        text = f"loss {logs['loss'][0]:.4f} valid {losses[-1]:.4f}, {rate:.0f} stamps/s"
        log(f"{name or card.task}: epoch {epoch}/{schedule.epochs} {text}")
    if schedule.patience is not None:
        model.load_weights(state / _BEST)


def _compile(model: Any, card: Card, schedule: Schedule, steps: int) -> None:
    keras = import_keras()
    peak = schedule.learning_rate
    rate = keras.optimizers.schedules.CosineDecay(peak / 30, steps, warmup_target=peak, warmup_steps=max(1, steps // 20))
    # XLA makes it slower on a CPU, by a factor of 1.5 to 2.5
    model.compile(keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=5.0), loss_of(card), jit_compile=False)


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


def _restore(model: Any, state: Path) -> tuple[int, list[float]]:
    """Epochs done and their validation losses: those of the newest state, whose weights and optimizer are taken, or none."""
    kept = sorted(state.glob("epoch-*.weights.h5"))
    if not kept:
        return 0, []
    model.optimizer.build(model.trainable_variables)  # an optimizer that has not started has no places for its moments
    model.load_weights(kept[-1])
    epoch = int(kept[-1].name.split("-")[1].split(".")[0])
    return epoch, json.loads((state / _LOSSES).read_text())[:epoch]
