"""Kubernetes without a cluster: what would be created is valid and avoids the known traps, and its commands work together."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask.utils import parse_bytes

from surveycnn.deployment.kubernetes_files import check_manifests, check_resource
from surveycnn.errors import ClusterError
from surveycnn.run.cluster import open_cluster
from surveycnn.run.cluster_files import check_cluster

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
WORDS = ("k8s-cpu", "k8s-cuda")
GPU = "nvidia.com/gpu"
MANIFESTS = sorted(path.name for path in (DEPLOY / "k8s").glob("*.yaml"))


def cluster_file(word: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "clusters" / f"{word}.yaml").read_text())


def manifest(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "k8s" / name).read_text()))


def dask_cluster(word: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The resource that a driver with this environment creates."""
    from surveycnn.run.kube_cluster import owned_by_driver

    return owned_by_driver(cluster_file(word)["cluster_kwargs"]["custom_cluster_spec"], environment or {})


def made_by_operator(word: str) -> dict[str, dict[str, Any]]:
    """What the operator makes of that resource, by its own functions."""
    from dask_kubernetes.operator.controller import controller

    cluster = dask_cluster(word)
    name, spec = cluster["metadata"]["name"], copy.deepcopy(cluster["spec"])
    group = controller.build_default_worker_group_spec(name, spec["worker"], {}, {})
    return {
        "scheduler": controller.build_scheduler_deployment_spec(name, spec["scheduler"]["spec"], {}, {}),
        "service": controller.build_scheduler_service_spec(name, spec["scheduler"]["service"], {}, {}),
        "group": group,
        "worker": controller.build_worker_deployment_spec(
            group["metadata"]["name"], "surveycnn", name, "0123456789", spec["worker"]["spec"], {}, {}
        ),
    }


def pods_of(resources: Any) -> list[dict[str, Any]]:
    """Specs of the pods that deployments and jobs among `resources` start."""
    return [one["spec"]["template"]["spec"] for one in resources if one["kind"] in ("Deployment", "Job")]


def all_pods() -> list[dict[str, Any]]:
    ours = [resource for name in MANIFESTS for resource in manifest(name)]
    return pods_of(ours) + [pod for word in WORDS for pod in pods_of(made_by_operator(word).values())]


def driver() -> dict[str, Any]:
    return pods_of(manifest("survey-job.yaml"))[0]


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests__valid(name):
    assert list(check_manifests(DEPLOY / "k8s" / name)) == []


@pytest.mark.parametrize("word", WORDS)
def test_cluster_file__what_is_created_is_valid(word):
    check_cluster(word)
    made = made_by_operator(word)
    assert [list(check_resource(one)) for one in (dask_cluster(word, {"POD_NAME": "a", "POD_UID": "b"}), *made.values())] == [
        []
    ] * 5
    scale = cluster_file(word).get("adapt_kwargs", {"minimum": 1, "maximum": 2})
    autoscaler = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": "a"},
        "spec": {"cluster": "a", **scale},
    }
    assert list(check_resource(autoscaler)) == []


def test_cluster_file__gpu_on_the_workers_alone():
    made = {word: made_by_operator(word) for word in WORDS}
    pods = {(word, role): pods_of([made[word][role]])[0] for word in WORDS for role in ("scheduler", "worker")}
    gpus = {key: [one["resources"]["limits"].get(GPU) for one in pod["containers"]] for key, pod in pods.items()}
    assert gpus == {
        ("k8s-cpu", "worker"): [None],
        ("k8s-cpu", "scheduler"): [None],
        ("k8s-cuda", "worker"): ["1"],
        ("k8s-cuda", "scheduler"): [None],
    }
    assert pods["k8s-cuda", "worker"]["tolerations"][0]["key"] == GPU
    assert "cuda" in pods["k8s-cuda", "worker"]["containers"][0]["image"]


@pytest.mark.parametrize("word", WORDS)
def test_cluster_file__worker_stays_below_the_memory_of_its_pod(word):
    container = made_by_operator(word)["worker"]["spec"]["template"]["spec"]["containers"][0]
    limit = next(arg.partition("=")[2] for arg in container["args"] if arg.startswith("--memory-limit="))
    assert parse_bytes(limit) < parse_bytes(container["resources"]["limits"]["memory"] + "B")


