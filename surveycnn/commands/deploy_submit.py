"""``surveycnn deploy submit``: a checked configuration, run by a deployment of a Prefect server."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from surveycnn.config import SurveyConfig, load_config
from surveycnn.errors import ConfigError, printable

POLL_SECONDS = 1.0
OUTAGE_SECONDS = 10.0
ANSWER_SECONDS = 30.0


def submit(arguments: argparse.Namespace) -> int:
    """Create a flow run of a deployment; with --wait, follow it and give the exit code that ``run-flow`` would have given."""
    from surveycnn.run.plan import check_run

    config = load_config(arguments.config, arguments.overrides)
    check_run(config)
    ways = {way: True for way in ("fresh", "update") if getattr(arguments, way)}
    with _server() as client:
        deployment = _find(client, arguments.deployment)
        run = _create(client, deployment, config, ways)
        print(f"run:  {run.name}\nid:   {run.id}\npage: {_page(client, run)}", flush=True)
        if not arguments.wait:
            return 0
        try:
            return _follow(client, run.id, config.name)
        except KeyboardInterrupt:
            print(f"surveycnn: the run goes on; `prefect flow-run cancel {run.id}` ends it", file=sys.stderr)
            return 130


@contextmanager
def _server() -> Iterator[Any]:
    """A client of the Prefect server at PREFECT_API_URL, which answers."""
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        raise ConfigError(
            "PREFECT_API_URL is not set, so there is no server that has deployments: set it, for instance to "
            "http://127.0.0.1:4200/api, or run the survey here with `surveycnn run-flow survey`"
        )
    with get_client(sync_client=True, httpx_settings={"timeout": ANSWER_SECONDS}) as client:
        error = client.api_healthcheck()
        if error is not None:
            raise ConfigError(f"no Prefect server answers at {url} ({error}): start it, or correct PREFECT_API_URL")
        yield client


def _find(client: Any, name: str) -> Any:
    """The deployment FLOW/NAME, of a flow that takes a survey's configuration."""
    from prefect.exceptions import ObjectNotFound

    if name.count("/") != 1:
        raise ConfigError(f"--deployment {name!r} is not of the form FLOW/NAME: give for instance survey/survey")
    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        known = sorted(f"{flows[one.flow_id]}/{one.name}" for one in client.read_deployments() if one.flow_id in flows)
        raise ConfigError(
            f"the Prefect server has no deployment {name!r}: it has {', '.join(known) or 'none'}; "
            "`prefect deploy --prefect-file deploy/prefect.yaml --all` makes ours"
        ) from None
    schema = deployment.parameter_openapi_schema or {}
    properties = schema.get("properties", {})
    if "config" not in properties or "SurveyConfig" not in str(properties["config"]):
        raise ConfigError(
            f"deployment {name!r} is of a flow that takes no survey's configuration: give one of the flows survey, ingest, "
            "infer, publish or watch"
        )
    return deployment


def _create(client: Any, deployment: Any, config: SurveyConfig, ways: dict[str, bool]) -> Any:
    from prefect.exceptions import PrefectHTTPStatusError

    unknown = ways.keys() - deployment.parameter_openapi_schema["properties"].keys()
    if unknown:
        raise ConfigError(f"the flow of deployment {deployment.name!r} has no --{unknown.pop()}: leave it out")
    parameters = {"config": config.model_dump(mode="json", exclude_none=True)} | ways
    try:
        # Its flow gives a run a better name when it starts; until then this one says what it is.
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters, name=f"survey {config.name}")
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in (409, 422):
            raise
        detail = error.response.json().get("detail", error.response.text)
        raise ConfigError(
            f"the Prefect server refuses the configuration: {detail}; is the deployment of this version of surveycnn?"
        ) from None


def _page(client: Any, run: Any) -> str:
    from prefect.utilities.urls import url_for

    return url_for(run) or str(client.api_url)


def _follow(client: Any, run_id: UUID, survey: str) -> int:
    """Exit code of a run by the state in which it ends; state changes and progress go to standard error."""
    import httpx
    from prefect.exceptions import ObjectNotFound

    said: dict[str, Any] = {}

    def say(key: str, text: str) -> None:
        if said.get(key) != text:
            said[key] = text
            print(printable(text), file=sys.stderr, flush=True)

    while True:
        try:
            run, stages = client.read_flow_run(run_id), list(_progress(client, run_id, survey))
        except httpx.HTTPError as error:
            say("server", f"the server does not answer ({error}); the run goes on")
            time.sleep(OUTAGE_SECONDS)
            continue
        except ObjectNotFound:
            raise ConfigError(f"run {run_id} is not on the Prefect server any more: `surveycnn status` knows its tiles") from None
        state = run.state
        if state is not None:
            say("state", f"{state.name}: {state.message}" if state.message else state.name)
            if state.is_final():
                return exit_code(state)
        for stage, done in stages:
            say(stage, f"{stage}: {done:.0f} %")
        time.sleep(POLL_SECONDS)


def _progress(client: Any, run_id: UUID, survey: str) -> Iterator[tuple[str, float]]:
    """Stages of a run with their progress in percent."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType

    from surveycnn.flows.names import artifact_key

    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), type=ArtifactFilterType(any_=["progress"]))
    keys = {artifact_key(survey, f"{stage}-progress"): stage for stage in ("ingest", "infer", "publish")}
    for artifact in client.read_artifacts(artifact_filter=wanted):
        if artifact.key in keys:
            yield keys[artifact.key], float(artifact.data)


def exit_code(state: Any) -> int:
    """What ``run-flow`` exits with by the state in which a run ends: 0, 3 for Partial, 130 if stopped, 2 for a user's mistake.

    A fault of ours is told from a mistake by the message with which Prefect begins for an exception.
    """
    from surveycnn.flows.stages import PARTIAL

    if state.is_completed():
        return 3 if state.name == PARTIAL else 0
    if state.is_cancelled() or state.is_crashed():
        return 130
    return 1 if (state.message or "").startswith("Flow run encountered an exception") else 2
