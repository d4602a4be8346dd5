"""FITS images into the chunk store: one task reads one band from top to bottom, once, and owns all its shards.

Streams by rows of tile cores, so memory follows the width of the mosaic times `core_px`, not its height.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from surveycnn.config import ImageConfig
from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.background import MESH_PX, MIN_GOOD_FRACTION, finish_mesh, mesh_statistics
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.files import file_sha256
from surveycnn.sky.images import FitsImage, open_image
from surveycnn.sky.zeropoints import to_njy, zeropoint_of

NOISE_KINDS = ("weight", "variance", "rms")
"""Keys of the configuration under which a noise map may stand."""


@dataclass(frozen=True)
class Strip:
    """Full-width rows of one band, in nJy."""

    y0: int
    image: np.ndarray
    """(y, x) float32, NaN = no data."""
    weight: np.ndarray | None
    """(y, x) float32 inverse variance, 0 = no data; None without a noise map."""
    mask: np.ndarray | None
    """(y, x) bool, True = bad; None without a mask."""

    @property
    def good(self) -> np.ndarray:
        """(y, x) float32 with NaN where masked or without data."""
        return self.image if self.mask is None else np.where(self.mask, np.float32(np.nan), self.image)


def ingest_band(store_path: str, image: ImageConfig, band_index: int, core_px: int) -> dict[str, Any]:
    """Write one band of a mosaic and its sky and noise meshes into the store; returns what was read.

    Parameters
    ----------
    store_path
        A store made by :meth:`ChunkStore.create`.
    core_px
        Rows per strip: the side of the store's shards.

    Returns
    -------
    dict
        ``sha256`` of the image file, ``digests`` of all files, ``zeropoint``, ``seconds``, ``bytes`` (of pixels read), ``n_bad``
        (pixels masked or without data), ``has_weight``, ``has_mask``, ``sky`` and ``rms`` (medians, nJy). It is also the band's
        record in the store, written last.

    Raises
    ------
    InputError
        If a file cannot be used, a shape differs from the mosaic's, or no pixel is good.
    """
    started = time.perf_counter()
    store = ChunkStore.open(store_path, mode="r+")
    if core_px != store.core_px:
        raise InputError(f"chunk store {store_path!r} has shards of {store.core_px} px, expected {core_px}: run it with --fresh")
    store.remove_record(store.bands[band_index])
    with ExitStack() as stack:
        maps = {name: stack.enter_context(open_image(path, plane)) for name, (path, plane) in _paths(image).items()}
        for name, found in maps.items():
            _check_shape(found, name, store)
        hashing = stack.enter_context(ThreadPoolExecutor(1))  # hashlib lets go of the GIL
        digests = {name: hashing.submit(file_sha256, split_path(found.path)[0]) for name, found in maps.items()}
        zeropoint = zeropoint_of(maps["image"].header, image.zeropoint, path=image.path, pixel_scale=store.pixel_scale)
        n_bad, sky, rms = _write_band(store, band_index, _strips(maps, to_njy(zeropoint), core_px))
        record = {
            "band": image.band,
            "path": image.path,
            "sha256": digests["image"].result(),
            "digests": {name: digest.result() for name, digest in digests.items()},
            "zeropoint": zeropoint,
            "has_weight": any(kind in maps for kind in NOISE_KINDS),
            "has_mask": "mask" in maps,
            "n_bad": n_bad,
            "bytes": 4 * store.ny * store.nx * len(maps),
            "sky": float(np.median(sky)),
            "rms": float(np.median(rms)),
            "seconds": time.perf_counter() - started,
        }
    store.write_record(image.band, record)
    return record


def _paths(image: ImageConfig) -> dict[str, tuple[str, int | None]]:
    """File and plane of the image and of each map that goes with it."""
    maps = {name: getattr(image, name) for name in (*NOISE_KINDS, "mask")}
    return {"image": (image.path, image.plane)} | {name: (path, None) for name, path in maps.items() if path is not None}


def _check_shape(found: FitsImage, name: str, store: ChunkStore) -> None:
    if (found.ny, found.nx) != (store.ny, store.nx):
        raise InputError(
            f"{name} {found.path!r} has shape ({found.ny}, {found.nx}), expected ({store.ny}, {store.nx}) as the mosaic "
            f"{store.mosaic!r}: all images and maps of a mosaic must share one pixel grid"
        )


def _strips(maps: dict[str, FitsImage], factor: float, core_px: int) -> Iterator[Strip]:
    """Rows of cores from bottom to top, in nJy."""
    image = maps["image"]
    noise = next((kind for kind in NOISE_KINDS if kind in maps), None)
    for y0 in range(0, image.ny, core_px):
        bounds = (y0, min(y0 + core_px, image.ny), 0, image.nx)
        pixels = scale_pixels(image.read(*bounds), factor)
        weight = inverse_variance(maps[noise].read(*bounds), noise, factor) if noise else None
        if weight is not None:
            pixels[weight == 0] = np.nan
        mask = maps["mask"].read(*bounds) != 0 if "mask" in maps else None  # NaN in a mask is nonzero: bad
        yield Strip(y0, pixels, weight, mask)


def scale_pixels(pixels: np.ndarray, factor: float) -> np.ndarray:
    """`pixels` times `factor` as float32; infinities become NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.multiply(pixels, pixels.dtype.type(factor)).astype(np.float32, copy=False)
    scaled[~np.isfinite(scaled)] = np.nan
    return scaled


