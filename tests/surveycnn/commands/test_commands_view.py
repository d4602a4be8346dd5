"""``surveycnn view`` as a command: what it prints, how it ends, and what it says where it cannot begin."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from surveycnn.cli import main


def test_view__prints_the_address_serves_and_ends_with_ctrl_c(small_run, tmp_path):
    command = [sys.executable, "-m", "surveycnn", "view", str(small_run), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as view:
        url = view.stdout.readline().strip()
        with urllib.request.urlopen(url) as answer:
            assert b"surveycnn view" in answer.read()
        view.send_signal(signal.SIGINT)
        rest, hint = view.communicate(timeout=60)
    assert view.returncode == 0 and rest == ""
    port = url.split(":")[2].split("/")[0]
    assert f"ssh -L {port}:127.0.0.1:{port}" in hint and "Traceback" not in hint


def test_view__port_in_use(small_run, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["view", str(small_run), "--port", str(port), "--no-browser"]) == 2
    assert f"port {port} of 127.0.0.1 is in use: give another with --port N" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "--port is 70000, expected a number from 1 to 65535"),
        (["--at", "10", "-20"], "is on none of the 1 mosaics"),
        (["--at", "10", "-100"], "expected degrees"),
    ],
)
def test_view__messages(small_run, capsys, options, message):
    assert main(["view", str(small_run), *options, "--no-browser"]) == 2
    assert message in capsys.readouterr().err


def test_view__without_pixels(small_run, tmp_path, capsys):
    shutil.copytree(small_run, tmp_path / "run", ignore=shutil.ignore_patterns("work"))
    provenance = tmp_path / "run" / "provenance.json"
    provenance.write_text(provenance.read_text().replace(str(small_run), os.fspath(tmp_path / "run")))
    assert main(["view", str(tmp_path / "run"), "--no-browser"]) == 2
    assert "which holds the pixels, is gone" in capsys.readouterr().err
    provenance.unlink()
    assert main(["view", str(tmp_path / "run"), "--no-browser"]) == 2
    assert "names no mosaics" in capsys.readouterr().err
    assert main(["view", "s3://bucket/run", "--no-browser"]) == 2
    assert "is a URL: copy its folder here" in capsys.readouterr().err
