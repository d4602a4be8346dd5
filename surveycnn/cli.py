"""The command line: parse, call the function that flows and Python users call, print.

Exit codes: 0 done, 1 a fault of ours, 2 the user's input is wrong, 3 finished but some tiles failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from surveycnn.errors import UserError
from surveycnn.parsers.main import make_parser

EXIT_OK, EXIT_USER, EXIT_PARTIAL, EXIT_INTERRUPTED = 0, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _quiet_libraries()
    arguments = _parse(argv)
    if not arguments.run:
        arguments.parser.print_help()
        return EXIT_OK
    try:
        return _command(arguments.run)(arguments)
    except UserError as error:
        print(f"surveycnn: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        warnings.simplefilter("ignore")  # of what libraries had begun
        print("surveycnn: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone; Python must not try to flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of a command, CONFIG before or after the options: Python 3.11 takes an optional one in the first place alone."""
    parser = make_parser()
    arguments, left = parser.parse_known_args(argv)
    if left and not left[0].startswith("-") and getattr(arguments, "config", "") is None:
        arguments.config = left.pop(0)
    if left:
        arguments.parser.unknown(left)
    return arguments


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """The function ``module:function`` of surveycnn.commands; imported only when it runs, for a prompt `--help`."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"surveycnn.commands.{module}"), function)


def _quiet_libraries() -> None:
    """No library's log between our lines; what the user has set stays."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")  # 20 s are too few on a busy machine
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
