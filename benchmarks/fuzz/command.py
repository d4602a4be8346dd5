"""Commands of ``surveycnn`` in this process: what they print and their exit code."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from surveycnn.cli import main
from surveycnn.errors import ConfigError

CODES = {0: "exit 0", 2: "exit 2", 3: "exit 3"}


def run_command(arguments: Sequence[str]) -> str:
    """A word about the exit code; an AssertionError where the code or what is printed is not what a user shall see."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as error:  # of argparse
            code = error.code if isinstance(error.code, int) else 1
    if code not in CODES or "Traceback" in err.getvalue():
        raise AssertionError(f"exit code {code}, on stderr: {err.getvalue()[-300:]}")
    if code == 2:
        if not err.getvalue().strip():
            raise AssertionError("exit code 2 without a message")
        raise ConfigError(err.getvalue()[-300:])
    return CODES[code]
