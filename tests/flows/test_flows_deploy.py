"""prefect.yaml: what it deploys is there, and can be refused before it runs; a real server takes it in tests/deploy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())["deployments"]
TEMPLATE = json.loads((ROOT / "deploy" / "k8s" / "prefect-job-template.json").read_text())
NAMES = [f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}" for one in DEPLOYMENTS]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_prefect_yaml__names_flows_that_exist(deployment):
    package, name, flow = deployment["entrypoint"].rsplit(".", 2)
    assert (package, name) == ("surveycnn.flows", flow)
    assert (ROOT / "flows" / f"{name}.py").is_file()
    assert deployment["description"].endswith(".")
    assert deployment["concurrency_limit"]["collision_strategy"] == ("CANCEL_NEW" if name == "watch" else "ENQUEUE")


def test_prefect_yaml__names_each_deployment_once_and_schedules_nothing_by_itself():
    assert len(set(NAMES)) == len(NAMES)
    assert {"survey/survey", "survey/slurm", "survey/kubernetes", "watch/watch", "demo/demo"} <= set(NAMES)
    assert not any(schedule["active"] for one in DEPLOYMENTS for schedule in one.get("schedules", ()))


def test_job_template__describes_its_variables_and_limits_what_a_run_takes():
    variables = TEMPLATE["variables"]["properties"]
    assert set(re.findall(r"{{ (\w+) }}", json.dumps(TEMPLATE["job_configuration"]))) <= set(variables)
    (container,) = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    for kind in ("requests", "limits"):
        for value in container["resources"][kind].values():
            assert variables[value.strip("{} ")]["default"]
    assert {"name": "DO_NOT_TRACK", "value": "1"} in container["env"]
