"""The simulated sets of a challenge: what methods are trained on, and the held-out stamps that all are measured on.

Every set has a seed of its own; stamps stay on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from surveycnn.challenge.config import ChallengeConfig
from surveycnn.errors import ConfigError
from surveycnn.evaluation.sets import check_seeds as check_seeds_of
from surveycnn.models.card import Card
from surveycnn.training.data import LabelledStamps, simulated
from surveycnn.training.held_out import SHIFTED, n_shifted

Mix = Literal["train", "survey", "hard", "lenses"]


@dataclass(frozen=True)
class SetSpec:
    """One set of stamps, fixed by these values."""

    name: str
    mix: Mix
    conditions: str
    n: int
    seed: int

    @property
    def is_hard(self) -> bool:
        return self.mix == "hard"

    @property
    def is_population(self) -> bool:
        """Whether it holds lenses alone, the undetectable ones too."""
        return self.mix == "lenses"


def training_sets(config: ChallengeConfig) -> tuple[SetSpec, SetSpec]:
    """What the methods are trained on, and what stops and calibrates them."""
    return (
        SetSpec("train", "train", config.conditions, config.n_train, config.seed),
        SetSpec("valid", "train", config.conditions, config.n_valid, config.seed + 1),
    )


def held_out_sets(config: ChallengeConfig) -> list[SetSpec]:
    """What all finders are measured on: challenge and hard set, both again as a worse survey sees them, and lenses alone."""
    found = []
    for offset, (suffix, conditions) in enumerate((("", config.conditions), ("_shifted", SHIFTED))[: 1 + config.shifted]):
        n = config.n_challenge if conditions != SHIFTED else n_shifted(config.n_challenge)
        found.append(SetSpec(f"challenge{suffix}", "survey", conditions, n, config.seed + 10 + 2 * offset))
        found.append(SetSpec(f"hard{suffix}", "hard", conditions, config.n_hard, config.seed + 11 + 2 * offset))
    return [*found, SetSpec("population", "lenses", config.conditions, config.n_population, config.seed + 14)]


def check_seeds(config: ChallengeConfig, card: Card) -> None:
    """Raise ConfigError where a set of the challenge could hold stamps that the model was trained on."""
    check_seeds_of(config.seed, {spec.seed for spec in (*training_sets(config), *held_out_sets(config))}, card)


def open_set(spec: SetSpec, folder: Path, n_workers: int) -> LabelledStamps:
    """Stamps of a set, simulated under `folder` where they are not there yet.

    Raises
    ------
    ConfigError
        Where a set is so small that it has no lens or no negative.
    """
    data = simulated("lens", spec.n, seed=spec.seed, conditions=spec.conditions, mix=spec.mix, folder=folder, n_workers=n_workers)
    n_lenses = int(is_lens(data).sum())
    if not spec.is_population and not 0 < n_lenses < len(data):
        key = {"challenge": "n_challenge", "hard": "n_hard", "train": "n_train", "valid": "n_valid"}[spec.name.split("_")[0]]
        raise ConfigError(f"the set {spec.name!r} of {len(data)} stamps has {n_lenses} lenses, expected both kinds: raise {key}")
    return data


def is_lens(data: LabelledStamps) -> np.ndarray:
    """Labels (object,) bool."""
    return np.asarray(data.labels["is_lens"], bool)
