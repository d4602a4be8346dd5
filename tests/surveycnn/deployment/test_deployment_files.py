"""Files of deployments: those that are shipped are right, and what is wrong with a broken one is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from surveycnn.deployment.files import DEPLOY, check_file, check_files

CLUSTER = "cluster_class: distributed.LocalCluster\n"
SLURM = "cluster_class: dask_jobqueue.SLURMCluster\nn_jobs: 1\ncluster_kwargs: "
POD = "{containers: [{name: worker, image: surveycnn, %s}]}"
DASK_CLUSTER = """
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: surveycnn}
spec:
  worker: {replicas: %s, spec: %s}
  scheduler: {spec: %s, service: {type: ClusterIP, selector: {}, ports: [{port: 8786, name: tcp, targetPort: tcp}]}}
"""
NAMES = [name for name, _ in check_files()]
TEMPLATE = {"variables": {"properties": {"image": {}}}, "job_configuration": {"a": "{{ image }}", "b": "{{ imag }}"}}


@pytest.mark.parametrize("name", NAMES)
def test_check_files__finds_nothing_wrong_in_deploy(name):
    finding = check_file(DEPLOY / name, name)
    assert finding.kind == "ok", finding.line()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.txt", "", r"no file of this kind is known; known are clusters/\*\.yaml"),
        ("clusters/a.yaml", "cluster_clas: a.B", "unknown key 'cluster_clas': did you mean 'cluster_class'"),
        ("clusters/a.yaml", SLURM + "{cores: 1, memory: 1GB, colour: red}", "SLURMCluster refuses its cluster_kwargs .*colour"),
        ("clusters/a.yaml", SLURM + "{cores: 1}", "SLURMCluster refuses its cluster_kwargs .*memory"),
        ("prefect.yaml", "deployments: [{name: a, work_pool: {name: p}}]", "deployment 'a' has no entrypoint"),
        (
            "prefect.yaml",
            "deployments: [{name: a, entrypoint: surveycnn.flows.surve.survey, work_pool: {name: p}}]",
            "deployment 'a': entrypoint 'surveycnn.flows.surve.survey' cannot be loaded",
        ),
        (
            "prefect.yaml",
            "deployments: [{name: a, entrypoint: surveycnn.flows.demo.demo, work_pool: {name: p}, parameters: {speed: 1}}]",
            "deployment 'a': the flow demo has no parameter speed",
        ),
        ("compose.yaml", "services: {web: {ports: []}}", "service web has neither image nor build"),
        ("compose.yaml", "services: {web: {image: a, depends_on: [db]}}", "service web depends on db, which there is not"),
        ("compose.yaml", "services: {web: {image: a, volumes: ['data:/data']}}", "service web mounts volume data"),
        ("docker/a.Dockerfile", "FROM python\nRUM pip\nUSER me\n", "'RUM' is no instruction"),
        ("docker/a.Dockerfile", "FROM python\nCOPY nothing.txt /\nUSER me\n", "nothing.txt is not in the checkout"),
        ("docker/a.Dockerfile", "FROM a AS b\nCOPY --from=c x /\nUSER me\n", "COPY from stage 'c', which there is not"),
        ("docker/a.Dockerfile", "FROM python\n", "it runs as root: end with USER"),
        ("apptainer/a.def", "Bootstrap: docker\nFrom: python\n%pots\n", "%pots is no section; no %post"),
        ("apptainer/a.def", "Bootstrap: docker\n%post\n", "no from in its header"),
        ("slurm/a.sbatch", "set -eu\n", "its first line is 'set -eu', expected #!"),
        (
            "slurm/a.sbatch",
            "#!/bin/bash\nset -eu\n#SBATCH --time=1\n",
            "Slurm does not read '#SBATCH --time=1' after the first command",
        ),
        ("slurm/a.sbatch", "#!/bin/bash\nif true\n", "unexpected end of file"),
        ("slurm/a.service", "[Unit]\nDescription=a\n", r"no ExecStart in \[Service\]"),
        ("k8s/prefect-job-template.json", json.dumps(TEMPLATE), "variable imag is not described"),
        ("k8s/prefect-job-template.json", "{", "Expecting property name"),
        ("k8s/a.yaml", "a: 1", "document 0 is no resource"),
        ("k8s/a.yaml", "apiVersion: v1\nkind: Pot\n", "v1 has no Pot"),
        ("k8s/a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: " + POD % "comand: []", "Pod: .*comand.* at spec"),
        ("k8s/a.yaml", "apiVersion: kubernetes.dask.org/v1\nkind: DaskPlanet\n", "kubernetes.dask.org/v1 has no DaskPlanet"),
        (
            "k8s/a.yaml",
            DASK_CLUSTER % ("many", POD % "args: []", POD % "args: []"),
            "'many' is not of type 'integer' at spec.worker",
        ),
        ("k8s/a.yaml", DASK_CLUSTER % (1, POD % "arg: []", POD % "args: []"), "worker: Pod: .*arg"),
        (
            "clusters/a.yaml",
            "cluster_class: dask_kubernetes.operator.KubeCluster\ncluster_kwargs:\n  custom_cluster_spec:"
            + (DASK_CLUSTER % ("many", POD % "args: []", POD % "args: []")).replace("\n", "\n    "),
            "'many' is not of type 'integer' at spec.worker",
        ),
    ],
)
def test_check_file__says_what_is_wrong(tmp_path, name, text, message):
    path = tmp_path / Path(name).name
    path.write_text(text)
    finding = check_file(path, name)
    assert finding.kind == "wrong"
    assert re.search(message, finding.advice), finding.advice


def test_check_files__sees_every_file(tmp_path):
    """Also one of a kind that nobody has thought of, so that none stays unchecked."""
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "mine.yaml").write_text(CLUSTER)
    (tmp_path / "README.md").write_text("read me")
    (tmp_path / "Vagrantfile").write_text("")
    assert [(name, finding.kind) for name, finding in check_files(tmp_path)] == [
        ("Vagrantfile", "wrong"),
        ("clusters/mine.yaml", "ok"),
    ]
