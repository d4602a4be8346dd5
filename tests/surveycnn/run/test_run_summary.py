"""The end of a run: what is said in the terminal and in Prefect's markdown comes from the same facts."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from surveycnn.cli import _parse
from surveycnn.commands.flow import _linked
from surveycnn.config import load_config
from surveycnn.flows.summary import summary_markdown
from surveycnn.run.publish import SurveyResult
from surveycnn.run.status import RunStatus
from surveycnn.run.summary import SHOWN, next_commands
from surveycnn.run.survey import run_survey


@pytest.fixture
def result(sky, tmp_path, monkeypatch) -> SurveyResult:
    """A finished survey in a folder with a space in its name, below the current one."""
    monkeypatch.chdir(tmp_path)
    overrides = [f"output={tmp_path / 'my runs'}", "models=[photoz]", "formats=[zarr]", "tiling.core_px=2048"]
    return run_survey(load_config(sky / "survey.yaml", overrides))


def test_summary__ends_with_the_places_and_commands_that_parse(result):
    lines = result.summary().splitlines()
    assert lines[0].startswith(f"{result.n_sources} sources (") and "catalog: my runs" in lines
    commands = next_commands(result)
    assert commands[0] == "surveycnn query 'my runs' --top 10 --by flux_g"
    assert commands[-1] == "surveycnn verify 'my runs' --sample 3" and "surveycnn report 'my runs'" in commands
    for command in commands:
        assert _parse(shlex.split(command, comments=True)[1:]).catalog == "my runs"
        assert command in result.summary() and command in summary_markdown("small", result)


def test_summary__of_many_failed_tiles_shows_some_and_how_to_see_all(result):
    problems = [{"mosaic": "m1", "tile": f"{n}_0", "state": "failed", "reason": f"reason {n}"} for n in range(SHOWN + 7)]
    status = RunStatus(Counter(done=1, failed=len(problems)), 3, problems)
    failed = replace(result, status=status, work_dir=Path("elsewhere/work"))
    for text in (failed.summary(), summary_markdown("small", failed)):
        assert f"reason {SHOWN - 1}" in text and f"reason {SHOWN}" not in text
        assert "and 7 more: `surveycnn status elsewhere/work`" in text
    assert next_commands(failed)[-1].startswith("surveycnn status elsewhere/work   # the same run again")


def test_summary__of_no_sources_proposes_no_query(result):
    commands = next_commands(replace(result, n_sources=0))
    assert [command.split()[1] for command in commands] == ["report", "verify"]


def test_linked__makes_the_report_a_link_and_leaves_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = _linked("catalog: runs/a\nreport:  runs/a b/report.html\nnext:")
    uri = (tmp_path / "runs" / "a b" / "report.html").as_uri()
    assert text == f"catalog: runs/a\nreport:  \x1b]8;;{uri}\x1b\\runs/a b/report.html\x1b]8;;\x1b\\\nnext:"
