"""Every command and every block of Python of the documentation runs, and its YAML is valid.

What a page needs stands in tests/documented/scenarios.py, what is not run, with its reason, in tests/documented/not_run.py.
"""

from __future__ import annotations

import re

import pytest
from documented.blocks import ROOT, blocks, commands, inline_code, pages
from documented.not_run import NOT_RUN, reason_not_to_run
from documented.running import Place, Scenario, run_page
from documented.scenarios import SCENARIOS

NAMES = [path.relative_to(ROOT).as_posix() for path in pages()]


@pytest.fixture
def place(small_run, sky, tmp_path, monkeypatch) -> Place:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return Place(tmp_path, small_run, sky)


def has_code(name: str) -> bool:
    return any(block.kind in ("commands", "python", "yaml") for block in blocks((ROOT / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [name for name in NAMES if has_code(name)])
def test_page__runs(name, place, capsys):
    run_page(ROOT / name, SCENARIOS.get(name, Scenario()), place, capsys)


def test_scenarios__are_of_pages():
    assert set(SCENARIOS) <= set(NAMES)


def documented() -> list[tuple[str, str]]:
    """Page and command, of all."""
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
    found = [(name, block) for name, text in texts.items() for block in blocks(text) if block.kind == "commands"]
    return [(name, command.shown) for name, block in found for command in commands(block)]


def test_not_run__has_no_row_too_many():
    there = documented()
    rows = {(where, what) for where, what, _ in NOT_RUN}
    used = {(where, what) for where, what in rows for page, command in there if where in ("*", page) and command.startswith(what)}
    assert rows == used


def test_not_run__leaves_most_of_our_commands():
    ours = [(page, command) for page, command in documented() if command.removeprefix("$ ").startswith("surveycnn ")]
    assert sum(reason_not_to_run(*one) is None for one in ours) > len(ours) / 2


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("name", NAMES)
def test_text__names_commands_that_there_are(name, capsys):
    """Of commands within sentences and tables: the command and each option."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for code in inline_code(text):
        words = code.split()
        if words[:1] == ["make"] and len(words) == 2:
            assert words[1] in targets(), code
        if words[:1] == ["surveycnn"] and len(words) > 1 and re.fullmatch("[a-z-]+", words[1]):
            options = [word.split("=")[0] for word in words if re.fullmatch(r"-o|--[a-z][a-z-]*(=.*)?", word)]
            shown = help_of(words[1:], capsys)
            assert all(re.search(rf"(?<![\w-]){option}(?![\w-])", shown) for option in options), code


def help_of(words: list[str], capsys) -> str:
    from surveycnn.cli import main

    two_words = len(words) > 1 and words[0] in ("models", "photoz", "deploy") and re.fullmatch("[a-z]+", words[1])
    with pytest.raises(SystemExit) as ended:
        main([*words[: 2 if two_words else 1], "--help"])
    assert ended.value.code == 0, words
    return capsys.readouterr().out


def test_make__targets_are_there():
    assert {command.split()[1] for _, command in documented() if command.startswith("make ")} <= targets()
