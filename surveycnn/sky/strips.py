"""One band of a mosaic as a stream of full-width rows: pixels in nJy, inverse variance, and what is wrong with each pixel.

Here the conventions of surveys end: past this module no data is NaN in the image and 0 in the weight, whatever the files say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from surveycnn.config import ImageConfig
from surveycnn.errors import InputError
from surveycnn.sky.background import MESH_PX
from surveycnn.sky.images import FitsImage, open_image

NOISE_KINDS = ("weight", "variance", "rms")
"""Keys of the configuration under which a noise map may stand."""
MAP_KINDS = (*NOISE_KINDS, "mask")

STRIP_PX = MESH_PX
"""Rows of a strip: those of a cell of the sky mesh, so that no cell has to wait for another strip."""

MASKED, SATURATED = 1, 2
"""Bits of :attr:`Strip.bits` and of the chunk store's mask."""

NO_DATA_NOISE = 1e15
"""Variances and rms from here on mean no data: surveys write 1e16, 1e20 or 1e30. Weights have no such end: those of images in
maggies are 1e24."""

ZERO_RUN_PX = 16
"""So many zeros in a row of floating point pixels are the padding of a coadd, not sky: noise never gives them."""


@dataclass(frozen=True)
class Strip:
    """Full-width rows of one band."""

    y0: int
    image: np.ndarray
    """(y, x) float32 nJy, NaN = no data."""
    weight: np.ndarray | None
    """(y, x) float32 nJy^-2 inverse variance, 0 = no data; None without a noise map."""
    bits: np.ndarray
    """(y, x) uint8 of :data:`MASKED` and :data:`SATURATED`."""

    @property
    def good(self) -> np.ndarray:
        """(y, x) float32 nJy with NaN where masked or without data."""
        masked = (self.bits & MASKED) > 0
        return np.where(masked, np.float32(np.nan), self.image) if masked.any() else self.image


@contextmanager
def open_maps(image: ImageConfig, *, header_only: bool = False) -> Iterator[dict[str, FitsImage]]:
    """The image (key ``image``) and the maps that go with it, opened.

    A map that is a cube is read at the plane of the image, as in the files that hold all bands. With `header_only`, pixels cannot
    be read, and remote and compressed files are not fetched as a whole.

    Raises
    ------
    InputError
        If a file cannot be used, or a map has another shape than the image.
    """
    with ExitStack() as stack:
        maps = {"image": stack.enter_context(open_image(image.path, image.plane, header_only=header_only))}
        for kind in MAP_KINDS:
            path = getattr(image, kind)
            if path is not None:
                options = {"plane_of_cubes_only": True, "header_only": header_only}
                maps[kind] = stack.enter_context(open_image(path, image.plane, **options))
                _check_shape(maps[kind], kind, maps["image"])
        yield maps


def _check_shape(found: FitsImage, kind: str, image: FitsImage) -> None:
    if (found.ny, found.nx) != (image.ny, image.nx):
        raise InputError(
            f"{kind} {found.path!r} has shape ({found.ny}, {found.nx}), expected ({image.ny}, {image.nx}) as its image "
            f"{image.path!r}: give the map that belongs to this image"
        )


def noise_kind(maps: Mapping[str, FitsImage]) -> str | None:
    """Which of the noise maps is there."""
    return next((kind for kind in NOISE_KINDS if kind in maps), None)


def read_strips(maps: Mapping[str, FitsImage], image: ImageConfig, factor: float) -> Iterator[Strip]:
    """Rows of a band from bottom to top, :data:`STRIP_PX` at a time.

    Parameters
    ----------
    maps
        From :func:`open_maps`.
    factor
        nJy of one data unit.
    """
    kind = noise_kind(maps)
    saturation = saturation_level(image, maps["image"])
    zeros_are_padding = image.nodata is None and kind is None and maps["image"].is_float
    rows = {name: _rows(found) for name, found in maps.items()}
    for y0 in range(0, maps["image"].ny, STRIP_PX):
        pixels = next(rows["image"])
        bits = np.zeros(pixels.shape, np.uint8)
        if saturation is not None:
            bits[pixels >= saturation] |= SATURATED
        if "mask" in rows:
            bits[next(rows["mask"]) != 0] |= MASKED  # NaN in a mask is nonzero: bad
        empty = pixels == image.nodata if image.nodata is not None else zero_runs(pixels) if zeros_are_padding else None
        pixels = scale_pixels(pixels, factor)
        if empty is not None:
            pixels[empty] = np.nan
        weight = inverse_variance(next(rows[kind]), kind, factor) if kind else None
        if weight is not None:
            pixels[weight == 0] = np.nan
        yield Strip(y0, pixels, weight, bits)


def _rows(found: FitsImage) -> Iterator[np.ndarray]:
    """Strips of one file; tiles of compressed images that are higher than a strip are decoded once, not for every strip."""
    step = -(-found.tile_rows // STRIP_PX) * STRIP_PX
    for start in range(0, found.ny, step):
        block = found.read(start, min(start + step, found.ny), 0, found.nx)
        for y in range(0, len(block), STRIP_PX):
            yield block[y : y + STRIP_PX]


def saturation_level(image: ImageConfig, opened: FitsImage) -> float | None:
    """Level in data units from which pixels are saturated, from the configuration or SATURATE of the header; None if unknown."""
    if image.saturation is not None:
        return image.saturation
    level: Any = opened.photometry.get("SATURATE")
    usable = isinstance(level, int | float) and not isinstance(level, bool) and np.isfinite(level) and level > 0
    return float(level) if usable else None


def zero_runs(pixels: np.ndarray) -> np.ndarray | None:
    """(y, x) bool, True in runs of at least :data:`ZERO_RUN_PX` zeros along a row; None where there are none.

    >>> zero_runs(np.array([[0.0] * 16 + [1.0, 0.0]])).sum()
    np.int64(16)
    """
    zero = pixels == 0
    if np.count_nonzero(zero) < ZERO_RUN_PX:
        return None
    edges = np.diff(np.pad(zero, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1]
    long = stop - start >= ZERO_RUN_PX
    marks = np.zeros(edges.shape, np.int8)
    marks[row[long], start[long]] = 1
    marks[row[long], stop[long]] -= 1
    return np.cumsum(marks, axis=1, dtype=np.int8)[:, :-1] > 0


def scale_pixels(pixels: np.ndarray, factor: float) -> np.ndarray:
    """`pixels` times `factor` as float32; infinities become NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.multiply(pixels, pixels.dtype.type(factor)).astype(np.float32, copy=False)
    scaled[~np.isfinite(scaled)] = np.nan
    return scaled


def inverse_variance(values: np.ndarray, kind: str, factor: float) -> np.ndarray:
    """Weight in nJy^-2, float32, from a map of `kind` weight, variance or rms in data units; 0 where it says no data.

    Values that are not finite or not positive mean no data in all three kinds, and variances and rms of 1e15 or more.
    """
    usable = np.isfinite(values) & (values > 0)
    if kind != "weight":
        usable &= values < NO_DATA_NOISE
    values = np.where(usable, values, 1.0).astype(np.float64)
    weight = {"weight": values, "variance": 1 / values, "rms": 1 / values**2}[kind] / factor**2
    weight = np.where(usable, weight, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        weight = weight.astype(np.float32)
    weight[~np.isfinite(weight)] = 0
    return weight
