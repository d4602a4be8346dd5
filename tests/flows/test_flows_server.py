"""The server that Prefect starts for a run ends with it; the real one is in test_lost_workers."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
from fault_injection import wait_for

# sleep stands for the server, and a module of that name for Prefect's, which takes seconds to import
CODE = """
import subprocess, sys, types
server = types.SimpleNamespace(server_process=subprocess.Popen(["sleep", "600"]))
instances = types.SimpleNamespace(_instances={None: server})
sys.modules["prefect.server.api.server"] = types.SimpleNamespace(SubprocessASGIServer=instances)
from surveycnn.flows.server import end_server_with_process
end_server_with_process()
end_server_with_process()
print(server.server_process.pid, flush=True)
sys.stdin.readline()
server.server_process.kill()
server.server_process.wait()
"""


@pytest.mark.parametrize("is_killed", [True, False])
def test_end_server_with_process(is_killed):
    with subprocess.Popen([sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        server = psutil.Process(int(driver.stdout.readline()))
        (watch,) = [child for child in psutil.Process(driver.pid).children() if child.name() == "sh"]
        if is_killed:
            driver.kill()
        else:
            driver.communicate(b"end\n", timeout=60)
    wait_for(lambda: not is_alive(server) and not is_alive(watch))
    assert driver.returncode == (-9 if is_killed else 0)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
