"""Deployments: prefect.yaml registers every flow, by a module of the package, against Prefect's own local API."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def prefect(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_prefect_yaml__names_flows_that_exist():
    deployments = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())["deployments"]
    for deployment in deployments:
        package, name, flow = deployment["entrypoint"].rsplit(".", 2)
        assert package == "surveycnn.flows"
        assert name == flow == deployment["name"]
        assert (ROOT / "flows" / f"{name}.py").is_file()


@pytest.mark.slow
def test_prefect_yaml__deploys(tmp_path):
    assert prefect(tmp_path, "work-pool", "create", "surveycnn", "--type", "process").returncode == 0
    deployed = prefect(tmp_path, "deploy", "--prefect-file", "deploy/prefect.yaml", "--all")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    listed = prefect(tmp_path, "deployment", "ls").stdout
    assert all(f"{name}/{name}" in listed for name in ("survey", "ingest", "infer", "publish", "demo"))
