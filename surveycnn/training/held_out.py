"""The held-out sets on which all lens finders are measured, ours and those of the challenge: the same stamps for each of them.

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


def n_shifted(n: int) -> int:
    """Stamps of a challenge under shifted conditions beside one of `n`: half of them, enough for rates of 1e-3."""
    return max(1, n // 2)


@dataclass(frozen=True)
class HeldOut:
    """Stamps and the mix of kinds that they hold."""

    mix: str
    data: LabelledStamps


def held_out_sets(plan: Plan, folder: Path, n_workers: int, log: Log) -> dict[str, HeldOut]:
    """The challenge, the hard set, and both under shifted conditions, by the prefix of their metrics."""
    sets = {}
    n_hard = plan.n_hard or N_HARD
    wanted = (
        ("", "survey", plan.conditions, plan.n_test),
        ("hard_", "hard", plan.conditions, n_hard),
        ("shifted_", "survey", SHIFTED, n_shifted(plan.n_test)),
        ("shifted_hard_", "hard", SHIFTED, n_hard),
    )
    for offset, (prefix, mix, conditions, n) in enumerate(wanted):
        seed = HELD_OUT_SEED + offset
        data = simulated("lens", n, seed=seed, conditions=conditions, mix=mix, folder=folder, n_workers=n_workers, log=log)
        sets[prefix] = HeldOut(mix, data)
    return sets
