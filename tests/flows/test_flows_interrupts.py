"""Ctrl-C and SIGTERM in the middle of a run: it ends with one line and 130, leaves no process, and goes on when called again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from astropy.table import Table
from fault_injection import children, n_files, wait_for

from surveycnn.cli import main

LINE = "surveycnn: interrupted; the same command goes on from here\n"
END_SECONDS = 30


def arguments(sky: Path, output: Path, cluster: str) -> list[str]:
    changes = {"output": output, "cluster": cluster, "models": "[photoz]", "formats": "[fits]", "tiling.core_px": 64}
    return [str(sky / "survey.yaml"), *(part for key, value in changes.items() for part in ("--set", f"{key}={value}"))]


def interrupt(run: subprocess.Popen, work: Path, *signals: int, to_group: bool = False) -> tuple[str, list[psutil.Process]]:
    """Standard error of `run`, which is sent signals as soon as a tile is done, and the processes that it had."""
    wait_for(lambda: n_files(work / "tiles") or run.poll() is not None, 250)
    assert run.poll() is None, run.communicate()
    left = children(run.pid)
    for number in signals:
        (os.killpg if to_group else os.kill)(run.pid, number)
    _, printed = run.communicate(timeout=END_SECONDS)
    return printed, left


def assert_gone(processes: list[psutil.Process]) -> None:
    wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes), END_SECONDS)


def start(arguments: list[str]) -> subprocess.Popen:
    """A run in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True)


CASES = {
    "plain-serial-ctrl-c-twice": ("serial", ["--no-prefect"], [signal.SIGINT, signal.SIGINT], True),
    "plain-local-sigterm": ("local", ["--no-prefect"], [signal.SIGTERM], False),
}
SLOW_CASES = {
    "prefect-local-ctrl-c": ("local", [], [signal.SIGINT], True),
    "plain-threads-sigterm": ("threads", ["--no-prefect"], [signal.SIGTERM], False),
    "plain-local-ctrl-c": ("local", ["--no-prefect"], [signal.SIGINT], True),
    "plain-local-hangup": ("local", ["--no-prefect"], [signal.SIGHUP], False),
    "plain-local-sigterm-to-all": ("local", ["--no-prefect"], [signal.SIGTERM, signal.SIGTERM], True),
    "prefect-local-sigterm": ("local", [], [signal.SIGTERM], False),
    "prefect-local-sigterm-to-all": ("local", [], [signal.SIGTERM], True),
    "prefect-serial-sigterm-twice": ("serial", [], [signal.SIGTERM, signal.SIGTERM], False),
    "prefect-serial-ctrl-c": ("serial", [], [signal.SIGINT], True),
}


@pytest.mark.parametrize(
    "case",
    [*CASES.values(), *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES.values())],
    ids=[*CASES, *SLOW_CASES],
)
def test_run_flow__interrupted(case, sky, tmp_path):
    cluster, options, signals, to_group = case
    output = tmp_path / "out"
    with start([*arguments(sky, output, cluster), *options]) as run:
        printed, left = interrupt(run, output / "work", *signals, to_group=to_group)
        assert run.returncode == 130, printed
    assert printed.count(LINE) == printed.count("interrupted") == 1
    assert "Traceback" not in printed
    assert_gone(left)
    assert n_files(output / "work" / "failures", "*.json") == 0
    assert not (output / "catalog.fits").exists()
    n_done = n_files(output / "work" / "tiles")
    assert 0 < n_done < 7 * 8
    if options:
        assert main(["run-flow", "survey", *arguments(sky, output, "serial"), *options]) == 0
        assert len(Table.read(output / "catalog.fits")) > 100
