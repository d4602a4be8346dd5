"""What is shipped for Slurm, without one: job scripts of the cluster files, the arithmetic of an allocation, batch scripts."""

from __future__ import annotations

import gc
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from dask.utils import parse_bytes, parse_timedelta

from surveycnn.errors import ClusterError
from surveycnn.run.allocation import Node, Shape, nodes_of_allocation, shape_of, worker_command
from surveycnn.run.cluster_files import check_cluster, read_cluster_file, start_cluster

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCRIPTS = sorted((DEPLOY / "slurm").glob("*.sbatch"))
NAMES = ("slurm-cpu", "slurm-cuda")


@pytest.fixture(autouse=True)
def _certificates():
    """dask-jobqueue leaves it to the garbage collector to close the files of its certificates."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def job_script(tmp_path, monkeypatch):
    """The script of a worker job by the name of a cluster file, as lines; it is made and nothing is submitted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def script(name: str) -> list[str]:
        with start_cluster(name) as cluster:
            return cluster.job_script().splitlines()

    return script


def test_slurm_cpu__job_script(job_script):
    lines = job_script("slurm-cpu")
    assert {
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=15G",
        "#SBATCH -t 08:00:00",
        "#SBATCH --no-requeue",
    } <= set(lines)
    words = lines[-1].split()
    assert "distributed.cli.dask_worker" in words and "--nanny" in words and option(words, "--nthreads") == "4"
    assert parse_bytes(option(words, "--memory-limit")) <= parse_bytes("15GiB")
    assert [word for word in words if word.startswith("tls://")] and "--nworkers" not in words


def test_slurm_cuda__job_script(job_script):
    lines = job_script("slurm-cuda")
    assert {"#SBATCH --cpus-per-task=8", "#SBATCH --mem=30G", "#SBATCH --gres=gpu:1", "#SBATCH --no-requeue"} <= set(lines)
    words = lines[-1].split()
    assert "dask_cuda.cli" in words and option(words, "--nthreads") == "4"
    assert "--lifetime" not in words and "--nanny" not in words, "options that dask cuda worker does not know"
    assert parse_bytes(option(words, "--memory-limit")) <= parse_bytes("30GiB"), "of a job with one GPU, so of its one worker"


@pytest.mark.parametrize("name", NAMES)
def test_slurm_jobs__one_of_each_directive_and_nothing_in_the_clear(job_script, name):
    lines = job_script(name)
    directives = [re.split(r"[ =]", line.removeprefix("#SBATCH "))[0] for line in lines if line.startswith("#SBATCH")]
    assert len(directives) == len(set(directives)), directives
    words = lines[-1].split()
    assert option(words, "--dashboard-address") == "127.0.0.1:0" and option(words, "--tls-key").startswith(
        "~/.dask-jobqueue.worker.key"
    )


@pytest.mark.parametrize("name", NAMES)
def test_slurm_jobs__workers_end_in_order_before_the_walltime_and_are_replaced(job_script, name):
    described, script = read_cluster_file(name)[0], "\n".join(job_script(name))
    found = [
        re.search(rf"--{key}[ =](\S+)|{key.upper().replace('-', '__')}(?:__DURATION)?=(\S+)", script)
        for key in ("lifetime", "lifetime-stagger")
    ]
    lifetime, stagger = (parse_timedelta(match[1] or match[2]) for match in found if match)
    hours, minutes, _ = map(int, described.cluster_kwargs["walltime"].split(":"))
    assert lifetime + stagger + 300 <= 3600 * hours + 60 * minutes
    assert described.cluster_kwargs["processes"] == 1, "Dask replaces jobs of one worker only"
    assert described.adapt_kwargs["minimum_jobs"] >= 1


