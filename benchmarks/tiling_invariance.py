"""Does the catalog depend on how the sky was cut? Compares tilings of real or simulated mosaics, source by source.

    python benchmarks/tiling_invariance.py survey.yaml --core 512 1024 --halo 256 --threshold 1.5 3

Reads the mosaics of a survey configuration into a temporary chunk store, then detects, measures and cuts stamps in one window of
the whole mosaic and in tiles. Positions, fluxes, errors, radii and stamps are compared as bytes. Also prints how the ingest fares
against reading the FITS file by astropy and writing it to Zarr, and the CPU seconds of each step.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits

from surveycnn.catalogs.flags import flag_value
from surveycnn.config import MosaicConfig, load_config
from surveycnn.paths import split_path
from surveycnn.sky.chunks import COMPRESSOR, ChunkStore, inner_chunk_px
from surveycnn.sky.images import open_image
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.strips import NOISE_KINDS
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.wcs import pixel_scale_arcsec, read_wcs, wcs_text
from surveycnn.sources.detect import detect_sources, detection_image
from surveycnn.sources.photometry import DetectionImage, measure_sources
from surveycnn.sources.stamps import cut_stamps

STAMP_PX, STAMP_SCALE = 64, 0.2
COLUMNS = ("y", "x", "flux", "flux_err", "flux_aper", "flux_aper_err", "flux_radius", "kron_radius", "stamp", "flags")


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


def measure(store: ChunkStore, grid: TileGrid, bands: list[int], threshold: float, min_area_px: int) -> tuple[dict, Counter]:
    """Columns (bytes) of every owned source by its peak, and CPU seconds by step."""
    rows: dict[tuple[int, int], dict[str, bytes | int]] = {}
    seconds: Counter[str] = Counter()
    for tile in grid:
        clock = time.process_time()

        def lap(step: str) -> None:
            nonlocal clock
            now = time.process_time()
            seconds[step] += now - clock  # noqa: B023
            clock = now

        window = store.read_window(tile)
        lap("read")
        significance, mask = detection_image(window.image, window.rms, bands)
        options = {"threshold_sigma": threshold, "min_area_px": min_area_px, "open_edges": window.open_edges}
        found = detect_sources(significance, mask, **options)
        lap("detect")
        own = tile.owns(found.peak_y + window.y0, found.peak_x + window.x0)
        y, x = found.peak_y[own], found.peak_x[own]
        got = measure_sources(window, DetectionImage(significance, mask, found), y, x, found.flags[own])
        lap("measure")
        stamps = cut_stamps(window.image, got.y, got.x, STAMP_PX, STAMP_SCALE / window.pixel_scale)
        lap("stamps")
        for k in range(y.size):
            values = (
                got.y[k] + window.y0,
                got.x[k] + window.x0,
                got.flux[:, k],
                got.flux_err[:, k],
                got.flux_aper[:, k],
                got.flux_aper_err[:, k],
                got.flux_radius_px[k],
                got.kron_radius_px[k],
                stamps[k],
            )
            row = {name: np.asarray(value).tobytes() for name, value in zip(COLUMNS[:-1], values, strict=True)}
            rows[int(y[k] + window.y0), int(x[k] + window.x0)] = row | {"flags": int(got.flags[k])}
    return rows, seconds


def compare(whole: dict, tiled: dict) -> str:
    """What differs between two catalogs, in one line."""
    bit = flag_value("truncated")
    missing = [peak for peak in whole if peak not in tiled]
    extra = [peak for peak in tiled if peak not in whole]
    unsure = sum(bool(row["flags"] & bit) for row in tiled.values())
    silent = sum(not tiled[peak]["flags"] & bit for peak in extra)
    common = [peak for peak in whole if peak in tiled]
    changed = {name: sum(whole[p][name] != tiled[p][name] for p in common) for name in COLUMNS[:-1]}
    flags = sum(whole[p]["flags"] != tiled[p]["flags"] and not tiled[p]["flags"] & bit for p in common)
    columns = ", ".join(f"{name} {n}" for name, n in changed.items() if n) or "no column"
    return (
        f"missing {len(missing)}, extra {len(extra)} (not flagged: {silent}), flagged truncated {unsure}, "
        f"differing in the {len(common)} common: {columns}; flags {flags}"
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
            bands = [store.bands.index(band) for band in wanted if band in store.bands]
            for threshold in arguments.threshold:
                one = TileGrid(store.mosaic, store.ny, store.nx, max(store.ny, store.nx), 0)
                whole, seconds = measure(store, one, bands, threshold, config.detection.min_area_px)
                print(f"\n{threshold} sigma, whole mosaic: {len(whole)} sources; CPU s: {_laps(seconds)}")
                for core_px in arguments.core:
                    for halo_px in arguments.halo:
                        grid = store.grid(halo_px, core_px)
                        tiled, seconds = measure(store, grid, bands, threshold, config.detection.min_area_px)
                        print(
                            f"core {core_px}, halo {halo_px}, {len(grid)} tiles: {compare(whole, tiled)}; CPU s: {_laps(seconds)}"
                        )


def _laps(seconds: Counter) -> str:
    return ", ".join(f"{step} {value:.2f}" for step, value in seconds.items())


if __name__ == "__main__":
    main()
