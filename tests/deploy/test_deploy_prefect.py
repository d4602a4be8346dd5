"""A Prefect server on PostgreSQL with a real worker: what prefect.yaml deploys runs, fails, is cancelled and watches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from astropy.table import Table
from fault_injection import children, n_files, wait_for
from services.postgres import MISSING, find_programs, postgres
from services.prefect_server import PrefectServer, prefect_server
from small_sky import write_survey

from surveycnn.cli import _parse
from surveycnn.commands import deploy_submit
from surveycnn.config import load_config
from surveycnn.errors import UserError
from surveycnn.run.survey import run_survey

pytestmark = [pytest.mark.deploy, pytest.mark.skipif(find_programs() is None, reason=MISSING)]

POOLS = {"surveycnn": ["--type", "process"], "surveycnn-slurm": ["--type", "process"]}
POOLS["surveycnn-kubernetes"] = ["--type", "kubernetes", "--base-job-template", "deploy/k8s/prefect-job-template.json"]
END_SECONDS = 30

FAULTY = """
import os

if os.environ.get("FAULT_AT"):
    from fault_injection import inject, raise_error
    from pytest import MonkeyPatch

    inject(MonkeyPatch(), raise_error, os.environ["FAULT_AT"])
"""
"""Read by every Python process of the worker: where a run asks for it, a tile of it fails."""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[PrefectServer]:
    """A server to which everything of prefect.yaml is deployed, as docs/prefect.md says; this process talks to it, too."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = tmp_path_factory.mktemp("server")
    with postgres() as database, prefect_server(database, folder) as started:
        for name, options in POOLS.items():
            assert started.prefect("work-pool", "create", name, *options).returncode == 0
        place = folder / "place"
        place.mkdir()
        (place / "sitecustomize.py").write_text(FAULTY)
        started.environment["PYTHONPATH"] += f":{place}"
        started.environment["PWD"] = str(place)  # below which the runs' relative paths are
        deployed = started.prefect("deploy", "--prefect-file", "deploy/prefect.yaml", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        with temporary_settings({PREFECT_API_URL: started.url}):
            yield started


@pytest.fixture(scope="module")
def worker(server) -> Iterator[psutil.Process]:
    """A worker of the pool of processes."""
    with server.worker("surveycnn") as process:
        yield psutil.Process(process.pid)


@pytest.fixture(scope="module")
def client(server) -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def plain(sky, tmp_path_factory) -> bytes:
    """The catalog of the small sky without Prefect."""
    output = tmp_path_factory.mktemp("plain")
    run_survey(load_config(sky / "survey.yaml", overrides(output)))
    return (output / "catalog.fits").read_bytes()


def overrides(output: Path, *more: str) -> list[str]:
    return [f"output={output}", "models=[photoz]", "formats=[fits]", *more]


def submit(server: PrefectServer, config: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    """``surveycnn deploy submit --wait``, ended."""
    options = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "surveycnn", "deploy", "submit", str(config), "--wait", *options]
    return subprocess.run(command, env=server.environment, capture_output=True, text=True)


def start(client: Any, name: str, job_variables: dict[str, Any] | None = None, **parameters: Any) -> Any:
    """A new run of a deployment."""
    deployment = client.read_deployment_by_name(name)
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters, job_variables=job_variables)


def ended(client: Any, run: Any, seconds: float = 120) -> Any:
    """The state in which a run ends."""
    return wait_for(lambda: (state := client.read_flow_run(run.id).state).is_final() and state, seconds)


def artifacts(client: Any, run: Any) -> dict[str, Any]:
    """Artifacts of a run by their keys."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=wanted)}


def last_run(client: Any, name: str) -> Any:
    """The flow run of this name that was made last."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    wanted = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    return client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)[0]


def assert_gone(processes: list[psutil.Process]) -> None:
    wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes), END_SECONDS)


def test_demo__through_its_deployment(server, worker, client):
    run = start(client, "demo/demo", config={"ny": 512, "nx": 512, "n_lenses": 1, "n_mergers": 1, "cluster": "serial"})
    state = ended(client, run)
    assert (state.type.value, state.name) == ("COMPLETED", "Completed"), state.message
    assert client.read_flow_run(run.id).name == "demo"
    survey = last_run(client, "survey demo")
    posted = artifacts(client, survey)
    assert {f"surveycnn-demo-{what}" for what in ("ingest", "infer", "publish", "infer-progress", "summary")} <= set(posted)
    assert posted["surveycnn-demo-infer-progress"].data == 100
    output = Path(server.environment["PWD"]) / "runs" / "demo"
    n_rows = len(Table.read(output / "catalog.fits"))
    assert state.message == f"{n_rows} sources from 1 tiles"
    summary = posted["surveycnn-demo-summary"].data
    assert f"**{n_rows} sources**" in summary
    assert str(output / "provenance.json") in summary


