"""The simulated sets of an evaluation: what methods are trained on, and the stamps that all of a task are measured on.

No set that is measured on has a seed that a model or a method was trained with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surveycnn.errors import ConfigError
from surveycnn.evaluation.config import EvaluateConfig
from surveycnn.models.card import Card
from surveycnn.training.data import LabelledStamps, Log, simulated
from surveycnn.training.held_out import SHIFTED, n_shifted

TRAINING_SEEDS = 20
"""Seeds from that of a card on, which its training may have used for its parts."""
TEST, SHIFTED_TEST = "test", "shifted"


@dataclass(frozen=True)
class SetSpec:
    """One set of stamps, fixed by these values."""

    role: str
    """train, valid, test or shifted."""
    task: str
    mix: str
    conditions: str
    n: int
    seed: int


def measured_sets(config: EvaluateConfig, task: str, mix: str) -> list[SetSpec]:
    """What is measured on: the survey of the configuration, and a worse one."""
    found = [SetSpec(TEST, task, mix, config.conditions, config.n, config.seed)]
    if config.shifted:
        found.append(SetSpec(SHIFTED_TEST, task, mix, SHIFTED, n_shifted(config.n), config.seed + 3))
    return found


def training_sets(config: EvaluateConfig, task: str, mix: str) -> tuple[SetSpec, SetSpec]:
    """What methods are trained on, and what stops them."""
    seed = config.seed + 1 if config.train_seed is None else config.train_seed
    return (
        SetSpec("train", task, mix, config.conditions, config.n_train, seed),
        SetSpec("valid", task, mix, config.conditions, config.n_valid, seed + 1),
    )


def check_seeds(first: int, seeds: Iterable[int], card: Card) -> None:
    """Raise ConfigError where one of the seeds, which begin with `first`, could give stamps that the model was trained on."""
    used = range(card.training.seed, card.training.seed + TRAINING_SEEDS)
    shared = sorted(set(seeds) & set(used))
    if shared:
        raise ConfigError(
            f"key 'seed': {first} takes the seed {shared[0]}, but the model {card.name!r} was trained with seeds from "
            f"{used.start} to {used.stop - 1} at most: choose a seed of {used.stop} or more"
        )


def check_mix(mix: str, conditions: str, task: str) -> None:
    """Raise ConfigError where the simulation has no such mix of the task, or no such conditions."""
    from surveycnn.simulation.conditions import find_conditions
    from surveycnn.simulation.stamps import TASKS

    if mix not in TASKS[task].mixes:
        raise ConfigError(f"key 'mix': the task {task!r} has no mix {mix!r}, expected one of {', '.join(TASKS[task].mixes)}")
    find_conditions(conditions)


def open_set(spec: SetSpec, folder: Path, n_workers: int, log: Log) -> LabelledStamps:
    """Stamps of a set, simulated under `folder` where they are not there yet.

    Raises
    ------
    ConfigError
        Where a set for lenses has no lens, or nothing else.
    """
    data = simulated(
        spec.task,
        spec.n,
        seed=spec.seed,
        conditions=spec.conditions,
        folder=folder,
        mix=spec.mix,
        n_workers=n_workers,
        log=log,
    )
    if spec.task == "lens":
        n_lenses = int(np.sum(data.labels["is_lens"]))
        if not 0 < n_lenses < len(data):
            raise ConfigError(
                f"the set {spec.role!r} of {len(data)} stamps of the mix {spec.mix!r} has {n_lenses} lenses, "
                "expected both kinds: raise n or take another mix"
            )
    return data
