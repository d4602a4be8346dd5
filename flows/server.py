"""The server that Prefect starts for a process alone: deaf to Ctrl-C, and ended with that process, also where that is killed."""

from __future__ import annotations

import atexit
import signal
import subprocess
from typing import Any

_watched: dict[int, subprocess.Popen[bytes]] = {}

_WATCH = 'read -r _ || kill "$0"'
"""The shell reads a line at an orderly end; where the process is killed, its end of the pipe is closed without one."""


def guard_server() -> None:
    """Have every server that Prefect starts for this process deaf to Ctrl-C and ended with the process, from its first moment on.

    Ctrl-C reaches all processes of a terminal, and a server that it has ended would not learn that the run was cancelled.
    """
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is not None:
        return
    from prefect.server.api.server import SubprocessASGIServer

    start = SubprocessASGIServer._run_uvicorn_command
    if getattr(start, "is_guarded", False):
        return

    def guarded(server: Any) -> subprocess.Popen[Any]:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a new process inherits
        try:
            process = start(server)
            _watch(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return process

    guarded.is_guarded = True  # type: ignore[attr-defined]
    SubprocessASGIServer._run_uvicorn_command = guarded  # type: ignore[method-assign, assignment]


def end_server_with_process() -> None:
    """Have the server that Prefect runs for this process ended when this process dies; does nothing where there is none."""
    from prefect.server.api.server import SubprocessASGIServer

    for server in getattr(SubprocessASGIServer, "_instances", {}).values():
        process = server.server_process
        if process is not None and process.poll() is None:
            _watch(process)


def has_lost_server() -> bool:
    """Whether the server that Prefect has started for this process has ended, as by a signal to the whole group."""
    from prefect.server.api.server import SubprocessASGIServer

    processes = [server.server_process for server in getattr(SubprocessASGIServer, "_instances", {}).values()]
    return any(process is not None and process.poll() is not None for process in processes)


def _watch(process: subprocess.Popen[Any]) -> None:
    if process.pid in _watched:
        return
    command = ["sh", "-c", _WATCH, str(process.pid)]
    # a session of its own: Ctrl-C and a killed process group are not for it
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    _watched[process.pid] = watch
    atexit.register(_dismiss, watch)


def _dismiss(watch: subprocess.Popen[bytes]) -> None:
    watch.communicate(b"over\n")
