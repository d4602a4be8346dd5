"""``surveycnn view``: mosaics and sources in a browser, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from surveycnn.catalogs.query import open_catalog
from surveycnn.commands.report import chunks_of
from surveycnn.errors import InputError
from surveycnn.view.answers import Answers
from surveycnn.view.server import LOOPBACK, ViewServer


def run(arguments: argparse.Namespace) -> int:
    """Serve the view; its address is printed, and opened where there is a screen."""
    at = tuple(arguments.at) if arguments.at else None
    catalog = open_catalog(arguments.catalog)
    answers = Answers(catalog, chunks_of(arguments.catalog), shlex.quote(str(arguments.catalog)), at)
    with ViewServer(answers, _port(arguments.port)) as server:
        print(server.url, flush=True)
        print(_hint(server.server_port), file=sys.stderr, flush=True)
        with _opened(server.url) if _has_screen() and not arguments.no_browser else _nothing():
            with _ending_at_signals():
                server.serve_forever()
    return 0


@contextmanager
def _ending_at_signals() -> Iterator[None]:
    """Leave at Ctrl-C and SIGTERM, also where a shell has started the command in the background and ignores the first."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _port(port: int | None) -> int:
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"--port is {port}, expected a number from 1 to 65535, or none for a free one")
    return port or 0


def _hint(port: int) -> str:
    host = os.uname().nodename
    return (
        f"Ctrl-C ends the view. From another machine: ssh -L {port}:{LOOPBACK}:{port} {host}\n"
        "there, then open this address there. Whoever has the address can read the catalog."
    )


def _has_screen() -> bool:
    """Whether a browser would open a window; on a machine without a screen some would take over the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _opened(url: str) -> Iterator[None]:
    """Open a page that leads to `url`: all users of a machine see the arguments of commands, but not what is in our files."""
    with tempfile.TemporaryDirectory(prefix="surveycnn-view-") as folder:
        page = Path(folder) / "view.html"
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}"><a href="{url}">surveycnn view</a>')
        # a browser in the terminal would not return
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
        yield
