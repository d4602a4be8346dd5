"""``surveycnn report``: the page that shows a catalog."""

from __future__ import annotations

import argparse

from surveycnn.report.report import write_report
from surveycnn.run.catalog_pixels import chunks_of


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    options = {"truth": arguments.truth, "n_top": arguments.top, "open_chunks": chunks_of(arguments.catalog)}
    path = write_report(arguments.catalog, arguments.output, **options)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
