"""Two workers on two hosts, as far as one machine can show it: network namespaces with host names and folders of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from fault_injection import TESTS, wait_for
from small_sky import write_small_sky

from surveycnn.config import load_config
from surveycnn.run.survey import run_survey

pytestmark = pytest.mark.deploy
NETWORK = "10.231.77"
HOST = f"{NETWORK}.1"


def ip(*words: str) -> None:
    """Call ``ip``; the test is skipped where it may not do that."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip (apt install iproute2)")
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root and network namespaces: ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def namespaces(n: int) -> Iterator[list[str]]:
    """Names of `n` network namespaces on a bridge of their own, with the addresses .2, .3, ...; this host has .1."""
    bridge = f"scnn{os.getpid() % 100000}"
    names = [f"{bridge}n{number}" for number in range(n)]
    with ExitStack() as stack:
        ip("link", "add", bridge, "type", "bridge")
        stack.callback(subprocess.run, ["ip", "link", "del", bridge])
        ip("addr", "add", f"{HOST}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for number, name in enumerate(names):
            ip("netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "del", name])
            ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}h", "master", bridge, "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{number + 2}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names


@contextmanager
def processes() -> Iterator[list[subprocess.Popen]]:
    started: list[subprocess.Popen] = []
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def dask(*words: str, folder: Path, inside: tuple[str, ...] = ()) -> subprocess.Popen:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": path, "SURVEYCNN_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    with open(folder / "stderr", "w") as errors:
        return subprocess.Popen([*inside, sys.executable, "-m", *words], env=environment, cwd=folder, stderr=errors)


def test_survey__on_workers_of_two_hosts_gives_the_rows_of_one_process(tmp_path):
    write_small_sky(tmp_path, ny=192, nx=192, rng=np.random.default_rng(5), bands=("g", "r", "i", "z"))
    common = ["models=[photoz]", "formats=[fits]", "tiling.core_px=64"]

    def run(name: str, cluster: str):
        return run_survey(load_config(tmp_path / "survey.yaml", [f"output={tmp_path / name}", f"cluster={cluster}", *common]))

    run("serial", "serial")
    with namespaces(2) as names, processes() as started:
        options = ["--host", HOST, "--port", "0", "--no-dashboard", "--scheduler-file", "scheduler.json"]
        started.append(dask("distributed.cli.dask_scheduler", *options, folder=tmp_path / "scheduler"))
        file = tmp_path / "scheduler" / "scheduler.json"
        wait_for(lambda: file.exists() and file.read_text().rstrip().endswith("}"), 60)
        address = json.loads(file.read_text())["address"]
        assert address.startswith(f"tcp://{HOST}:")
        for number, name in enumerate(names):
            # a shell of its own for the host name: Dask workers are told apart by their addresses, people tell them by it
            inside = ("ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", f'hostname node{number} && exec "$@"', "sh")
            options = ["--nthreads", "1", "--no-dashboard", "--death-timeout", "60", "--host", f"{NETWORK}.{number + 2}"]
            folder = tmp_path / f"node{number}"
            started.append(dask("distributed.cli.dask_worker", address, *options, folder=folder, inside=inside))
        from distributed import Client

        with Client(address, set_as_default=False, timeout="30s") as client:
            client.wait_for_workers(2, timeout=60)
        result = run("hosts", address)
    assert result.is_complete
    workers = result.performance["workers"]
    assert (workers["joined"], workers["lost"], workers["most_at_once"]) == (2, 0, 2)
    logs = sorted(path.read_text() for path in (tmp_path / "hosts" / "work" / "logs").glob("*.log"))
    for number, log in enumerate(logs):
        assert f"address=tcp://{NETWORK}.{number + 2}:" in log
        assert f"host=node{number} " in log
    assert len(logs) == 2
    assert (tmp_path / "hosts" / "catalog.fits").read_bytes() == (tmp_path / "serial" / "catalog.fits").read_bytes()
