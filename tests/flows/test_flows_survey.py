"""Flows on the local Prefect API: same catalog as without, mistakes without a traceback, artifacts, both entry points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from astropy.table import Table

from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("prefect")


@pytest.fixture(scope="module")
def prefect_server():
    """A temporary database and API for the flows of this file."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def survey_config(sky: Path, output: Path, *overrides: str):
    return load_config(sky / "survey.yaml", [f"output={output}", "models=[photoz]", *overrides])


def test_survey__gives_the_catalog_of_the_plain_function(prefect_server, sky, tmp_path):
    from surveycnn.flows.survey import survey
    from surveycnn.run.survey import run_survey

    result = survey(survey_config(sky, tmp_path / "flow"))
    run_survey(survey_config(sky, tmp_path / "plain"))
    flow, plain = (Table.read(tmp_path / name / "catalog.fits") for name in ("flow", "plain"))
    assert result.n_sources == len(flow) > 100
    assert flow.colnames == plain.colnames
    assert (flow["source_id"] == plain["source_id"]).all()
    assert (flow["flux_r"] == plain["flux_r"]).all()


def test_survey__posts_progress_and_tables(prefect_server, sky, tmp_path):
    from prefect.client.orchestration import get_client

    from surveycnn.flows.survey import survey

    survey(survey_config(sky, tmp_path))
    with get_client(sync_client=True) as client:
        keys = {artifact.key for artifact in client.read_artifacts(limit=200)}
    assert {f"surveycnn-small-{what}" for what in ("ingest", "infer", "publish", "infer-progress", "summary")} <= keys


def test_stages__alone_make_the_catalog(prefect_server, sky, tmp_path):
    from surveycnn.flows.infer import infer
    from surveycnn.flows.ingest import ingest
    from surveycnn.flows.publish import publish

    config = survey_config(sky, tmp_path)
    assert [record["band"] for record in ingest(config)] == ["g", "r", "i", "z"]
    assert infer(config) == {"done": 4}
    assert publish(config).n_sources == len(Table.read(tmp_path / "catalog.fits"))


def test_survey__of_a_users_mistake_fails_with_its_error(prefect_server, sky, tmp_path):
    from surveycnn.flows.survey import survey

    with pytest.raises(ConfigError, match="no mosaic has a band 'K'"):
        survey(survey_config(sky, tmp_path, "bands={z: K}"))


def test_run_flow__of_a_mistake_found_by_a_task_is_one_message(prefect_server, sky, tmp_path, capsys):
    import numpy as np
    from astropy.io import fits

    data, header = fits.getdata(sky / "r.fits", header=True)
    fits.writeto(tmp_path / "blank.fits", np.full_like(data, np.nan), header)
    overrides = ["--set", f"output={tmp_path / 'out'}", "--set", f"mosaics.0.images.1.path={tmp_path / 'blank.fits'}"]
    assert main(["run-flow", "survey", str(sky / "survey.yaml"), *overrides]) == 2
    printed = capsys.readouterr().err
    assert "band 'r' of mosaic 'm1' has no good pixel" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("entrypoint", ["flows/survey.py:survey", "surveycnn.flows.survey.survey"])
def test_entrypoints__of_file_and_module_load_the_flow(entrypoint):
    code = f"from prefect.flows import load_flow_from_entrypoint as load; print(load({entrypoint!r}).name)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert loaded.stdout.split()[-1:] == ["survey"], loaded.stderr


def test_flows__of_the_command_line_are_those_of_the_table():
    from surveycnn.commands import flow
    from surveycnn.parsers.running import FLOWS

    assert tuple(flow.FLOWS) == FLOWS
    for entry in flow.FLOWS.values():
        for path in filter(None, (entry.config, entry.plain, entry.engine)):
            assert callable(flow._load(path))
