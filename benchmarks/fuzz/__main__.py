"""Runs the fuzzer and prints what became of the cases: see :mod:`benchmarks.fuzz`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.environment import environment
from benchmarks.fuzz.kinds import KINDS
from benchmarks.fuzz.runner import Tally, run_kind

_HEAD = "| kind | cases | results | our errors | failures | slowest case, CPU s | peak, MB | cases/s |"


def main() -> int:
    """1 where a case failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("kinds", metavar="KIND", nargs="*", help=f"of {', '.join(KINDS)}; all by default; or a module's name")
    parser.add_argument("--kind", action="append", default=[], dest="more", help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=int, default=10_000, metavar="N", help="of each kind")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes at a time")
    parser.add_argument("--case", type=int, metavar="N", help="run this case alone, show it, and leave its files")
    parser.add_argument("--folder", type=Path, help="where the files of the cases are; a temporary folder by default")
    arguments = parser.parse_args()
    alone = arguments.case is not None
    cases = range(arguments.case, arguments.case + 1) if alone else range(arguments.cases)
    tallies = []
    for kind in arguments.kinds + arguments.more or KINDS:
        tallies.append(run_kind(kind, arguments.seed, cases, arguments.jobs, alone, arguments.folder, progress=True))
        _print_failures(tallies[-1])
        _print_words(tallies[-1])
    print(f"\n{environment()}\n\n{_HEAD}\n|{' --- |' * 8}")
    for tally in tallies:
        print(_row(tally))
    return 1 if any(tally.failures for tally in tallies) else 0


def _row(tally: Tally) -> str:
    counts = " | ".join(str(tally.outcomes[name]) for name in ("result", "error", "failure"))
    speed = tally.cases / tally.seconds
    return f"| {tally.kind} | {tally.cases} | {counts} | {tally.slowest[0]:.2f} | {tally.peak_mb[0]:.0f} | {speed:.0f} |"


def _print_failures(tally: Tally) -> None:
    for failure in sorted(tally.failures.values(), key=lambda failure: -len(failure.cases)):
        print(f"\n{tally.kind}: {len(failure.cases)} failed: {failure.word} at {failure.place or 'a place unknown'}")
        print(f"    {failure.text}")
        print(f"    python -m benchmarks.fuzz {tally.kind} --seed {tally.seed} --case {failure.cases[0]}")


def _print_words(tally: Tally) -> None:
    print(f"\n{tally.kind}: " + ", ".join(f"{count} {word}" for word, count in tally.words.most_common(12)))
    print(f"    slowest is case {tally.slowest[1]}, largest case {tally.peak_mb[1]}")
    for text, count in tally.warnings.most_common(8):
        print(f"    {count} cases warn: {text}")


if __name__ == "__main__":
    sys.exit(main())
