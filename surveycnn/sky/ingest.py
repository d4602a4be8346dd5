"""FITS images into the chunk store: one task reads one band from top to bottom, once, and owns all its shards.

Streams by rows of mesh cells; the rows of a tile core wait on disk until the core is complete. So memory follows the tile and a
few rows of the mosaic, not its height, and hardly its width.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.config import ImageConfig
from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.background import MeshBuilder
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.core_rows import CoreRow
from surveycnn.sky.files import file_stamp
from surveycnn.sky.regrid import Grid, regrid
from surveycnn.sky.shards import write_shard
from surveycnn.sky.strips import Strip, noise_kind, open_maps, read_strips, saturation_level
from surveycnn.sky.wcs import pixel_scale_arcsec, wcs_from_text
from surveycnn.sky.zeropoints import to_njy, zeropoint_of

MAX_NOISE_RATIO = 2.5
"""Noise by the map over the scatter of the pixels, or the reverse, from which a note is due. Coadds whose pixels are correlated
come to 2."""
_NOISE_STEP_PX = 8


def ingest_band(
    store_path: str, image: ImageConfig, band_index: int, core_px: int, grid: Grid | None = None, may_be_empty: bool = False
) -> dict[str, Any]:
    """Write one band of a mosaic and its sky and noise meshes into the store; returns what was read.

    Parameters
    ----------
    store_path
        A store made by :meth:`ChunkStore.create`.
    core_px
        Side of the store's shards.
    grid
        Pixel grid of the image where it is not that of the mosaic, to which it is brought then.
    may_be_empty
        Go on with a band without good pixels: it has no data anywhere.

    Returns
    -------
    dict
        ``sha256`` of the image file, ``digests`` of all files, ``zeropoint``, ``saturation`` (data units, None if unknown),
        ``seconds``, ``bytes`` (of pixels read), ``n_bad`` (pixels masked or without data), ``has_weight``, ``has_bits``, ``sky``
        and ``rms`` (medians, nJy), ``noise_ratio`` (noise of the map over the scatter of the pixels), ``empty`` (why there are no
        data); each of the last four None where it does not apply. It is also the band's record in the store, written last.

    Raises
    ------
    InputError
        If a file cannot be used or changes meanwhile, a shape differs from the mosaic's, or no pixel is good and the band must
        not be empty.
    """
    started = time.perf_counter()
    store = ChunkStore.open(store_path, mode="r+")
    if core_px != store.core_px:
        raise InputError(f"chunk store {store_path!r} has shards of {store.core_px} px, expected {core_px}: run it with --fresh")
    store.remove_record(store.bands[band_index])
    with open_maps(image) as maps, ThreadPoolExecutor(1) as hashing:  # hashlib lets go of the GIL
        stamps = {file: file_stamp(file) for file in (split_path(found.path)[0] for found in maps.values())}
        digests = {name: hashing.submit(attrgetter("sha256"), found) for name, found in maps.items()}
        opened = maps["image"]
        scale = pixel_scale_arcsec(wcs_from_text(grid.wcs_header), grid.ny, grid.nx) if grid else store.pixel_scale
        zeropoint = zeropoint_of(opened.photometry, image.zeropoint, path=image.path, pixel_scale=scale)
        _check_shape(image.path, (opened.ny, opened.nx), (grid.ny, grid.nx) if grid else (store.ny, store.nx), store.mosaic)
        strips = read_strips(maps, image, to_njy(zeropoint))
        folder = Path(store_path).parent
        if grid is not None:
            strips = regrid(strips, grid, store.wcs, store.ny, store.nx, name=image.path, folder=folder)
        written: dict[str, Any] = _BandWriter(store, band_index, folder, may_be_empty).write(strips)
        record = {
            "band": image.band,
            "path": image.path,
            "sha256": digests["image"].result(),
            "digests": {name: digest.result() for name, digest in digests.items()},
            "zeropoint": zeropoint,
            "saturation": saturation_level(image, opened),
            "has_weight": grid is not None or noise_kind(maps) is not None,
            "bytes": 4 * opened.ny * opened.nx * len(maps),
            **written,
            "seconds": time.perf_counter() - started,
        }
        _check_stamps(stamps)
    store.write_record(image.band, record)
    return record


def _check_stamps(stamps: Mapping[str, list[int] | None]) -> None:
    """Raise InputError where a file is another one than before it was read: its pixels may be of both."""
    for file, stamp in stamps.items():
        if file_stamp(file) != stamp:
            raise InputError(f"file {file!r} has changed while it was read: run the same command again when it is complete")


def _check_shape(path: str, found: tuple[int, int], expected: tuple[int, int], mosaic: str) -> None:
    if found != expected:
        raise InputError(
            f"image {path!r} of mosaic {mosaic!r} has shape {found}, expected {expected} as its header said when the run was "
            "planned: compute what depends on it with --update, or start over with --fresh"
        )


class _BandWriter:
    """Writes the strips of one band as shards, and gathers the meshes on the way."""

    def __init__(self, store: ChunkStore, index: int, folder: Path, may_be_empty: bool):
        self._store, self._index, self._folder, self._may_be_empty = store, index, folder, may_be_empty
        self._name = f"band {store.bands[index]!r} of mosaic {store.mosaic!r}"
        self._has_bits = False
        self._without_bits: list[tuple[slice, slice]] = []

    def write(self, strips: Iterable[Strip]) -> dict[str, Any]:
        """Write all strips, then the meshes; returns what the band's record says of its pixels."""
        store = self._store
        mesh, n_bad, noise = MeshBuilder(store.ny, store.nx, self._name), 0, []
        with CoreRow(store.ny, store.nx, store.core_px, self._folder) as row:
            for strip in strips:
                good = strip.good
                n_bad += int(np.count_nonzero(np.isnan(good)))
                mesh.add(good)
                noise += _typical_noise(strip)
                for y0, pixels in row.append(strip):
                    self._write_core_row(y0, pixels)
        if self._has_bits:
            # an earlier attempt with another mask may have left its own
            for rows, cols in self._without_bits:
                write_shard(store.array("bits"), store.path, self._index, rows, cols, 0)
        found = {"n_bad": n_bad, "has_bits": self._has_bits, "sky": None, "rms": None, "noise_ratio": None, "empty": None}
        try:
            if n_bad == store.ny * store.nx:
                raise InputError(f"{self._name} has no good pixel: all are NaN, masked, or of no weight")
            sky, rms = mesh.finish()
        except InputError as error:
            if not self._may_be_empty:
                raise
            return found | {"empty": str(error)}
        store.array("sky")[self._index], store.array("rms")[self._index] = sky.astype(np.float32), rms.astype(np.float32)
        typical = float(np.median(rms))
        ratio = float(np.median(noise)) / typical if noise else None
        return found | {"sky": float(np.median(sky)), "rms": typical, "noise_ratio": ratio}

    def _write_core_row(self, y0: int, cores: Iterator[tuple[int, dict[str, np.ndarray]]]) -> None:
        for x0, pixels in cores:
            for name, values in pixels.items():
                ny, nx = values.shape
                rows, cols = slice(y0, y0 + ny), slice(x0, x0 + nx)
                if name == "bits" and not values.any():  # of a band without any, nobody reads them
                    self._without_bits.append((rows, cols))
                    continue
                self._has_bits = self._has_bits or name == "bits"
                array = self._store.array(name)  # type: ignore[arg-type]
                write_shard(array, self._store.path, self._index, rows, cols, values)


def _typical_noise(strip: Strip) -> list[float]:
    """Median noise of a strip by its map, nJy; nothing without a map or data."""
    if strip.weight is None:
        return []
    some = strip.weight[::_NOISE_STEP_PX, ::_NOISE_STEP_PX]
    some = some[some > 0]
    return [float(np.median(some)) ** -0.5] if some.size else []


def band_notes(record: Mapping[str, Any], mosaic: str) -> Iterator[str]:
    """What the user should know about a band that was brought into the store."""
    if record.get("empty"):
        yield f"{record['empty']}; it is taken for missing there"
    ratio = record.get("noise_ratio")
    if ratio is not None and not 1 / MAX_NOISE_RATIO < ratio < MAX_NOISE_RATIO:
        yield (
            f"band {record['band']!r} of mosaic {mosaic!r}: its noise map gives {ratio:.2g} times the scatter of the pixels, and "
            "errors follow it: a weight is an inverse variance in data units, not an exposure time or a relative weight"
        )
