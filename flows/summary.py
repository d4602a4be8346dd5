"""The markdown summary of a run: what was found, what is missing and why, what it took, where everything is, what to do next."""

from __future__ import annotations

from typing import Any

from surveycnn.run.accounting import performance_line
from surveycnn.run.publish import SurveyResult
from surveycnn.run.status import STATES
from surveycnn.run.summary import next_commands, places, shown_problems


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
        _table(["", ""], [[what, f"`{path.absolute()}`"] for what, path in places(result).items()]),
        "## Next",
        "```\n" + "\n".join(next_commands(result)) + "\n```",
    ]
    return "\n\n".join(parts)


def _problems(result: SurveyResult) -> list[str]:
    problems, more = shown_problems(result)
    if not problems:
        return []
    rows = [[problem["mosaic"], problem["tile"], problem["state"], problem["reason"]] for problem in problems]
    return ["## Tiles that are not in the catalog", _table(["mosaic", "tile", "state", "reason"], rows), *filter(None, [more])]


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


def _table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
