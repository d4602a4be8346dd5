"""Faults of processes: workers that die or hang, a poison tile, a scheduler that is gone, a driver that leaves nobody behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import dask
import distributed  # noqa: F401  (its defaults have to be there before one of them is changed)
import numpy as np
import pytest
from astropy.table import Table
from fault_injection import Faulty, children, hang, inject, kill_process, n_files, own_cluster, square, wait_for
from small_sky import write_small_sky

from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.errors import ClusterError, InputError, SurveyCNNError
from surveycnn.run.batch import Task
from surveycnn.run.cluster import open_cluster
from surveycnn.run.execute import execute, execute_alone
from surveycnn.run.spread import SpreadOut
from surveycnn.run.stages import IngestBand
from surveycnn.run.survey import run_survey


@pytest.fixture(scope="module")
def nine_tiles(tmp_path_factory):
    """Configuration file of a mosaic of 3 x 3 tiles."""
    return tiled_sky(tmp_path_factory.mktemp("nine"), 192)


@pytest.fixture(scope="module")
def quiet(nine_tiles, tmp_path_factory):
    """Catalog of a run of these tiles that nothing has happened to, searched and measured only."""
    output = tmp_path_factory.mktemp("quiet")
    with pytest.MonkeyPatch.context() as monkeypatch:
        inject(monkeypatch, hang, models=False)
        run_survey(load_config(nine_tiles, overrides(output, "serial")))
    return (output / "catalog.fits").read_bytes()


def tiled_sky(folder: Path, side: int) -> Path:
    write_small_sky(folder, ny=side, nx=side, rng=np.random.default_rng(5), bands=("g", "r", "i", "z"))
    return folder / "survey.yaml"


def overrides(output: Path, cluster: str, *more: str) -> list[str]:
    return [f"output={output}", f"cluster={cluster}", "models=[photoz]", "formats=[fits]", "tiling.core_px=64", *more]


def command(config: Path, output: Path, cluster: str, *more: str) -> list[str]:
    changes = [part for change in overrides(output, cluster, *more) for part in ("--set", change)]
    return ["run-flow", "survey", str(config), "--no-prefect", *changes]


@pytest.fixture
def quick_to_condemn():
    """A scheduler that blames all tasks of a worker for its first death, as one of ours does at the fourth."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        yield


def test_execute__on_dask_quarantines_what_kills_its_worker_and_what_hangs(quick_to_condemn):
    with open_cluster("local-small") as cluster:
        care = {"limit": 5.0, "end_worker": cluster.end_worker, "check": cluster.check}
        function = Faulty(Faulty(square, kill_process, frozenset([1])), hang, frozenset([4]))
        outcomes = list(execute(cluster.executor, [Task(function, i) for i in range(7)], window=cluster.window, **care))
        lost = [outcome.task for outcome in outcomes if outcome.state == "lost"]
        assert {1, 4} <= {task.unit for task in lost}
        again = list(execute_alone(cluster.executor, lost, **care))
    ends = {outcome.task.unit: outcome for outcome in [*outcomes, *again] if outcome.state != "lost"}
    assert {unit: end.state for unit, end in ends.items()} == {i: "done" for i in range(7)} | {1: "quarantined", 4: "quarantined"}
    assert ends[1].reason == "its worker process died: out of memory, killed, or a crash (KilledWorker)"
    assert ends[4].reason == "no end within 5 s"
    assert "in hang" in ends[4].details, "the traceback does not show where it hangs"


def test_spread_out__calls_again_what_died_with_its_worker(quick_to_condemn, tmp_path):
    with open_cluster("local-small") as cluster:
        spread = SpreadOut(cluster, str(tmp_path), limit=60.0)
        assert spread(DiesOnce(tmp_path / "died"), range(9)) == list(range(9))
        assert (tmp_path / "died").exists()
        with pytest.raises(SurveyCNNError, match=r"nothing is published: a piece of the catalog failed: ValueError: no 3"):
            spread(refuse_three, range(5))


@dataclass(frozen=True)
class DiesOnce:
    """Gives back what it gets, but kills its process the first time that it gets a 4."""

    marker: Path

    def __call__(self, unit: int) -> int:
        if unit == 4 and not self.marker.exists():
            self.marker.touch()
            kill_process()
        return unit


def refuse_three(unit: int) -> int:
    if unit == 3:
        raise ValueError("no 3")
    return unit


