"""Killed at any step, in any phase: the old or the new, never a half, and the same catalog in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_injection import kill_when, n_files

from surveycnn.catalogs.publishing.swap import STAGING
from surveycnn.config import load_config
from surveycnn.errors import ClusterError
from surveycnn.run import local_cluster
from surveycnn.run.cluster import open_cluster
from surveycnn.run.plan import make_plan
from surveycnn.run.status import run_status
from surveycnn.run.store import WorkStore
from surveycnn.run.survey import run_survey

TESTS = Path(__file__).resolve().parent
N_STEPS = {"report": 4, "entries": 15, "publishing": 18, "ingest": 60, "tile": 10, "start over": 10}
"""Steps that there are at least, each a place to be killed at."""


def killed(folder: Path, every: int, *names: str) -> dict[str, dict]:
    """Number of kills and findings of each scenario."""
    command = [sys.executable, str(TESTS / "kill_points.py"), str(folder), str(every), *names]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, dict] = json.loads(ended.stdout)
    assert not any(record["wrong"] for record in found.values()), f"{found}\n{ended.stderr}"
    return found


def test_entries_report_tile_start_over__killed_at_each_step(tmp_path):
    names = ("entries", "report", "tile", "start over")
    found = killed(tmp_path, 1, *names)
    assert all(found[name]["kills"] >= N_STEPS[name] for name in names), found


def test_publishing_ingest__killed_at_some_steps(tmp_path):
    names, every = ("publishing", "ingest"), 5
    found = killed(tmp_path, every, *names)
    assert all(found[name]["kills"] >= N_STEPS[name] // every for name in names), found


@pytest.mark.slow  # a hundred processes
def test_publishing_ingest__killed_at_each_step(tmp_path):
    names = ("publishing", "ingest")
    found = killed(tmp_path, 1, *names)
    assert all(found[name]["kills"] >= N_STEPS[name] for name in names), found


def test_survey__killed_in_ingest_infer_and_publish_gives_the_same_catalog(sky, tmp_path):
    """SIGKILL of the driver; the same command again goes on, does no finished tile again, and leaves nothing behind."""
    from benchmarks.soak.compare import differences

    settings = ["models=[photoz]", "formats=[zarr, fits]", "engine.kind=openvino", "engine.batch_size=16"]
    quiet, output = tmp_path / "quiet", tmp_path / "killed"
    assert run_survey(load_config(sky / "survey.yaml", [*settings, f"output={quiet}"])).is_complete
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", str(sky / "survey.yaml"), "--no-prefect"]
    command += [word for setting in [*settings, f"output={output}"] for word in ("--set", setting)]
    config = load_config(sky / "survey.yaml", [*settings, f"output={output}"])
    store = WorkStore(config.work_path)
    done: dict[Path, int] = {}
    for condition in (
        lambda: n_files(store.chunk_path("m1") / "image" / "c", "*"),
        lambda: n_files(store.root / "tiles"),
        (output / STAGING).exists,
    ):
        kill_when(lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), condition)
        assert {path: path.stat().st_mtime_ns for path in done} == done, "finished tiles were done again"
        done = {path: path.stat().st_mtime_ns for path in (store.root / "tiles").rglob("r*.parquet")}
        tiles = run_status(make_plan(config), store).tiles
        assert tiles.total() - tiles["todo"] == len(done)
    assert run_survey(config).is_complete
    assert differences(quiet, output) == []


@pytest.mark.slow  # some seconds until Dask gives up
def test_cluster__whose_workers_die_while_they_start(monkeypatch):
    monkeypatch.setattr(local_cluster, "IGNORE_INTERRUPTS", "no_such_module_to_preload")
    with pytest.raises(ClusterError, match=r"cluster 'local' does not start \(.*\): .* the same command goes on from here"):
        open_cluster("local").__enter__()
