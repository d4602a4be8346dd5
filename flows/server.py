"""The server that Prefect starts for a process alone: it ends with that process, also where the process is killed."""

from __future__ import annotations

import atexit
import subprocess

_watched: dict[int, subprocess.Popen[bytes]] = {}

_WATCH = 'read -r _ || kill "$0"'
"""The shell reads a line at an orderly end; where the process is killed, its end of the pipe is closed without one."""


def end_server_with_process() -> None:
    """Have the server that Prefect runs for this process ended when this process dies; does nothing where there is none."""
    from prefect.server.api.server import SubprocessASGIServer

    for server in getattr(SubprocessASGIServer, "_instances", {}).values():
        process = server.server_process
        if process is not None and process.poll() is None and process.pid not in _watched:
            command = ["sh", "-c", _WATCH, str(process.pid)]
            # a session of its own: Ctrl-C and a killed process group are not for it
            watch = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            _watched[process.pid] = watch
            atexit.register(_dismiss, watch)


def _dismiss(watch: subprocess.Popen[bytes]) -> None:
    watch.communicate(b"over\n")
