"""What the headers of a mosaic's images say: shape, WCS, zero points, sizes; every contradiction is refused here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS

from surveycnn.config import ImageConfig, MosaicConfig
from surveycnn.errors import InputError
from surveycnn.paths import split_path
from surveycnn.sky.files import is_remote, remote_size
from surveycnn.sky.images import FitsImage, open_image
from surveycnn.sky.regrid import SAME_GRID_PX, Grid, grid_offset_px
from surveycnn.sky.strips import MAP_KINDS, NOISE_KINDS, open_maps
from surveycnn.sky.wcs import (
    pixel_positions,
    pixel_scale_arcsec,
    read_wcs,
    sky_positions,
    wcs_from_text,
    wcs_text,
)
from surveycnn.sky.zeropoints import zeropoint_of


@dataclass(frozen=True)
class MosaicInputs:
    """One mosaic as its headers describe it."""

    id: str
    images: tuple[ImageConfig, ...]
    """With the zero point of each filled in."""
    ny: int
    nx: int
    wcs_header: str
    pixel_scale: float
    """Arcsec per pixel in the middle."""
    n_bytes: int
    """Bytes of all files that are read; remote files whose server does not tell count as 0."""
    ebv: float = 0.0
    """E(B-V) of the Milky Way, magnitudes."""
    grid_band: str = ""
    """Band whose image has the pixel grid of the mosaic."""
    grids: tuple[Grid | None, ...] = ()
    """Pixel grid of each image that is brought to the mosaic's; None of one that lies on it."""

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(image.band for image in self.images)

    @property
    def has_weight(self) -> bool:
        """Whether a band has a noise map in the chunk store; those brought from another grid always have one."""
        return any(self.grids) or any(getattr(image, kind) for image in self.images for kind in NOISE_KINDS)

    @property
    def regridded(self) -> dict[str, float]:
        """Pixel scale, arcsec, of the bands that are brought from another grid."""
        scales = {}
        for image, grid in zip(self.images, self.grids, strict=False):
            if grid is not None:
                scales[image.band] = pixel_scale_arcsec(wcs_from_text(grid.wcs_header), grid.ny, grid.nx)
        return scales

    @property
    def bytes_stored(self) -> int:
        """Bytes of the chunk store before compression."""
        per_pixel = 4 + 1 + (4 if self.has_weight else 0)
        return self.ny * self.nx * len(self.images) * per_pixel

    def fingerprint(self) -> dict[str, Any]:
        """What identifies the inputs before their pixels are read, as plain values."""
        grids = [grid and [grid.ny, grid.nx, _sha256(grid.wcs_header)] for grid in self.grids]
        return {
            "images": [image.model_dump(mode="json") for image in self.images],
            "grids": grids,
            "shape": [self.ny, self.nx],
            "wcs_sha256": _sha256(self.wcs_header),
            "n_bytes": self.n_bytes,
        } | ({"ebv": self.ebv} if self.ebv else {})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def inspect_mosaic(mosaic: MosaicConfig) -> MosaicInputs:
    """Shape, WCS, zero points and sizes of `mosaic`, from its headers.

    Raises
    ------
    InputError
        Where an image or map is missing or damaged, shapes or grids cannot be brought together, or there is no WCS or zero point.
    """
    name = mosaic.grid or mosaic.images[0].band
    reference = next(image for image in mosaic.images if image.band == name)
    with open_image(reference.path, reference.plane, header_only=True) as first:
        ny, nx = first.ny, first.nx
        wcs = read_wcs(mosaic.wcs) if mosaic.wcs else _wcs_of(reference, first, mosaic)
    scale = pixel_scale_arcsec(wcs, ny, nx)
    if not 1e-3 < scale < 600:
        source = mosaic.wcs or reference.path
        raise InputError(
            f"mosaic {mosaic.id!r}: the WCS in {source!r} gives {scale:.3g} arcsec per pixel, expected 0.001 to 600: correct it"
        )
    place = _Place(mosaic, reference, wcs, ny, nx, scale)
    checked = [_checked(image, place) for image in mosaic.images]
    n_bytes = sum(_file_size(path) for path in {split_path(path)[0] for path in _paths(mosaic)})
    images, grids = tuple(image for image, _ in checked), tuple(grid for _, grid in checked)
    return MosaicInputs(mosaic.id, images, ny, nx, wcs_text(wcs), scale, n_bytes, mosaic.ebv, name, grids)


