"""What a run has come to, for people: what was found, what is missing and why, where everything is, and what to type next.

The end of a command and the markdown of :mod:`surveycnn.flows.summary` are made of the same facts.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surveycnn.catalogs.source import PROVENANCE, REPORT
from surveycnn.run.accounting import performance_line
from surveycnn.run.status import STATES, where_to_look

if TYPE_CHECKING:
    from surveycnn.run.publish import SurveyResult

SHOWN = 20
"""Tiles that are listed with their reason; `surveycnn status` has them all."""
N_TOP = 10
RANKS = ("lens_prob", "merger_prob", "lens_logit", "merger_logit", "morph_domain")
"""Columns by which rows are worth looking at, the first one that a catalog has."""


def ranked_by(columns: Collection[str]) -> str | None:
    """Column for the first look at a catalog: of a finder of ours, of another model, or the brightness.

    >>> ranked_by(["source_id", "flux_g", "flux_r", "z_phot"]), ranked_by(["flux_g", "merger_prob"]), ranked_by(["ra"])
    ('flux_g', 'merger_prob', None)
    """
    known = [name for name in RANKS if name in columns]
    scores = [name for name in columns if name.endswith(("_prob", "_score", "_logit"))]
    fluxes = [name for name in columns if name.startswith("flux_") and not name.startswith("flux_err_")]
    return next(iter([*known, *scores, *(name for name in fluxes if name != "flux_radius")]), None)


def found_line(result: SurveyResult) -> str:
    """Sources, and tiles by state."""
    tiles = result.status.tiles
    states = ", ".join(f"{tiles[state]} {state}" for state in STATES if tiles[state])
    return f"{result.n_sources} sources ({result.n_primary} primary) from {tiles.total()} tiles: {states}"


def shown_problems(result: SurveyResult) -> tuple[list[dict[str, Any]], str]:
    """The first tiles that are not in the catalog, and a line about the others; empty where all are shown."""
    problems = result.status.problems
    n_more = len(problems) - SHOWN
    return problems[:SHOWN], f"and {n_more} more: `{status_command(result)}`" if n_more > 0 else ""


def places(result: SurveyResult) -> dict[str, Path]:
    """What the run has made, by what it is, as far as it is there."""
    there = {"catalog": result.output, "report": result.output / REPORT, "provenance": result.output / PROVENANCE}
    return {what: path for what, path in there.items() if path.exists()}


def next_commands(result: SurveyResult) -> list[str]:
    """Commands that are worth typing next."""
    catalog = _word(result.output)
    commands = (
        [f"surveycnn query {catalog} --top {N_TOP} --by {result.ranked_by}"] if result.n_sources and result.ranked_by else []
    )
    commands += [f"surveycnn view {catalog}"] if result.n_sources else []
    commands += [] if "report" in places(result) else [f"surveycnn report {catalog}"]
    commands += [f"surveycnn verify {catalog} --sample 3"]
    return commands + ([] if result.is_complete else [f"{status_command(result)}   # the same run again tries these tiles"])


def status_command(result: SurveyResult) -> str:
    """The command that says why tiles are missing."""
    is_inside = result.work_dir is None or result.work_dir == result.output / "work"
    return f"surveycnn status {_word(result.output if is_inside else Path(str(result.work_dir)))}"


def run_lines(result: SurveyResult) -> list[str]:
    """What was found, what is missing and why, and what it took."""
    problems, more = shown_problems(result)
    lines = [found_line(result), *result.notes]
    lines += [f"{p['state']}: tile {p['tile']} of {p['mosaic']}: {p['reason']}{where_to_look(p)}" for p in problems]
    lines += [more] if more else []
    return lines + ([performance_line(result.performance)] if result.performance["tiles"] else [])


def closing_lines(result: SurveyResult) -> list[str]:
    """Where the catalog and its report are, and the next commands."""
    shown = [f"{what + ':':<9}{short(path)}" for what, path in places(result).items() if what != "provenance"]
    commands = next_commands(result)
    return [*shown, *(f"{'next:' if not number else '':<9}{command}" for number, command in enumerate(commands))]


def short(path: Path) -> Path:
    """`path` as seen from the current folder, where it lies in it."""
    path, here = Path(path).absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _word(path: Path) -> str:
    return shlex.quote(str(short(path)))