@pytest.mark.parametrize("word", WORDS)
def test_cluster_file__shared_volume_at_the_path_of_the_driver(word):
    def mounted(pod: dict[str, Any]) -> dict[str, str]:
        claims = {
            one["name"]: one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one
        }
        return {claims[one["name"]]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"] if one["name"] in claims}

    made = made_by_operator(word)
    claim = next(one for one in manifest("base.yaml") if one["kind"] == "PersistentVolumeClaim")
    assert mounted(pods_of([made["worker"]])[0]) == mounted(driver()) == {claim["metadata"]["name"]: "/data"}
    assert mounted(pods_of([made["scheduler"]])[0]) == {}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["namespace"] == cluster_file(word)["cluster_kwargs"]["namespace"] == "surveycnn"


def test_pods__get_what_they_ask_for_and_no_rights_on_the_node():
    for pod in all_pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_pods__image_telemetry_and_signals():
    for pod in all_pods():
        for container in pod["containers"]:
            assert container["image"].rpartition(":")[2] not in ("", "latest")
            env = {one["name"]: one.get("value") for one in container["env"]}
            assert (env["DO_NOT_TRACK"], env["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")
            assert container["command"][0] in ("dask", "surveycnn", "prefect"), "a shell would keep SIGTERM to itself"


def test_job__ends_in_time_and_is_not_tried_again_in_vain():
    job = manifest("survey-job.yaml")[0]["spec"]
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] > 30
    rule = next(rule for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")
    assert rule["onExitCodes"]["values"] == [3]
    assert rule["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]


def test_job__command_is_one_of_ours(tmp_path):
    container = driver()["containers"][0]
    command = [*container["command"], *container["args"]]
    where = command.index("/data/kids.yaml")
    command[where] = str(tmp_path / "kids.yaml")
    done = subprocess.run([sys.executable, "-m", "surveycnn", *command[1:]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "kids.yaml" in done.stderr and "usage" not in done.stderr


def test_role__covers_what_the_driver_does():
    resources = manifest("base.yaml")
    role = next(one for one in resources if one["kind"] == "Role")
    rights = {(what, verb) for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}
    needed = {("daskclusters", "create"), ("daskclusters", "delete"), ("daskautoscalers", "create"), ("daskautoscalers", "patch")}
    assert needed | {("pods", "list"), ("services", "get"), ("daskworkergroups", "patch")} <= rights
    accounts = {one["metadata"]["name"] for one in resources if one["kind"] == "ServiceAccount"}
    assert driver()["serviceAccountName"] in accounts
    assert not any("*" in rule["verbs"] or "*" in rule["resources"] or "secrets" in rule["resources"] for rule in role["rules"])


@pytest.mark.parametrize("word", WORDS)
def test_cluster__has_a_name_and_an_owner_of_its_own(word):
    one, other = (dask_cluster(word, {"POD_NAME": "survey-kids-x", "POD_UID": "123"}) for _ in range(2))
    name = one["metadata"]["name"]
    assert name != other["metadata"]["name"] and name.startswith(f"surveycnn-{word.removeprefix('k8s-')}-")
    assert one["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == name
    assert one["metadata"]["ownerReferences"][0]["uid"] == "123"
    assert "ownerReferences" not in dask_cluster(word)["metadata"]
    assert one["spec"]["idleTimeout"] > 600
    names = {one["name"] for one in driver()["containers"][0]["env"]}
    assert {"POD_NAME", "POD_UID"} <= names


def test_cluster__no_kubernetes_here(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match=r"no Dask cluster can be had on Kubernetes \(.+\): `surveycnn deploy check` says"):
        with open_cluster("k8s-cpu"):
            pass


def test_cluster__resource_without_a_service(tmp_path):
    described = cluster_file("k8s-cpu")
    del described["cluster_kwargs"]["custom_cluster_spec"]["spec"]["scheduler"]["service"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(ClusterError, match="custom_cluster_spec has no 'service': start from deploy/clusters/k8s-cpu.yaml"):
        with open_cluster(str(tmp_path / "mine.yaml")):
            pass


def kubeconfig(folder: Path, server: str) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "users": [{"name": "a", "user": {"token": "x"}}],
    }
    (folder / "config").write_text(yaml.safe_dump(config))
    return str(folder / "config")


def test_cluster__api_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, "http://127.0.0.1:9"))
    with pytest.raises(ClusterError, match="no Dask cluster can be had on Kubernetes"):
        with open_cluster("k8s-cpu"):
            pass


def test_cluster__api_never_answers(tmp_path, monkeypatch):
    from surveycnn.run import kube_cluster

    monkeypatch.setattr(kube_cluster, "START_SECONDS", 1)
    monkeypatch.setattr(kube_cluster, "CLOSE_SECONDS", -4)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}"))
        with pytest.raises(ClusterError, match=r"on Kubernetes \(no scheduler within 1 s, see `kubectl get pods` for its image"):
            with open_cluster("k8s-cpu"):
                pass


@contextmanager
def process(container: dict[str, Any], scratch: Path, *overrides: str, **env: str) -> Iterator[subprocess.Popen]:
    """A container's command as a process here, as Kubernetes would expand it; `overrides` are ports of this machine."""
    given = {one["name"]: one["value"].replace("/scratch", str(scratch)) for one in container["env"]} | env
    words = [*container["command"], *container["args"], *overrides]
    words = [word.replace("/scratch", str(scratch)) for word in words]
    for name, value in given.items():
        words = [word.replace(f"$({name})", value) for word in words]
    assert not any("$(" in word for word in words)
    executable = str(Path(sys.executable).parent / words[0])
    with subprocess.Popen([executable, *words[1:]], env={**os.environ, **given}, stderr=subprocess.DEVNULL) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(30)


def containers(word: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scheduler's and worker's."""
    made = made_by_operator(word)
    scheduler, worker = (pods_of([made[role]])[0]["containers"][0] for role in ("scheduler", "worker"))
    return scheduler, worker


def test_pods__commands_work_together_and_answer_the_operator(tmp_path, monkeypatch):
    """With dask-cuda's own stand-in for a worker on a GPU."""
    from dask_kubernetes.operator.controller import controller
    from distributed import Client
    from distributed.system import MEMORY_LIMIT

    (scheduler, worker), (same, gpu_worker) = map(containers, WORDS)
    assert (scheduler["command"], scheduler["args"]) == (same["command"], same["args"])
    file, log = tmp_path / "scheduler.json", logging.getLogger("test")
    here = "--dashboard-address=127.0.0.1:0"
    mocked = {"DASK_CUDA_TEST_DISABLE_DEVICE_SPECIFIC": "1", "DASK_CUDA_TEST_SINGLE_GPU": "1", "CUDA_VISIBLE_DEVICES": "0"}
    with process(scheduler, tmp_path, "--host=127.0.0.1", "--port=0", here, f"--scheduler-file={file}"):
        client = Client(scheduler_file=str(wait_for(file)), set_as_default=False)
        address = client.scheduler.address
        web = f"http://127.0.0.1:{client.scheduler_info()['services']['dashboard']}"

        async def address_of(*_: Any, port_name: str = "", **__: Any) -> str:
            return web if port_name == "http-dashboard" else address

        monkeypatch.setattr(controller, "get_scheduler_address", address_of)  # there is no service to look up
        where = {"DASK_SCHEDULER_ADDRESS": address}
        with (
            client,
            process(worker, tmp_path, here, **where),
            process(gpu_worker, tmp_path, here, "--worker-class=dask_cuda.utils_test.MockWorker", **where, **mocked),
        ):
            client.wait_for_workers(2)
            workers = {one["id"]: (one["nthreads"], one["memory_limit"]) for one in client.scheduler_info()["workers"].values()}
            limits = (min(limit << 30, MEMORY_LIMIT) for limit in (7, 28))  # Dask believes in no more than this machine has
            assert workers == {name_of(one): (4, limit) for one, limit in zip((worker, gpu_worker), limits, strict=True)}
            assert client.gather([client.submit(sum, [1, 2], workers=[name], key=name) for name in workers]) == [3, 3]
            assert asyncio.run(controller.get_desired_workers("", "surveycnn")) in (0, 1, 2)
            assert idle_since(controller, log) > 0
            assert not client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.idle_timeout)
            assert set(asyncio.run(controller.retire_workers(2, "", "", "surveycnn", log))) == set(workers)


def name_of(worker: dict[str, Any]) -> str:
    """By which the operator knows a worker's deployment."""
    return next(one["value"] for one in worker["env"] if one["name"] == "DASK_WORKER_NAME")


def idle_since(controller: Any, log: Any) -> float:
    """Since when the operator takes the scheduler for idle; it does not know at the first question after a task."""
    while True:
        try:
            return asyncio.run(controller.check_scheduler_idle("", "surveycnn", log))
        except TypeError:  # float(None): the operator skips this round
            continue


def wait_for(file: Path) -> Path:
    while not file.exists():
        time.sleep(0.05)
    return file
