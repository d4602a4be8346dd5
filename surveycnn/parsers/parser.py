"""A parser that speaks as our errors do, and completes files and folders."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from surveycnn.errors import did_you_mean, printable

FILE = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
FOLDER = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
"""What completes an argument in each shell, as shtab has it."""
NUMBER = re.compile(r"-[0-9.]")
"""Begins a number: -3,5 and -1e-4 are no options."""


class Parser(argparse.ArgumentParser):
    """Argument parser with errors of one line and a hint; helps at 100 columns at most."""

    def __init__(self, **options: Any):
        super().__init__(**{"formatter_class": _Formatter} | options)
        self._negative_number_matcher = NUMBER
        self.hint: Callable[[str], str] = lambda word: ""
        """What to do about a word that is none of the choices."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        what = str(action.metavar).lower().split()[0] if isinstance(action.metavar, str) else "choice"
        found = self.hint(value) or did_you_mean(value, action.choices)
        found = found or f"the choices are {', '.join(map(str, action.choices))}"
        raise argparse.ArgumentError(None, f"there is no {what} {value!r}: {found}")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with exit code 2."""
        message = re.sub(r"^argument (\S+?)(/\S+)?: ", r"\1: ", message)
        message = re.sub(r"^(\S+): not allowed with argument (\S+)$", r"\1 and \2 exclude each other: give one of them", message)
        message = message.replace("the following arguments are required: ", "missing: ")
        message = message.strip()
        more = "" if "`" in message or message.endswith("?") else f"; `{self.prog} --help` has examples"
        print(f"surveycnn: {printable(message)}{more}", file=sys.stderr)
        self.exit(2)

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """End because of words that nothing takes."""
        options = [word for word in words if word.startswith("-")]
        if not options:
            self.error(f"nothing takes {' '.join(map(repr, words))}: leave it out")
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        near = did_you_mean(options[0].partition("=")[0], known)
        self.error(f"there is no option {options[0]!r}: {near or 'leave it out'}")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Examples as they are written, all in the width of the terminal, and the list of commands left to the description."""

    def __init__(self, prog: str, **options: Any):
        width = min(int(os.environ.get("COLUMNS") or 0) or _terminal_width(), 100)
        super().__init__(prog, max_help_position=26, width=max(width - 2, 40))

    def add_argument(self, action: argparse.Action) -> None:
        if not (isinstance(action, argparse._SubParsersAction) and action.metavar == "COMMAND"):
            super().add_argument(action)


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 80


def add_command(
    commands: argparse._SubParsersAction, name: str, purpose: str, run: str, examples: Iterable[str], **options: Any
) -> Parser:
    """Parser of a command with one line on what it is for and examples; `run` is ``module:function`` of surveycnn.commands."""
    epilog = "examples:\n" + "\n".join(f"  surveycnn {example}" for example in examples)
    description = purpose[0].upper() + purpose[1:] + "."
    command: Parser = commands.add_parser(name, help=purpose, description=description, epilog=epilog, **options)
    command.set_defaults(run=run, parser=command)
    return command


def add_file(command: Any, *names: str, **options: Any) -> None:
    """Add an argument that is a file."""
    command.add_argument(*names, **options).complete = FILE


def add_folder(command: Any, *names: str, **options: Any) -> None:
    """Add an argument that is a folder."""
    command.add_argument(*names, **options).complete = FOLDER


def whole_number(text: str) -> int:
    """The number that `text` is."""
    return _number(int, text, "whole number")


def number(text: str) -> float:
    """The number that `text` is."""
    return _number(float, text, "number")


def _number(kind: type, text: str, what: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no {what}") from None