@pytest.mark.parametrize("name", ["slurm-allocation", "slurm-allocation-cuda"])
def test_slurm_allocation__files_are_read_and_want_an_allocation(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for variable in ("SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_JOB_CPUS_PER_NODE"):
        monkeypatch.delenv(variable, raising=False)
    check_cluster(name)
    with pytest.raises(ClusterError, match=r"this is no Slurm allocation .* sbatch deploy/slurm/multi-node.sbatch"):
        start_cluster(name)


ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_CPUS_PER_NODE": "32(x2),16"}


@pytest.mark.parametrize(
    ("more", "memory"),
    [
        ({"SLURM_MEM_PER_NODE": "1000"}, (1000, 1000)),
        ({"SLURM_MEM_PER_CPU": "100"}, (3200, 1600)),
        ({"SLURM_MEM_PER_NODE": "0"}, (None, None)),
    ],
    ids=["per node", "per core", "all"],
)
def test_nodes_of_allocation__from_the_environment(monkeypatch, more, memory):
    monkeypatch.setattr("surveycnn.run.allocation._hostnames", lambda nodes: ["n1", "n2", "n3"])
    nodes = nodes_of_allocation(ALLOCATION | more | {"SLURM_GPUS_ON_NODE": "2"})
    assert [(node.name, node.n_cores, node.n_gpus) for node in nodes] == [("n1", 32, 2), ("n2", 32, 2), ("n3", 16, 2)]
    assert (nodes[0].memory_bytes, nodes[2].memory_bytes) == tuple(one and one * 2**20 for one in memory)


def test_nodes_of_allocation__what_cannot_be_read(monkeypatch):
    monkeypatch.setattr("surveycnn.run.allocation._hostnames", lambda nodes: ["n1"])
    with pytest.raises(ClusterError, match=r"SLURM_JOB_CPUS_PER_NODE is 'many', but a list such as 72\(x2\),36 was expected"):
        nodes_of_allocation(ALLOCATION | {"SLURM_JOB_CPUS_PER_NODE": "many"})
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterError, match="scontrol cannot be run here"):
        nodes_of_allocation(ALLOCATION)


def test_shape_of__workers_share_cores_and_what_the_driver_leaves():
    assert shape_of(Node("n1", 16, 10 * 10**9, 0), None, None, False, 2 * 10**9) == Shape(4, 4, 2 * 10**9)
    assert shape_of(Node("n1", 16, None, 0), 2, 3, False, 2 * 10**9) == Shape(3, 2, None)
    assert shape_of(Node("n1", 16, 10 * 10**9, 2), None, None, True, 2 * 10**9) == Shape(2, 4, 4 * 10**9)
    with pytest.raises(ClusterError, match="has no GPUs: submit with --gres=gpu:N"):
        shape_of(Node("n1", 16, None, 0), None, None, True, 0)
    with pytest.raises(ClusterError, match=r"node n1 of this allocation has 1.0 GB, and 4.0 GB of it are kept for the driver"):
        shape_of(Node("n1", 16, 10**9, 0), None, None, False, 4 * 10**9)


def test_worker_command__python_may_lie_in_an_image():
    node, shape = Node("n1", 8, None, 1), Shape(1, 4, 8 * 10**9)
    words = worker_command("tls://n1:8786", node, shape, True, "apptainer exec --nv x.sif python")
    assert words[:7] == ["apptainer", "exec", "--nv", "x.sif", "python", "-m", "dask_cuda.cli"]
    assert option(words, "--name") == "n1-0" and option(words, "--memory-limit") == "8000000000" and "--nworkers" not in words
    words = worker_command("tls://n1:8786", node, Shape(2, 4, None), False, "python")
    assert option(words, "--nworkers") == "2" and option(words, "--name") == "n1" and option(words, "--memory-limit") == "auto"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_batch_scripts__are_bash_and_stop_before_the_limit(script):
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    assert "#SBATCH --signal=B:TERM@" in text and "#SBATCH --requeue" in text and "DO_NOT_TRACK=1" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_batch_scripts__shellcheck(script):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck: install Debian's shellcheck")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("recipe", sorted((DEPLOY / "apptainer").glob("*.def")), ids=lambda path: path.name)
def test_apptainer__sections_are_shell_and_name_files_that_exist(recipe):
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", recipe.read_text(), re.MULTILINE | re.DOTALL))
    assert {"files", "post", "environment", "runscript", "test"} == set(sections)
    for line in sections.pop("files").strip().splitlines():
        source, _ = line.split()
        assert (DEPLOY.parent / source).exists(), f"{recipe.name} copies {source}"
    for name, script in sections.items():
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, f"{recipe.name}, %{name}: {done.stderr}"
    assert "requirements" in sections["post"] and "PYTHONNOUSERSITE=1" in sections["environment"]


def option(words: list[str], name: str) -> str:
    """What follows an option that is given once."""
    assert words.count(name) == 1, (name, words)
    return words[words.index(name) + 1]
