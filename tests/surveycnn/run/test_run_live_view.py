"""The real command on a terminal: what stands on the screen at the end, after Ctrl-C and after a mistake."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

WIDTH, HEIGHT = 60, 24


def on_a_terminal(
    *words: str, folder: Path, when: Callable[[str, subprocess.Popen], None] = lambda text, run: None
) -> tuple[int, str]:
    """Exit code of a command on a terminal of 60 columns, and all that it has written; `when` sees that as it comes."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "TERM": "xterm",
        "COLUMNS": str(WIDTH),
        "LINES": str(HEIGHT),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    environment.pop("CI", None)
    command = [sys.executable, "-m", "surveycnn", *words]
    run = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True
    )
    os.close(theirs)
    text = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 65536):
            text += part
            when(text.decode(errors="ignore"), run)
    os.close(ours)
    return run.wait(60), text.decode()


def screen(text: str) -> list[str]:
    """Lines that stand at the end, by the few sequences that rich writes: up, erase, return, colours."""
    lines, row, column = [""], 0, 0
    for word in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\]8;;.*?\x1b\\|\r|\n|[^\x1b\r\n]+", text):
        if word == "\n":
            row, column = row + 1, column
            lines += [""] * (row + 1 - len(lines))
        elif word == "\r":
            column = 0
        elif up := re.fullmatch(r"\x1b\[(\d*)A", word):
            row = max(0, row - int(up[1] or 1))
        elif word == "\x1b[2K":
            lines[row] = ""
        elif not word.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + word + lines[row][column + len(word) :]
            column += len(word)
    return [line.rstrip() for line in lines]


@pytest.fixture
def options(sky, tmp_path) -> list[str]:
    return [
        "run-flow",
        "survey",
        str(sky / "survey.yaml"),
        "--no-prefect",
        "--set",
        f"output={tmp_path / 'run'}",
        "--set",
        "models=[photoz]",
    ]


def test_live_view__of_a_run_leaves_its_last_state_and_the_summary(options, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    code, text = on_a_terminal(*options, folder=tmp_path)
    lines = screen(text)
    assert code == 0 and "\x1b[?25l" not in text, text
    assert not re.search(r"\x1b\[[\d;]*[39]\d[\d;]*m", text), "no colour was asked for"
    for start in ("ingest ", "infer ", "publish "):
        assert sum(line.startswith(start) for line in lines) == 1, lines
    infer = next(line for line in lines if line.startswith("infer "))
    assert re.search(r"━ +(\d+) of \1 tiles +0:00:\d\d$", infer) and len(infer) <= WIDTH
    assert any(re.fullmatch(r"\d+ sources.*; 1 worker", line) for line in lines)
    assert lines.index(infer) < lines.index("catalog: run") < next(i for i, line in enumerate(lines) if line.startswith("next:"))


def test_live_view__of_an_interrupted_run_is_whole(options, tmp_path):
    def interrupt(text: str, run: subprocess.Popen) -> None:
        if "infer " in text and not getattr(run, "is_interrupted", False):
            run.is_interrupted = True
            run.send_signal(signal.SIGINT)

    code, text = on_a_terminal(*options, folder=tmp_path, when=interrupt)
    lines = [line for line in screen(text) if line]
    assert code == 130 and lines[-1] == "surveycnn: interrupted; the same command goes on from here", lines
    assert sum(line.startswith("ingest ") for line in lines) == 1


def test_live_view__of_a_mistake_is_the_message_alone(options, tmp_path):
    code, text = on_a_terminal(*options, "--set", "tiling.halo_px=16", folder=tmp_path)
    assert code == 2 and screen(text)[0].startswith("surveycnn: ") and "running for" not in text.rpartition("\x1b[2K")[2]