def test_survey__quarantines_a_poison_tile_alone_and_publishes_the_others(
    nine_tiles, quiet, tmp_path, monkeypatch, capsys, quick_to_condemn
):
    from mocpy import MOC

    poison = "r0002_c0002"
    inject(monkeypatch, kill_process, poison, models=False)
    assert main(command(nine_tiles, tmp_path, "local-small")) == 3
    reason = "its worker process died: out of memory, killed, or a crash (KilledWorker)"
    assert f"quarantined: tile {poison} of m1: {reason}" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "work")]) == 0
    printed = capsys.readouterr().out
    assert "done 8, todo 0, failed 0, quarantined 1" in printed
    assert f"quarantined: tile {poison} of mosaic m1: {reason}" in printed
    assert main(["status", str(tmp_path / "work"), "--json"]) == 0
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    worker, log = problem.pop("worker"), problem.pop("log")
    assert problem == {"mosaic": "m1", "tile": poison, "state": "quarantined", "reason": reason}
    assert (worker["host"], worker["address"][:16]) == (os.uname().nodename, "tcp://127.0.0.1:")
    assert Path(log).read_text().startswith(f"# worker address={worker['address']} host={worker['host']} pid={worker['pid']}")
    rows = Table.read(tmp_path / "catalog.fits")
    assert len(rows) > 5
    assert not ((rows["x"] > 128) & (rows["y"] > 128)).any()
    covered = MOC.from_fits(str(tmp_path / "coverage.fits")).sky_fraction
    monkeypatch.undo()
    inject(monkeypatch, kill_process, models=False)
    again = run_survey(load_config(nine_tiles, overrides(tmp_path, "serial")))
    assert again.is_complete
    assert again.performance["tiles"] == 1
    assert (tmp_path / "catalog.fits").read_bytes() == quiet
    assert covered < 0.92 * MOC.from_fits(str(tmp_path / "coverage.fits")).sky_fraction


@pytest.mark.timeout(900)
@pytest.mark.slow  # a hundred tiles, and eight deaths of a worker that loads its models anew
def test_survey__quarantines_one_poison_tile_of_a_hundred(tmp_path, monkeypatch):
    config, poison = tiled_sky(tmp_path, 640), "r0003_c0004"
    inject(monkeypatch, kill_process, poison)
    partial = run_survey(load_config(config, overrides(tmp_path / "out", "local")))
    assert partial.status.tiles["quarantined"] == 1
    assert partial.status.tiles["done"] + partial.status.tiles["no_work"] == 99
    assert [problem["tile"] for problem in partial.status.problems] == [poison]
    monkeypatch.undo()
    run_survey(load_config(config, overrides(tmp_path / "out", "serial")))
    run_survey(load_config(config, overrides(tmp_path / "quiet", "serial")))
    assert (tmp_path / "out" / "catalog.fits").read_bytes() == (tmp_path / "quiet" / "catalog.fits").read_bytes()


@pytest.mark.slow  # the worker is restarted for each tile that hangs
def test_survey__quarantines_a_tile_that_hangs(nine_tiles, tmp_path, monkeypatch):
    inject(monkeypatch, hang, "r0002_c0000", models=False)
    result = run_survey(load_config(nine_tiles, overrides(tmp_path, "local", "limits.tile_seconds=5")))
    (problem,) = result.status.problems
    assert (problem["tile"], problem["state"], problem["reason"]) == ("r0002_c0000", "quarantined", "no end within 5 s")
    assert result.status.tiles["done"] == 8