@dataclass(frozen=True)
class _Place:
    """The pixel grid of a mosaic, and whose it is."""

    mosaic: MosaicConfig
    reference: ImageConfig
    wcs: WCS
    ny: int
    nx: int
    pixel_scale: float


def _wcs_of(image: ImageConfig, opened: FitsImage, mosaic: MosaicConfig) -> WCS:
    """WCS of an image: from its header file, else from its own header."""
    try:
        return read_wcs(image.wcs or opened.header)
    except InputError as error:
        raise InputError(
            f"mosaic {mosaic.id!r}: image {image.path!r} has no usable WCS ({error}): give the mosaic `wcs`, a header file"
        ) from None


def _checked(image: ImageConfig, place: _Place) -> tuple[ImageConfig, Grid | None]:
    """`image` with its zero point filled in, and its own pixel grid where that is not the mosaic's."""
    with open_maps(image, header_only=True) as maps:
        opened = maps["image"]
        grid = _grid_of(image, opened, place)
        scale = pixel_scale_arcsec(wcs_from_text(grid.wcs_header), grid.ny, grid.nx) if grid else place.pixel_scale
        zeropoint = zeropoint_of(opened.photometry, image.zeropoint, path=image.path, pixel_scale=scale)
    return image.model_copy(update={"zeropoint": zeropoint}), grid


def _has_wcs(header: Mapping[str, Any]) -> bool:
    return any(str(header.get(f"CTYPE{axis}", "")).strip() for axis in (1, 2))


def _grid_of(image: ImageConfig, opened: FitsImage, place: _Place) -> Grid | None:
    """Pixel grid of an image, None where it is that of the mosaic.

    A header file of the mosaic stands for the headers of all its images of the same shape; a header file of an image goes first.
    """
    if image.path == place.reference.path and image.plane == place.reference.plane:
        return None
    same_shape = (opened.ny, opened.nx) == (place.ny, place.nx)
    if same_shape and image.wcs is None and (place.mosaic.wcs or not _has_wcs(opened.header)):
        return None
    if image.wcs is None and not _has_wcs(opened.header):
        raise InputError(
            f"mosaic {place.mosaic.id!r}: image {image.path!r} has shape ({opened.ny}, {opened.nx}), expected ({place.ny}, "
            f"{place.nx}) as in {place.reference.path!r}, and no WCS by which it could be brought to that grid: give it `wcs`, a "
            "header file"
        )
    wcs = _wcs_of(image, opened, place.mosaic)
    if same_shape and grid_offset_px(wcs, place.wcs, place.ny, place.nx) <= SAME_GRID_PX:
        return None
    _check_overlap(image, wcs, (opened.ny, opened.nx), place)
    return Grid(opened.ny, opened.nx, wcs_text(wcs))


def _check_overlap(image: ImageConfig, wcs: WCS, shape: tuple[int, int], place: _Place) -> None:
    nodes = np.linspace(0, place.ny - 1, 33), np.linspace(0, place.nx - 1, 33)
    y, x = (axis.ravel() for axis in np.meshgrid(*nodes, indexing="ij"))
    there_x, there_y = pixel_positions(wcs, *sky_positions(place.wcs, x, y))
    with np.errstate(invalid="ignore"):
        inside = (there_x > -0.5) & (there_x < shape[1] - 0.5) & (there_y > -0.5) & (there_y < shape[0] - 0.5)
    if not inside.any():
        raise InputError(
            f"mosaic {place.mosaic.id!r}: image {image.path!r} lies beside {place.reference.path!r} on the sky: correct its WCS, "
            "or list it under a mosaic of its own"
        )


def _paths(mosaic: MosaicConfig) -> Iterator[str]:
    for image in mosaic.images:
        yield image.path
        yield from (path for key in MAP_KINDS if (path := getattr(image, key)))


def _file_size(path: str) -> int:
    return remote_size(path) if is_remote(path) else Path(path.removeprefix("file://")).stat().st_size
