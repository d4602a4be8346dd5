"""Small skies of every shape, cut in every way: a tile's sources are those of the whole, to the byte, or they are flagged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sky import small_wcs

from surveycnn.catalogs.flags import has_flag
from surveycnn.run.tile import DetectionSettings, process_tile
from surveycnn.run.widen import largest_halo, open_tile
from surveycnn.sky.tiling import Tile, TileGrid
from surveycnn.sky.window import Window
from surveycnn.sources.stamps import cut_stamps

BANDS = ("g", "r", "i")
PIXEL_SCALE = 0.2
STAMP_PX, STAMP_STEP = 20, 1.3


@dataclass(frozen=True)
class ArraySky:
    """A mosaic in memory, read like a chunk store."""

    image: np.ndarray
    rms: np.ndarray
    masked: np.ndarray
    saturated: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape[1:]

    def read_window(self, tile: Tile, bands: tuple[str, ...] = BANDS) -> Window:
        cut = ([BANDS.index(band) for band in bands], *tile.outer)
        pixels = (array[cut] for array in (self.image, self.rms, self.masked, self.saturated))
        return Window("m", tile.oy0, tile.ox0, *self.shape, bands, *pixels, small_wcs(*self.shape), PIXEL_SCALE)


def draw_blob(image: np.ndarray, y: float, x: float, peak: float, size: tuple[float, float]) -> None:
    """Add an elliptical blob with the wings of a Moffat profile to `image` (y, x)."""
    rows, cols = (np.arange(n) for n in image.shape)
    r2 = ((rows[:, None] - y) / size[0]) ** 2 + ((cols - x) / size[1]) ** 2
    image += peak * (1 + r2 / 4) ** -2.5


def draw_sky(shape: tuple[int, int], core_px: int, seed: int, crowding: float) -> ArraySky:
    """Noise, and sources everywhere: on the boundaries of the cores, in the corners of the coverage, large ones and seams; holes
    at the edges and within, bands that are missing in parts, masked and saturated pixels."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    clean = np.zeros(shape)
    for _ in range(int(crowding * ny * nx / 1000)):
        draw_blob(clean, rng.uniform(0, ny), rng.uniform(0, nx), 10 ** rng.uniform(0.3, 2), tuple(rng.uniform(1.2, 3, 2)))
    for y, x in ((0, 0), (ny - 1, nx - 1), (core_px - 0.5, nx / 2), (core_px, core_px), (ny - 1, core_px - 1)):
        draw_blob(clean, y, x, 30, (2, 2))
    for _ in range(rng.integers(3)):
        draw_blob(clean, rng.uniform(0, ny), rng.uniform(0, nx), 10 ** rng.uniform(1, 3.5), tuple(rng.uniform(3, 25, 2)))
    clean[:, rng.integers(nx)] += rng.choice([0, 0, 4])
    scale = rng.uniform(0.5, 2, 3)
    rms = (rng.uniform(0.5, 2, 3)[:, None, None] * np.ones((3, *shape))).astype(np.float32)
    image = (scale[:, None, None] * clean + rms * rng.normal(0, 1, (3, *shape))).astype(np.float32)
    masked, saturated = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    saturated[:, clean > 1500] = True
    for _ in range(rng.integers(4)):
        y, x = rng.choice([0, ny - 20, rng.integers(ny)]), rng.choice([0, nx - 20, rng.integers(nx)])
        hole = (rng.choice([slice(0, 3), 0, 1, 2]), slice(y, y + rng.integers(1, 60)), slice(x, x + rng.integers(1, 60)))
        masked[hole] = rng.random() < 0.5
        image[hole] = np.nan
    rms[np.isnan(image)] = np.nan
    return ArraySky(image, rms, masked, saturated)


