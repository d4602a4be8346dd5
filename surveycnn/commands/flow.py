"""``surveycnn run-flow``: one table says for each flow what configures it, and its function with and without Prefect."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveycnn.config import SurveyConfig, load_config
from surveycnn.errors import ConfigError, printable
from surveycnn.flows.interrupts import StoppableProgress, interruptible, raising_interrupts, stop_event
from surveycnn.run.process import tune_process
from surveycnn.run.progress import is_live
from surveycnn.sections import Strict, apply_overrides, read_yaml, validate_section


@dataclass(frozen=True)
class FlowEntry:
    """Where the parts of a flow are; imported when it runs."""

    config: str
    """``module:class`` of its configuration; empty for a survey."""
    plain: str
    """``module:function`` without Prefect."""
    engine: str
    """``module:flow`` with Prefect."""
    is_watch: bool = False
    """Whether it finds out by itself what can be run already, and runs it with --update."""
    needs: tuple[str, ...] = ()
    """Packages of the extra `simulation` without which it cannot do anything."""


_DRAWING = ("galsim", "lenstronomy")

FLOWS = {
    "survey": FlowEntry("", "surveycnn.run.survey:run_survey", "surveycnn.flows.survey:survey"),
    "ingest": FlowEntry("", "surveycnn.run.survey:run_ingest", "surveycnn.flows.ingest:ingest"),
    "infer": FlowEntry("", "surveycnn.run.survey:run_infer", "surveycnn.flows.infer:infer"),
    "publish": FlowEntry("", "surveycnn.run.survey:run_publish", "surveycnn.flows.publish:publish"),
    "watch": FlowEntry("", "surveycnn.flows.watching:run_watch", "surveycnn.flows.watch:watch", is_watch=True),
    "demo": FlowEntry(
        "surveycnn.run.demo:DemoConfig", "surveycnn.run.demo:run_demo", "surveycnn.flows.demo:demo", needs=_DRAWING
    ),
    "simulate": FlowEntry(
        "surveycnn.run.simulate:SimulateConfig",
        "surveycnn.run.simulate:run_simulate",
        "surveycnn.flows.simulate:simulate",
        needs=_DRAWING,
    ),
    "train": FlowEntry(
        "surveycnn.training.config:TrainConfig", "surveycnn.labels.run:run_training", "surveycnn.flows.train:train"
    ),  # says by itself what it needs: labels alone need nothing to draw
    "evaluate": FlowEntry(
        "surveycnn.evaluation.config:EvaluateConfig",
        "surveycnn.evaluation.run:run_evaluate",
        "surveycnn.flows.evaluate:evaluate",
        needs=_DRAWING,
    ),
    "challenge": FlowEntry(
        "surveycnn.challenge.config:ChallengeConfig",
        "surveycnn.challenge.run:run_challenge",
        "surveycnn.flows.challenge:challenge",
        needs=_DRAWING,
    ),
}


def run(arguments: argparse.Namespace) -> int:
    """Run a flow; the exit code says whether all tiles are in the catalog."""
    entry = FLOWS[arguments.name]
    if arguments.update and (entry.config or entry.is_watch):
        surveys = ", ".join(name for name, other in FLOWS.items() if not (other.config or other.is_watch))
        raise ConfigError(
            f"--update is for the flows {surveys}, not for {arguments.name!r}: leave it out, or start over with --fresh"
        )
    missing = [name for name in entry.needs if importlib.util.find_spec(name) is None]
    if missing:
        found = f"the flow {arguments.name!r} draws galaxies with {' and '.join(missing)}, which cannot be found"
        raise ConfigError(f"{found}: pip install 'surveycnn[simulation]'")
    config = flow_config(arguments.name, arguments.config, arguments.overrides)
    tune_process()  # this process may be the one that runs the tiles
    ways = {"fresh": arguments.fresh} | ({"update": True} if arguments.update else {})
    with interruptible():
        result = (_run_plain if arguments.no_prefect else _run_engine)(entry, config, ways)
    text = printable(result.summary() if hasattr(result, "summary") else _summary(result))
    print(_linked(text) if is_live(sys.stdout) else text)
    return 0 if getattr(result, "is_complete", True) else 3


def _linked(text: str) -> str:
    """`text` with the page of a run as a link that terminals open."""

    def link(found: re.Match[str]) -> str:
        return f"{found[1]}\x1b]8;;{Path(found[2]).absolute().as_uri()}\x1b\\{found[2]}\x1b]8;;\x1b\\"

    return re.sub(r"^(report: +)(.+\.html)$", link, text, flags=re.MULTILINE)


def flow_config(name: str, path: str | None, overrides: list[str]) -> Strict:
    """Configuration of the flow `name` from a file, or from its defaults, and ``key=value`` strings.

    Raises
    ------
    ConfigError
        Where a survey has no file, or a key or value cannot be used.
    """
    entry = FLOWS[name]
    if not entry.config:
        if path is None:
            raise ConfigError(f"the flow {name!r} needs a configuration: surveycnn run-flow {name} CONFIG.yaml")
        return load_config(path, overrides)
    tree = apply_overrides(read_yaml(Path(path)) if path else {}, overrides)
    section: type[Strict] = _load(entry.config)
    return validate_section(section, tree, path or f"flow {name}")


def _run_plain(entry: FlowEntry, config: Strict, ways: dict[str, bool]) -> Any:
    from surveycnn.run.progress import open_progress

    with open_progress() as progress:
        return _load(entry.plain)(config, **ways, progress=StoppableProgress(progress, stop_event()))


def _run_engine(entry: FlowEntry, config: Strict, ways: dict[str, bool]) -> Any:
    from surveycnn.flows.server import guard_server

    if isinstance(config, SurveyConfig) and not entry.is_watch:
        # What can be refused is refused before the engine takes seconds to start, and outside its logs.
        from surveycnn.run.plan import check_run

        check_run(config)
    guard_server()
    with raising_interrupts():
        return _load(entry.engine)(config, **ways)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _summary(result: Any) -> str:
    """A line for results that are plain values."""
    if isinstance(result, list):
        return "\n".join(", ".join(f"{key} {value}" for key, value in record.items() if key != "digests") for record in result)
    return ", ".join(f"{count} tiles {state}" for state, count in result.items()) or "nothing left to do"
