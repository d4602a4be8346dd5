"""Killed at any step, in any phase: the old or the new, never a half, and the same catalog in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
N_STEPS = {"entries": 15, "publishing": 18, "ingest": 60, "tile": 10, "start over": 10}
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


def test_entries_tile_start_over__killed_at_each_step(tmp_path):
    names = ("entries", "tile", "start over")
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
