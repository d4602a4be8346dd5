"""Kills a process at each of its steps: before every file that it opens for writing, renames or removes, one run after another.

    python tests/kill_points.py FOLDER EVERY [SCENARIO ...]

prints, for each scenario, the number of kills and what was found wrong after them. A step is run in a fork of this process, which
does nothing itself that a fork would not survive: no arrow, no zarr.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate")
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Scenario(Protocol):
    """Something that is interrupted."""

    def prepare(self, folder: Path) -> None:
        """Put into `folder` what is there before; it does not exist yet."""

    def act(self, folder: Path) -> None:
        """What is killed in the middle."""

    def check(self, folder: Path) -> None:
        """Raise unless all is well after a kill, and after the same action again."""


def kill_at(number: int, folder: Path) -> None:
    """Kill this process before step `number`, counted from 0, that changes something in `folder`.

    What is about to be renamed from a temporary name is cut in half first, as if the kill had come while it was written.
    """
    n_steps = 0

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n_steps
        is_change = event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _FOR_WRITING)
        if not is_change or not str(arguments[0]).startswith(str(folder)):
            return
        if n_steps == number:
            name = str(arguments[0])
            if event == "os.rename" and name.endswith(".partial"):
                descriptor = os.open(name, os.O_RDWR)
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        n_steps += 1

    sys.addaudithook(look)


def in_a_fork(function: Callable[[], None]) -> int:
    """Status of a child process that calls `function`: 0, 1 where it raised, or minus the signal that has killed it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_scenario(scenario: Scenario, folder: Path, every: int) -> dict[str, Any]:
    """Kill at each step, or one of `every`, and check after each; returns the number of kills and what went wrong where."""
    steps: list[int] = []
    wrong: list[str] = []
    if in_a_fork(lambda: scenario.prepare(folder)):
        wrong.append("preparation")
    while not wrong:

        def act(number: int = every * len(steps)) -> None:
            kill_at(number, folder)
            scenario.act(folder)

        def check() -> None:
            scenario.check(folder)
            shutil.rmtree(folder)
            scenario.prepare(folder)

        status = in_a_fork(act)
        if in_a_fork(check):
            wrong.append(f"check after a kill at step {every * len(steps)}")
        if status == 0:
            break
        if status != -signal.SIGKILL:
            wrong.append(f"status {status} at step {every * len(steps)}")
        steps.append(every * len(steps))
    return {"kills": len(steps), "wrong": wrong}


def contents(folder: Path) -> dict[str, str]:
    """Digest of each file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main(folder: Path, names: list[str], every: int) -> None:
    from kill_scenarios import SCENARIOS

    made = {name: SCENARIOS[name](folder / "kept") for name in names or SCENARIOS}
    print(json.dumps({name: run_scenario(scenario, folder / name, every) for name, scenario in made.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[3:], int(sys.argv[2]))
