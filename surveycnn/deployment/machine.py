"""Small questions to this machine: is a package installed, is a command there, and what does it answer."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
from dataclasses import dataclass

from surveycnn.deployment.findings import Finding

ANSWER_SECONDS = 10.0
"""Time that a command or a server has to answer: a controller that is down lets its clients wait for a minute."""


@dataclass(frozen=True)
class Answer:
    """What a command has printed."""

    is_ok: bool
    output: str
    error: str
    """Its last line to stderr."""


def package(name: str, extra: str) -> Finding:
    """Whether a Python package of one of our extras is installed."""
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        return Finding("missing", f"the package {name} is not installed", f"pip install 'surveycnn[{extra}]'")
    return Finding("ok", f"{name} {importlib.metadata.version(name)}")


def command(name: str, advice: str) -> Finding:
    """Whether a command is on the PATH."""
    path = shutil.which(name)
    return Finding("ok", f"{name} at {path}") if path else Finding("missing", f"{name} is not on the PATH", advice)


def ask(*words: str, text: str | None = None) -> Answer:
    """What the command `words` answers; `text` goes to its standard input."""
    try:
        ended = subprocess.run(words, input=text, capture_output=True, text=True, timeout=ANSWER_SECONDS, errors="replace")
    except FileNotFoundError:
        return Answer(False, "", f"{words[0]} is not there")
    except subprocess.TimeoutExpired:
        return Answer(False, "", f"no answer within {ANSWER_SECONDS:g} s")
    error = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    return Answer(ended.returncode == 0, ended.stdout.strip(), error[-1] if error else f"exit code {ended.returncode}")
