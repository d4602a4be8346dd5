"""Windows that grow: a tile reads on until the families of touching pixels around its core are whole.

Without it a source could be missing in a tile for what lies beyond the window, and what is missing carries no flag.
"""

from __future__ import annotations

from dataclasses import replace

from surveycnn.run.tile import DetectionSettings, detection_maps
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.tiling import Tile
from surveycnn.sky.window import Window
from surveycnn.sources.detect import is_cut

LARGEST_GROWTH = 2.25
"""Pixels of the widest window of a tile over those of the configured one, at most."""


def largest_halo(core_px: int, halo_px: int) -> int:
    """Halo in pixels up to which the window of a core grows: one and a half times the side.

    >>> largest_halo(1024, 256), largest_halo(512, 64), largest_halo(512, 0)
    (640, 224, 0)
    """
    return halo_px + (core_px + 2 * halo_px) // 4 if halo_px else 0


def read_tile(store: ChunkStore, tile: Tile, settings: DetectionSettings) -> tuple[Tile, Window]:
    """`tile` with the halo that it needs, and its window in all bands.

    The halo is doubled as long as a family that could matter to the core runs out of the window, up to :func:`largest_halo`.
    """
    window = store.read_window(tile)
    if tile.halo == 0 or not needs_more(tile, window, settings):
        return tile, window
    bands = tuple(band for band in window.bands if band in settings.bands)
    del window
    limit = largest_halo(max(tile.y1 - tile.y0, tile.x1 - tile.x0), tile.halo)
    wide = replace(tile, halo=min(2 * tile.halo, limit))
    while wide.halo < limit and needs_more(wide, store.read_window(wide, bands), settings):
        wide = replace(wide, halo=min(2 * wide.halo, limit))
    return wide, store.read_window(wide)


def needs_more(tile: Tile, window: Window, settings: DetectionSettings) -> bool:
    """Whether something that runs out of `window` could change the sources that `tile` owns."""
    if not any(window.open_edges):
        return False
    _, _, smoothed = detection_maps(window, settings)
    rows, cols = slice(tile.y0 - window.y0, tile.y1 - window.y0), slice(tile.x0 - window.x0, tile.x1 - window.x0)
    return is_cut(smoothed > settings.threshold_sigma, window.open_edges, rows, cols)
