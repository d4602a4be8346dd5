"""Faults: what dies is done again, what cannot be done is named, and everything else is published."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from faulty_tasks import KillsItsWorker

from surveycnn.config import load_config
from surveycnn.run.cluster import open_cluster
from surveycnn.run.execute import Task, execute, execute_alone
from surveycnn.run.plan import make_plan
from surveycnn.run.session import open_session
from surveycnn.run.stages import RunTile
from surveycnn.run.status import run_status
from surveycnn.run.store import WorkStore
from surveycnn.run.survey import run_survey


@pytest.mark.slow  # eight deaths and restarts of a worker process
def test_execute__on_dask_quarantines_the_unit_that_kills_its_worker():
    with open_cluster("local-small") as cluster:
        tasks = [Task(KillsItsWorker(), i) for i in range(4)]
        outcomes = list(execute(cluster.executor, tasks, window=cluster.window))
        lost = [outcome.task for outcome in outcomes if outcome.state == "lost"]
        assert 1 in [task.unit for task in lost]
        again = list(execute_alone(cluster.executor, lost))
    states = {outcome.task.unit: outcome.state for outcome in [*outcomes, *again] if outcome.state != "lost"}
    assert states == {0: "done", 1: "quarantined", 2: "done", 3: "done"}


def test_survey__publishes_the_rest_of_a_tile_that_fails(sky, tmp_path, monkeypatch):
    """A tile that raises is tried three times, named in the status, left out of the coverage, and done by the next run."""
    run_tile, calls = RunTile.__call__, []

    def fails(self, unit):
        if unit.tile.name == "r0000_c0001":
            calls.append(unit.tile.name)
            raise RuntimeError("bad memory")
        return run_tile(self, unit)

    config = load_config(sky / "survey.yaml", [f"output={tmp_path}", "models=[photoz]"])
    monkeypatch.setattr(RunTile, "__call__", fails)
    partial = run_survey(config)
    assert len(calls) == 3
    assert not partial.is_complete
    assert partial.status.problems == [
        {"mosaic": "m1", "tile": "r0000_c0001", "state": "failed", "reason": "RuntimeError: bad memory"}
    ]
    rows = Table.read(tmp_path / "catalog.fits")
    assert not ((rows["x"] > 260) & (rows["y"] < 252)).any()
    from mocpy import MOC

    covered = MOC.from_fits(str(tmp_path / "coverage.fits")).sky_fraction
    monkeypatch.setattr(RunTile, "__call__", run_tile)
    whole = run_survey(config)
    assert whole.is_complete
    assert whole.n_sources > partial.n_sources
    assert covered < 0.8 * MOC.from_fits(str(tmp_path / "coverage.fits")).sky_fraction


def test_run_flow__with_a_failed_tile_ends_with_3(sky, tmp_path, monkeypatch, capsys):
    from surveycnn.cli import main

    def fails(self, unit):
        raise RuntimeError("bad memory")

    monkeypatch.setattr(RunTile, "__call__", fails)
    command = ["run-flow", "survey", str(sky / "survey.yaml"), "--no-prefect", "--set", f"output={tmp_path}"]
    assert main(command) == 3
    assert "failed: tile r0000_c0000 of m1: RuntimeError: bad memory" in capsys.readouterr().out


def test_survey__killed_in_the_middle_goes_on_and_gives_the_same_catalog(sky, small_run, tmp_path):
    """SIGKILL of the driver while tiles are being written; the same command again finishes the rest only."""
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", str(sky / "survey.yaml"), "--no-prefect"]
    command += ["--set", f"output={tmp_path}"]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    tiles = Path(tmp_path) / "work" / "tiles" / "m1"
    while not list(tiles.glob("*.parquet")):
        assert driver.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    before = {path: path.stat().st_mtime_ns for path in tiles.glob("*.parquet")}
    config = load_config(sky / "survey.yaml", [f"output={tmp_path}"])
    status = run_status(make_plan(config), WorkStore(config.work_path))
    assert status.tiles["done"] == len(before)
    assert run_survey(config).is_complete
    assert {path: path.stat().st_mtime_ns for path in before} == before, "finished tiles were done again"
    resumed, unbroken = (Table.read(output / "catalog.fits") for output in (tmp_path, small_run))
    np.testing.assert_array_equal(resumed["source_id"], unbroken["source_id"])
    np.testing.assert_array_equal(resumed["flux_r"], unbroken["flux_r"])


def test_survey__does_a_damaged_tile_again(sky, tmp_path):
    config = load_config(sky / "survey.yaml", [f"output={tmp_path}", "models=[photoz]"])
    n_sources = run_survey(config).n_sources
    path = tmp_path / "work" / "tiles" / "m1" / "r0001_c0000.parquet"
    path.write_bytes(path.read_bytes()[:1000])
    with open_session(config) as session:
        assert [unit.tile.name for unit in session.unfinished(session.plan.mosaics[0])] == ["r0001_c0000"]
    again = run_survey(config)
    assert again.n_sources == n_sources
    assert again.performance["tiles"] == 1, "what an earlier session did is not this one's"
    assert 0 < again.performance["sources"] < n_sources
    assert again.performance["seconds"]["ingest"] == 0
    assert f"{again.performance['sources']} sources of 1 of 4 tiles in" in again.summary()
    assert "of 1 of 4 tiles" not in replace(again, performance=again.performance | {"tiles": 0}).summary()


@pytest.mark.parametrize("name", ["notes.txt", "work/notes.txt"])
def test_survey__leaves_what_is_not_its_own(sky, tmp_path, name):
    (tmp_path / "work").mkdir()
    (tmp_path / name).write_text("keep")
    run_survey(load_config(sky / "survey.yaml", [f"output={tmp_path}", "models=[photoz]"]), fresh=True)
    assert (tmp_path / name).read_text() == "keep"
