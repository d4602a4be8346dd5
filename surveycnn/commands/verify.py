"""``surveycnn verify``."""

from __future__ import annotations

import argparse
import sys

from surveycnn.catalogs.verify import verify_catalog
from surveycnn.errors import printable


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
