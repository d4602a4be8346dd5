"""The soak: a survey under random kills of its driver, workers and scheduler gives the catalog of a quiet run, every time.

    python -m benchmarks.soak [--kills 50] [--seeds 1 2 3 4 5] [--minutes 60] [--folder runs/soak]

Each seed is two rounds: on `cluster: local`, whose scheduler and driver are one process, and on a scheduler and workers of their
own, which are started again as they end. A round starts the same command again and again until its kills are spent and the
catalog is published. Moments are drawn at random within phases of the run, phases that were rarely met first. Then everything is
compared with a run that nobody has disturbed: rows of every format bit by bit, files, status; `surveycnn verify` computes tiles
again. The last seed runs with Prefect; with even seeds Dask gives up on a task at the first death of its worker, so that the run
itself has to settle what was lost.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environment import environment, table
from benchmarks.soak.moments import PHASES, Files
from benchmarks.soak.processes import run_environment
from benchmarks.soak.rounds import VICTIMS, Round, Setting, run_round, survey_command
from benchmarks.soak.sky import write_survey
from surveycnn.config import load_config
from surveycnn.run.plan import make_plan

CLUSTERS = ("local", "own")
HERE = Path(__file__).resolve().parent


def main() -> int:
    """0 where every round gave the catalog of the quiet run, else 1."""
    arguments = _parse()
    folder, started = arguments.folder.resolve(), time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts behind itself ignores it, and its children too
    print(environment())
    survey = write_survey(folder / "sky")
    quiet = folder / "quiet"
    with (folder / "quiet.log").open("w") as log:
        subprocess.run(survey_command(survey, quiet, "local"), env=run_environment(folder, 3), stderr=log, stdout=log, check=True)
    plan = make_plan(load_config(survey))
    print(f"quiet run: {plan.n_tiles} tiles of {len(plan.mosaics)} mosaics, {time.monotonic() - started:.0f} s", flush=True)
    tally: Counter[tuple[str, str]] = Counter()
    rounds = []
    for setting in _settings(arguments, survey, quiet, folder, plan.n_tiles, len(plan.mosaics)):
        if time.monotonic() - started > 60 * arguments.minutes:
            print(f"{arguments.minutes:g} minutes are over: the rest is left out")
            break
        rounds.append(run_round(setting, tally))
        _print_round(rounds[-1])
        if not rounds[-1].findings:
            shutil.rmtree(setting.folder)
    _print_summary(rounds, tally, time.monotonic() - started)
    return int(any(one.findings for one in rounds))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="in all, shared evenly by the rounds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--clusters", nargs="+", choices=CLUSTERS, default=CLUSTERS)
    parser.add_argument("--no-prefect", action="store_true", help="the last seed too")
    parser.add_argument("--minutes", type=float, default=120, help="no round is begun after them")
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / "runs" / "soak", help="emptied first")
    return parser.parse_args()


def _settings(
    arguments: argparse.Namespace, survey: Path, quiet: Path, folder: Path, n_tiles: int, n_mosaics: int
) -> Iterator[Setting]:
    """Settings of the rounds; their kills add up to what was asked for."""
    pairs = [(seed, cluster) for seed in arguments.seeds for cluster in arguments.clusters]
    for number, (seed, cluster) in enumerate(pairs):
        n_kills = arguments.kills * (number + 1) // len(pairs) - arguments.kills * number // len(pairs)
        here = folder / f"round{number}"
        yield Setting(
            survey=survey,
            quiet=quiet,
            folder=here,
            cluster=cluster,
            with_prefect=not arguments.no_prefect and len(arguments.seeds) > 1 and seed == arguments.seeds[-1],
            allowed_failures=3 if seed % 2 else 0,
            seed=seed,
            n_kills=n_kills,
            files=Files(here / "out", n_mosaics, n_tiles),
        )


def _print_round(one: Round) -> None:
    state = "identical" if not one.findings else "DIFFERENT"
    print(f"{one.name}: {len(one.kills)} kills, {len(one.ends)} starts, {one.seconds:.0f} s: {state}")
    for kill in one.kills:
        print(f"    {kill.signal} {kill.victim} in {kill.phase}, {kill.seconds:.1f} s after the start")
    print(f"    exit codes {one.ends}")
    for finding in one.findings:
        print(f"    {finding}")
    sys.stdout.flush()


def _print_summary(rounds: list[Round], tally: Counter[tuple[str, str]], seconds: float) -> None:
    rows = [
        [phase, *(tally[victim, phase] or "" for victim in VICTIMS), sum(tally[victim, phase] for victim in VICTIMS)]
        for phase in PHASES
    ]
    totals = [sum(tally[victim, phase] for phase in PHASES) for victim in VICTIMS]
    print(table(["phase", *VICTIMS, "kills"], [*rows, ["all", *totals, tally.total()]]))
    signals = Counter(kill.signal for one in rounds for kill in one.kills)
    n_same = sum(not one.findings for one in rounds)
    print(f"signals: {', '.join(f'{count} {name}' for name, count in signals.most_common())}")
    print(
        f"{n_same} of {len(rounds)} catalogs identical to the quiet run's, {sum(len(one.ends) for one in rounds)} starts, ",
        end="",
    )
    print(f"{seconds / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(main())
