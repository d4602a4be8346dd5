"""Transforms of light and PSFs on one grid of wave numbers, and images from them: what :mod:`render` draws with.

A transform is an array (ky, kx) complex64 over -half..half and 0..half steps: the other half plane follows, since
images are real. It is cut off where the PSF passes nothing, so that it is smaller than the image's own Fourier grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import galsim
import numpy as np
from scipy import fft

_MARGIN_PX = 128
"""At most so many pixels are left around an image: what is farther out returns on the other side."""
_TABLE_STEP = 0.02
"""Of tabulated radial transforms, in wave number times radius; what ends at 8 radii swings with a period of 0.8."""
_TABLE_END = 250.0
_ONE_THREAD = 60_000
"""Size of a matrix product up to which OpenBLAS starts no threads; 67 000 complex and 270 000 real ones start some."""


@dataclass(frozen=True)
class KGrid:
    """Wave numbers that an image of `size` x `size` pixels needs."""

    size: int
    scale: float
    """Pixel, arcsec."""
    n: int
    """Pixels along the side of the periodic sky that holds the image."""
    half: int
    """Largest wave number, steps."""

    @property
    def step(self) -> float:
        """Step of the wave numbers, 1/arcsec."""
        return 2.0 * np.pi / (self.n * self.scale)

    @cached_property
    def ky(self) -> np.ndarray:
        """(ky,) float64, 1/arcsec."""
        return np.arange(-self.half, self.half + 1) * self.step

    @cached_property
    def kx(self) -> np.ndarray:
        """(kx,) float64, 1/arcsec."""
        return np.arange(self.half + 1) * self.step

    @cached_property
    def squares(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The kx^2, kx ky and ky^2, float32, that broadcast to (ky, kx)."""
        kx, ky = self.kx[None, :].astype(np.float32), self.ky[:, None].astype(np.float32)
        return kx**2, kx * ky, ky**2

    @cached_property
    def pixel(self) -> np.ndarray:
        """Transform (ky, kx) float32 of the response of a square pixel."""
        across = [np.sinc(0.5 * k * self.scale / np.pi) for k in (self.ky, self.kx)]
        return np.outer(*across).astype(np.float32)


@lru_cache(maxsize=64)
def k_grid(size: int, scale: float, max_k: float) -> KGrid:
    """Grid for an image of `size` pixels of `scale` arcsec with wave numbers to `max_k` per arcsec."""
    n = int(fft.next_fast_len(min(3 * size, size + _MARGIN_PX), real=True))
    return KGrid(size, scale, n, int(np.ceil(max_k * n * scale / (2.0 * np.pi))))


