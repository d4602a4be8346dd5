"""Does the catalog depend on how the sky was cut? Compares tilings of real or simulated mosaics, source by source.

    python -m benchmarks.tiling_invariance survey.yaml --core 512 1024 --halo 256 --threshold 1.5 3

Reads the mosaics of a survey configuration into a temporary chunk store, then detects, measures and cuts stamps in one window of
the whole mosaic and in tiles. Positions, fluxes, errors, radii and stamps are compared as bytes. Also prints how the ingest fares
against reading the FITS file by astropy and writing it to Zarr, and the seconds of each step.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits

from surveycnn.catalogs.flags import flag_value
from surveycnn.config import MosaicConfig, load_config
from surveycnn.paths import split_path
from surveycnn.run.stages import StepClock
from surveycnn.run.tile import DetectionSettings, process_tile
from surveycnn.run.widen import open_tile
from surveycnn.sky.chunks import COMPRESSOR, ChunkStore, inner_chunk_px
from surveycnn.sky.images import open_image
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.strips import NOISE_KINDS
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.wcs import pixel_scale_arcsec, read_wcs, wcs_text
from surveycnn.sources.stamps import cut_stamps

STAMP_PX, STAMP_SCALE = 64, 0.2
STEPS = ("read", "detect", "measure", "stamps")


def ingest(mosaic: MosaicConfig, path: Path, core_px: int) -> ChunkStore:
    """Chunk store of `mosaic`; prints the time per band against bare reading and writing."""
    with open_image(mosaic.images[0].path, mosaic.images[0].plane) as image:
        wcs, ny, nx = read_wcs(mosaic.wcs or image.header), image.ny, image.nx
    scale = pixel_scale_arcsec(wcs, ny, nx)
    has_weight = any(getattr(image, kind) for image in mosaic.images for kind in NOISE_KINDS)
    shape = {"ny": ny, "nx": nx, "core_px": core_px, "wcs_header": wcs_text(wcs), "pixel_scale": scale, "has_weight": has_weight}
    ChunkStore.create(path, mosaic=mosaic.id, bands=mosaic.bands, **shape)
    ours, bare = 0.0, 0.0
    for index, image in enumerate(mosaic.images):
        bare += bare_copy(image.path, image.plane, path.with_name("bare.zarr"), core_px)
        start = time.perf_counter()
        ingest_band(str(path), image, index, core_px)
        ours += time.perf_counter() - start
    pixels = len(mosaic.images) * ny * nx / 1e6
    print(f"{mosaic.id}: {len(mosaic.images)} bands of {ny} x {nx} px, {scale:.3f} arcsec/px")
    print(f"ingest {ours:.2f} s ({pixels / ours:.0f} Mpx/s), bare read and write {bare:.2f} s: ratio {ours / bare:.2f}")
    return ChunkStore.open(path)


def bare_copy(path: str, plane: int | None, target: Path, core_px: int) -> float:
    """Seconds to read the image with astropy and write it to Zarr with the same chunks, without sky, digest or checks."""
    start = time.perf_counter()
    file, hdu = split_path(path)
    data = fits.getdata(file, hdu)
    data = np.asarray(data if plane is None else data[plane], np.float32)
    inner = inner_chunk_px(core_px)
    zarr.create_array(target, data=data, chunks=(inner, inner), shards=(core_px, core_px), compressors=COMPRESSOR, overwrite=True)
    return time.perf_counter() - start


def measure(store: ChunkStore, grid: TileGrid, settings: DetectionSettings) -> tuple[dict[int, dict], Counter]:
    """Columns and stamp (bytes) and flags of every source by its source_id, and seconds by step."""
    rows: dict[int, dict] = {}
    clock = StepClock()
    n_wide = 0
    for core in grid:
        with ExitStack() as stack:
            tile, window, maps = stack.enter_context(open_tile(store, core, settings, clock))
            found = process_tile(tile, window, lambda: [], settings, clock, maps=maps)
            with clock("stamps"):
                y, x = found["y"].values - window.y0, found["x"].values - window.x0
                stamps = cut_stamps(window.image, y, x, STAMP_PX, STAMP_SCALE / window.pixel_scale)
        n_wide += tile.halo > core.halo
        columns = {str(name): values.values for name, values in found.data_vars.items() if name not in ("mosaic", "flags")}
        for k, key in enumerate(found["source_id"].values.tolist()):
            numbers = {name: values[k].tobytes() for name, values in columns.items()}
            rows[key] = numbers | {"stamp": stamps[k].tobytes(), "flags": int(found["flags"].values[k])}
    return rows, Counter({step: clock.seconds.get(step, 0.0) for step in STEPS} | {"wide tiles": n_wide})


def compare(whole: dict[int, dict], tiled: dict[int, dict]) -> str:
    """What differs between two catalogs, in one line."""
    bit = flag_value("truncated")
    missing = [key for key in whole if key not in tiled]
    extra = [key for key in tiled if key not in whole]
    unsure = {key for key, row in tiled.items() if row["flags"] & bit}
    common = [key for key in whole if key in tiled and key not in unsure]
    changed = Counter(name for key in common for name in whole[key] if whole[key][name] != tiled[key][name])
    columns = ", ".join(f"{name} {n}" for name, n in changed.items()) or "no column"
    silent = sum(key not in unsure for key in extra)
    return (
        f"missing {len(missing)}, extra {len(extra)} (not flagged: {silent}), flagged truncated {len(unsure)}, "
        f"differing in the {len(common)} others: {columns}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration; its mosaics and detection bands are used")
    parser.add_argument(
        "--core", type=int, nargs="+", default=[512, 1024], help="tile cores to compare with the whole mosaic, px"
    )
    parser.add_argument("--halo", type=int, nargs="+", default=[256], help="halos, px")
    parser.add_argument("--threshold", type=float, nargs="+", default=[3.0], help="detection thresholds, sigma")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"numpy {np.__version__}, zarr {zarr.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for mosaic in config.mosaics:
            store = ingest(mosaic, Path(folder) / f"{mosaic.id}.zarr", arguments.core[0])
            wanted = config.detection.bands or mosaic.bands
            bands = tuple(band for band in wanted if band in store.bands)
            for threshold in arguments.threshold:
                one = TileGrid(store.mosaic, store.ny, store.nx, max(store.ny, store.nx), 0)
                settings = DetectionSettings(bands, threshold, config.detection.min_area_px, config.detection.combine)
                whole, seconds = measure(store, one, settings)
                print(f"\n{threshold} sigma, whole mosaic: {len(whole)} sources; s: {_laps(seconds)}")
                for core_px in arguments.core:
                    for halo_px in arguments.halo:
                        grid = store.grid(halo_px, core_px)
                        tiled, seconds = measure(store, grid, settings)
                        print(f"core {core_px}, halo {halo_px}, {len(grid)} tiles: {compare(whole, tiled)}; s: {_laps(seconds)}")


def _laps(seconds: Counter) -> str:
    return ", ".join(f"{step} {value:.2f}" for step, value in seconds.items())


if __name__ == "__main__":
    main()
