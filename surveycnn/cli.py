"""The command line: parse, call the function that flows and Python users call, print.

Exit codes: 0 done, 1 a fault of ours, 2 the user's input is wrong, 3 finished but some tiles failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence

from surveycnn import __version__
from surveycnn.errors import UserError

FLOWS = ("survey", "ingest", "infer", "publish", "watch", "demo", "simulate", "train", "evaluate", "challenge")
EXIT_OK, EXIT_USER, EXIT_PARTIAL, EXIT_INTERRUPTED = 0, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _quiet_libraries()
    arguments = _parse(argv)
    try:
        return _command(arguments.run)(arguments)
    except UserError as error:
        print(f"surveycnn: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("surveycnn: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone; Python must not try to flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of a command, CONFIG before or after the options: Python 3.11 takes an optional one in the first place alone."""
    parser = _parser()
    arguments, left = parser.parse_known_args(argv)
    if left and not left[0].startswith("-") and getattr(arguments, "config", "") is None:
        arguments.config = left.pop(0)
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="surveycnn", description="Deep networks over whole survey skies.")
    parser.add_argument("--version", action="version", version=f"surveycnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run_flow(commands)
    _add_plan_and_status(commands)
    _add_query(commands)
    _add_columns(commands)
    _add_report(commands)
    _add_view(commands)
    _add_verify(commands)
    _add_models(commands)
    _add_photoz(commands)
    _add_deploy(commands)
    _add_completion(commands, parser)
    return parser


def _add_run_flow(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("run-flow", help="run a flow: " + ", ".join(FLOWS))
    command.add_argument("name", metavar="NAME", choices=FLOWS, help=", ".join(FLOWS))
    command.add_argument("config", metavar="CONFIG", nargs="?", help="YAML file")
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="replace a.b in CONFIG"
    )
    command.add_argument("--no-prefect", action="store_true", help="call the same functions without the Prefect engine")
    again = command.add_mutually_exclusive_group()
    again.add_argument("--fresh", action="store_true", help="start over instead of going on")
    again.add_argument(
        "--update", action="store_true", help="go on with changed settings, models or images: compute what depends on them"
    )
    command.set_defaults(run="flow:run")


def _add_plan_and_status(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("plan", help="show what would run, before anything runs")
    command.add_argument("config", metavar="CONFIG", help="YAML file")
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="replace a.b in CONFIG"
    )
    command.add_argument("--time", action="store_true", help="also forecast seconds and bytes, from a sample that is run now")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run="overview:plan")
    command = commands.add_parser("status", help="tiles by state")
    command.add_argument("where", metavar="CONFIG_OR_WORKDIR", help="YAML file, work directory or output folder of a run")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run="overview:status")


def _add_query(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "query",
        help="rows of a catalog",
        usage="%(prog)s CATALOG [options]",
        description="Rows that all the given options select: to the screen, or to a file.",
    )
    command._negative_number_matcher = re.compile(r"-[0-9.]")  # -3,5 and -1e-4 are no options
    command.add_argument("catalog", metavar="CATALOG", help="output folder of a run")
    _add_selections(command.add_argument_group("which rows"))
    shown = command.add_argument_group("what of them")
    shown.add_argument("--columns", metavar="A,B", help="columns to show or write")
    kind = shown.add_mutually_exclusive_group()
    kind.add_argument("-o", "--output", metavar="FILE", help=".fits .parquet .csv .ecsv .vot .zarr")
    kind.add_argument("--csv", action="store_true", help="CSV to standard output")
    kind.add_argument("--count", action="store_true", help="the number of rows alone")
    kind.add_argument("--origin", type=int, metavar="SOURCE_ID", help="where a row comes from: tile, images, models, run")
    shown.add_argument("--json", action="store_true", help="machine-readable; a list of rows")
    command.set_defaults(run="query:run")


