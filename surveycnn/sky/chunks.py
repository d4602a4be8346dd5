"""The chunk store: one Zarr v3 group per mosaic, from which workers read windows of all bands at once.

::

    <mosaic>.zarr/  attributes: mosaic, bands, shape, core_px, WCS, pixel scale
        image       (band, y, x) float32 nJy, NaN = no data      one shard = one band of one tile core,
        weight      (band, y, x) float32 nJy^-2 (if any map)     written by one task alone: two tasks that
        bits        (band, y, x) uint8, masked 1, saturated 2     write parts of one shard would lose data
        sky, rms    (band, cell y, cell x) float32 nJy           mesh of the whole mosaic
        bands/<i>   group of one band, made last, with what was read: its existence says that the band is complete
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import LocalStore

from surveycnn.config import CORE_STEP_PX
from surveycnn.errors import ConfigError, InputError, ResumeError, UserError
from surveycnn.sky.background import MESH_PX, evaluate_mesh, mesh_shape
from surveycnn.sky.chunk_records import check_description, check_record
from surveycnn.sky.row_blocks import row_blocks
from surveycnn.sky.shards import band_folders, count_files, remove_partials, sync_band
from surveycnn.sky.strips import MASKED, SATURATED
from surveycnn.sky.tiling import Tile, TileGrid
from surveycnn.sky.wcs import wcs_from_text
from surveycnn.sky.window import Window

LAYOUT_VERSION = 2
_ATTRS, _FILES = "surveycnn", "surveycnn.files"
_MAX_CHUNK_PX = 256
COMPRESSOR = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")


def inner_chunk_px(core_px: int) -> int:
    """Side of the pieces that a shard is read by: the largest divisor of `core_px` up to 256, so that a halo costs little.

    >>> inner_chunk_px(2048), inner_chunk_px(576)
    (256, 192)
    """
    return max(size for size in range(CORE_STEP_PX, _MAX_CHUNK_PX + 1) if core_px % size == 0)


class ChunkStore:
    """Pixels of one mosaic on disk; make one with :meth:`create`, read one with :meth:`open`."""

    def __init__(self, group: zarr.Group, path: str):
        self._group = group
        self.path = path
        found = _own_attrs(group)
        if found is None or found.get("layout") != LAYOUT_VERSION:
            raise InputError(f"{path!r} is no complete chunk store of layout {LAYOUT_VERSION}: run the ingest again with --fresh")
        check_description(found)
        self.attrs: dict[str, Any] = found["attrs"]
        """What the caller of :meth:`create` had to say."""
        self.mosaic: str = found["mosaic"]
        self.bands: tuple[str, ...] = tuple(found["bands"])
        self.ny, self.nx = found["shape"]
        self.core_px: int = found["core_px"]
        self.mesh_px: int = found["mesh_px"]
        self.pixel_scale: float = found["pixel_scale"]
        self.has_weight: bool = found["has_weight"]
        self.wcs = wcs_from_text(found["wcs"])

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        mosaic: str,
        bands: Sequence[str],
        ny: int,
        nx: int,
        core_px: int,
        wcs_header: str,
        pixel_scale: float,
        has_weight: bool,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> ChunkStore:
        """An empty store at `path`, or the one that is there if it was made with the same arguments (its bands stay).

        Parameters
        ----------
        wcs_header
            Text from :func:`surveycnn.sky.wcs.wcs_text`.
        has_weight
            Whether any band comes with a weight, variance or rms map.
        overwrite
            Remove what is there first.

        Raises
        ------
        ConfigError
            If `core_px` is no multiple of 64.
        ResumeError
            If another store is there and `overwrite` is False.
        """
        if core_px < CORE_STEP_PX or core_px % CORE_STEP_PX:
            raise ConfigError(f"tiling.core_px is {core_px!r}, expected a multiple of {CORE_STEP_PX}")
        description = _describe(mosaic, bands, ny, nx, core_px, wcs_header, pixel_scale, has_weight, attrs)
        found = None if overwrite else _description(path)
        if found is None:
            _create_arrays(str(path), description)
        elif found != description:
            changed = sorted(key for key in description | found if description.get(key) != found.get(key))
            raise ResumeError(f"chunk store {str(path)!r} has another {', '.join(changed)}: use --fresh to make it anew")
        else:
            remove_partials(Path(path))
        return cls.open(path, mode="r+")

    @staticmethod
    def is_made_with(path: str | Path, **arguments: Any) -> bool:
        """Whether the store at `path` was made with these arguments of :meth:`create`."""
        return _description(path) == _describe(**arguments)

    @classmethod
    def open(cls, path: str | Path, mode: Literal["r", "r+"] = "r") -> ChunkStore:
        """The store at `path`.

        Raises
        ------
        InputError
            If there is no chunk store, or its creation was interrupted.
        """
        with _undamaged(path):
            try:
                group = zarr.open_group(_location(path), mode=mode, zarr_format=3, use_consolidated=False)
            except (FileNotFoundError, ValueError) as error:
                raise InputError(f"there is no chunk store at {str(path)!r}: run the ingest first") from error
            return cls(group, str(path))

    def array(self, name: Literal["image", "weight", "bits", "sky", "rms"]) -> zarr.Array:
        """One of the store's arrays."""
        with _undamaged(self.path):
            found = self._group[name]
            if not isinstance(found, zarr.Array):
                raise TypeError(f"{name} is a group")
            return found

    def grid(self, halo_px: int, core_px: int | None = None) -> TileGrid:
        """Tiles of this mosaic; `core_px` other than the store's costs more reading, not another result."""
        return TileGrid(self.mosaic, self.ny, self.nx, core_px or self.core_px, halo_px)

    def band_record(self, band: str) -> dict[str, Any] | None:
        """What :func:`surveycnn.sky.ingest.ingest_band` wrote when `band` was complete; None where it is not."""
        key = f"bands/{self.bands.index(band)}"
        with _undamaged(self.path):
            if key not in self._group:
                return None
            record = _own_attrs(self._group[key])
            if record is not None:
                check_record(record)
            return record

    def finished_bands(self) -> tuple[str, ...]:
        """Bands whose pixels and meshes are complete; not those of which files are missing or cut since."""
        return tuple(band for band in self.bands if self.band_record(band) is not None and self._has_its_files(band))

    def _has_its_files(self, band: str) -> bool:
        index = self.bands.index(band)
        noted = self._group[f"bands/{index}"].attrs.get(_FILES)
        return noted is None or "://" in self.path or noted == count_files(self.path, index)

    def write_record(self, band: str, record: Mapping[str, Any]) -> None:
        """Mark `band` as complete, once all of it is on the disk: one file, written and renamed, so that it is there or not."""
        index = self.bands.index(band)
        sync_band(self.path, index)
        attributes = {_ATTRS: dict(record), _FILES: count_files(self.path, index)}
        self._group.create_group(f"bands/{index}", attributes=attributes, overwrite=True)

    def remove_record(self, band: str) -> None:
        """Mark `band` as incomplete, before it is written again, and remove what a process that was killed has half written."""
        key = f"bands/{self.bands.index(band)}"
        if key in self._group:
            del self._group[key]
        for folder in band_folders(self.path, self.bands.index(band)):
            remove_partials(folder)

    def read_window(self, tile: Tile, bands: Sequence[str] | None = None) -> Window:
        """Core and halo of `tile` in `bands` (all by default), sky subtracted.

        Raises
        ------
        InputError
            If the tile belongs to another mosaic, or a band is unknown or not complete.
        """
        bands = self.bands if bands is None else tuple(bands)
        records = self._records(tile, bands)
        shape = (len(bands), tile.oy1 - tile.oy0, tile.ox1 - tile.ox0)
        image, rms = np.empty(shape, np.float32), np.empty(shape, np.float32)
        bits = np.zeros(shape, np.uint8)
        for i, band in enumerate(bands):
            self._read_band(tile, self.bands.index(band), records[i], image[i], rms[i], bits[i])
        masked, saturated = ((bits & bit) > 0 if bits.any() else np.zeros(shape, bool) for bit in (MASKED, SATURATED))
        return Window(
            tile.mosaic, tile.oy0, tile.ox0, self.ny, self.nx, bands, image, rms, masked, saturated, self.wcs, self.pixel_scale
        )

    def _records(self, tile: Tile, bands: Sequence[str]) -> list[dict[str, Any]]:
        """Records of `bands`, after a check that they and the tile are of this store."""
        if (tile.mosaic, tile.ny, tile.nx) != (self.mosaic, self.ny, self.nx):
            raise InputError(
                f"tile {tile.name} is of mosaic {tile.mosaic!r} ({tile.ny} x {tile.nx} px), "
                f"the store {self.path!r} holds {self.mosaic!r} ({self.ny} x {self.nx} px)"
            )
        records = []
        for band in bands:
            if band not in self.bands:
                raise InputError(f"chunk store {self.path!r} has no band {band!r}: it has {', '.join(self.bands)}")
            record = self.band_record(band)
            if record is None:
                raise InputError(f"band {band!r} in {self.path!r} is not complete: run the ingest again")
            records.append(record)
        return records

    def _read_band(
        self, tile: Tile, index: int, record: Mapping[str, Any], image: np.ndarray, rms: np.ndarray, bits: np.ndarray
    ) -> None:
        """Fill `image`, `rms` and `bits` (y, x) of one band."""
        if record.get("empty"):
            image[:], rms[:] = np.nan, np.nan
            return
        rows, cols = tile.outer
        sky, noise = (np.asarray(self.array(name)[index]) for name in ("sky", "rms"))
        stored = np.asarray(self.array("image")[index, rows, cols])
        if record["has_bits"]:
            bits[:] = self.array("bits")[index, rows, cols]
        weight = np.asarray(self.array("weight")[index, rows, cols]) if record["has_weight"] else None
        for some, *_ in row_blocks(image.shape[0], block_rows=MESH_PX):
            bounds = (tile.oy0 + some.start, tile.oy0 + some.stop, tile.ox0, tile.ox1, self.mesh_px)
            np.subtract(stored[some], evaluate_mesh(sky, *bounds), out=image[some])
            if record["has_bits"]:
                image[some][(bits[some] & MASKED) > 0] = np.nan
            if weight is None:
                rms[some] = evaluate_mesh(noise, *bounds)
            else:
                np.divide(1, np.sqrt(weight[some]), out=rms[some], where=weight[some] > 0)
            # pixels of weight 0 are NaN in the image since the ingest
            unknown = np.isnan(image[some])
            if unknown.any():
                rms[some][unknown] = np.nan