@pytest.mark.slow
def test_survey__ends_with_the_image_whose_ingest_hangs(nine_tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("surveycnn.run.session.IngestBand", faulty_ingest)
    limits = ["limits.ingest_seconds=5", "limits.tile_seconds=60"]
    with pytest.raises(InputError, match=r"image '.*/r.fits' of mosaic 'm1' cannot be ingested: no end within 5 s"):
        run_survey(load_config(nine_tiles, overrides(tmp_path, "local-small", *limits)))
    monkeypatch.undo()
    assert run_survey(load_config(nine_tiles, overrides(tmp_path, "serial", *limits))).is_complete


def faulty_ingest(*args, **options):
    return HangsAtR(IngestBand(*args, **options))


class HangsAtR(Faulty):
    """The ingest of band r hangs."""

    def __init__(self, function):
        super().__init__(function, hang, frozenset())

    def __call__(self, unit):
        return hang() if unit.image.band == "r" else self.function(unit)


def test_survey__whose_scheduler_is_killed_ends_with_a_message_and_goes_on(nine_tiles, quiet, tmp_path, monkeypatch, capsys):
    """The run ends within the time to connect, no tile is to blame, and the next run finishes with the same rows."""
    monkeypatch.setattr("surveycnn.run.cluster.CONNECT_TIMEOUT", "1s")
    with own_cluster() as cluster:
        inject(monkeypatch, slow_down, *(f"r{row:04d}_c{col:04d}" for row in range(3) for col in range(3)), models=False)

        def kill() -> None:
            wait_for(lambda: n_files(tmp_path / "work" / "tiles") >= 2)
            cluster.scheduler.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        assert main(command(nine_tiles, tmp_path, cluster.address)) == 2
        killer.join()
        printed = capsys.readouterr().err
        said = f"surveycnn: the scheduler of cluster {cluster.address!r} does not answer any more: start it, or another"
        assert said in printed
        assert "the same command goes on from here" in printed
        assert "Traceback" not in printed
    assert n_files(tmp_path / "work" / "failures", "*.json") == 0
    assert 2 <= n_files(tmp_path / "work" / "tiles") < 9
    monkeypatch.undo()
    inject(monkeypatch, hang, models=False)
    result = run_survey(load_config(nine_tiles, overrides(tmp_path, "serial")))
    assert result.is_complete
    assert 0 < result.performance["tiles"] < 9
    assert (tmp_path / "catalog.fits").read_bytes() == quiet


@dataclass(frozen=True)
class WaitsAtGate:
    """Says that it is there, and waits until a gate is open."""

    folder: Path

    def __call__(self) -> None:
        (self.folder / f"waits-{os.getpid()}").touch()
        wait_for((self.folder / "open").exists)


@pytest.mark.slow  # it starts three workers
def test_survey__whose_workers_are_killed_and_retired_gives_the_same_rows(nine_tiles, quiet, tmp_path, monkeypatch):
    """In the middle of their tiles: one without a word, the other as at the end of its lifetime, and a third has to do it all."""
    gates = tmp_path / "gates"
    gates.mkdir()
    inject(monkeypatch, WaitsAtGate(gates), "r0000_c0000", "r0000_c0001", models=False)
    with own_cluster(2, "--no-nanny") as own:
        with distributed.Client(own.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)

            def change() -> None:
                wait_for(lambda: len(list(gates.glob("waits-*"))) == 2)
                killed, retired = own.workers
                address = next(address for address, pid in client.run(os.getpid).items() if pid == retired.pid)
                killed.kill()
                own.add_worker("--no-nanny")
                client.retire_workers([address])
                client.wait_for_workers(1, timeout=60)
                (gates / "open").touch()

            changer = threading.Thread(target=change)
            changer.start()
            result = run_survey(load_config(nine_tiles, overrides(tmp_path / "out", own.address)))
            changer.join()
    assert result.is_complete
    workers = result.performance["workers"]
    assert (workers["joined"], workers["left"], workers["lost"]) == (3, 1, 1)
    assert 0 < workers["efficiency"] <= 1
    assert "3 workers" not in result.summary(), "they were not there at once"
    assert (tmp_path / "out" / "catalog.fits").read_bytes() == quiet


def slow_down() -> None:
    time.sleep(0.3)


@pytest.mark.slow
def test_execute__on_a_cluster_that_loses_all_workers(monkeypatch):
    monkeypatch.setattr("surveycnn.run.execute.CHECK_SECONDS", 0.5)
    monkeypatch.setattr("surveycnn.run.cluster.NO_WORKER_SECONDS", 3.0)
    with own_cluster(1, "--no-nanny") as own:
        monkeypatch.setattr("surveycnn.run.cluster.NO_WORKER_SECONDS", 60.0)
        with open_cluster(own.address) as cluster:
            cluster.executor._patience = 2.0
            tasks = [Task(Faulty(square, hang, frozenset([2])), i) for i in range(6)]
            with pytest.raises(
                ClusterError, match=r"has lost all its workers: look at their logs; the same command goes on from here"
            ):
                for _ in execute(cluster.executor, tasks, window=cluster.window, check=cluster.check):
                    own.workers[0].kill()


@pytest.mark.slow  # Prefect's server takes ten seconds to start
@pytest.mark.parametrize("engine", ["plain", "prefect"])
def test_driver__that_is_killed_leaves_no_process(nine_tiles, tmp_path, engine):
    """Workers end with their driver, and so does the server that Prefect has started for it."""
    arguments = [part for part in command(nine_tiles, tmp_path, "local") if part != "--no-prefect" or engine == "plain"]
    driver = subprocess.Popen([sys.executable, "-m", "surveycnn", *arguments], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: n_files(tmp_path / "work" / "tiles") or driver.poll() is not None, 250)
        left = children(driver.pid)
        assert any("spawn" in " ".join(process.cmdline()) for process in left), "the run ended before it could be killed"
        assert any("uvicorn" in process.cmdline() for process in left) == (engine == "prefect")
    finally:
        driver.kill()
        driver.wait()
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in left), 60)
