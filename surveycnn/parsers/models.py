"""Arguments of what is about models and tables: ``models`` and ``photoz``."""

from __future__ import annotations

import argparse

from surveycnn.parsers.parser import Parser, add_command, add_file, add_folder, whole_number


def add_models(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    command = add_command(
        commands,
        "models",
        "the models at hand, with their cards; or check a package",
        "models:show",
        ("models", "models --json", "models check lens", "models check my_model"),
    )
    command.add_argument("--json", action="store_true", help="machine-readable")
    actions = command.add_subparsers(metavar="check DIR")
    purpose = "check a model package before it is trusted"
    check = add_command(actions, "check", purpose, "models:check", ("models check lens", "models check my_model"))
    add_folder(check, "folder", metavar="DIR", help="folder of a package, or the name of a shipped model")
    _add_photoz(commands)


def _add_photoz(commands: argparse._SubParsersAction) -> None:
    examples = (
        "photoz fit train.parquet --bands u,g,r,i,z,y --redshift z_spec -o my_photoz",
        "photoz predict my_photoz objects.parquet -o objects_z.parquet",
    )
    command = commands.add_parser(
        "photoz",
        help="redshifts from a table of photometry: fit, predict",
        description="Redshifts from a table of photometry: fit a model, predict with it.",
        epilog="examples:\n" + "\n".join(f"  surveycnn {example}" for example in examples),
    )
    actions = command.add_subparsers(metavar="fit | predict", required=True)
    columns = "photoz fit train.fits[1] --bands g,r,i --redshift Z -o my_photoz --mag 'MAG_{band}' --mag-err 'ERR_{band}'"
    _add_fit(add_command(actions, "fit", "fit a model to a table with redshifts", "photoz:fit", (examples[0], columns)))
    purpose = "write a table with the redshifts of its rows"
    predict = add_command(actions, "predict", purpose, "photoz:predict", examples[1:])
    add_folder(predict, "model", metavar="MODEL_DIR", help="folder of the model")
    add_file(predict, "table", metavar="TABLE", help="of any format that fit reads")
    add_file(predict, "-o", "--output", metavar="FILE", required=True, help=".parquet .fits .csv .ecsv .hdf5")
    _add_photometry(predict)


def _add_fit(fit: Parser) -> None:
    formats = ".parquet .fits .csv .ecsv .hdf5; FILE[n] or FILE[NAME] for an HDU or group"
    add_file(fit, "table", metavar="TABLE", help=formats)
    fit.add_argument("--bands", metavar="A,B", required=True, help="bands, for instance u,g,r,i,z,y")
    fit.add_argument("--redshift", metavar="COLUMN", required=True, help="column of the true redshifts")
    add_folder(fit, "-o", "--output", metavar="MODEL_DIR", required=True, help="folder of the model")
    _add_photometry(fit)
    fit.add_argument("--name", help="name of the model")
    fit.add_argument("--seed", type=whole_number, metavar="N", help="of the weights and the split")
    fit.add_argument("--members", type=whole_number, metavar="N", help="networks, whose mean PDF is the answer")
    fit.add_argument("--epochs", type=whole_number, metavar="N", help="passes through the table")


def _add_photometry(command: argparse.ArgumentParser) -> None:
    """Options that say where the photometry is; the model remembers those of its fit."""
    group = command.add_argument_group(
        "where the photometry is",
        "if not in flux_<band> and flux_err_<band> (nJy) or mag_<band> and\nmag_err_<band> (AB):",
    )
    group.add_argument(
        "--column", metavar="NAME=COLUMN", action="append", default=[], help="a single column, for instance mag_u=MAG_AUTO_U"
    )
    group.add_argument("--flux", metavar="PATTERN", help="fluxes, with {band} for the band, for instance 'f_{band}'")
    group.add_argument("--flux-err", metavar="PATTERN", help="errors of the fluxes")
    group.add_argument("--mag", metavar="PATTERN", help="magnitudes, for instance 'mag_{band}_lsst'")
    group.add_argument("--mag-err", metavar="PATTERN", help="errors of the magnitudes")
