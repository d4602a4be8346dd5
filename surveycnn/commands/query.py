"""``surveycnn query``: rows of a catalog to the screen, to standard output as CSV or JSON, or to a file."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence

import pyarrow as pa

from surveycnn.catalogs.query import Catalog, open_catalog
from surveycnn.commands.rows import screen_width, table_text, write_csv, write_json
from surveycnn.errors import CatalogError, printable

SHOWN_ROWS = 20
HEADLINE = (
    *("source_id", "ra", "dec", "flags", "lens_prob", "merger_prob", "z_phot", "z_phot_lo", "z_phot_hi"),
    *("mosaic", "morph_smooth_or_featured_smooth"),
)
"""Columns that a screen has room for, the last ones where it is wide."""
MATCHED_COLUMNS = 3
"""Of the table that was matched."""
POSITION = re.compile(r"(ra|dec)(_|\b)", re.IGNORECASE)
"""Positions of the table that was matched: near those of the row."""


def run(arguments: argparse.Namespace) -> int:
    """Print the rows that are asked for, how many they are, or where one comes from; or write them to a file."""
    _check(arguments)
    catalog = open_catalog(arguments.catalog)
    if arguments.origin is not None:
        found = catalog.origin(arguments.origin)
        print(json.dumps(found.as_dict(), indent=1) if arguments.json else found)
        return 0
    rows = _selected(catalog, arguments)
    if arguments.count:
        print(json.dumps({"rows": len(rows)}) if arguments.json else len(rows))
    elif arguments.output:
        _write(rows, arguments.output)
    elif arguments.csv:
        write_csv(rows, sys.stdout)
    elif arguments.json:
        write_json(rows, sys.stdout)
    else:
        _show(rows, catalog, arguments)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.top is None) != (arguments.by is None):
        raise CatalogError("--top N and --by COLUMN go together")
    if arguments.json and (arguments.output or arguments.csv):
        other = "-o FILE" if arguments.output else "--csv"
        raise CatalogError(f"--json and {other} are two forms of the same rows: give one of them")


def _selected(found: Catalog, arguments: argparse.Namespace) -> Catalog:
    """The rows that the options select, regions first."""
    if arguments.cone:
        found = found.cone(*arguments.cone)
    if arguments.box:
        found = found.box(*arguments.box)
    if arguments.polygon:
        found = found.polygon([_pair(text) for text in arguments.polygon])
    if arguments.moc is not None:
        found = found.moc(arguments.moc)
    if arguments.ids:
        found = found.ids(arguments.ids)
    if arguments.where is not None:
        found = found.where(arguments.where)
    if arguments.lens_candidates is not None:
        candidates = found.lens_candidates(arguments.lens_candidates)
        print(printable(repr(candidates)), file=sys.stderr)
        found = candidates.rows
    if arguments.crossmatch:
        path, radius = arguments.crossmatch
        found = found.crossmatch(path, _number("--crossmatch", radius, "a radius in arcsec"))
    if arguments.top is not None:
        found = found.top(arguments.top, by=arguments.by)
    if arguments.columns is not None:
        found = found.select([name.strip() for name in arguments.columns.split(",")])
    return found


def _pair(text: str) -> tuple[float, float]:
    """Ra and dec of a vertex."""
    parts = text.split(",")
    if len(parts) != 2:
        raise CatalogError(f"--polygon: {text!r} is no vertex, expected RA,DEC in degrees, such as 352.1,-31.5")
    ra, dec = (_number("--polygon", part, "RA,DEC in degrees") for part in parts)
    return ra, dec


def _number(option: str, text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CatalogError(f"{option}: {text!r} is no number, expected {what}") from None


def _write(rows: Catalog, path: str) -> None:
    n_rows = len(rows)
    try:
        rows.write(path)
    except OSError as error:
        raise CatalogError(f"cannot write {path!r} ({error}): give another path") from None
    print(f"{n_rows} rows written to {path}")


def _show(rows: Catalog, catalog: Catalog, arguments: argparse.Namespace) -> None:
    """Print the first rows, or all of a top, in as many columns as fit, or in those that are asked for."""
    n_rows = len(rows)
    by = "lens_prob" if arguments.lens_candidates is not None else arguments.by
    shown = rows if arguments.columns else rows.select(_headline(rows.columns, by, catalog.columns))
    table = _first(shown, n_rows if arguments.top is not None else min(n_rows, SHOWN_ROWS))
    text, n_columns = table_text(table, None if arguments.columns else screen_width())
    if n_rows:
        print(printable(text))
    notes = [f"{n_rows} rows"]
    if table.num_rows < n_rows:
        notes.append(f"the first {table.num_rows} shown; -o FILE writes all")
    if n_rows and not arguments.columns and n_columns < len(rows.columns):
        notes.append(f"{n_columns} of {len(rows.columns)} columns; --columns A,B,... shows others")
    print("; ".join(notes), file=sys.stderr)


def _headline(names: Sequence[str], by: str | None, own: Sequence[str]) -> list[str]:
    """Columns for the screen, the most wanted first: those of the table that was matched before most of the catalog's `own`."""
    matched = [name for name in names if name not in own and not POSITION.match(name)]
    first = [*HEADLINE[:3], by, "separation", *matched[:MATCHED_COLUMNS]]
    wanted = [name for name in (*first, *HEADLINE[3:]) if name is not None and name in names]
    return list(dict.fromkeys(wanted)) if len(wanted) > 1 else list(names)


def _first(rows: Catalog, n: int) -> pa.Table:
    """The first `n` rows, of which no more is read than need be."""
    parts, n_read = [], 0
    for part in rows.scan(rows.columns) if n else ():
        parts.append(part.slice(0, n - n_read))
        n_read += parts[-1].num_rows
        if n_read >= n:
            break
    return pa.concat_tables(parts) if parts else rows.schema.empty_table()
