"""Cells: the surroundings of each source apart, in which pixels that are not its own can be replaced.

A pixel that belongs to another object, or has no data, takes the value of its mirror image through the centre of the source
(SExtractor manual, MASK_TYPE CORRECT). Cells are cut by whole pixels and stacked on each other, so that all are measured at once
and a source's numbers are the same in any window and beside any others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from surveycnn.sky.row_blocks import row_blocks

_MARGIN_PX = 2
_BATCH_PIXELS = 1_000_000
_REACHES = (8, 14, 24, 40)
"""Apertures up to these radii share cells of one size; larger ones have cells of their own sizes."""


@dataclass(frozen=True)
class Places:
    """Where sources are."""

    y: np.ndarray
    """(source,) float64, window pixels."""
    x: np.ndarray
    own: np.ndarray
    """(source,) number of the object in the segmentation; 0 = none."""

    def __getitem__(self, some: np.ndarray) -> Places:
        return Places(self.y[some], self.x[some], self.own[some])


@dataclass(frozen=True)
class Cells:
    """Square patches of one size around some sources."""

    y: np.ndarray
    """(source,) float64, positions in the stack of cells."""
    x: np.ndarray
    foreign: np.ndarray
    """(source, row, col) bool, True where a pixel belongs to another object."""
    outside: np.ndarray
    """(source, row, col) bool, True beyond the window."""
    unseen: np.ndarray
    """(source, row, col) bool, True where the sky goes on beyond the window."""
    _corner: np.ndarray
    """(source, 2) int, window row and column of the first pixel."""
    _mirror: np.ndarray
    """(2, source, cell pixel) int, row or column of a cell where a pixel has its mirror image; beyond the cell too."""

    @classmethod
    def around(cls, places: Places, segmentation: np.ndarray, radius_px: float, ends: np.ndarray) -> Cells:
        """Cells that hold circles of `radius_px`.

        Parameters
        ----------
        segmentation
            (y, x), the numbers of the objects of a window.
        ends
            (source,) bool, True where the sky ends at the window's edge; else nothing is put beyond it.
        """
        reach = int(np.ceil(radius_px)) + _MARGIN_PX
        side = 2 * reach + 1
        (first_row, offset_y, mirror_rows), (first_col, offset_x, mirror_cols) = (
            _axis(position, reach) for position in (places.y, places.x)
        )
        top = np.arange(offset_y.size) * side
        corner = np.stack([first_row, first_col], axis=1)
        labels = _cut(segmentation, corner, side, 0)
        foreign = (labels != 0) & (labels != places.own[:, None, None])
        outside_y, outside_x = (
            (pixels < 0) | (pixels >= size)
            for pixels, size in zip((corner.T[..., None] + np.arange(side)), segmentation.shape, strict=True)
        )
        outside = outside_y[:, :, None] | outside_x[:, None, :]
        mirror = np.stack([mirror_rows, mirror_cols])
        unseen = outside & ~ends[:, None, None]
        return cls(top + reach + offset_y, reach + offset_x, foreign, outside, unseen, corner, mirror)

    def cut(self, image: np.ndarray, outside: float | bool) -> np.ndarray:
        """(source, row, col) pixels of `image` (y, x), `outside` beyond its edges."""
        return _cut(image, self._corner, self.foreign.shape[1], outside)

    def replace(self, bad: np.ndarray, *layers: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Where `bad` or foreign pixels could be mirrored, and the `layers` with them mirrored; all (source, row, col).

        Where the mirror image is bad or foreign itself, a pixel becomes 0.
        """
        taken = bad | self.foreign
        source, row, col = np.nonzero(taken)
        to_row, to_col = self._mirror[0, source, row], self._mirror[1, source, col]
        side = taken.shape[1]
        usable = (to_row >= 0) & (to_row < side) & (to_col >= 0) & (to_col < side) & ~self.unseen[source, row, col]
        usable[usable] = ~taken[source[usable], to_row[usable], to_col[usable]]
        from_place = (source[usable], to_row[usable], to_col[usable])
        to_place = (source[usable], row[usable], col[usable])
        replaced = []
        for layer in layers:
            filled = np.where(taken, layer.dtype.type(0), layer)
            filled[to_place] = layer[from_place]
            replaced.append(filled)
        mirrored = np.zeros(taken.shape, bool)
        mirrored[to_place] = True
        return mirrored, replaced

    def weight(self, sigma_px: np.ndarray) -> np.ndarray:
        """(source, row, col) float32, a Gaussian of `sigma_px` (source,) on each source."""
        grid = np.arange(self.foreign.shape[1], dtype=np.float64)
        middle = self.y - np.arange(self.y.size) * grid.size
        scale = -0.5 / sigma_px[:, None] ** 2
        rows = np.exp(scale * (grid - middle[:, None]) ** 2)
        cols = np.exp(scale * (grid - self.x[:, None]) ** 2)
        return (rows[:, :, None] * cols[:, None, :]).astype(np.float32)

    def stack(self, cells: np.ndarray) -> np.ndarray:
        """The cells (source, row, col) as one image, each on top of the one before."""
        return cells.reshape(-1, cells.shape[2])


