"""Accounting: what a session has spent, and only that; in provenance.json and in the summary."""

from __future__ import annotations

import json
import threading
import time

import pytest

from surveycnn.config import load_config
from surveycnn.run.accounting import START_UP, Accounting, performance_line
from surveycnn.run.plan import make_plan
from surveycnn.run.workers import WorkerLedger

STEPS = {"read", "detect", "measure", "load", "stamps", "predict", "forward", "write"}


@pytest.fixture(scope="module")
def plan(sky):
    return make_plan(load_config(sky / "survey.yaml", ["models=lens"]))


def counted(plan, n_workers: int = 1, n_threads: int = 1) -> Accounting:
    """All four tiles of the plan, with 25 sources each; one second of ingest, ten of infer, two of publish."""
    accounting = Accounting()
    accounting.workers = WorkerLedger(clock=lambda: 16.0)
    for number in range(n_workers):
        accounting.workers.join(f"tcp://node{number}", "", n_threads, at=2.0)
    accounting.workers.add_busy(10.5)
    for tile in plan.mosaics[0].grid:
        accounting.add_tile(plan.mosaics[0], tile, 25, {"read": 0.5, "forward": 2.0})
    accounting.add_ingested(3_000_000_000)
    spans = {START_UP: (0, 3), "ingest": (2, 4), "infer": (4, 14), "publish": (14, 16)}
    accounting._intervals = {stage: [span] for stage, span in spans.items()}
    return accounting


def write_note(path, **changes):
    note = {"kind": "openvino", "precision": "float32", "xla": False, "batch_size": 64, "device": "a CPU", "stamps_per_s": {}}
    path.write_text(json.dumps(note | {"bare": {"lens": 20.0}} | changes))
    return path


def test_report__of_a_whole_run(plan, tmp_path):
    found = counted(plan, n_workers=2).report(plan, write_note(tmp_path / "engine.json"))
    assert found["seconds"] == {"start_up": 3, "ingest": 1, "infer": 10, "publish": 2, "total": 13}
    assert (found["tiles"], found["tiles_of_run"], found["sources"]) == (4, 4, 100)
    assert found["workers"] == {
        "joined": 2,
        "left": 0,
        "lost": 0,
        "most_at_once": 2,
        "paid_worker_seconds": 28,
        "paid_thread_seconds": 28,
        "busy_thread_seconds": 10.5,
        "efficiency": 0.375,
    }
    assert found["step_seconds"] == {"forward": 8, "read": 2}
    assert found["sources_per_s"] == {"infer": 10, "end_to_end": pytest.approx(100 / 13, rel=1e-3)}
    assert found["gb_per_s"]["ingest"] == 3
    assert found["device_busy"] == 0.4, "8 s of forward passes on two workers in 10 s"
    shared, turns = counted(plan, n_threads=2), counted(plan, n_threads=2)
    assert shared.report(plan, write_note(tmp_path / "engine.json"))["device_busy"] == 0.4, "of each thread"
    assert turns.report(plan, write_note(tmp_path / "engine.json", kind="tensorflow"))["device_busy"] == 0.8
    assert found["bare_forward_seconds"] == 2.5, "100 stamps, 20 a second, two workers"
    assert found["slowdown"] == 4
    assert found["engine"].startswith("openvino float32")
    slow = counted(plan, n_workers=2).report(plan, write_note(tmp_path / "engine.json", bare={"lens": 5.0}))
    assert slow["bare_forward_seconds"] == 4, "no more than the calls took"


def test_report__without_a_note_of_the_engine(plan, tmp_path):
    found = counted(plan).report(plan, tmp_path / "none.json")
    assert found["engine"] is found["slowdown"] is found["bare_forward_seconds"] is None
    found = counted(plan).report(plan, write_note(tmp_path / "engine.json", bare={"merger": 1.0}))
    assert found["slowdown"] is None, "a model of the plan has no rate"


def test_report__of_a_session_without_tiles(plan, tmp_path):
    found = Accounting().report(plan, tmp_path / "none.json")
    assert found["tiles"] == found["sources"] == 0
    assert set(found["sources_per_s"].values()) == set(found["gb_per_s"].values()) == {None}
    assert found["device_busy"] is None


def test_performance_line__says_how_many_tiles(plan, tmp_path):
    found = counted(plan).report(plan, write_note(tmp_path / "engine.json"))
    line = performance_line(found)
    figures = "forward passes 80 % of infer; 2.00 x the bare forward passes; 1 worker, busy 75 % of the time"
    assert line == f"100 sources in 13.0 s: 8/s; {figures}"
    assert performance_line(found | {"tiles": 3}).startswith("100 sources of 3 of 4 tiles in 13.0 s: 8/s")


def test_stage__counts_what_runs_at_once_once():
    accounting = Accounting()

    def work() -> None:
        with accounting.stage("infer"):
            time.sleep(0.1)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = accounting._intervals["infer"]
    assert accounting.seconds("infer") == pytest.approx(max(stop for _, stop in spans) - min(start for start, _ in spans))


def test_working__is_a_stage_without_the_start_of_its_cluster():
    accounting = Accounting()
    accounting._intervals = {"infer": [(0, 20), (15, 30), (40, 50)], START_UP: [(2, 12), (18, 19), (45, 60)]}
    assert accounting._working("infer") == [(0, 2), (12, 18), (19, 30), (40, 45)]
    assert sum(stop - start for start, stop in accounting._working("infer")) == accounting.seconds("infer")


def test_survey__writes_its_performance(small_run):
    found = json.loads((small_run / "provenance.json").read_text())["performance"]
    assert found["tiles"] == found["tiles_of_run"] == 4
    assert found["sources"] > 100
    assert set(found["step_seconds"]) == STEPS
    seconds = found["seconds"]
    assert seconds["total"] == pytest.approx(seconds["ingest"] + seconds["infer"] + seconds["publish"], abs=0.01)
    assert found["step_seconds"]["forward"] <= found["step_seconds"]["predict"]
    workers = found["workers"]
    assert workers["joined"] == workers["most_at_once"] == 1
    assert 0 < workers["efficiency"] <= 1
    assert workers["paid_worker_seconds"] == pytest.approx(seconds["total"], rel=0.2, abs=0.5)
