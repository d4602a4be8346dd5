"""The held-out sets on which all models of a task are measured, ours and those of others: the same stamps for each of them.

A set is the head of one stream of stamps, fixed by its mix, conditions and seed; no training takes these seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surveycnn.training.data import LabelledStamps, Log, simulated
from surveycnn.training.plan import Plan

HELD_OUT_SEED = 3010
"""Of the first of the sets; the others follow."""
SHIFTED = "shifted"
N_HARD = 8_000
POPULATION_SHARE = 3
"""Stamps of the test set of mergers per encounter of the whole population."""


def n_shifted(n: int) -> int:
    """Stamps of a challenge under shifted conditions beside one of `n`: half of them, enough for rates of 1e-3."""
    return max(1, n // 2)


@dataclass(frozen=True)
class HeldOut:
    """Stamps and the mix of kinds that they hold."""

    mix: str
    data: LabelledStamps


def held_out_sets(plan: Plan, folder: Path, n_workers: int, log: Log) -> dict[str, HeldOut]:
    """The sets of a task by the prefix of their metrics, each also under shifted conditions.

    Lenses: the challenge and the hard set. Mergers: the mix that is trained on, and encounters whether their tides show or not.
    """
    sets = {}
    for offset, (prefix, mix, conditions, n) in enumerate(_wanted(plan)):
        seed = HELD_OUT_SEED + offset
        data = simulated(plan.task, n, seed=seed, conditions=conditions, mix=mix, folder=folder, n_workers=n_workers, log=log)
        sets[prefix] = HeldOut(mix, data)
    return sets


def _wanted(plan: Plan) -> tuple[tuple[str, str, str, int], ...]:
    """Prefix, mix, conditions and number of stamps of each set, in the order of their seeds."""
    mix = "survey" if plan.task == "lens" else "train"
    main = ("", mix, plan.conditions, plan.n_test)
    shifted = ("shifted_", mix, SHIFTED, n_shifted(plan.n_test))
    if plan.task == "lens":
        n_hard = plan.n_hard or N_HARD
        return main, ("hard_", "hard", plan.conditions, n_hard), shifted, ("shifted_hard_", "hard", SHIFTED, n_hard)
    if plan.task == "merger":
        return main, shifted, ("population_", "population", plan.conditions, max(1, plan.n_test // POPULATION_SHARE))
    return main, shifted
