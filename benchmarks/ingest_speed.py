"""What does the ingest cost beside the least that could be done? Ours against `fits.getdata` and a bare Zarr write.

    python -m benchmarks.ingest_speed survey.yaml [--size 8192] [--threads 1 2] [--repeat 3]

Ours finds digests, the mesh of sky and noise, masks and saturated pixels, and brings data units to nJy. The bare copy writes
the same arrays with the same codec, chunks and shards, an image at a time. Both run in this process, alternately; with several
threads each thread has a band. Files lie in the page cache, and neither side waits for the disk.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from astropy.io import fits

from benchmarks.environment import environment, table
from benchmarks.mosaics import mosaic_of_size
from benchmarks.timed import Lap, lap
from surveycnn.config import ImageConfig, MosaicConfig, SurveyConfig, load_config
from surveycnn.paths import split_path
from surveycnn.run.local_cluster import n_cores
from surveycnn.sky.chunks import COMPRESSOR, ChunkStore, inner_chunk_px
from surveycnn.sky.images import open_image
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.strips import NOISE_KINDS
from surveycnn.sky.wcs import pixel_scale_arcsec, read_wcs, wcs_text


def create_store(mosaic: MosaicConfig, path: Path, core_px: int) -> None:
    """An empty chunk store, as a run makes it."""
    with open_image(mosaic.images[0].path, mosaic.images[0].plane) as image:
        wcs, ny, nx = read_wcs(mosaic.wcs or image.header), image.ny, image.nx
    has_weight = any(getattr(image, kind) for image in mosaic.images for kind in NOISE_KINDS)
    shape = {"ny": ny, "nx": nx, "core_px": core_px, "wcs_header": wcs_text(wcs), "has_weight": has_weight}
    scale = pixel_scale_arcsec(wcs, ny, nx)
    ChunkStore.create(path, mosaic=mosaic.id, bands=mosaic.bands, pixel_scale=scale, overwrite=True, **shape)


def bare_copy(image: ImageConfig, target: Path, core_px: int) -> None:
    """Read an image with astropy and write it to Zarr with our chunks."""
    file, hdu = split_path(image.path)
    data = fits.getdata(file, hdu)
    pixels = np.asarray(data if image.plane is None else data[image.plane], np.float32)
    inner = inner_chunk_px(core_px)
    shape: dict[str, Any] = {"chunks": (inner, inner), "shards": (core_px, core_px), "compressors": COMPRESSOR}
    zarr.create_array(target, data=pixels, overwrite=True, **shape)


def lap_of_bands(function: Callable[[int], object], n_bands: int, n_threads: int) -> Lap:
    """Time of a call for each band."""
    with ThreadPoolExecutor(n_threads) as pool:
        return lap(lambda: list(pool.map(function, range(n_bands))))[0]


def measure(config: SurveyConfig, n_threads: int, folder: Path) -> list[Lap]:
    """Times of our ingest and of the bare copy of one mosaic."""
    mosaic, core_px = config.mosaics[0], config.tiling.core_px
    store = folder / "ours.zarr"
    create_store(mosaic, store, core_px)
    images, names = mosaic.images, [folder / f"{band}.zarr" for band in mosaic.bands]
    ours = lap_of_bands(lambda k: ingest_band(str(store), images[k], k, core_px), len(images), n_threads)
    bare = lap_of_bands(lambda k: bare_copy(images[k], names[k], core_px), len(images), n_threads)
    for path in folder.iterdir():
        shutil.rmtree(path)
    return [ours, bare]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration; its first mosaic is used")
    parser.add_argument("--size", type=int, help="side of the mosaic, px: crop or repeat it; default: as it is")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, n_cores()], help="bands at the same time")
    parser.add_argument("--repeat", type=int, default=3, help="times that both run, alternately, after one that is not counted")
    parser.add_argument("--scratch", help="folder for temporary files: twice the pixels of the mosaic")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    print(environment(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        work = Path(name) / "work"
        work.mkdir()
        config = load_config(arguments.config, arguments.overrides)
        if arguments.size:
            config = mosaic_of_size(config, arguments.size, Path(name) / "mosaic", arguments.overrides)
        for n_threads in dict.fromkeys(arguments.threads):
            runs = [measure(config, n_threads, work) for _ in range(arguments.repeat + 1)][1:]
            ours, bare = ([f"{median(run[side][k] for run in runs):.2f}" for k in (0, 1)] for side in (0, 1))
            ratios = [run[0][0] / run[1][0] for run in runs]
            spread = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            cpu = median(run[0][1] / run[1][1] for run in runs)
            rows.append([n_threads, ours[0], bare[0], f"{median(ratios):.2f} ({spread})", ours[1], bare[1], f"{cpu:.2f}"])
    images = config.mosaics[0].images
    print(f"\n{len(images)} bands, tile cores of {config.tiling.core_px} px, {arguments.repeat} times, medians\n")
    print(table(["threads", "ours s", "bare s", "ratio", "ours CPU s", "bare CPU s", "ratio of CPU"], rows))


if __name__ == "__main__":
    main()
