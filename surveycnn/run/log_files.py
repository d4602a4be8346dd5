"""Log files of workers as the driver reads them: each worker has one in the work directory, and its first line says which it is.

:mod:`surveycnn.run.worker_logs` writes them.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from surveycnn.errors import printable

TAIL_LINES, TAIL_BYTES = 30, 8192
"""Of a log, kept with the failure of a tile."""
HEADER = "# worker "


def log_path(folder: Path, address: str) -> Path:
    """File of the worker at an address.

    >>> log_path(Path("logs"), "tcp://10.0.0.7:40123").name
    '10.0.0.7_40123.log'
    """
    return folder / (re.sub(r"[^\w.-]+", "_", address.partition("://")[2] or address) + ".log")


def worker_record(address: str) -> dict[str, Any]:
    """Plain values about this process, a worker: what its batch system calls it included."""
    named = {"slurm_job_id": os.environ.get("SLURM_JOB_ID"), "slurm_step_id": os.environ.get("SLURM_STEP_ID")}
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        named["pod"] = os.environ.get("POD_NAME") or os.environ.get("HOSTNAME")
    return {"address": address, "host": os.uname().nodename, "pid": os.getpid()} | {k: v for k, v in named.items() if v}


def read_log(folder: Path, address: str) -> tuple[dict[str, str], list[str]]:
    """What the log of a worker says of its process, and its last lines; empty where there is none."""
    about: dict[str, str] = {}
    lines: list[str] = []
    with suppress(OSError), open(log_path(folder, address), "rb") as stream:
        first = stream.readline(2048).decode("utf-8", "replace")
        if first.startswith(HEADER):
            about = dict(part.split("=", 1) for part in first.removeprefix(HEADER).split() if "=" in part)
        stream.seek(max(stream.tell(), os.fstat(stream.fileno()).st_size - TAIL_BYTES))
        lines = [printable(line) for line in stream.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()]
    return about, lines[-TAIL_LINES:]


def worker_failure(folder: Path, worker: dict[str, Any]) -> dict[str, Any]:
    """Of the record of a failed tile: the worker, the name of its log in the work directory, and the end of it."""
    if not worker.get("address"):
        return {}
    about, tail = read_log(folder, worker["address"])
    path = log_path(folder, worker["address"])
    record: dict[str, Any] = {"worker": {key: value for key, value in about.items() if key != "started"} | worker}
    return record | ({"log": f"{folder.name}/{path.name}", "log_tail": tail} if path.is_file() else {})
