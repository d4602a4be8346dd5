"""Arguments of what runs a survey: ``run-flow``, ``plan``, ``status`` and ``deploy``."""

from __future__ import annotations

import argparse
from pathlib import Path

from surveycnn.errors import did_you_mean
from surveycnn.parsers.parser import Parser, add_command, add_file

FLOWS = ("survey", "ingest", "infer", "publish", "watch", "demo", "simulate", "train", "evaluate", "challenge")


def add_running(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    _add_run_flow(commands)
    _add_plan(commands)
    _add_status(commands)
    _add_deploy(commands)


def _add_run_flow(commands: argparse._SubParsersAction) -> None:
    command = add_command(
        commands,
        "run-flow",
        "run a flow, such as survey: from mosaics to a catalog",
        "flow:run",
        (
            "run-flow demo",
            "run-flow survey kids.yaml",
            "run-flow survey kids.yaml --set tiling.core_px=512 --set cluster=serial",
            "run-flow survey kids.yaml --update   # after a change of the settings",
            "run-flow train lens.yaml --no-prefect",
        ),
    )
    command.hint = hint_of_flow
    command.add_argument("name", metavar="FLOW", choices=FLOWS, help=", ".join(FLOWS))
    add_file(command, "config", metavar="CONFIG", nargs="?", help="YAML file; a survey needs one, the others have defaults")
    _add_set(command)
    command.add_argument("--no-prefect", action="store_true", help="call the same functions without the Prefect engine")
    _add_ways(command)


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="replace a.b in CONFIG"
    )


def _add_ways(command: argparse.ArgumentParser) -> None:
    again = command.add_mutually_exclusive_group()
    again.add_argument("--fresh", action="store_true", help="start over instead of going on")
    again.add_argument(
        "--update", action="store_true", help="go on with changed settings, models or images: compute what depends on them"
    )


def _add_plan(commands: argparse._SubParsersAction) -> None:
    examples = ("plan kids.yaml", "plan kids.yaml --time", "plan kids.yaml --set tiling.core_px=512 --json")
    command = add_command(commands, "plan", "show what would run: tiles, bytes and memory", "overview:plan", examples)
    add_file(command, "config", metavar="CONFIG", help="YAML file")
    _add_set(command)
    command.add_argument("--time", action="store_true", help="also forecast seconds and bytes, from a sample that is run now")
    command.add_argument("--json", action="store_true", help="machine-readable")


def _add_status(commands: argparse._SubParsersAction) -> None:
    examples = ("status kids.yaml", "status runs/kids", "status runs/kids --json")
    command = add_command(commands, "status", "tiles by state, and why some failed", "overview:status", examples)
    add_file(command, "where", metavar="CONFIG_OR_WORKDIR", help="YAML file, work directory or output folder of a run")
    command.add_argument("--json", action="store_true", help="machine-readable")


def _add_deploy(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "deploy",
        help="check what deployments need here, submit a survey to one",
        description="Check what deployments need on this machine, or have one run a survey.",
        epilog="examples:\n  surveycnn deploy check slurm\n  surveycnn deploy submit kids.yaml --wait",
    )
    actions = command.add_subparsers(metavar="check | submit", required=True)
    check = add_command(
        actions,
        "check",
        "what this machine lacks for each target; every file of deploy/ checked offline",
        "deploy:check",
        ("deploy check", "deploy check local slurm", "deploy check --cluster my-cluster.yaml"),
    )
    check.add_argument("targets", metavar="TARGET", nargs="*", help="local, local-cuda, prefect, slurm, kubernetes; default all")
    add_file(check, "--cluster", metavar="FILE", action="append", default=[], help="also check a cluster file of yours")
    check.add_argument("--json", action="store_true", help="machine-readable")
    submit = add_command(
        actions,
        "submit",
        "check a configuration and have a deployment of a Prefect server run it",
        "deploy_submit:submit",
        ("deploy submit kids.yaml", "deploy submit kids.yaml --wait --set cluster=slurm-cpu"),
    )
    add_file(submit, "config", metavar="CONFIG", help="YAML file")
    _add_set(submit)
    submit.add_argument("--deployment", metavar="FLOW/NAME", default="survey/survey", help="default survey/survey")
    submit.add_argument("--wait", action="store_true", help="follow the run to its end, and exit with its code")
    _add_ways(submit)


def hint_of_flow(word: str) -> str:
    """What to do about a word in the place of a flow."""
    if is_configuration(word):
        return f"name the flow first, `surveycnn run-flow survey {word}`"
    return did_you_mean(word, FLOWS) or f"the flows are {', '.join(FLOWS)}"


def hint_of_command(word: str, commands: Parser) -> str:
    """What to do about a word in the place of a command."""
    if is_configuration(word):
        return f"to run a survey, `surveycnn run-flow survey {word}`"
    if word in FLOWS:
        return f"it is a flow, `surveycnn run-flow {word}`"
    if Path(word).is_dir():
        return f"to see the catalog in it, `surveycnn query {word}`"
    names = next(action.choices for action in commands._actions if isinstance(action, argparse._SubParsersAction))
    return did_you_mean(word, names) or f"the commands are {', '.join(names)}"


def is_configuration(word: str) -> bool:
    """Whether a word looks like the name of a configuration."""
    return word.endswith((".yaml", ".yml"))