@contextmanager
def _undamaged(path: str | Path) -> Iterator[None]:
    """Turn what Zarr raises on broken metadata into a message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise InputError(
            f"chunk store {str(path)!r} is damaged ({type(error).__name__}: {error}): run the ingest again with --fresh"
        ) from error


def _location(path: str | Path) -> str | LocalStore:
    """Zarr's name of `path`; a local path is given as a store, so that brackets and spaces in it stay what they are."""
    return str(path) if "://" in str(path) else LocalStore(Path(path))


def _describe(
    mosaic: str,
    bands: Sequence[str],
    ny: int,
    nx: int,
    core_px: int,
    wcs_header: str,
    pixel_scale: float,
    has_weight: bool,
    attrs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a store made with these arguments of :meth:`ChunkStore.create` says of itself."""
    return {
        "layout": LAYOUT_VERSION,
        "mosaic": mosaic,
        "bands": list(bands),
        "shape": [ny, nx],
        "core_px": core_px,
        "mesh_px": MESH_PX,
        "pixel_scale": pixel_scale,
        "has_weight": has_weight,
        "wcs": wcs_header,
        "attrs": dict(attrs or {}),
    }


def _description(path: str | Path) -> dict[str, Any] | None:
    """What the store at `path` was made with; None where there is none or its creation was interrupted."""
    try:
        group = zarr.open_group(_location(path), mode="r", zarr_format=3, use_consolidated=False)
        return _own_attrs(group)
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None


def _own_attrs(node: zarr.Group | zarr.Array) -> dict[str, Any] | None:
    """What we wrote into the attributes of `node`, apart from whatever else is there."""
    attrs: dict[str, Any] = node.attrs.asdict()
    found = attrs.get(_ATTRS)
    if not isinstance(found, dict | None):
        raise TypeError(f"its attributes are {found!r}")
    return found


def _create_arrays(path: str, description: dict[str, Any]) -> None:
    """Empty arrays; the description comes last, and says that all of them are there."""
    group = zarr.open_group(_location(path), mode="w", zarr_format=3)
    n_bands, core_px = len(description["bands"]), description["core_px"]
    inner = inner_chunk_px(core_px)
    ny, nx = description["shape"]
    pixels: dict[str, Any] = {
        "shape": (n_bands, ny, nx),
        "chunks": (1, inner, inner),
        "shards": (1, core_px, core_px),
        "compressors": COMPRESSOR,
        "dimension_names": ("band", "y", "x"),
    }
    group.create_array("image", dtype="float32", fill_value=np.nan, attributes={"units": "nJy"}, **pixels)
    group.create_array("bits", dtype="uint8", fill_value=0, **pixels)
    if description["has_weight"]:
        group.create_array("weight", dtype="float32", fill_value=0, attributes={"units": "nJy-2"}, **pixels)
    cells = mesh_shape(ny, nx, description["mesh_px"])
    for name in ("sky", "rms"):
        group.create_array(
            name,
            shape=(n_bands, *cells),
            chunks=(1, *cells),
            dtype="float32",
            fill_value=np.nan,
            attributes={"units": "nJy"},
            dimension_names=("band", "cell_y", "cell_x"),
        )
    group.create_group("bands")
    group.attrs[_ATTRS] = description
