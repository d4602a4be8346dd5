"""Cluster files: what is wrong with one is said before anything starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from surveycnn.errors import ClusterError, ConfigError
from surveycnn.run.cluster import open_cluster
from surveycnn.run.cluster_files import CLUSTER_FILES, check_cluster, describe_cluster, read_cluster_file

LOCAL = "surveycnn.run.local_cluster.LocalWorkers"
SLURM = {"cluster_class": "dask_jobqueue.SLURMCluster", "cluster_kwargs": {"cores": 8, "processes": 2, "memory": "64GB"}}
KUBERNETES = {"cluster_class": "dask_kubernetes.operator.KubeCluster"}


def written(folder: Path, tree: dict) -> str:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"cluster_class": "nowhere.Cluster"}, r"cannot import 'nowhere.Cluster'.*correct the name, or install its package"),
        ({"cluster_class": "pathlib.Path"}, r"'pathlib.Path' is not a Dask cluster class"),
        ({"cluster_clas": "distributed.LocalCluster"}, r"unknown key 'cluster_clas': did you mean 'cluster_class'"),
        (SLURM, r"no worker would ever start: give n_jobs: 4, or adapt_kwargs with minimum_jobs and maximum_jobs"),
        ({"cluster_class": LOCAL, "cluster_kwargs": {"n_workers": 0}}, r"no worker would ever start"),
        (SLURM | {"n_jobs": 0}, r"n_jobs"),
        (SLURM | {"n_jobs": 2, "adapt_kwargs": {"minimum_jobs": 1, "maximum_jobs": 4}}, r"n_jobs .* and adapt_kwargs .* exclude"),
        (SLURM | {"adapt_kwargs": {"maximum_jobs": 4}}, r"adapt_kwargs has no minimum of 1 or more"),
        (SLURM | {"adapt_kwargs": {"minimum": 0, "maximum_jobs": 4}}, r"adapt_kwargs has no minimum of 1 or more"),
        (SLURM | {"adapt_kwargs": {"minimum_jobs": 1}}, r"adapt_kwargs has no maximum"),
        (
            SLURM | {"adapt_kwargs": {"minimum_jobs": 1, "maximum_job": 4}},
            r"does not know 'maximum_job' of adapt_kwargs: it takes ",
        ),
        (
            KUBERNETES | {"adapt_kwargs": {"minimum_jobs": 1, "maximum": 4}},
            r"'minimum_jobs' of adapt_kwargs: it takes maximum, minimum",
        ),
    ],
)
def test_check_cluster__says_what_is_wrong_with_a_file(tmp_path, tree, message):
    if package := {"dask_jobqueue.SLURMCluster": "dask_jobqueue"}.get(tree.get("cluster_class", "")):
        pytest.importorskip(package)
    with pytest.raises((ClusterError, ConfigError), match=message):
        check_cluster(written(tmp_path, tree))


@pytest.mark.parametrize(
    ("package", "extra"), [("dask_jobqueue", "slurm"), ("dask_kubernetes", "kubernetes"), ("dask_cuda", "cuda")]
)
def test_check_cluster__names_the_extra_to_install(tmp_path, monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "surveycnn.run.local_cuda", raising=False)
    word = "local-cuda" if package == "dask_cuda" else written(tmp_path, {"cluster_class": f"{package}.SomeCluster", "n_jobs": 1})
    with pytest.raises(ClusterError, match=rf"cannot import .*: install surveycnn\[{extra}\]"):
        check_cluster(word)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cluster_kwargs": {"memory_limit": "much"}}, r"cluster.yaml': .*LocalWorkers refuses its cluster_kwargs"),
        (
            {"cluster_kwargs": {"n_workers": 1, "n_wrokers": 2}},
            r"cluster.yaml': .*LocalWorkers refuses its cluster_kwargs .*n_wrokers",
        ),
        (
            {"adapt_kwargs": {"minimum": 3, "maximum": 1}},
            r"cluster.yaml: adapt_kwargs has minimum: 3 above maximum: 1",
        ),
    ],
)
def test_open_cluster__says_which_arguments_are_refused(tmp_path, more, message):
    with pytest.raises(ClusterError, match=message):
        with open_cluster(written(tmp_path, {"cluster_class": LOCAL} | more)):
            pass


def test_open_cluster__adapts(tmp_path):
    tree = {"cluster_class": LOCAL, "cluster_kwargs": {"n_workers": 1, "threads_per_worker": 1}}
    with open_cluster(written(tmp_path, tree | {"adapt_kwargs": {"minimum": 1, "maximum": 2}})) as cluster:
        assert cluster.executor.submit(abs, -3).result(timeout=60) == 3


def test_check_cluster__lists_what_there_is():
    shipped = ", ".join(sorted(path.stem for path in CLUSTER_FILES.glob("*.yaml")))
    hint = r"did you mean 'slurm-cpu'\?"
    with pytest.raises(
        ClusterError, match=f"is none of serial, threads, no .*; {hint} the files in deploy/clusters are {shipped}$"
    ):
        check_cluster("slurm")


def test_describe_cluster__knows_the_shape_of_a_local_one(tmp_path):
    described = describe_cluster("local")
    assert described["workers"] * described["threads_per_worker"] <= len(os.sched_getaffinity(0))
    assert described["memory_limit_bytes"] > 0
    kwargs = {"n_workers": 3, "threads_per_worker": 2, "memory_limit": "4GiB"}
    described = describe_cluster(written(tmp_path, {"cluster_class": LOCAL, "cluster_kwargs": kwargs}))
    assert list(described.values())[1:] == [3, 2, 4 * 2**30]
    described = describe_cluster(written(tmp_path, SLURM | {"n_jobs": 4}))
    assert list(described.values())[1:] == [8, 4, 32 * 10**9]


@pytest.mark.parametrize("path", sorted(CLUSTER_FILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_read_cluster_file__of_every_shipped_one(path):
    package = yaml.safe_load(path.read_text())["cluster_class"].partition(".")[0]
    pytest.importorskip(package)
    if path.stem == "local-cuda":
        pytest.importorskip("dask_cuda")
    described, cluster_class = read_cluster_file(path.stem)
    assert described.cluster_class.endswith(cluster_class.__name__)


def test_load_config__finds_a_cluster_file_beside_the_configuration(tmp_path):
    from surveycnn.config import load_config

    mosaics = [{"id": "m", "images": [{"band": "g", "path": "g.fits"}]}]
    (tmp_path / "survey.yaml").write_text(yaml.safe_dump({"name": "s", "cluster": "cluster.yaml", "mosaics": mosaics}))
    assert load_config(tmp_path / "survey.yaml").cluster == "cluster.yaml"
    path = written(tmp_path, {"cluster_class": LOCAL})
    assert load_config(tmp_path / "survey.yaml").cluster == path
    assert load_config(tmp_path / "survey.yaml", ["cluster=local"]).cluster == "local"
