"""What does publishing cost, and does its memory follow the catalog? Publishes tiles of real shape on two workers of one thread.

    python -m benchmarks.publishing [--rows 1000000 3000000 10000000] [--formats hats zarr fits] [--scratch FOLDER] [--keep]

The tiles are those of `benchmarks.catalog_tiles`. Memory is the peak (VmHWM) of the driver and of the larger worker.
The last line of a size publishes once more with tiles of one more mosaic, which leaves most partitions as they are.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from distributed import Client, LocalCluster

from benchmarks.catalog_tiles import SOURCES_PER_TILE, TILES_PER_SIDE, make_tiles, survey_schema
from benchmarks.memory import forget_peak, peak_bytes
from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.publishing.merge import TileRows
from surveycnn.catalogs.publishing.publish import FORMATS, load_writers, publish_rows
from surveycnn.run.cluster import open_cluster
from surveycnn.run.spread import SpreadOut

N_WORKERS = 2
MOSAIC_ROWS = SOURCES_PER_TILE * TILES_PER_SIDE**2


def publish_tiles(
    paths: Sequence[Path], footprints: Sequence[Footprint], output: Path, formats: Sequence[str], address: str
) -> None:
    """Publish the rows of tile files on the workers of a scheduler."""
    with open_cluster(address) as cluster:
        spread = SpreadOut(cluster, str(output))
        rows = TileRows(paths, footprints, survey_schema(), spread)
        publish_rows(rows, output, formats=formats, spread=spread, name="benchmark")


def measure(n_rows: int, arguments: argparse.Namespace, folder: Path) -> None:
    """Print the lines of one size."""
    tiles = make_tiles(folder / "tiles", n_rows)
    more = make_tiles(folder / "tiles", n_rows + MOSAIC_ROWS)
    output = folder / f"catalog{n_rows}"
    with (
        LocalCluster(n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for text, (paths, footprints) in (("all", tiles), ("a mosaic more", more)):
            client.run(forget_peak)
            forget_peak()
            start = time.perf_counter()
            publish_tiles(paths, footprints, output, arguments.formats, cluster.scheduler_address)
            seconds = time.perf_counter() - start
            workers = max(client.run(peak_bytes).values())
            found = [path.stat() for path in output.rglob("*") if path.is_file()]
            n_bytes = sum({(status.st_dev, status.st_ino): status.st_size for status in found}.values())  # some are links
            cells = [f"{n_rows:,}", text, f"{seconds:.1f}", f"{seconds / n_rows * 1e6:.1f}"]
            cells += [f"{peak / 2**20:.0f}" for peak in (workers, peak_bytes())]
            print(f"| {' | '.join([*cells, f'{n_bytes / 2**30:.2f}'])} |", flush=True)
    if not arguments.keep:
        shutil.rmtree(output)


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--scratch", help="folder for tiles and catalogs: 1 GB for a million rows")
    parser.add_argument("--keep", action="store_true", help="leave them there")
    arguments = parser.parse_args()
    load_writers()
    print(
        f"| rows | published | s | s per million rows | {N_WORKERS} workers: peak of one, MiB | driver: peak, MiB | GiB on disk |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as temporary:
        folder = Path(arguments.scratch) if arguments.keep and arguments.scratch else Path(temporary)
        for n_rows in arguments.rows:
            measure(n_rows, arguments, folder)


if __name__ == "__main__":
    main()