@dataclass(frozen=True)
class Owners:
    """Whose light the pixels of a detection image hold."""

    segmentation: np.ndarray
    """(y, x) int32, 0 = nobody's."""
    known: np.ndarray
    """(1 + object,) bool, False for number 0."""
    unsure: np.ndarray
    """(1 + object,) bool, True for objects that another window might show otherwise."""
    open_edges: tuple[bool, bool, bool, bool]

    def edges(self, places: Places, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether a circle (source,) goes beyond the mosaic, and whether beyond an edge of the window where the sky goes on."""
        y, x, (ny, nx) = places.y, places.x, self.segmentation.shape
        beyond = np.stack([y - radius < -0.5, y + radius > ny - 0.5, x - radius < -0.5, x + radius > nx - 0.5])
        is_open = np.array(self.open_edges)
        return beyond[~is_open].any(axis=0), beyond[is_open].any(axis=0)

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(source,) number of the object at positions in window pixels."""
        rows, cols = (
            np.clip(np.floor(centre + 0.5).astype(np.int64), 0, size - 1)
            for centre, size in zip((y, x), self.segmentation.shape, strict=True)
        )
        return self.segmentation[rows, cols]

    def cells(self, places: Places, radius: np.ndarray) -> Cells:
        """Cells that hold circles of `radius` (source,)."""
        return Cells.around(places, self.segmentation, radius.max(), ~self.edges(places, radius)[1])


def _cut(image: np.ndarray, corner: np.ndarray, side: int, outside: float | bool) -> np.ndarray:
    """(source, row, col) squares of `image` (y, x) from `corner` (source, 2) on, `outside` beyond its edges."""
    cells = np.full((len(corner), side, side), outside, image.dtype)
    for cell, (y, x) in zip(cells, corner.tolist(), strict=True):
        y0, x0 = max(y, 0), max(x, 0)
        pixels = image[y0 : max(y + side, 0), x0 : max(x + side, 0)]
        cell[y0 - y : y0 - y + pixels.shape[0], x0 - x : x0 - x + pixels.shape[1]] = pixels
    return cells


def _axis(position: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First window pixel (source,) along one axis, offset (source,) from the middle pixel, and cell pixels mirrored (source, cell
    pixel)."""
    middle = np.floor(position + 0.5)  # rint would take halves up or down as the window's origin is even or odd
    offset = position - middle
    mirror = 2 * reach + np.floor(2 * offset + 0.5).astype(np.int64)[:, None] - np.arange(2 * reach + 1)
    return middle.astype(np.int64) - reach, offset, mirror


def batches(radius: np.ndarray) -> Iterator[np.ndarray]:
    """Groups of sources whose apertures `radius` (source,) fit cells of one size."""
    size = np.ceil(radius)
    for limit in reversed(_REACHES):
        size[size <= limit] = limit
    for reach in np.unique(size):
        group = np.flatnonzero(size == reach)
        step = max(_BATCH_PIXELS // int(2 * (reach + _MARGIN_PX) + 1) ** 2, 1)
        for start in range(0, group.size, step):
            yield group[start : start + step]


def grow(segmentation: np.ndarray, steps: int) -> np.ndarray:
    """Numbers (y, x) with objects grown by `steps` pixels into those of nobody, as octagons.

    Where two meet, the later one in the order of peaks has the pixel: an order that is the same in any window.

    >>> grow(np.array([[0, 0, 1, 0, 0, 2]]), 1)
    array([[0, 1, 1, 1, 2, 2]])
    """
    grown = np.empty_like(segmentation)
    for rows, needed, own in row_blocks(segmentation.shape[0], reach=steps):
        block = segmentation[needed]
        if block.any():
            for step in range(steps):
                block = _grown(block, corners=step % 2 == 1)
        grown[rows] = block[own]
    return grown


def _grown(segmentation: np.ndarray, corners: bool) -> np.ndarray:
    """Numbers (y, x) grown by a pixel to four sides, or to eight with the `corners`."""
    padded = np.zeros((segmentation.shape[0] + 2, segmentation.shape[1] + 2), segmentation.dtype)
    padded[1:-1, 1:-1] = segmentation
    rows = np.maximum(padded[:-2], padded[2:])
    around = np.maximum(rows[:, 1:-1], padded[1:-1, :-2])
    np.maximum(around, padded[1:-1, 2:], out=around)
    if corners:
        np.maximum(around, rows[:, :-2], out=around)
        np.maximum(around, rows[:, 2:], out=around)
    np.copyto(around, segmentation, where=segmentation != 0)
    return around


def labels_near(places: Places, reach: np.ndarray, segmentation: np.ndarray, some: np.ndarray) -> np.ndarray:
    """(source,) True where a pixel of another object lies in the square of half width `reach` (source,) around a source.

    Parameters
    ----------
    some
        (1 + object,) bool, which objects count, by their number in `segmentation` (y, x); that of 0 is False.
    """
    near = np.zeros(reach.size, bool)
    if not some.any():
        return near
    bottom, left = (np.maximum(np.floor(centre - reach), 0).astype(np.int64) for centre in (places.y, places.x))
    top, right = (np.maximum(np.ceil(centre + reach) + 1, 0).astype(np.int64) for centre in (places.y, places.x))
    for k, (y0, y1, x0, x1) in enumerate(zip(bottom.tolist(), top.tolist(), left.tolist(), right.tolist(), strict=True)):
        labels = segmentation[y0:y1, x0:x1]
        near[k] = (some[labels] & (labels != places.own[k])).any()
    return near


def pixels_near(places: Places, reach: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """(source,) True where the square of half width `reach` (source,) around a source holds a pixel of `bad` (y, x).

    From sums over the area, so that it costs a few reads.
    """
    if not bad.any():
        return np.zeros(reach.size, bool)
    table = np.zeros((bad.shape[0] + 1, bad.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(bad, axis=0, dtype=np.int32), axis=1, out=table[1:, 1:])
    y0, y1 = (
        np.clip(edge, 0, bad.shape[0]).astype(np.int64) for edge in (np.floor(places.y - reach), np.ceil(places.y + reach) + 1)
    )
    x0, x1 = (
        np.clip(edge, 0, bad.shape[1]).astype(np.int64) for edge in (np.floor(places.x - reach), np.ceil(places.x + reach) + 1)
    )
    return table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0] > 0