def _add_selections(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--cone", nargs=3, type=float, metavar=("RA", "DEC", "ARCSEC"), help="ICRS degrees and arcsec")
    sides = ("RA_MIN", "RA_MAX", "DEC_MIN", "DEC_MAX")
    group.add_argument("--box", nargs=4, type=float, metavar=sides, help="degrees, eastward from RA_MIN to RA_MAX")
    group.add_argument("--polygon", nargs="+", metavar="RA,DEC", help="inside of great circles through three or more vertices")
    group.add_argument("--moc", metavar="FILE", help="in the cells of a MOC")
    group.add_argument("--ids", nargs="+", type=int, metavar="SOURCE_ID", help="with these numbers")
    group.add_argument("--where", metavar="EXPR", help="for instance 'lens_prob > 0.9 and z_phot < 1'")
    group.add_argument(
        "--lens-candidates", type=float, metavar="N", help="the longest list by lens_prob with N contaminants per square degree"
    )
    group.add_argument("--crossmatch", nargs=2, metavar=("FILE", "ARCSEC"), help="near a position of a table, with its columns")
    group.add_argument("--top", type=int, metavar="N", help="the N largest, of the column --by")
    group.add_argument("--by", metavar="COLUMN")


def _add_columns(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("columns", help="the columns of a catalog: types, units, UCDs, meanings, what fills them")
    command.add_argument(
        "catalog", metavar="CATALOG", nargs="?", help="output folder of a run; else what the shipped models give"
    )
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run="columns:run")


def _add_report(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("report", help="a page that shows a catalog: candidates to grade, sky, redshifts, models")
    command.add_argument("catalog", metavar="CATALOG", help="output folder of a run")
    command.add_argument("-o", "--output", metavar="FILE", help="by default report.html in the catalog's folder")
    command.add_argument("--truth", metavar="FILE", help="table with positions and redshifts or kinds, to compare with")
    command.add_argument("--top", type=int, default=60, metavar="N", help="candidates of each ranking; 60 by default")
    command.set_defaults(run="report:run")


def _add_view(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("view", help="a zoomable view of the mosaics with the sources over them, in a browser")
    command._negative_number_matcher = re.compile(r"-[0-9.]")
    command.add_argument("catalog", metavar="CATALOG", help="output folder of a run")
    command.add_argument("--at", nargs=2, type=float, metavar=("RA", "DEC"), help="where to look first; ICRS degrees")
    command.add_argument("--port", type=int, metavar="N", help="of this machine's loopback; by default a free one")
    command.add_argument("--no-browser", action="store_true", help="print the address alone")
    command.set_defaults(run="view:run")


def _add_verify(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("verify", help="check a catalog: schema, rows, duplicates, digests")
    command.add_argument("catalog", metavar="CATALOG", help="output folder of a run")
    command.add_argument("--sample", type=int, default=0, metavar="N", help="also compute N tiles again and compare")
    command.set_defaults(run="verify:verify")


def _add_models(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("models", help="the models at hand, with their cards")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run="models:show")
    actions = command.add_subparsers(metavar="check DIR")
    check = actions.add_parser("check", help="check a model package before it is trusted")
    check.add_argument("folder", metavar="DIR")
    check.set_defaults(run="models:check")


def _add_deploy(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("deploy", help="deployments: check what they need here, submit a survey to one")
    actions = command.add_subparsers(metavar="check | submit", required=True)
    check = actions.add_parser("check", help="what this machine lacks for each target; every file of deploy/ checked offline")
    check.add_argument("targets", metavar="TARGET", nargs="*", help="local, local-cuda, prefect, slurm, kubernetes; default all")
    check.add_argument("--cluster", metavar="FILE", action="append", default=[], help="also check a cluster file of yours")
    check.add_argument("--json", action="store_true", help="machine-readable")
    check.set_defaults(run="deploy:check")
    submit = actions.add_parser("submit", help="check a configuration and have a deployment of a Prefect server run it")
    submit.add_argument("config", metavar="CONFIG", help="YAML file")
    submit.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="replace a.b in CONFIG")
    submit.add_argument("--deployment", metavar="FLOW/NAME", default="survey/survey", help="default survey/survey")
    submit.add_argument("--wait", action="store_true", help="follow the run to its end, and exit with its code")
    again = submit.add_mutually_exclusive_group()
    again.add_argument("--fresh", action="store_true", help="start over instead of going on")
    again.add_argument("--update", action="store_true", help="compute what depends on changed settings, models or images")
    submit.set_defaults(run="deploy_submit:submit")


def _add_photoz(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("photoz", help="redshifts from a table of photometry: fit a model, predict with it")
    actions = command.add_subparsers(metavar="fit | predict", required=True)
    fit = actions.add_parser("fit", help="fit a model to a table with redshifts")
    fit.add_argument("table", metavar="TABLE", help=".parquet .fits .csv .ecsv .hdf5; FILE[n] or FILE[NAME] for an HDU or group")
    fit.add_argument("--bands", metavar="A,B", required=True, help="bands, for instance u,g,r,i,z,y")
    fit.add_argument("--redshift", metavar="COLUMN", required=True, help="column of the true redshifts")
    fit.add_argument("-o", "--output", metavar="MODEL_DIR", required=True, help="folder of the model")
    _add_photometry(fit)
    fit.add_argument("--name", help="name of the model")
    fit.add_argument("--seed", type=int, metavar="N", help="of the weights and the split")
    fit.add_argument("--members", type=int, metavar="N", help="networks, whose mean PDF is the answer")
    fit.add_argument("--epochs", type=int, metavar="N", help="passes through the table")
    fit.set_defaults(run="photoz:fit")
    predict = actions.add_parser("predict", help="write a table with the redshifts of its rows")
    predict.add_argument("model", metavar="MODEL_DIR", help="folder of the model")
    predict.add_argument("table", metavar="TABLE", help="of any format that fit reads")
    predict.add_argument("-o", "--output", metavar="FILE", required=True, help=".parquet .fits .csv .ecsv .hdf5")
    _add_photometry(predict)
    predict.set_defaults(run="photoz:predict")


def _add_photometry(command: argparse.ArgumentParser) -> None:
    """Options that say where the photometry is; the model remembers those of its fit."""
    group = command.add_argument_group(
        "where the photometry is, if not in flux_<band> and flux_err_<band> (nJy) or mag_<band> and mag_err_<band> (AB)"
    )
    group.add_argument(
        "--column", metavar="NAME=COLUMN", action="append", default=[], help="a single column, for instance mag_u=MAG_AUTO_U"
    )
    group.add_argument("--flux", metavar="PATTERN", help="fluxes, with {band} for the band, for instance 'f_{band}'")
    group.add_argument("--flux-err", metavar="PATTERN", help="errors of the fluxes")
    group.add_argument("--mag", metavar="PATTERN", help="magnitudes, for instance 'mag_{band}_lsst'")
    group.add_argument("--mag-err", metavar="PATTERN", help="errors of the magnitudes")


def _add_completion(commands: argparse._SubParsersAction, parser: argparse.ArgumentParser) -> None:
    command = commands.add_parser("completion", help="print what makes a shell complete these commands")
    command.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="bash, zsh or tcsh")
    command.set_defaults(run="completion:run", parser=parser)
