"""What deployments need of a Prefect server: that it answers, a pool with a worker for each deployment, and the deployments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from surveycnn.deployment.files import prefect_entries
from surveycnn.deployment.findings import Finding
from surveycnn.deployment.machine import ANSWER_SECONDS

SERVER_ADVICE = "start one (`prefect server start`) and set PREFECT_API_URL, see docs/prefect.md"

DEPLOY_ADVICE = "prefect --no-prompt deploy --prefect-file deploy/prefect.yaml --all"


def prefect() -> Iterator[Finding]:
    """Deployments on a Prefect server; `surveycnn run-flow` alone needs none."""
    from prefect import __version__ as version
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    yield Finding("ok", f"prefect {version}")
    home = PREFECT_HOME.value()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        yield Finding("missing", f"PREFECT_HOME {str(home)!r} cannot be written", "set PREFECT_HOME to a folder of yours")
    url = PREFECT_API_URL.value()
    if not url:
        yield Finding("missing", "PREFECT_API_URL is not set, so runs use a server of their own", SERVER_ADVICE)
        return
    yield from _server(url)


def _server(url: str) -> Iterator[Finding]:
    from prefect.client.orchestration import get_client

    with get_client(httpx_settings={"timeout": ANSWER_SECONDS}, sync_client=True) as client:
        error = client.api_healthcheck()
        if error is not None:
            yield Finding("missing", f"no Prefect server answers at {url} ({error})", SERVER_ADVICE)
            return
        yield Finding("ok", f"a Prefect server answers at {url}")
        pools = {pool.name: pool for pool in client.read_work_pools()}
        flows = {flow.id: flow.name for flow in client.read_flows()}
        deployed = {f"{flows.get(deployment.flow_id)}/{deployment.name}" for deployment in client.read_deployments()}
    yield from _pools(pools)
    wanted = [f"{entry['entrypoint'].rpartition('.')[2]}/{entry['name']}" for entry in prefect_entries()]
    absent = ", ".join(name for name in wanted if name not in deployed)
    yield Finding("missing", f"no deployment {absent}", DEPLOY_ADVICE) if absent else Finding("ok", "all deployments are there")


def _pools(pools: dict[str, Any]) -> Iterator[Finding]:
    for name in dict.fromkeys(entry["work_pool"]["name"] for entry in prefect_entries()):
        if name not in pools:
            yield Finding("missing", f"work pool {name}", "prefect work-pool create, see docs/prefect.md")
        elif str(getattr(pools[name].status, "value", pools[name].status)) != "READY":
            yield Finding("missing", f"work pool {name} has no worker", f"prefect worker start --pool {name}")
        else:
            yield Finding("ok", f"work pool {name} has a worker")
