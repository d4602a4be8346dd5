"""The report that every run writes: that of the command, and never in the way of the catalog."""

from __future__ import annotations

import pytest

from surveycnn.catalogs.verify import verify_catalog
from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.run.survey import run_publish, run_survey


@pytest.fixture(scope="module")
def run(sky, tmp_path_factory):
    """Configuration of a survey that has run, with its report."""
    output = tmp_path_factory.mktemp("reported") / "run"
    config = load_config(sky / "survey.yaml", [f"output={output}", "models=[photoz]", "report=true"])
    assert run_survey(config).is_complete
    return config


def test_run_survey__writes_the_page_of_the_command(run, tmp_path, capsys):
    page = run.output_path / "report.html"
    written = page.read_bytes()
    assert main(["report", str(run.output_path)]) == 0
    assert f"{page}: " in capsys.readouterr().out
    assert page.read_bytes() == written
    assert verify_catalog(run.output_path) == []


def test_publish__without_a_report_leaves_none_of_an_old_catalog(run):
    result = run_publish(run.model_copy(update={"report": False}))
    assert result.is_complete and not (run.output_path / "report.html").exists()


def test_publish__goes_on_where_the_report_fails(run, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("no stars")

    monkeypatch.setattr("surveycnn.report.report.write_report", fail)
    result = run_publish(run)
    assert result.is_complete and verify_catalog(run.output_path) == []
    assert "report.html was not written (ZeroDivisionError: no stars): `surveycnn report` writes it" in result.notes