def rows_of(sky: ArraySky, grid: TileGrid, detection: DetectionSettings) -> dict[int, tuple[int, bytes]]:
    """Flags, and the bytes of all numbers and of the stamp, of every row by its source_id."""
    rows: dict[int, tuple[int, bytes]] = {}
    for core in grid:
        with open_tile(sky, core, detection) as (tile, window, maps):
            found: xr.Dataset = process_tile(tile, window, lambda: [], detection, maps=maps)
        stamps = cut_stamps(window.image, found["y"].values - window.y0, found["x"].values - window.x0, STAMP_PX, STAMP_STEP)
        numbers = [
            values.values for name, values in found.data_vars.items() if values.dtype.kind in "fiub" and name != "source_id"
        ]
        for k, key in enumerate(found["source_id"].values.tolist()):
            assert key not in rows, "two tiles own the same source"
            rows[key] = int(found["flags"].values[k]), b"".join(array[k].tobytes() for array in (*numbers, stamps))
    return rows


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(150, 320), st.integers(150, 320)) | st.tuples(st.integers(5, 40), st.integers(150, 400)),
    core_px=st.sampled_from([64, 128, 192, 256]),
    halo_px=st.integers(64, 128),
    threshold=st.sampled_from([1.0, 1.5, 3.0]),
    combine=st.sampled_from(["sum", "chi2"]),
    crowding=st.sampled_from([0.2, 1.0, 4.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_catalog__of_any_sky_cut_in_any_way(shape, core_px, halo_px, threshold, combine, crowding, seed):
    sky = draw_sky(shape, core_px, seed, crowding)
    detection = DetectionSettings(BANDS, threshold, 5, combine)
    whole = rows_of(sky, TileGrid("m", *shape, max(shape), 0), detection)
    tiled = rows_of(sky, TileGrid("m", *shape, core_px, halo_px), detection)
    sure = {key: row for key, row in tiled.items() if not has_flag(np.array(row[0]), "truncated")}
    assert not has_flag(np.array([flags for flags, _ in whole.values()]), "truncated").any()
    assert [key for key, row in sure.items() if whole.get(key) != row] == []
    if len(sure) == len(tiled):
        assert set(whole) == set(tiled)


def bar(shape: tuple[int, int], length: int) -> ArraySky:
    """A clumpy bar along x from column 90, and noise around it."""
    rng = np.random.default_rng(5)
    clean = np.zeros(shape)
    clean[shape[0] // 2 - 2 : shape[0] // 2 + 3, 90 : 90 + length] = 20
    for x in range(100, 90 + length, 23):
        draw_blob(clean, shape[0] / 2 + rng.uniform(-5, 5), x, rng.uniform(20, 60), (3, 3))
    image = (clean + rng.normal(0, 1, (3, *shape))).astype(np.float32)
    nothing = np.zeros(image.shape, bool)
    return ArraySky(image, np.ones_like(image), nothing, nothing)


def test_open_tile__reads_on_until_a_family_is_whole():
    detection = DetectionSettings(BANDS, 3.0, 5)
    tile = TileGrid("m", 200, 700, 128, 64).tile(0, 0)
    with open_tile(bar((200, 700), 30), tile, detection) as (wide, _, _):
        assert wide.halo == 64, "what ends in the window needs no more of it"
    with open_tile(bar((200, 700), 40), TileGrid("m", 200, 700, 128, 20).tile(0, 0), detection) as (wide, window, _):
        assert (wide.halo, window.shape) == (40, (168, 168)), "twice the halo holds it"
    with open_tile(bar((200, 700), 500), tile, detection) as (wide, window, _):
        rows = process_tile(wide, window, lambda: [], detection)
    assert wide.halo == largest_halo(128, 64) == 128
    assert window.image.shape == (3, 200, 256) and window.masked.shape == window.image.shape
    near = np.abs(rows["y"].values - 100) < 8
    assert near.any() and has_flag(rows["flags"].values[near], "truncated").all(), "what is larger is flagged"


def test_open_tile__whole_families_give_the_sources_of_the_whole():
    sky, detection = bar((200, 700), 150), DetectionSettings(BANDS, 3.0, 5)
    whole = rows_of(sky, TileGrid("m", 200, 700, 700, 0), detection)
    tiled = rows_of(sky, TileGrid("m", 200, 700, 256, 64), detection)
    assert len(whole) > 5 and whole == tiled