def test_survey__gives_the_same_rows_without_prefect_with_its_own_api_and_deployed(sky, plain, server, worker, client, tmp_path):
    local = [part for change in overrides(tmp_path / "local") for part in ("--set", change)]
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", str(sky / "survey.yaml"), *local]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as own_api:
        printed = submit(server, sky / "survey.yaml", *overrides(tmp_path / "deployed"))
        assert own_api.wait(200) == 0
    assert printed.returncode == 0, printed.stderr
    run = last_run(client, "survey small")
    assert f"id:   {run.id}\n" in printed.stdout
    assert f"{server.url.removesuffix('/api')}/runs/flow-run/{run.id}" in printed.stdout
    assert "Completed: " in printed.stderr
    for way in ("local", "deployed"):
        assert (tmp_path / way / "catalog.fits").read_bytes() == plain
    (row,) = read_table(artifacts(client, run)["surveycnn-small-publish"])
    assert row["sources"] == len(Table.read(tmp_path / "deployed" / "catalog.fits"))
    assert row["catalog"] == str(tmp_path / "deployed")
    tasks = {task.name for task in client.read_task_runs()}
    assert {"ingest m1", "infer m1"} <= tasks


def read_table(artifact: Any) -> list[dict[str, Any]]:
    import json

    return json.loads(artifact.data)


def test_deployment__refuses_parameters_before_there_is_a_run(server, client):
    n_runs = len(client.read_flow_runs())
    config = '{"name": "x", "mosaics": "x.csv", %s}'
    for wrong, message in [
        ('"tilin": {}', "Additional properties are not allowed ('tilin' was unexpected)"),
        ('"tiling": {"halo_px": -5}', "-5 is less than the minimum of 96"),
    ]:
        refused = server.prefect("deployment", "run", "survey/survey", "--param", f"config={config % wrong}")
        assert refused.returncode == 1
        assert message in " ".join((refused.stdout + refused.stderr).split())
    assert len(client.read_flow_runs()) == n_runs


def test_survey__of_a_users_mistake_fails_with_its_message(sky, worker, client, tmp_path):
    config = load_config(sky / "survey.yaml", overrides(tmp_path)).model_dump(mode="json")
    config["mosaics"][0]["images"][1]["path"] = str(tmp_path / "absent.fits")
    state = ended(client, start(client, "survey/survey", config=config))
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert "absent.fits" in state.message
    assert "does not exist" in state.message
    assert "Traceback" not in state.message


def test_survey__with_a_tile_that_fails_is_partial(sky, worker, client, tmp_path):
    config = load_config(sky / "survey.yaml", overrides(tmp_path / "out")).model_dump(mode="json")
    run = start(client, "survey/survey", job_variables={"env": {"FAULT_AT": "r0001_c0000"}}, config=config)
    state = ended(client, run)
    assert (state.type.value, state.name) == ("COMPLETED", "Partial"), state.message
    assert "from 4 tiles: 1 failed" in state.message
    assert deploy_submit.exit_code(state) == 3
    summary = artifacts(client, run)["surveycnn-small-summary"].data
    assert "| m1 | r0001_c0000 | failed | RuntimeError: bad memory |" in summary
    assert len(Table.read(tmp_path / "out" / "catalog.fits")) > 50


def test_survey__cancelled_in_the_middle_leaves_no_process_and_goes_on(sky, plain, worker, client, tmp_path):
    from prefect.states import Cancelling

    changes = overrides(tmp_path / "out", "tiling.core_px=64", "cluster=local")
    config = load_config(sky / "survey.yaml", changes).model_dump(mode="json")
    run = start(client, "survey/survey", config=config)
    wait_for(lambda: n_files(tmp_path / "out" / "work" / "tiles"))
    left = children(worker.pid)
    assert any("spawn" in " ".join(process.cmdline()) for process in left)
    client.set_flow_run_state(run.id, Cancelling())
    state = ended(client, run, END_SECONDS)
    assert (state.type.value, state.name) == ("CANCELLED", "Cancelled")
    assert_gone(left)
    assert 0 < n_files(tmp_path / "out" / "work" / "tiles") < 7 * 8
    assert n_files(tmp_path / "out" / "work" / "failures", "*.json") == 0
    again = ended(client, start(client, "survey/survey", config=config))
    assert again.name == "Completed", again.message
    assert (tmp_path / "out" / "catalog.fits").read_bytes() == plain


