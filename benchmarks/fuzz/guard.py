"""Watches what a case does to the machine: an audit hook that records and refuses what no input may bring about.

Files that native libraries open do not pass here; the child also compares the folder around the case before and after.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.mkdir": 1,
    "os.rmdir": 1,
    "os.remove": 1,
    "os.truncate": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.utime": 1,
    "shutil.rmtree": 1,
    "sqlite3.connect": 1,
}
"""Events of changes and the number of their first arguments that are paths."""
_REFUSED = {
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn", "os.kill"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"),
    *("ctypes.dlopen", "pickle.find_class"),
}
_OF_IMPORTS = ("ctypes.dlopen", "pickle.find_class")
"""What modules do when they are imported, which may be in a case."""
_GENERATING = (
    "dataclasses",
    "collections",
    "typing",
    "enum",
    "attr",
    "functools",
    "pydantic",
    "numpy",
    "openvino",
    "astropy",
    "pyparsing",
    "scipy",
    "ply",
)
"""Packages that make functions of their own from text."""
_DEVICES = ("/dev/null", "/dev/urandom")


class Refused(PermissionError):
    """What a case gets that tries something it may not."""


class Guard:
    """The hook; installed once in a process, at work between the beginning and the end of :meth:`watching`."""

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._folder: str | None = None
        self._refused = _REFUSED - set(allowed)
        self.found: list[str] = []
        """What the case did that it may not."""
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Let a case change `folder` alone."""
        self.found = []
        self._folder = os.path.realpath(folder)
        try:
            yield
        finally:
            self._folder = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if event == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (mode is None and flags & _WRITING):
                self._check_path(event, path)
        elif event in _CHANGES:
            folders = [value for value in arguments[_CHANGES[event] :] if type(value) is int and value >= 0]
            for path in arguments[: _CHANGES[event]] if event != "os.symlink" else arguments[1:2]:
                self._check_path(event, path, folders[0] if folders and event not in ("os.chmod", "os.mkdir") else None)
        elif event in self._refused and arguments != (None,) and not (event in _OF_IMPORTS and _is_import(sys._getframe(1))):
            self._refuse(f"{event} {_short(arguments)}")
        elif event == "exec":
            self._check_code(arguments[0])

    def _check_path(self, event: str, path: Any, folder: int | None = None) -> None:
        if isinstance(path, int) or path is None:  # opened, and checked, before
            return
        text = os.fsdecode(path)
        base = os.readlink(f"/proc/self/fd/{folder}") if folder is not None and not os.path.isabs(text) else os.getcwd()
        place = os.path.realpath(os.path.join(base, text))
        if place not in _DEVICES and not (place + os.sep).startswith(f"{self._folder}{os.sep}"):
            self._refuse(f"{event} {place!r}")

    def _check_code(self, code: object) -> None:
        name = code.co_filename if isinstance(code, CodeType) else "<text>"
        if os.path.isabs(name) or name.startswith("<frozen"):
            return
        frame = sys._getframe(2)
        caller = str(frame.f_globals.get("__name__", ""))
        if not caller.startswith(_GENERATING) and not _is_import(frame):
            self._refuse(f"exec of {name} by {caller} at {frame.f_code.co_filename}:{frame.f_lineno}")

    def _refuse(self, text: str) -> None:
        self.found.append(text)
        raise Refused(f"refused by the fuzzer: {text}")


def _is_import(frame: FrameType | None) -> bool:
    """Whether a frame is below an import, of a module that generates code of its own."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
