"""Runs what a page says, in its order, in a folder in which a scenario has put what the page takes for granted."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from documented.blocks import ROOT, SHELLS, Block, Command, blocks, commands
from documented.not_run import reason_not_to_run
from documented.yaml_blocks import SOME_SURVEY, check_yaml

from surveycnn.cli import _parse, main
from surveycnn.commands.flow import FLOWS, flow_config
from surveycnn.config import SurveyConfig
from surveycnn.sections import apply_overrides, validate_section

FILE_COMMANDS = ("cp", "mkdir")
"""Other programs that pages may call, run as they are."""
SURVEYS = tuple(name for name, entry in FLOWS.items() if not entry.config)


@dataclass(frozen=True)
class Place:
    """The folder in which a page is run, and what may be copied into it."""

    folder: Path
    """Empty, the current one; `deploy` in it is that of the repository."""
    small_run: Path
    """Catalog of a small simulated sky with all models: the fixture of this name. Read only."""
    sky: Path
    """Folder of the images and survey.yaml that it was made from. Read only."""

    def link_run(self, name: str) -> Path:
        """Put the small run where a page expects the catalog `name`, such as runs/demo; new files in it stay in this place."""
        target = self.folder / name
        target.mkdir(parents=True)
        for path in self.small_run.iterdir():
            (target / path.name).symlink_to(path)
        return target


@dataclass(frozen=True)
class Scenario:
    """What a page takes for granted, and what is made smaller than the page has it."""

    place: Callable[[Place], Any] = lambda place: None
    """Puts files into the folder."""
    names: Callable[[Place], Mapping[str, Any]] = lambda place: {}
    """Names that the page's Python takes for granted."""
    replace: Mapping[str, str | Callable[[Place], str]] = field(default_factory=dict)
    """Regular expressions in the page, and what stands there when it is run: numbers of the demo, sizes."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Beginning of a command, and what is put behind it, such as ``--set n_train=64``."""
    ends: Mapping[str, int] = field(default_factory=dict)
    """Beginning of a command, and its exit code where that is not 0 and the page shows no message that says so."""
    before: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    """Beginning of a command, and what happens before it: what the text around it says, such as an edit of a file."""


def run_page(page: Path, scenario: Scenario, place: Place, captured: pytest.CaptureFixture[str]) -> None:
    """Run every command and every block of Python of a page, and check its YAML.

    Surveys run in this process, without Prefect, unless the page says otherwise.
    """
    text = page.read_text(encoding="utf-8")
    scenario.place(place)
    for pattern, new in scenario.replace.items():
        text, n = re.subn(pattern, new if isinstance(new, str) else new(place), text)
        assert n, f"{pattern!r} of the scenario is no longer in the page"
    names = dict(scenario.names(place))
    for block in blocks(text):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.kind == "python":
            exec(compile(block.text, where, "exec"), names)  # our own pages
        elif block.kind == "yaml":
            check_yaml(block.text, place.folder)
        elif block.kind == "commands":
            run_commands(block, str(page.relative_to(ROOT)), scenario, captured)
        else:
            lines = block.text.splitlines()
            is_shell = any(line.startswith("$ surveycnn ") for line in lines) or block.text.startswith("surveycnn ")
            assert not is_shell, f"{where}: commands stand indented, or in {SHELLS[0]}"


def run_commands(block: Block, page: str, scenario: Scenario, captured: pytest.CaptureFixture[str]) -> None:
    for command in commands(block):
        for happens in matching(scenario.before, command):
            happens()
        if reason_not_to_run(page, command.shown):
            check_command(command)
        elif command.words[0] == "surveycnn":
            run_command(command, scenario, captured)
        elif command.words[0] in FILE_COMMANDS:
            subprocess.run(command.words, check=True)
        else:
            raise AssertionError(
                f"{page}:{command.line}: {command.shown!r} is not run: give its reason in tests/documented/not_run.py, "
                "or use ```text where it is no command"
            )


def run_command(command: Command, scenario: Scenario, captured: pytest.CaptureFixture[str]) -> None:
    words = command.words[1:]
    for more in matching(scenario.options, command):
        words += more.split()
    if words[0] == "run-flow":
        words += ["--no-prefect"]
        if words[1] in SURVEYS:
            words[2:2] = ["--set", "cluster=serial"]
    message = command.output.strip() if command.output.startswith("surveycnn: ") else ""
    expected = next(iter(matching(scenario.ends, command)), 2 if message else 0)
    try:
        code = main(words)
    except SystemExit as ended:  # of the parser
        code = ended.code
    printed = captured.readouterr()
    assert code == expected, f"{command.shown}: exit code {code}\n{printed.out}\n{printed.err}"
    if message:
        said = re.escape(" ".join(message.split())).replace(re.escape("..."), ".*")
        said = re.sub(r"'(?=[^' ]*/)", "'[^']*", said)  # of paths the page shows the end
        assert re.search(said, " ".join(printed.err.split())), f"{command.shown}: {printed.err}"


def matching(table: Mapping[str, Any], command: Command) -> list[Any]:
    return [value for beginning, value in table.items() if command.shown.startswith(beginning)]


def check_command(command: Command) -> None:
    """Check one that is not run: our parser takes it, and the settings are those of its flow."""
    words = [word for word in command.words if word != "..."]
    if words[0] != "surveycnn":
        return
    arguments = _parse(words[1:])
    overrides = getattr(arguments, "overrides", [])
    flow = getattr(arguments, "name", "survey")
    given = getattr(arguments, "config", None)
    if flow in SURVEYS and not (given and Path(given).is_file()):
        validate_section(SurveyConfig, apply_overrides(SOME_SURVEY, overrides), command.shown)
    elif overrides:
        flow_config(flow, given, overrides)
