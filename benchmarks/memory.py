"""Does the memory of a worker follow the tile or the mosaic? Runs ingest and infer on mosaics of several sizes.

    python -m benchmarks.memory survey.yaml --sizes 4096 8192 16384 [--core 1024] [--halo 256] [--set models=lens]

The mosaics are the first one of the configuration, cropped or repeated, so that they are equally crowded. One worker process with
the threads of the cluster `local` runs everything; its peak is what the kernel reports (VmHWM), for ingest and for infer apart,
beside what `surveycnn plan` says.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from distributed import Client, LocalCluster

from benchmarks.mosaics import mosaic_of_size
from surveycnn.config import SurveyConfig, load_config
from surveycnn.run.local_cluster import local_shape, n_cores
from surveycnn.run.plan import make_plan
from surveycnn.run.survey import run_infer, run_ingest

_STATUS, _CLEAR = "/proc/self/status", "/proc/self/clear_refs"


def peak_bytes() -> int:
    """Largest resident memory of this process since the last :func:`forget_peak`."""
    line = next(line for line in Path(_STATUS).read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def forget_peak() -> None:
    Path(_CLEAR).write_text("5")


def measure(config: SurveyConfig, size: int, arguments: argparse.Namespace) -> None:
    """Print the peaks of one size."""
    n_threads = local_shape(n_cores())[1]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        with (
            LocalCluster(n_workers=1, threads_per_worker=n_threads, dashboard_address=None, host="127.0.0.1") as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            tiling = {"core_px": arguments.core, "halo_px": arguments.halo}
            address = cluster.scheduler_address
            own = mosaic_of_size(config, size, Path(folder), arguments.overrides, tiling=tiling, cluster=address)
            plan = make_plan(own)
            planned = plan.memory.per_worker(n_threads)
            peaks, seconds = [], []
            for stage in (run_ingest, run_infer):
                client.run(forget_peak)
                start = time.perf_counter()
                stage(own)
                seconds.append(time.perf_counter() - start)
                peaks.append(next(iter(client.run(peak_bytes).values())))
    cells = [f"{size} x {size}", str(plan.n_tiles), *(f"{peak / 2**20:.0f}" for peak in peaks), f"{planned / 2**20:.0f}"]
    print(f"| {' | '.join(cells)} | {seconds[0]:.0f} | {seconds[1]:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration; its first mosaic gives the pixels")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192, 16384], help="sides of the mosaics, px")
    parser.add_argument("--core", type=int, default=1024, help="tile core, px")
    parser.add_argument("--halo", type=int, default=256, help="halo, px")
    parser.add_argument("--scratch", help="folder for temporary files, several GB at the larger sizes")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    print("| mosaic px | tiles | peak of ingest MiB | peak of infer MiB | plan MiB | ingest s | infer s |")
    print("|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        measure(load_config(arguments.config), size, arguments)


if __name__ == "__main__":
    main()
