"""The markdown summary of a run: what was found, what is missing and why, what it took, where everything is, what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surveycnn.catalogs.source import PROVENANCE
from surveycnn.run.accounting import performance_line
from surveycnn.run.publish import SurveyResult
from surveycnn.run.status import STATES

SHOWN = 20
"""Tiles that are listed with their reason; `surveycnn status` has them all."""


def summary_markdown(name: str, result: SurveyResult) -> str:
    """Markdown of a published survey."""
    tiles = result.status.tiles
    parts = [
        f"# Survey {name}",
        f"**{result.n_sources} sources** ({result.n_primary} primary) from {tiles.total()} tiles.",
        _table(["tiles", "number"], [[state, tiles[state]] for state in STATES if tiles[state]]),
        *_problems(result),
        *(["## Notes", "\n".join(f"- {note}" for note in result.notes)] if result.notes else []),
        *_performance(result.performance),
        "## Where it is",
        _table(["", ""], [[what, f"`{path}`"] for what, path in places(result).items()]),
        "## Next",
        "```\n" + "\n".join(_next(result)) + "\n```",
    ]
    return "\n\n".join(parts)


def places(result: SurveyResult) -> dict[str, str]:
    """Absolute paths of what the run has made, by what it is."""
    output = Path(result.output).absolute()
    there = {"catalog": output, "report": output / "report.html", "provenance": output / PROVENANCE}
    return {what: str(path) for what, path in there.items() if path.exists()}


def _problems(result: SurveyResult) -> list[str]:
    problems = result.status.problems
    if not problems:
        return []
    rows = [[problem["mosaic"], problem["tile"], problem["state"], problem["reason"]] for problem in problems[:SHOWN]]
    more = f"\n\nand {len(problems) - SHOWN} more: `surveycnn status {result.output}`" if len(problems) > SHOWN else ""
    return ["## Tiles that are not in the catalog", _table(["mosaic", "tile", "state", "reason"], rows) + more]


def _performance(report: dict[str, Any]) -> list[str]:
    if not report.get("tiles"):
        return []
    seconds = [[stage, value] for stage, value in report["seconds"].items()]
    workers = report.get("workers")
    rows = [[key.replace("_", " "), value] for key, value in workers.items()] if isinstance(workers, dict) else []
    rows += [["efficiency (busy over paid)", f"{100 * report['efficiency']:.0f} %"]] if report.get("efficiency") else []
    return ["## What it took", performance_line(report), _table(["stage", "seconds"], seconds)] + (
        [_table(["workers", ""], rows)] if rows else []
    )


def _next(result: SurveyResult) -> list[str]:
    commands = [f"surveycnn {command} {result.output}" for command in ("columns", "query", "verify --sample 3")]
    return commands + (
        [] if result.is_complete else [f"surveycnn status {result.output}   # the same run again tries these tiles"]
    )


def _table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
