"""A real Slurm of two nodes on this host runs surveys by the files of deploy/: jobs are cancelled, drivers stopped, jobs end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fault_injection import n_files
from services.slurm import Slurm, missing_for_slurm, running_slurm, wait_until
from small_sky import write_small_sky

from surveycnn.run.cluster_files import start_cluster

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.skipif(missing_for_slurm() is not None, reason=str(missing_for_slurm())),
]

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
N_TILES = 64
SETTINGS = {"models": "[photoz]", "formats": "[fits]", "tiling.core_px": "64"}
WORKER_JOBS, RUN_JOB = "dask-worker", "surveycnn"


@pytest.fixture(autouse=True)
def _certificates():
    """dask-jobqueue leaves it to the garbage collector to close the files of its certificates."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def slurm():
    with running_slurm() as slurm:
        yield slurm


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Configuration of a small survey."""
    return write_small_sky(tmp_path_factory.mktemp("sky"), ny=512, nx=512, rng=np.random.default_rng(5)) / "survey.yaml"


@pytest.fixture(scope="module")
def expected(sky, tmp_path_factory):
    """The catalog of that survey from one process, as bytes."""
    run = Run(tmp_path_factory.mktemp("serial"), sky, "serial", os.environ | {"PYTHONPATH": str(ROOT)})
    assert run.start().wait() == 0
    return run.catalog()


@dataclass(frozen=True)
class Run:
    """A survey in a folder of its own."""

    folder: Path
    config: Path
    cluster: str
    environment: dict[str, str]

    @property
    def arguments(self) -> list[str]:
        changes = SETTINGS | {"output": str(self.folder / "out"), "cluster": self.cluster}
        return [str(self.config), *(word for key, value in changes.items() for word in ("--set", f"{key}={value}"))]

    def start(self) -> subprocess.Popen[bytes]:
        """A driver on a login node."""
        command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", *self.arguments, "--no-prefect"]
        with (self.folder / "driver.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def submit(self, slurm: Slurm, script: str, *options: str) -> str:
        """A driver in a batch job; its number."""
        path = DEPLOY / "slurm" / script
        done = subprocess.run(
            ["sbatch", "--parsable", *options, path, *self.arguments], cwd=self.folder, env=self.environment, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def catalog(self) -> bytes:
        return (self.folder / "out" / "catalog.fits").read_bytes()

    def n_done(self) -> int:
        return n_files(self.folder / "out" / "work" / "tiles")

    def wait_for_tiles(self, count: int) -> None:
        """Return in the middle of the run."""
        wait_until(lambda: self.n_done() >= count, f"{count} tiles\n{self.log()}", 90)
        assert self.n_done() < N_TILES, "the run is over already"

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("*.log"))


@pytest.fixture
def new_run(slurm, sky, tmp_path) -> Callable[..., Run]:
    """A run with a shipped cluster file of which `changes` were edited, as (old, new) texts that occur in it."""

    def new_run(name: str, changes: dict[str, str]) -> Run:
        text = (DEPLOY / "clusters" / f"{name}.yaml").read_text()
        for old, new in changes.items():
            assert old in text, f"{name}.yaml has no {old}"
            text = text.replace(old, new)
        (tmp_path / "cluster.yaml").write_text(text)
        assert yaml.safe_load(text)["cluster_kwargs"]["security"] is True
        soon = {"DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "2s"}  # 15 s else until a job is replaced
        command = {"SURVEYCNN": f"{sys.executable} -m surveycnn", "PYTHONPATH": str(ROOT)}
        return Run(tmp_path, sky, str(tmp_path / "cluster.yaml"), os.environ | slurm.environment | soon | command)

    return new_run


EDITED = {"cores: 4": "cores: 2", "memory: 16GB": "memory: 3GB", "maximum_jobs: 16": "maximum_jobs: 1"}
ONE_WORKER = EDITED | {'"08:00:00"': '"00:10:00"', "7.5h": "5m", '"15m"': '"30s"'}
DRIVER = ("--cpus-per-task=1", "--mem=1G", "--time=10")


def test_worker_jobs__go_on_after_a_stopped_driver_and_a_cancelled_worker(slurm, new_run, expected):
    run = new_run("slurm-cpu", ONE_WORKER)
    driver = run.start()
    run.wait_for_tiles(4)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(30) == 130, run.log()
    assert_nothing_left(slurm)
    n_done = run.n_done()
    assert 4 <= n_done < N_TILES
    driver = run.start()
    run.wait_for_tiles(n_done + 4)
    (job,) = slurm.jobs(WORKER_JOBS)
    slurm.run("scancel", job)
    assert driver.wait(120) == 0, run.log()
    assert run.catalog() == expected
    assert_nothing_left(slurm)


def test_worker_jobs__are_gone_after_ctrl_c(slurm, new_run):
    run = new_run("slurm-cpu", ONE_WORKER)
    driver = run.start()
    run.wait_for_tiles(4)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(30) == 130, run.log()
    assert_nothing_left(slurm)


@pytest.mark.slow
def test_worker_jobs__reach_their_lifetime_and_others_go_on(slurm, new_run, expected):
    before = set(slurm.jobs(WORKER_JOBS, "all"))
    run = new_run("slurm-cpu", EDITED | {'"08:00:00"': '"00:01:00"', "7.5h": "9s", '"15m"': '"1s"'})
    assert run.start().wait(240) == 0, run.log()
    jobs = [slurm.detail(job) for job in set(slurm.jobs(WORKER_JOBS, "all")) - before]
    assert len(jobs) > 1, "no worker has reached its lifetime"
    assert "TIMEOUT" not in {job["JobState"] for job in jobs}
    assert run.catalog() == expected


def test_driver_job__is_queued_again_before_its_walltime_ends_it(slurm, new_run, expected):
    run = new_run("slurm-cpu", ONE_WORKER)
    job = run.submit(slurm, "run-flow.sbatch", *DRIVER)
    run.wait_for_tiles(4)
    slurm.run("scancel", "--batch", "--signal=TERM", job)  # what Slurm does by --signal=B:TERM@180
    wait_until(lambda: slurm.detail(job)["Restarts"] == "1", f"a restart\n{run.log()}", 30)
    assert run.n_done() < N_TILES
    wait_until(lambda: slurm.detail(job)["JobState"] == "COMPLETED", f"the end of the run\n{run.log()}", 120)
    assert "queued again, restart 1 of at most 20" in run.log()
    assert run.catalog() == expected
    assert_nothing_left(slurm)


def test_driver_job__cancelled_ends_for_good_and_leaves_nothing(slurm, new_run, expected):
    run = new_run("slurm-cpu", ONE_WORKER)
    job = run.submit(slurm, "run-flow.sbatch", *DRIVER)
    run.wait_for_tiles(4)
    slurm.run("scancel", job)
    started = time.monotonic()
    assert_nothing_left(slurm)
    assert time.monotonic() - started < 30
    assert slurm.detail(job)["JobState"] == "CANCELLED" and 4 <= run.n_done() < N_TILES
    assert replace(run, cluster="serial").start().wait(120) == 0, run.log()
    assert run.catalog() == expected


def test_allocation__of_two_nodes_starts_a_step_again(slurm, new_run, expected):
    run = new_run(
        "slurm-allocation", {"driver_memory: 4GB": "driver_memory: 1GB", "threads_per_worker: 4": "threads_per_worker: 2"}
    )
    job = run.submit(slurm, "multi-node.sbatch", "--nodes=2", "--cpus-per-task=2", "--mem=4G", "--time=10")
    run.wait_for_tiles(4)
    steps = dict(
        line.split() for line in slurm.run("squeue", "-h", "-s", "-j", job, "-o", "%N %i").splitlines() if "batch" not in line
    )
    assert set(steps) == {"n1", "n2"}
    slurm.run("scancel", steps["n2"])
    wait_until(lambda: slurm.detail(job)["JobState"] == "COMPLETED", f"the end of the run\n{run.log()}", 120)
    assert "the workers of node n2 have ended" in run.log()
    assert run.catalog() == expected
    assert_nothing_left(slurm)


MOCK = {"DASK_CUDA_TEST_DISABLE_DEVICE_SPECIFIC": "1", "DASK_CUDA_TEST_SINGLE_GPU": "1"}
"""Private switches of dask-cuda, with which its workers start without a GPU."""
MOCK_ARGUMENTS = '"--worker-class", "dask_cuda.utils_test.MockWorker", "--dashboard-address"'


def test_gpu_jobs__have_a_device_and_a_worker_each_until_their_lifetime(slurm, new_run, monkeypatch):
    pytest.importorskip("dask_cuda.utils_test")
    from distributed import Client

    edited = {"7.5h": "8s", "15m": "1s", "32GB": "3GB", "job_cpu: 8": "job_cpu: 2", '"--dashboard-address"': MOCK_ARGUMENTS}
    run = new_run("slurm-cuda", edited)
    for key, value in (run.environment | MOCK).items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(run.folder)
    with start_cluster(run.cluster) as cluster, Client(cluster, set_as_default=False) as client:
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert [worker["nthreads"] for worker in workers] == [4, 4]
        assert [round(worker["memory_limit"] / 1e9, 1) for worker in workers] == [3.0, 3.0]
        devices = client.run(lambda: (os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"]))
        assert sorted(devices.values()) == [("n1", "0"), ("n2", "0")], "one GPU of each node, as Slurm has given it"
        wait_until(lambda: not slurm.jobs(WORKER_JOBS), "the end of both workers by the lifetime in their environment", 60)
    assert_nothing_left(slurm)


def assert_nothing_left(slurm: Slurm) -> None:
    """No job in the queue and no process of one, within the time that Slurm takes to end them."""
    wait_until(lambda: not slurm.jobs(), f"an empty queue: {slurm.jobs()}", 30)
    wait_until(lambda: not slurm.processes(), f"no process left: {slurm.processes()}", 30)
