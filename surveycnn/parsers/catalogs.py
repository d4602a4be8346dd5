"""Arguments of what uses a catalog: ``query``, ``columns``, ``report``, ``view`` and ``verify``."""

from __future__ import annotations

import argparse

from surveycnn.parsers.parser import Parser, add_command, add_file, add_folder, number, whole_number


def add_catalogs(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    _add_query(commands)
    _add_columns(commands)
    _add_report(commands)
    _add_view(commands)
    _add_verify(commands)


def _add_catalog(command: Parser, **options: str) -> None:
    add_folder(command, "catalog", metavar="CATALOG", **{"help": "output folder of a run"} | options)


def _add_query(commands: argparse._SubParsersAction) -> None:
    command = add_command(
        commands,
        "query",
        "rows that all the given options select: on screen, or in a file",
        "query:run",
        (
            "query runs/demo --top 10 --by lens_prob",
            'query runs/demo --where "flux_r > 1000 and z_phot < 1" -o bright.fits',
            "query runs/demo --cone 150.0 2.0 30 --columns source_id,ra,dec,flux_r",
            "query runs/demo --box 149.9 150.1 -1.5 2.5 --count",
            "query runs/demo --lens-candidates 10 --csv",
        ),
        usage="surveycnn query CATALOG [options]",
    )
    _add_catalog(command)
    _add_selections(command.add_argument_group("which rows"))
    shown = command.add_argument_group("what of them")
    shown.add_argument("--columns", metavar="A,B", help="columns to show or write")
    kind = shown.add_mutually_exclusive_group()
    add_file(kind, "-o", "--output", metavar="FILE", help=".fits .parquet .csv .ecsv .vot .zarr")
    kind.add_argument("--csv", action="store_true", help="CSV to standard output")
    kind.add_argument("--count", action="store_true", help="the number of rows alone")
    kind.add_argument(
        "--origin", type=whole_number, metavar="SOURCE_ID", help="where a row comes from: tile, images, models, run"
    )
    shown.add_argument("--json", action="store_true", help="machine-readable; a list of rows")


def _add_selections(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--cone", nargs=3, type=number, metavar=("RA", "DEC", "ARCSEC"), help="ICRS degrees and arcsec")
    sides = ("RA_MIN", "RA_MAX", "DEC_MIN", "DEC_MAX")
    group.add_argument("--box", nargs=4, type=number, metavar=sides, help="degrees, eastward from RA_MIN to RA_MAX")
    group.add_argument("--polygon", nargs="+", metavar="RA,DEC", help="inside of great circles through three or more vertices")
    add_file(group, "--moc", metavar="FILE", help="in the cells of a MOC")
    group.add_argument("--ids", nargs="+", type=whole_number, metavar="SOURCE_ID", help="with these numbers")
    group.add_argument("--where", metavar="EXPR", help="for instance 'lens_prob > 0.9 and z_phot < 1'")
    group.add_argument(
        "--lens-candidates", type=number, metavar="N", help="the longest list by lens_prob with N contaminants per square degree"
    )
    add_file(group, "--crossmatch", nargs=2, metavar=("FILE", "ARCSEC"), help="near a position of a table, with its columns")
    group.add_argument("--top", type=whole_number, metavar="N", help="the N largest, of the column --by")
    group.add_argument("--by", metavar="COLUMN", help="column of --top")


def _add_columns(commands: argparse._SubParsersAction) -> None:
    purpose = "columns of a catalog: types, units, UCDs, meanings"
    command = add_command(
        commands, "columns", purpose, "columns:run", ("columns", "columns runs/demo", "columns runs/demo --json")
    )
    _add_catalog(command, nargs="?", help="output folder of a run; else what the shipped models give")
    command.add_argument("--json", action="store_true", help="machine-readable")


def _add_report(commands: argparse._SubParsersAction) -> None:
    purpose = "write a page that shows a catalog: candidates to grade, sky"
    examples = ("report runs/demo", "report runs/demo --top 200 -o candidates.html", "report runs/kids --truth spectra.fits")
    command = add_command(commands, "report", purpose, "report:run", examples)
    _add_catalog(command)
    add_file(command, "-o", "--output", metavar="FILE", help="by default report.html in the catalog's folder")
    add_file(command, "--truth", metavar="FILE", help="table with positions and redshifts or kinds, to compare with")
    command.add_argument("--top", type=whole_number, default=60, metavar="N", help="candidates of each ranking; 60 by default")


def _add_view(commands: argparse._SubParsersAction) -> None:
    purpose = "the mosaics with the sources over them, in a browser"
    examples = ("view runs/demo", "view runs/kids --at 352.29 -31.82", "view runs/demo --port 8800 --no-browser")
    command = add_command(commands, "view", purpose, "view:run", examples)
    _add_catalog(command)
    command.add_argument("--at", nargs=2, type=number, metavar=("RA", "DEC"), help="where to look first; ICRS degrees")
    command.add_argument("--port", type=whole_number, metavar="N", help="of this machine's loopback; by default a free one")
    command.add_argument("--no-browser", action="store_true", help="print the address alone")


def _add_verify(commands: argparse._SubParsersAction) -> None:
    purpose = "check a catalog: schema, rows, duplicates, digests"
    command = add_command(commands, "verify", purpose, "verify:verify", ("verify runs/demo", "verify runs/demo --sample 2"))
    _add_catalog(command)
    command.add_argument("--sample", type=whole_number, default=0, metavar="N", help="also compute N tiles again and compare")