@pytest.mark.parametrize(("number", "state"), [(signal.SIGINT, "CANCELLED"), (signal.SIGTERM, "CRASHED")])
def test_run_flow__interrupted_tells_its_server(number, state, sky, server, client, tmp_path):
    changes = overrides(tmp_path, "tiling.core_px=64", "name=stopped")
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", str(sky / "survey.yaml")]
    command += [part for change in changes for part in ("--set", change)]
    with subprocess.Popen(command, env=server.environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        wait_for(lambda: n_files(tmp_path / "work" / "tiles"))
        os.killpg(run.pid, number)
        _, printed = run.communicate(timeout=END_SECONDS)
    assert run.returncode == 130
    assert printed.endswith("surveycnn: interrupted; the same command goes on from here\n")
    ended_in = last_run(client, "survey stopped").state
    assert ended_in.type.value == state
    assert ended_in.message == "interrupted; the same command goes on from here"


def test_watch__runs_a_new_mosaic_once_its_files_have_settled(sky, server, worker, client):
    folder = Path(server.environment["PWD"])  # the deployment's own parameters name survey.yaml in it
    files, output = folder / "incoming", folder / "runs" / "watched"
    mosaic = {"id": "m{tile}", "images": [{"band": band, "path": f"incoming/{{tile}}_{band}.fits"} for band in "griz"]}
    write_survey(folder, name="watched", mosaics=[mosaic], models=["photoz"], formats=["fits"])
    deliver(sky, files, "a")
    first = ended(client, start(client, "watch/watch"))
    assert first.name == "Completed", first.message
    written = (output / "catalog.fits").stat()
    deliver(sky, files, "b", age_seconds=0)
    nothing = ended(client, start(client, "watch/watch"))
    assert (nothing.type.value, nothing.name) == ("COMPLETED", "Nothing new")
    assert "nothing new: mosaic ma in the catalog" in nothing.message
    assert "files are on their way: mosaic mb" in nothing.message
    assert (output / "catalog.fits").stat() == written
    deliver(sky, files, "b")
    update = next_look(client)
    assert update.name == "Completed", update.message
    rows = Table.read(output / "catalog.fits")
    assert set(rows["mosaic"]) == {"ma", "mb"}
    (row,) = read_table(artifacts(client, last_run(client, "survey watched"))["surveycnn-watched-publish"])
    assert " of 4 of 8 tiles " in row["performance"]


def next_look(client: Any) -> Any:
    """The state in which the next look by schedule ends."""
    from prefect.client.schemas.schedules import IntervalSchedule

    deployment = client.read_deployment_by_name("watch/watch")
    (made,) = client.create_deployment_schedules(deployment.id, [(IntervalSchedule(interval=timedelta(seconds=20)), True)])
    try:
        run = wait_for(lambda: next((one for one in runs_of(client, deployment) if one.auto_scheduled and begun(one)), None))
        return ended(client, run)
    finally:
        client.delete_deployment_schedule(deployment.id, made.id)


def runs_of(client: Any, deployment: Any) -> list[Any]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    return client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])))


def begun(run: Any) -> bool:
    return run.state is not None and run.state.name not in ("Scheduled", "Late", "Pending", "Submitting")


def deliver(sky: Path, folder: Path, tile: str, age_seconds: float = 3600) -> None:
    """Put the files of a mosaic into a folder, last written some time ago."""
    folder.mkdir(exist_ok=True)
    for band in "griz":
        target = folder / f"{tile}_{band}.fits"
        target.write_bytes((sky / f"{band}.fits").read_bytes())
        os.utime(target, (time.time() - age_seconds,) * 2)


def test_submit__without_what_it_needs_says_so(sky, server, client, tmp_path):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def refused(*options: str, **changes: str) -> str:
        settings = [f"{key}={value}" for key, value in changes.items()]
        sets = [part for change in [*overrides(tmp_path), *settings] for part in ("--set", change)]
        with pytest.raises(UserError) as raised:
            deploy_submit.submit(_parse(["deploy", "submit", str(sky / "survey.yaml"), *options, *sets]))
        return str(raised.value)

    assert "the Prefect server has no deployment 'survey/night': it has demo/demo, " in refused("--deployment", "survey/night")
    assert "'demo/demo' is of a flow that takes no survey's configuration" in refused("--deployment", "demo/demo")
    assert "--deployment 'survey' is not of the form FLOW/NAME" in refused("--deployment", "survey")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert "no Prefect server answers at http://127.0.0.1:9/api" in refused()
    with temporary_settings({PREFECT_API_URL: None}):
        assert "PREFECT_API_URL is not set" in refused()
    assert "no mosaic has a band 'K'" in refused(bands="{z: K}")
