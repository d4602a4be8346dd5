"""The parser of ``surveycnn``: all commands, and its help with their groups and the exit codes."""

from __future__ import annotations

import argparse
import textwrap

from surveycnn import __version__
from surveycnn.parsers.catalogs import add_catalogs
from surveycnn.parsers.models import add_models
from surveycnn.parsers.parser import Parser, add_command
from surveycnn.parsers.running import add_running, hint_of_command

GROUPS = {
    "run a survey": ("run-flow", "plan", "status", "deploy"),
    "use its catalog": ("query", "columns", "report", "view", "verify"),
    "models and tables": ("models", "photoz"),
    "this shell": ("completion",),
}
_EPILOG = """examples:
  surveycnn run-flow demo
  surveycnn query runs/demo --top 10 --by lens_prob
  surveycnn plan kids.yaml
  surveycnn run-flow survey kids.yaml

exit codes: 0 done, 1 a fault of ours, 2 the input is wrong, 3 some tiles failed
and the rest is published, 130 interrupted: the same command goes on"""
_INSTALL = """install, for all shells that are opened later:
  bash  a line in ~/.bashrc: eval "$(surveycnn completion bash)"
        or, read when it is first needed, in the folder of bash-completion:
        surveycnn completion bash > ~/.local/share/bash-completion/completions/surveycnn
  zsh   surveycnn completion zsh > ~/.zfunc/_surveycnn
        with fpath+=~/.zfunc before compinit in ~/.zshrc
  tcsh  surveycnn completion tcsh > ~/.surveycnn.tcsh, and source it in ~/.tcshrc"""


def make_parser() -> Parser:
    """Parser of all commands."""
    parser = Parser(prog="surveycnn", usage="surveycnn COMMAND ...", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"surveycnn {__version__}")
    parser.hint = lambda word: hint_of_command(word, parser)
    commands = parser.add_subparsers(metavar="COMMAND", prog="surveycnn", parser_class=Parser)
    add_running(commands)
    add_catalogs(commands)
    add_models(commands)
    _add_completion(commands, parser)
    parser.set_defaults(run="", parser=parser)
    parser.description = _description(commands)
    return parser


def _description(commands: argparse._SubParsersAction) -> str:
    """What this is, and the commands by what they are for."""
    purposes = {action.dest: str(action.help) for action in commands._choices_actions}
    lines = ["Deep networks over whole survey skies: FITS mosaics in, a queryable catalog out.", ""]
    for title, names in GROUPS.items():
        lines.append(f"{title}:")
        for name in names:
            lines += textwrap.wrap(purposes[name], 78, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14)
    return "\n".join([*lines, "", "`surveycnn COMMAND --help` has the options and examples of a command."])


def _add_completion(commands: argparse._SubParsersAction, parser: Parser) -> None:
    purpose = "print what makes a shell complete commands, options and files"
    command = add_command(commands, "completion", purpose, "completion:run", ("completion bash", "completion zsh"))
    command.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="bash, zsh or tcsh")
    command.epilog = f"{command.epilog}\n\n{_INSTALL}"
    command.set_defaults(all_commands=parser)
