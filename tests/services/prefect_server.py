"""A Prefect server on a database of the test's own, with what is needed to deploy to it, and workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fault_injection import wait_for

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class PrefectServer:
    """A server that runs, and the environment in which commands find it."""

    url: str
    environment: dict[str, str]
    folder: Path
    """Where logs are written."""

    def prefect(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """A ``prefect`` command, ended."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        return subprocess.run(command, cwd=cwd, env=self.environment, capture_output=True, text=True)

    @contextmanager
    def worker(self, pool: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker of a pool; its runs end with it."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, *options]
        with _running(command, self.environment, self.folder / f"worker-{pool}.log") as process:
            yield process


@contextmanager
def prefect_server(database_url: str, folder: Path) -> Iterator[PrefectServer]:
    """A server on a free port of this machine alone; `folder` becomes its PREFECT_HOME."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(folder),
        "PREFECT_LOCAL_STORAGE_PATH": str(folder / "storage"),
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, environment, folder / "server.log") as process:
        wait_for(lambda: _is_healthy(url, process, folder / "server.log"), 120)
        yield PrefectServer(url, environment | {"PREFECT_API_URL": url}, folder)


def _is_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with suppress(OSError):
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    return False


@contextmanager
def _running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a group of its own, ended with all that is in it."""
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=written, stderr=written, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(40)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