def inverse_variance(values: np.ndarray, kind: str, factor: float) -> np.ndarray:
    """Weight in nJy^-2, float32, from a map of `kind` weight, variance or rms in data units; 0 where it says no data.

    Values that are not finite or not positive mean no data, in all three kinds.
    """
    usable = np.isfinite(values) & (values > 0)
    values = np.where(usable, values, 1.0).astype(np.float64)
    weight = {"weight": values, "variance": 1 / values, "rms": 1 / values**2}[kind] / factor**2
    weight = np.where(usable, weight, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        weight = weight.astype(np.float32)
    weight[~np.isfinite(weight)] = 0
    return weight


def _write_band(store: ChunkStore, index: int, strips: Iterator[Strip]) -> tuple[int, np.ndarray, np.ndarray]:
    """Write all shards of one band, then its meshes; returns the number of bad pixels, the sky and the noise."""
    min_good = MIN_GOOD_FRACTION * min(MESH_PX, store.ny) * min(MESH_PX, store.nx)
    cells: list[tuple[np.ndarray, np.ndarray]] = []
    n_bad, pending = 0, np.empty((0, store.nx), np.float32)
    for strip in strips:
        rows = slice(strip.y0, strip.y0 + strip.image.shape[0])
        store.array("image")[index, rows] = strip.image
        if strip.weight is not None:
            store.array("weight")[index, rows] = strip.weight
        if strip.mask is not None:
            store.array("mask")[index, rows] = strip.mask
        good = strip.good
        n_bad += int(np.isnan(good).sum())
        # cores and mesh cells need not end at the same rows: the rest waits for the next strip
        pending = np.concatenate([pending, good]) if pending.size else good
        n_whole = len(pending) if rows.stop == store.ny else len(pending) // MESH_PX * MESH_PX
        cells.append(mesh_statistics(pending[:n_whole], MESH_PX, min_good))
        pending = pending[n_whole:]
    if n_bad == store.ny * store.nx:
        raise InputError(f"band {store.bands[index]!r} of mosaic {store.mosaic!r} has no good pixel: all are NaN or masked")
    sky, rms = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    if np.isnan(rms).all():
        raise InputError(
            f"band {store.bands[index]!r} of mosaic {store.mosaic!r} gives no noise level: nowhere is a quarter of {MESH_PX} x "
            f"{MESH_PX} px good and not constant"
        )
    sky, rms = finish_mesh(sky, rms)
    store.array("sky")[index], store.array("rms")[index] = sky.astype(np.float32), rms.astype(np.float32)
    return n_bad, sky, rms
