"""``surveycnn query`` and ``surveycnn verify``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.verify import verify_catalog
from surveycnn.errors import CatalogError, printable

SHOWN_ROWS = 20
HEADLINE = (
    *("source_id", "ra", "dec", "mosaic", "flags"),
    *("lens_prob", "morph_smooth_or_featured_smooth", "merger_prob", "z_phot", "z_phot_lo", "z_phot_hi"),
)
"""Columns that a screen has room for, of those that a catalog has."""


def query(arguments: argparse.Namespace) -> int:
    """Print the rows that are asked for, or write them to a file."""
    if (arguments.top is None) != (arguments.by is None):
        raise CatalogError("--top N and --by COLUMN go together")
    found = open_catalog(arguments.catalog)
    if arguments.cone:
        found = found.cone(*arguments.cone)
    if arguments.where:
        found = found.where(arguments.where)
    if arguments.top is not None:
        found = found.top(arguments.top, by=arguments.by)
    if arguments.columns:
        found = found.select([name.strip() for name in arguments.columns.split(",")])
    if arguments.output:
        n_rows = len(found)
        try:
            found.write(arguments.output)
        except OSError as error:
            raise CatalogError(f"cannot write {arguments.output!r} ({error}): give another path") from None
        print(f"{n_rows} rows written to {arguments.output}")
        return 0
    _print_rows(found, arguments)
    return 0


def _print_rows(found: Any, arguments: argparse.Namespace) -> None:
    if not arguments.columns:
        names = [name for name in (*HEADLINE, arguments.by) if name in found.columns]
        found = found.select(list(dict.fromkeys(names)))
    rows = found.to_pandas()
    shown = rows if arguments.top is not None else rows.head(SHOWN_ROWS)
    if len(rows):
        print(printable(shown.to_string(index=False)))
    more = f", the first {SHOWN_ROWS} shown; -o FILE writes all" if len(shown) < len(rows) else ""
    print(f"{len(rows)} rows{more}", file=sys.stderr)


def verify(arguments: argparse.Namespace) -> int:
    """Check a catalog; 2 where something is wrong with it."""
    from surveycnn.run.verify import check_models, check_tile_rows, recompute_tiles

    findings = verify_catalog(arguments.catalog) + check_models(arguments.catalog) + check_tile_rows(arguments.catalog)
    if arguments.sample and not findings:
        findings += recompute_tiles(arguments.catalog, arguments.sample)
    for finding in findings:
        print(f"surveycnn: {printable(finding)}", file=sys.stderr)
    if not findings:
        again = f"; {arguments.sample} tiles computed again give the same rows, from the same images" if arguments.sample else ""
        print(f"{arguments.catalog}: schema, rows, order, source numbers and digests agree{again}")
    return 2 if findings else 0
