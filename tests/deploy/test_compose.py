"""The compose file without Docker: docker-compose's own check where it is installed, and what must hold whatever it says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]


def test_compose__services_start_in_order():
    assert SERVICES["worker"]["depends_on"] == {"server": {"condition": "service_healthy"}}
    assert SERVICES["server"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert all("healthcheck" in SERVICES[name] for name in ("postgres", "server"))


def test_compose__commands_are_those_of_prefect():
    """The same that the tests of deployments start without containers."""
    server, worker = (SERVICES[name]["entrypoint"] for name in ("server", "worker"))
    assert server[:3] == ["prefect", "server", "start"]
    pool = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())["definitions"]["process"]["name"]
    assert worker == ["prefect", "worker", "start", "--pool", pool, "--type", "process"]


def test_compose__nothing_beyond_this_machine_and_no_password():
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:4200:4200"]
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:?set it in .env}"
    url = SERVICES["server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert url == "postgresql+asyncpg://prefect:${POSTGRES_PASSWORD:?set it in .env}@postgres:5432/prefect"


@pytest.mark.parametrize("name", ["server", "worker"])
def test_compose__telemetry_is_off(name):
    environment = SERVICES[name]["environment"]
    assert (environment["DO_NOT_TRACK"], environment["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")


def test_compose__interface_is_made_where_the_server_may_write():
    environment = SERVICES["server"]["environment"]
    assert environment["PREFECT_UI_STATIC_DIRECTORY"].startswith(environment["PREFECT_HOME"])


def compose(**environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "POSTGRES_PASSWORD"}
    command = ["docker-compose", "-f", str(FILE), "config"]
    return subprocess.run(command, capture_output=True, text=True, env=inherited | environment, cwd=FILE.parent)


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose (Debian: apt install docker-compose)")
def test_compose__accepted_by_docker_compose():
    done = compose(POSTGRES_PASSWORD="abc")
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)["services"]
    assert found["server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://prefect:abc@")
    assert "set it in .env" in compose().stderr
