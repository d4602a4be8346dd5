"""Windows that grow: a tile reads on until the families of touching pixels around its core are whole.

Without it a source could be missing in a tile for what lies beyond the window, and what is missing carries no flag.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from threading import Lock
from typing import Protocol

from surveycnn.run.memory import LARGEST_GROWTH
from surveycnn.run.scoring import Step
from surveycnn.run.tile import DetectionMaps, DetectionSettings, detection_maps
from surveycnn.sky.tiling import Tile
from surveycnn.sky.window import Window
from surveycnn.sources.detect import is_cut

_one_at_a_time = Lock()


class WindowStore(Protocol):
    """What windows are read from: :class:`surveycnn.sky.chunks.ChunkStore`, or arrays in memory."""

    def read_window(self, tile: Tile, bands: Sequence[str] | None = None) -> Window:
        """Core and halo of `tile` in `bands`, all by default."""


def largest_halo(core_px: int, halo_px: int) -> int:
    """Halo in pixels up to which the window of a core grows: one and a half times the side, :data:`LARGEST_GROWTH` the pixels.

    >>> largest_halo(1024, 256), largest_halo(512, 64), largest_halo(512, 0)
    (640, 224, 0)
    """
    growth = LARGEST_GROWTH**0.5 - 1
    return halo_px + int(growth * (core_px + 2 * halo_px)) // 2 if halo_px else 0


@contextmanager
def open_tile(
    store: WindowStore, tile: Tile, settings: DetectionSettings, step: Step = lambda name: nullcontext()
) -> Iterator[tuple[Tile, Window, DetectionMaps]]:
    """`tile` with the halo that it needs, its window in all bands, and the detection maps of that window.

    The halo is doubled as long as a family that could matter to the core runs out of the window, up to :func:`largest_halo`. One
    tile of a process at a time has a wider window than configured, so that the memory of a worker has a bound.

    Parameters
    ----------
    step
        As in :func:`surveycnn.run.tile.process_tile`, around the steps ``read`` and ``detect``.
    """
    with step("read"):
        window = store.read_window(tile)
    with step("detect"):
        maps = detection_maps(window, settings)
        is_whole = tile.halo == 0 or not needs_more(tile, window, maps, settings)
    if is_whole:
        yield tile, window, maps
        return
    bands = tuple(band for band in window.bands if band in settings.bands)
    del window, maps
    with _one_at_a_time:
        with step("read"):
            wide = _wide_enough(store, tile, bands, settings)
            window = store.read_window(wide)
        with step("detect"):
            maps = detection_maps(window, settings)
        yield wide, window, maps


@contextmanager
def reopen_window(
    store: WindowStore, tile: Tile, halo: int, bands: Sequence[str], step: Step = lambda name: nullcontext()
) -> Iterator[Window]:
    """Window in `bands` of a tile that was searched with `halo`: the same pixels as then."""
    with _one_at_a_time if halo > tile.halo else nullcontext():
        with step("read"):
            window = store.read_window(replace(tile, halo=halo), bands)
        yield window


def _wide_enough(store: WindowStore, tile: Tile, bands: tuple[str, ...], settings: DetectionSettings) -> Tile:
    """`tile` with a halo at which nothing that matters is cut, or the largest one."""
    limit = largest_halo(max(tile.y1 - tile.y0, tile.x1 - tile.x0), tile.halo)
    wide = replace(tile, halo=min(2 * tile.halo, limit))
    while wide.halo < limit:
        window = store.read_window(wide, bands)
        if not needs_more(wide, window, detection_maps(window, settings), settings):
            break
        del window  # before a wider one is read
        wide = replace(wide, halo=min(2 * wide.halo, limit))
    return wide


def needs_more(tile: Tile, window: Window, maps: DetectionMaps, settings: DetectionSettings) -> bool:
    """Whether something that runs out of `window` could change the sources that `tile` owns."""
    if not any(window.open_edges):
        return False
    rows, cols = slice(tile.y0 - window.y0, tile.y1 - window.y0), slice(tile.x0 - window.x0, tile.x1 - window.x0)
    return is_cut(maps.smoothed > settings.threshold_sigma, window.open_edges, rows, cols)
