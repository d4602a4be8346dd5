"""What the headers of a mosaic's images say: shape, WCS, zero points, sizes; every contradiction is refused here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveycnn.config import ImageConfig, MosaicConfig
from surveycnn.errors import InputError
from surveycnn.paths import is_url, split_path
from surveycnn.sky.images import FitsImage, open_image
from surveycnn.sky.wcs import pixel_scale_arcsec, read_wcs, wcs_text
from surveycnn.sky.zeropoints import zeropoint_of

MAP_KEYS = ("weight", "variance", "rms", "mask")


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
    """Bytes of all files that are read; remote files count as 0."""
    ebv: float = 0.0
    """E(B-V) of the Milky Way, magnitudes."""

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(image.band for image in self.images)

    @property
    def has_noise_map(self) -> bool:
        return any(noise_map(image) for image in self.images)

    @property
    def bytes_stored(self) -> int:
        """Bytes of the chunk store before compression."""
        per_pixel = 4 + 1 + (4 if self.has_noise_map else 0)
        return self.ny * self.nx * len(self.images) * per_pixel

    def fingerprint(self) -> dict[str, Any]:
        """What identifies the inputs before their pixels are read, as plain values."""
        return {
            "images": [image.model_dump(mode="json") for image in self.images],
            "shape": [self.ny, self.nx],
            "wcs_sha256": hashlib.sha256(self.wcs_header.encode()).hexdigest(),
            "n_bytes": self.n_bytes,
        } | ({"ebv": self.ebv} if self.ebv else {})


def noise_map(image: ImageConfig) -> str | None:
    """Path of the weight, variance or rms map of `image`, None where it has none."""
    return image.weight or image.variance or image.rms


def inspect_mosaic(mosaic: MosaicConfig) -> MosaicInputs:
    """Shape, WCS, zero points and sizes of `mosaic`, from its headers.

    Raises
    ------
    InputError
        Where an image or map is missing or damaged, shapes differ, or there is no WCS or zero point.
    """
    with open_image(mosaic.images[0].path, mosaic.images[0].plane) as first:
        ny, nx = first.ny, first.nx
        wcs = read_wcs(mosaic.wcs) if mosaic.wcs else _wcs_of(first, mosaic)
    scale = pixel_scale_arcsec(wcs, ny, nx)
    if not 1e-3 < scale < 600:
        source = mosaic.wcs or mosaic.images[0].path
        raise InputError(
            f"mosaic {mosaic.id!r}: the WCS in {source!r} gives {scale:.3g} arcsec per pixel, expected 0.001 to 600: correct it"
        )
    images = tuple(_checked(image, mosaic, (ny, nx), scale) for image in mosaic.images)
    n_bytes = sum(_file_size(path) for path in {split_path(path)[0] for path in _paths(mosaic)})
    return MosaicInputs(mosaic.id, images, ny, nx, wcs_text(wcs), scale, n_bytes, mosaic.ebv)


def _wcs_of(image: FitsImage, mosaic: MosaicConfig) -> Any:
    try:
        return read_wcs(image.header)
    except InputError as error:
        raise InputError(
            f"mosaic {mosaic.id!r}: image {image.path!r} has no usable WCS ({error}): give the mosaic `wcs`, a header file"
        ) from None


def _checked(image: ImageConfig, mosaic: MosaicConfig, shape: tuple[int, int], scale: float) -> ImageConfig:
    """`image` with its zero point filled in, once its shape and those of its maps agree with the mosaic."""
    with open_image(image.path, image.plane) as opened:
        _check_shape(opened, mosaic, shape)
        zeropoint = zeropoint_of(opened.header, image.zeropoint, path=image.path, pixel_scale=scale)
    for key in MAP_KEYS:
        path = getattr(image, key)
        if path is not None:
            with open_image(path) as opened:
                _check_shape(opened, mosaic, shape, key)
    return image.model_copy(update={"zeropoint": zeropoint})


def _check_shape(opened: FitsImage, mosaic: MosaicConfig, shape: tuple[int, int], key: str = "image") -> None:
    found = (opened.ny, opened.nx)
    if found != shape:
        raise InputError(
            f"mosaic {mosaic.id!r}: {key} {opened.path!r} has shape {found}, expected {shape} as in {mosaic.images[0].path!r}: "
            "all bands and maps of a mosaic lie on one pixel grid"
        )


def _paths(mosaic: MosaicConfig) -> Iterator[str]:
    for image in mosaic.images:
        yield image.path
        yield from (path for key in MAP_KEYS if (path := getattr(image, key)))


def _file_size(path: str) -> int:
    return 0 if is_url(path) else Path(path).stat().st_size
