"""Brings a band on another pixel grid to that of its mosaic, block by block of the mosaic.

Where the new pixels are at most a quarter larger than the old ones, the image is interpolated by cubic splines and scaled by the
ratio of the pixels' areas on the sky: that keeps the PSF, where kernels that average (exact overlap, Gaussian) lower the peak of
a star by 2 to 20 per cent, and conserves the flux of a sampled source to 1e-4. Where they are larger still, interpolation would
leave out pixels and alias, and the light is averaged instead, with the flux conserved (adaptive resampling with a Hann kernel,
DeForest 2004). Both by the package reproject.

The noise that goes with the pixels is the variance density of the old ones: resampled pixels are correlated, and their scatter
says too little about the error of a sum. With it, the errors of fluxes in apertures are right, and detection is a little
cautious. Blocks lie on a fixed lattice of the mosaic, so that the result does not depend on its tiles.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from scipy import ndimage

from surveycnn.errors import InputError
from surveycnn.sky.background import MeshBuilder, evaluate_mesh
from surveycnn.sky.strips import MASKED, SATURATED, STRIP_PX, Strip
from surveycnn.sky.wcs import local_jacobian, mirrored, pixel_positions, pixel_scale_arcsec, sky_positions, wcs_from_text

SAME_GRID_PX = 0.1
"""Grids of equal shape whose pixels are nowhere farther apart than this are one grid."""

AVERAGE_FROM = 1.25
"""Ratio of the new pixel scale to the old one from which light is averaged instead of interpolated."""

_BLOCK_PX = 256
_MARGIN_PX = 8
_BAD_REACH_PX = 2
_NODE_PX = 32


@dataclass(frozen=True)
class Grid:
    """Pixel grid of an image; picklable."""

    ny: int
    nx: int
    wcs_header: str
    """Text from :func:`surveycnn.sky.wcs.wcs_text`."""


def grid_offset_px(own: WCS, wcs: WCS, ny: int, nx: int) -> float:
    """Largest distance in pixels between the grids of `own` and of `wcs` over a mosaic of `ny` x `nx` pixels; inf if unknown."""
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(0, ny - 1, 9), np.linspace(0, nx - 1, 9), indexing="ij"))
    there_x, there_y = _pixels_in(own, wcs, y, x)
    offset = np.hypot(there_x - x, there_y - y)
    known = np.isfinite(offset)
    return float(offset[known].max()) if known.any() else np.inf


def regrid(strips: Iterable[Strip], source: Grid, wcs: WCS, ny: int, nx: int, *, name: str, folder: Path) -> Iterator[Strip]:
    """Strips of the mosaic's grid from those of another one, always with a weight.

    Parameters
    ----------
    strips
        All strips of the image on its own grid; without weights, the noise is measured there.
    wcs, ny, nx
        Of the mosaic.
    name
        Of the image, for messages.
    folder
        For temporary files of 9 bytes per pixel of the image, removed at the end.

    Raises
    ------
    InputError
        If the image and the mosaic share no pixel, or no noise can be measured.
    """
    own = wcs_from_text(source.wcs_header)
    average = pixel_scale_arcsec(wcs, ny, nx) > AVERAGE_FROM * pixel_scale_arcsec(own, source.ny, source.nx)
    with ExitStack() as stack:
        pixels = stack.enter_context(_Spool(source.ny, source.nx, folder))
        pixels.fill(strips, name)
        found = False
        for y0 in range(0, ny, STRIP_PX):
            strip = _empty_strip(y0, min(STRIP_PX, ny - y0), nx)
            for x0 in range(0, nx, _BLOCK_PX):
                found |= _fill_block(strip, x0, min(x0 + _BLOCK_PX, nx), pixels, own, wcs, average)
            yield strip
        if not found:
            raise InputError(f"image {name!r} and its mosaic share no pixel of the sky: correct its WCS, or leave it out")


class _Spool:
    """Image, variance and bits of a whole image in temporary files, of which windows are read."""

    def __init__(self, ny: int, nx: int, folder: Path):
        self.ny, self.nx = ny, nx
        self._files = {name: tempfile.TemporaryFile(dir=folder, prefix=".regrid-") for name in ("image", "variance", "bits")}

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._files.values():
            file.close()

    def fill(self, strips: Iterable[Strip], name: str) -> None:
        """Write all strips; where they have no weights, the variance comes from a mesh of the image."""
        mesh, has_weight = MeshBuilder(self.ny, self.nx, f"image {name!r}"), True
        for strip in strips:
            image = strip.good
            self._files["image"].write(image.tobytes())
            self._files["bits"].write(strip.bits.tobytes())
            has_weight = strip.weight is not None
            if strip.weight is not None:
                with np.errstate(divide="ignore"):
                    self._files["variance"].write((1 / strip.weight).tobytes())
            else:
                mesh.add(image)
        self._rms = None if has_weight else mesh.finish()[1]
        for file in self._files.values():
            file.flush()

    def window(self, y0: int, y1: int, x0: int, x1: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, variance (float32) and bits (uint8) of the pixels [y0:y1, x0:x1]."""
        image, bits = self._read("image", np.float32, y0, y1, x0, x1), self._read("bits", np.uint8, y0, y1, x0, x1)
        if self._rms is None:
            return image, self._read("variance", np.float32, y0, y1, x0, x1), bits
        return image, evaluate_mesh(self._rms, y0, y1, x0, x1) ** 2, bits

    def _read(self, name: str, dtype: type, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        # a map that is dropped at once: its pages do not stay in the memory of the process
        pixels = np.memmap(self._files[name], dtype, "r", shape=(self.ny, self.nx))
        return np.array(pixels[y0:y1, x0:x1])


def _empty_strip(y0: int, height: int, nx: int) -> Strip:
    image, weight = np.full((height, nx), np.nan, np.float32), np.zeros((height, nx), np.float32)
    return Strip(y0, image, weight, np.zeros((height, nx), np.uint8))


def _fill_block(strip: Strip, x0: int, x1: int, pixels: _Spool, own: WCS, wcs: WCS, average: bool) -> bool:
    """Fill the columns [x0:x1] of a strip of the mosaic; False where the image does not reach there."""
    y0, y1 = strip.y0, strip.y0 + strip.image.shape[0]
    box = _source_box(own, wcs, (y0, y1, x0, x1), pixels)
    if box is None:
        return False
    image, variance, bits = pixels.window(*box)
    target = wcs.slice((slice(y0, y1), slice(x0, x1)))
    source = own.slice((slice(box[0], box[1]), slice(box[2], box[3])))
    area = _area_ratio(own, wcs, (y0, y1, x0, x1))
    block = _resample(image, variance, bits, source, target, area, average)
    if block is None:
        return False
    assert strip.weight is not None
    strip.image[:, x0:x1], strip.weight[:, x0:x1], strip.bits[:, x0:x1] = block
    return True


def _pixels_in(own: WCS, wcs: WCS, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions (x, y) of the grid `own` under those of `wcs`; NaN where there is none."""
    return pixel_positions(own, *sky_positions(wcs, x, y))


def _source_box(own: WCS, wcs: WCS, block: tuple[int, int, int, int], pixels: _Spool) -> tuple[int, int, int, int] | None:
    """Window (y0, y1, x0, x1) of the image that a block of the mosaic needs; None where the image does not reach there."""
    y0, y1, x0, x1 = block
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(y0 - 1, y1, 9), np.linspace(x0 - 1, x1, 9), indexing="ij"))
    there_x, there_y = _pixels_in(own, wcs, y, x)
    known = np.isfinite(there_x) & np.isfinite(there_y)
    if not known.any():
        return None
    low_y, high_y = int(np.floor(there_y[known].min())) - _MARGIN_PX, int(np.ceil(there_y[known].max())) + _MARGIN_PX + 1
    low_x, high_x = int(np.floor(there_x[known].min())) - _MARGIN_PX, int(np.ceil(there_x[known].max())) + _MARGIN_PX + 1
    box = max(low_y, 0), min(high_y, pixels.ny), max(low_x, 0), min(high_x, pixels.nx)
    return box if box[0] < box[1] and box[2] < box[3] else None


def _area_ratio(own: WCS, wcs: WCS, block: tuple[int, int, int, int]) -> np.ndarray:
    """(y, x) area of the mosaic's pixels over that of the image's under them: on nodes, and linear in between."""
    y0, y1, x0, x1 = block
    nodes_y, nodes_x = (np.linspace(start, stop - 1, -(-(stop - start) // _NODE_PX) + 1) for start, stop in ((y0, y1), (x0, x1)))
    y, x = (axis.ravel() for axis in np.meshgrid(nodes_y, nodes_x, indexing="ij"))
    there_x, there_y = _pixels_in(own, wcs, y, x)
    area = [np.abs(np.linalg.det(local_jacobian(*where))) for where in ((wcs, x, y), (own, there_x, there_y))]
    ratio = (area[0] / area[1]).reshape(nodes_y.size, nodes_x.size)
    ratio = np.where(np.isfinite(ratio), ratio, np.nanmedian(ratio))
    along_x = np.stack([np.interp(np.arange(x0, x1), nodes_x, row) for row in ratio])
    return np.stack([np.interp(np.arange(y0, y1), nodes_y, column) for column in along_x.T], axis=1)


def _parity(wcs: WCS) -> bool:
    """Whether east lies to the right where north is up."""
    return bool(np.linalg.det(local_jacobian(wcs, *(np.array([axis - 1.0]) for axis in wcs.wcs.crpix))[0]) > 0)


def _resample(
    image: np.ndarray, variance: np.ndarray, bits: np.ndarray, source: WCS, target: WCS, area: np.ndarray, average: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Image, weight and bits (y, x) of a block of the mosaic; None where nothing of the image is there."""
    from reproject import reproject_adaptive, reproject_interp

    def interpolated(values: np.ndarray, order: str) -> np.ndarray:
        return reproject_interp((values, source), target, shape_out=area.shape, order=order, return_footprint=False)

    bad = ~(np.isfinite(image) & np.isfinite(variance))
    if bad.all():
        return None
    bad = ndimage.binary_dilation(bad, iterations=_BAD_REACH_PX) if bad.any() else bad
    # splines reach far: a hole is filled with the level around it, and cut out again afterwards
    filled = np.where(np.isfinite(image), image, np.nanmedian(image))
    noise = np.where(np.isfinite(variance), variance, np.nanmedian(np.where(bad, np.nan, variance)) if not bad.all() else 0)
    if not average:
        pixels = interpolated(filled.astype(np.float64), "bicubic") * area
    else:
        options = {"shape_out": area.shape, "kernel": "hann", "conserve_flux": True, "return_footprint": False}
        seen = (filled.astype(np.float64), source)
        if _parity(source) != _parity(target):
            # reproject 0.21 samples its kernel too sparsely between grids of unlike handedness: a quarter too much noise
            seen = (seen[0][:, ::-1], mirrored(source, filled.shape[1]))
        pixels = reproject_adaptive(seen, target, **options)
    spread = interpolated(noise.astype(np.float64), "bilinear") * area
    missing = ~(interpolated(bad.astype(np.float64), "bilinear") == 0)
    pixels[missing | ~np.isfinite(pixels) | ~(spread > 0)] = np.nan
    if np.isnan(pixels).all():
        return None
    weight = np.where(np.isnan(pixels), 0, 1 / np.where(spread > 0, spread, 1)).astype(np.float32)
    found = np.zeros(area.shape, np.uint8)
    for bit, reach in ((MASKED, _BAD_REACH_PX), (SATURATED, 0)):
        is_set = (bits & bit) > 0
        if is_set.any():
            is_set = ndimage.binary_dilation(is_set, iterations=reach) if reach else is_set
            found[interpolated(is_set.astype(np.float64), "bilinear") > 0] |= bit
    return pixels.astype(np.float32), weight, found
