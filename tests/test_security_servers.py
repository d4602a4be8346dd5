"""What listens to the network, who may connect, and what calls home."""

import os
import subprocess
import sys

import dask
import psutil
import pytest
import yaml
from distributed import LocalCluster
from distributed.security import Security

from surveycnn.errors import ClusterError
from surveycnn.run.cluster import open_cluster

QUIET = {"dashboard_address": "127.0.0.1:0", "n_workers": 1, "threads_per_worker": 1, "processes": False}


def told(names):
    """Environment variables of the process that runs this."""
    return {name: os.environ.get(name) for name in names}


def listening(process):
    """Addresses at which a process and its children listen."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        found |= {place.laddr.ip for place in one.net_connections(kind="inet") if place.status == psutil.CONN_LISTEN}
    return found


@pytest.fixture(scope="module")
def security():
    pytest.importorskip("cryptography", reason="certificates are made with cryptography")
    return Security.temporary()


@pytest.fixture(scope="module")
def scheduler(security):
    """Address of a scheduler with a worker that speak TLS alone."""
    with LocalCluster(**QUIET, security=security, protocol="tls://", host="127.0.0.1") as cluster:
        yield cluster.scheduler_address


def certificates(security):
    """Dask's settings that name the certificates, as in a user's dask.yaml."""
    names = {"ca-file": "tls_ca_file", "client.key": "tls_client_key", "client.cert": "tls_client_cert"}
    return {f"distributed.comm.tls.{key}": getattr(security, name) for key, name in names.items()}


def test_open_cluster__tls(scheduler, security):
    assert scheduler.startswith("tls://")
    with dask.config.set(certificates(security)), open_cluster(scheduler) as cluster:
        assert cluster.executor.submit(sum, [1, 2]).result(timeout=60) == 3


@pytest.mark.parametrize("own", [None, "other"])
def test_open_cluster__tls_without_the_certificates(scheduler, own):
    settings = certificates(Security.temporary()) if own else {}
    message = r"no Dask scheduler answers at 'tls://.* or set distributed\.comm\.tls\.ca-file"
    with dask.config.set(settings), pytest.raises(ClusterError, match=message):
        with open_cluster(scheduler):
            pass


def test_open_cluster__encryption_is_required(scheduler):
    with dask.config.set({"distributed.comm.require-encryption": True}):
        with pytest.raises(ClusterError, match=r"no Dask scheduler answers at 'tcp://.* \(encryption required by Dask"):
            with open_cluster(scheduler.replace("tls://", "tcp://")):
                pass


def test_open_cluster__file_with_security(tmp_path):
    pytest.importorskip("cryptography", reason="certificates are made with cryptography")
    described = {"cluster_class": "distributed.LocalCluster", "cluster_kwargs": QUIET | {"security": True, "host": "127.0.0.1"}}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(described))
    with open_cluster(str(tmp_path / "cluster.yaml")) as cluster:
        address = cluster.executor.submit(worker_address).result(timeout=60)
    assert address.startswith("tls://127.0.0.1:")


def worker_address():
    from distributed import get_worker

    return get_worker().address


def test_open_cluster__local_listens_on_this_machine_alone_and_calls_nobody():
    with open_cluster("local") as cluster:
        names = ["DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"]
        assert cluster.executor.submit(told, names).result(timeout=60) == dict(zip(names, ["1", "false"], strict=True))
        assert listening(psutil.Process()) <= {"127.0.0.1", "::1"}
        assert listening(psutil.Process())


@pytest.mark.slow
def test_run_flow__listens_on_this_machine_alone(sky, tmp_path):
    """The whole run, with Prefect's server and a local cluster."""
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", str(sky / "survey.yaml")]
    changes = {"output": tmp_path / "out", "work_dir": tmp_path / "work", "cluster": "local", "models": "[photoz]"}
    command += [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    found = set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            try:
                found |= listening(process)
            except psutil.Error:  # one of them has just ended
                continue
            try:
                run.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    assert run.returncode == 0
    assert found
    assert found <= {"127.0.0.1", "::1"}


def printed(script, **own):
    """What a new process prints in an environment that says nothing of telemetry but `own`."""
    known = ("CI", "DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED", "GITHUB_ACTIONS")
    bare = {name: value for name, value in os.environ.items() if name not in known}
    return subprocess.run([sys.executable, "-c", script], env=bare | own, check=True, capture_output=True, text=True).stdout


def test_import__turns_telemetry_off():
    script = (
        "import surveycnn, sys\n"
        "from prefect._internal.analytics.enabled import is_telemetry_enabled\n"
        "from prefect.settings import get_current_settings\n"
        "from surveycnn.models.backend import import_openvino\n"
        "import_openvino()\n"
        "print(is_telemetry_enabled(), get_current_settings().server.analytics_enabled, sys.modules['openvino_telemetry'])"
    )
    assert printed(script).split() == ["False", "False", "None"]


def test_import__leaves_what_the_user_has_set():
    script = "import surveycnn, os; print(os.environ['DO_NOT_TRACK'], os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'])"
    assert printed(script, DO_NOT_TRACK="0", PREFECT_SERVER_ANALYTICS_ENABLED="true").split() == ["0", "true"]