def shift_phases(grid: KGrid, y: float, x: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors (ky, 1) and (kx,) complex64 that move light by (y, x) arcsec."""
    return np.exp(-1j * y * grid.ky).astype(np.complex64)[:, None], np.exp(-1j * x * grid.kx).astype(np.complex64)


def profile_transform(profile: galsim.GSObject, grid: KGrid) -> np.ndarray:
    """Transform (ky, kx) complex64 of an analytic profile, from a table where it is a sheared and shifted round one."""
    moved = isinstance(profile, galsim.Transformation)
    known = _family(profile.original if moved else profile)
    if known is None:
        bounds = galsim.BoundsI(0, grid.half, -grid.half, grid.half)
        image = galsim.ImageCF(bounds=bounds, scale=grid.step)
        return np.asarray(profile.drawKImage(image=image, recenter=False).array)
    unit, radius = known
    jacobian = radius * (np.asarray(profile.jac) if moved else np.eye(2))
    radial = _sheared(unit, jacobian, grid)
    radial *= np.float32(profile.flux)
    if not moved or (profile.offset.x == 0.0 and profile.offset.y == 0.0):
        return radial.astype(np.complex64)
    along_y, along_x = shift_phases(grid, profile.offset.y, profile.offset.x)
    transform: np.ndarray = radial * along_y
    transform *= along_x
    return transform


def _family(profile: galsim.GSObject) -> tuple[tuple[str, float, float], float] | None:
    """The round profile of radius 1 of which `profile` is an enlargement (name, index, end), and the radius; else None."""
    if isinstance(profile, galsim.Gaussian):
        return ("Gaussian", 0.0, 0.0), profile.sigma
    if isinstance(profile, galsim.Exponential):
        return ("Exponential", 0.0, 0.0), profile.scale_radius
    if isinstance(profile, galsim.Sersic):
        radius = profile.half_light_radius
        return ("Sersic", profile.n, round(profile.trunc / radius, 6)), radius
    if isinstance(profile, galsim.Moffat):
        return ("Moffat", profile.beta, round(profile.trunc / profile.fwhm, 6)), profile.fwhm
    return None


def _unit(family: str, index: float, end: float) -> galsim.GSObject:
    if family == "Gaussian":
        return galsim.Gaussian(sigma=1.0)
    if family == "Exponential":
        return galsim.Exponential(scale_radius=1.0)
    if family == "Sersic":
        return galsim.Sersic(n=index, half_light_radius=1.0, trunc=end)
    return galsim.Moffat(beta=index, fwhm=1.0, trunc=end)


@lru_cache(maxsize=64)
def _table(unit: tuple[str, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Transform (step,) float32 of a round profile against the wave number, and the differences to the next entries."""
    image = galsim.ImageCD(bounds=galsim.BoundsI(0, int(_TABLE_END / _TABLE_STEP) + 1, 0, 0), scale=_TABLE_STEP)
    values = _unit(*unit).drawKImage(image=image, recenter=False).array[0].real
    return values[:-1].astype(np.float32), np.diff(values).astype(np.float32)


def _sheared(unit: tuple[str, float, float], jacobian: np.ndarray, grid: KGrid) -> np.ndarray:
    """Transform (ky, kx) float32 of a round profile after the linear map `jacobian` of (x, y), of flux 1."""
    values, slopes = _table(unit)
    # The transform of f(J^-1 x) at k is that of f at J^T k, whose length is a quadratic form of k.
    metric = (jacobian @ jacobian.T / _TABLE_STEP**2).astype(np.float32)
    xx, xy, yy = grid.squares
    place = xy * (2.0 * metric[0, 1])
    place += xx * metric[0, 0]
    place += yy * metric[1, 1]
    np.maximum(place, 0.0, out=place)  # of rounding
    np.sqrt(place, out=place)
    np.minimum(place, np.float32(len(values) - 1), out=place)
    index = place.astype(np.intp)
    place -= index
    place *= slopes[index]
    place += values[index]
    return place


def maps_transform(maps: np.ndarray, cell: float, grid: KGrid, y: float = 0.0, x: float = 0.0) -> np.ndarray:
    """Transforms (map, ky, kx) complex64 of light given in cells, (map, y, x) float32, interpolated linearly between them.

    Exact for cells of any size, since the sums are taken at the wave numbers of `grid` and not on a grid of the cells' own.
    """
    n_maps, ny, nx = maps.shape
    along_x, along_y = _waves(nx, cell, grid)[grid.half :], _waves(ny, cell, grid)
    # A complex matrix viewed as pairs of reals: half the work of a complex product with the real maps.
    pairs = np.ascontiguousarray(along_x.T).view(np.float32)
    rows = _product(maps.reshape(n_maps * ny, nx), pairs).view(np.complex64).reshape(n_maps, ny, grid.half + 1)
    phase_y, phase_x = shift_phases(grid, y, x)
    transforms = np.empty((n_maps, len(along_y), grid.half + 1), np.complex64)
    for index in range(n_maps):
        transforms[index] = _product(along_y, rows[index])
    transforms *= phase_y
    transforms *= phase_x
    return transforms


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrix product in blocks of rows, each small enough for BLAS to use one thread.

    Stamps are drawn by one process per core: threads of each on top would spin, waiting for work.
    """
    result = np.empty((len(left), right.shape[1]), right.dtype)
    rows = max(1, _ONE_THREAD // right.size)
    for start in range(0, len(left), rows):
        np.matmul(left[start : start + rows], right, out=result[start : start + rows])
    return result


@lru_cache(maxsize=16)
def _waves(n: int, cell: float, grid: KGrid) -> np.ndarray:
    """Transforms (ky, cell) complex64 in one dimension of `n` triangles, one for each cell of a centred row."""
    positions = (np.arange(n) - (n - 1) / 2.0) * cell
    triangle = np.sinc(0.5 * grid.kx * cell / np.pi) ** 2
    positive = (triangle[:, None] * np.exp(-1j * grid.kx[:, None] * positions)).astype(np.complex64)
    return np.concatenate([positive[:0:-1].conj(), positive])


def images_of(transforms: np.ndarray, grid: KGrid, centre: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Images (image, y, x) float32 in flux per pixel, sampled at the pixel centres, of transforms (image, ky, kx).

    Parameters
    ----------
    centre
        (y, x) in pixels of the origin from the middle of the image.
    """
    half, middle = grid.half, (grid.size - 1) / 2.0
    # Wave numbers beyond those of the pixels need a finer grid, of which every second point is kept, or fewer.
    finer = 2 * half // grid.n + 1
    n = finer * grid.n
    phase_y, phase_x = shift_phases(grid, (middle + centre[0]) * grid.scale, (middle + centre[1]) * grid.scale)
    padded = np.zeros((len(transforms), n, half + 1), np.complex64)
    shifted = transforms * phase_y
    shifted *= phase_x * np.float32(finer**2)
    padded[:, : half + 1], padded[:, n - half :] = shifted[:, half:], shifted[:, :half]
    rows = fft.ifft(padded, axis=1, overwrite_x=True)[:, : finer * grid.size : finer]
    return np.ascontiguousarray(fft.irfft(rows, n=n, axis=2)[:, :, : finer * grid.size : finer])
