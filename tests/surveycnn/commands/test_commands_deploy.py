"""``surveycnn deploy check``: what is missing is named with what to do; the exit code tells scripts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from surveycnn.cli import main
from surveycnn.deployment import targets
from surveycnn.deployment.findings import is_ready


@pytest.fixture
def only_commands(tmp_path, monkeypatch):
    """Function that makes small shell scripts the only commands on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(**scripts: str) -> None:
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return make


def lines(target: str) -> list[str]:
    return [finding.line() for finding in targets.TARGETS[target]()]


def test_check__of_a_laptop_is_ready(capsys):
    assert main(["deploy", "check", "local"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("local: ready\n")
    assert "engine openvino" in printed and "files of deploy/: " in printed


def test_check__of_a_target_that_lacks_something_is_exit_code_2(only_commands, capsys):
    only_commands()
    assert main(["deploy", "check", "slurm"]) == 2
    assert "missing  sbatch is not on the PATH: go to a login node" in capsys.readouterr().out


def test_check__of_all_targets_says_what_is_missing_and_succeeds(only_commands, capsys, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    only_commands()
    assert main(["deploy", "check", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["targets"]) == ["local", "local-cuda", "prefect", "slurm", "kubernetes"]
    assert record["targets"]["local"]["ready"] and not record["targets"]["slurm"]["ready"]
    assert "wrong" not in {finding["kind"] for finding in record["files"]}


def test_check__of_an_unknown_target(capsys):
    assert main(["deploy", "check", "cloud"]) == 2
    assert "no target 'cloud': the targets are local, local-cuda, prefect" in capsys.readouterr().err


def test_check__of_a_cluster_file_of_the_users(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("cluster_class: distributed.LocalCluster\ncluster_kwarg: {}\n")
    assert main(["deploy", "check", "local", "--cluster", str(path)]) == 2
    assert f"wrong    {path}: " in capsys.readouterr().out
    assert main(["deploy", "check", "local", "--cluster", str(tmp_path / "other.yaml")]) == 2
    assert "other.yaml' does not exist: check the path" in capsys.readouterr().err


def test_slurm__lists_partitions(only_commands):
    only_commands(sbatch="", squeue="", scancel="", srun="", sinfo="echo 'gpu* up 1-00:00:00 4 nodes'")
    assert "ok       partition gpu* up 1-00:00:00 4 nodes" in lines("slurm")
    assert is_ready(targets.slurm())


def test_slurm__without_a_controller(only_commands):
    only_commands(sbatch="", squeue="", scancel="", srun="", sinfo="echo 'Unable to contact slurm controller' >&2; exit 1")
    assert any("does not answer (Unable to contact slurm controller)" in line for line in lines("slurm"))


def test_kubernetes__without_an_api(only_commands):
    only_commands(kubectl="echo 'connection refused' >&2; exit 1")
    assert "missing  no Kubernetes API answers (connection refused): set KUBECONFIG, or choose a context of kubectl" in lines(
        "kubernetes"
    )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "missing  the Dask operator is not installed"),
        ('case "$*" in *can-i*) exit 1;; *api-resources*) RESOURCES;; esac', "missing  may not create daskclusters"),
        ('case "$*" in *api-resources*) RESOURCES;; esac', "ok       may create daskautoscalers"),
    ],
)
def test_kubernetes__asks_for_the_operator_and_for_rights(only_commands, script, message):
    resources = "; ".join(f"echo {name}.kubernetes.dask.org" for name in ("daskclusters", "daskworkergroups", "daskautoscalers"))
    only_commands(kubectl=script.replace("RESOURCES", resources))
    assert any(line.startswith(message) for line in lines("kubernetes"))


def test_prefect__without_a_server(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert any(line.startswith("missing  PREFECT_API_URL is not set") for line in lines("prefect"))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert any(line.startswith("missing  no Prefect server answers at http://127.0.0.1:9/api") for line in lines("prefect"))


def test_local_cuda__without_a_driver():
    if Path("/dev/nvidiactl").exists() or os.environ.get("CUDA_VISIBLE_DEVICES"):
        pytest.skip("this machine has a GPU")
    assert any(line.startswith("missing  no NVIDIA driver answers") for line in lines("local-cuda"))
