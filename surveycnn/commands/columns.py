"""``surveycnn columns``: the data model of a catalog, or of all that the shipped models give."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import textwrap
from collections.abc import Iterable

from surveycnn.catalogs.columns import photometry_columns, position_columns
from surveycnn.catalogs.data_model import Row, data_model
from surveycnn.catalogs.query import open_catalog
from surveycnn.commands.rows import screen_width
from surveycnn.errors import printable
from surveycnn.models.package import find_card, shipped_models

INDENT = " " * 6


def run(arguments: argparse.Namespace) -> int:
    """Print name, type, unit, UCD, dims and meaning of each column, and what fills it."""
    rows = shipped_columns() if arguments.catalog is None else data_model(open_catalog(arguments.catalog).schema)
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return 0
    print(printable(columns_text(rows, screen_width())))
    if arguments.catalog is None:
        print("columns that the shipped models give; with every further band come its fluxes", file=sys.stderr)
    return 0


def shipped_columns() -> list[Row]:
    """Columns of a catalog of all shipped models on images in all the bands that they take."""
    cards = [find_card(name) for name in shipped_models()]
    bands = dict.fromkeys(band for card in cards for band in card.bands)
    models = [variable for card in cards for variable in card.schema.values()]
    return data_model([*position_columns(), *photometry_columns(list(bands)), *models])


def columns_text(rows: Iterable[Row], width: int) -> str:
    """The columns below the names of the steps that fill them, each with its meaning below it."""
    lines = []
    for step, group in itertools.groupby(rows, lambda row: row.filled_by):
        lines.append(f"filled by {step}:" if step else "filled by others:")
        for row in group:
            unit = f"[{row.unit}]" if row.unit else ""
            line = "  ".join(["", row.name, row.type, *filter(None, (unit, row.ucd))])
            more = row.dims.removeprefix("source").lstrip(",; ")
            lines.append(f"{line}  {more}" if more and len(line) + 2 + len(more) <= width else line)
            lines += textwrap.wrap(row.description, width, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines)
