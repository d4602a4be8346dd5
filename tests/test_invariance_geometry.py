"""Small skies of every shape, cut in every way: a tile's sources are those of the whole, to the byte, or they are flagged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Thread
from time import sleep
from typing import NamedTuple

import numpy as np
import pytest
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
DETECTION = DetectionSettings(BANDS, 3.0, 5)
STAMP_PX, STAMP_STEP = 20, 1.3
DOUBT_PX = 60
"""How far from what runs out of a window a source may be missing: the reach of the cleaning, and that of a centroid."""


@dataclass(frozen=True)
class ArraySky:
    """A mosaic in memory, read like a chunk store."""

    image: np.ndarray
    rms: np.ndarray
    masked: np.ndarray
    saturated: np.ndarray
    pixel_scale: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape[1:]

    def read_window(self, tile: Tile, bands: tuple[str, ...] = BANDS) -> Window:
        cut = ([BANDS.index(band) for band in bands], *tile.outer)
        pixels = (array[cut] for array in (self.image, self.rms, self.masked, self.saturated))
        wcs = small_wcs(*self.shape, pixel_scale=self.pixel_scale)
        return Window("m", tile.oy0, tile.ox0, *self.shape, bands, *pixels, wcs, self.pixel_scale)


def draw_blob(image: np.ndarray, y: float, x: float, peak: float, size: tuple[float, float]) -> None:
    """Add an elliptical blob with the wings of a Moffat profile to `image` (y, x)."""
    rows, cols = (np.arange(n) for n in image.shape)
    r2 = ((rows[:, None] - y) / size[0]) ** 2 + ((cols - x) / size[1]) ** 2
    image += peak * (1 + r2 / 4) ** -2.5


def draw_sky(shape: tuple[int, int], core_px: int, seed: int, crowding: float, pixel_scale: float) -> ArraySky:
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
    return ArraySky(image, rms, masked, saturated, pixel_scale)


class Row(NamedTuple):
    """What a tile says of a source."""

    place: tuple[float, float]
    """y, x."""
    is_truncated: bool
    content: bytes
    """All numbers, and the stamp."""


def rows_of(sky: ArraySky, grid: TileGrid, detection: DetectionSettings) -> dict[int, Row]:
    """The rows of all tiles by their source_id."""
    rows: dict[int, Row] = {}
    for core in grid:
        with open_tile(sky, core, detection) as (tile, window, maps):
            found: xr.Dataset = process_tile(tile, window, lambda: [], detection, maps=maps)
        y, x = found["y"].values, found["x"].values
        stamps = cut_stamps(window.image, y - window.y0, x - window.x0, STAMP_PX, STAMP_STEP)
        numbers = [
            values.values for name, values in found.data_vars.items() if values.dtype.kind in "fiub" and name != "source_id"
        ]
        truncated = has_flag(found["flags"].values, "truncated")
        for k, key in enumerate(found["source_id"].values.tolist()):
            assert key not in rows, "two tiles own the same source"
            content = b"".join(array[k].tobytes() for array in (*numbers, stamps))
            rows[key] = Row((y[k], x[k]), bool(truncated[k]), content)
    return rows


def missing(whole: dict[int, Row], tiled: dict[int, Row]) -> list[tuple[float, float]]:
    """Places of the sources of the whole that the tiles lack, far from all rows that are flagged."""
    lost = np.array([row.place for key, row in whole.items() if key not in tiled]).reshape(-1, 2)
    flagged = np.array([row.place for row in tiled.values() if row.is_truncated]).reshape(-1, 2)
    return lost[np.hypot(*(lost[:, None] - flagged).T).min(axis=0, initial=np.inf) > DOUBT_PX].tolist()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(150, 260), st.integers(150, 300)) | st.tuples(st.integers(5, 100), st.integers(300, 600)),
    core_px=st.sampled_from([64, 128, 192, 256]),
    halo_px=st.integers(96, 128),
    pixel_scale=st.sampled_from([0.03, 0.2, 2.0]),
    threshold=st.sampled_from([1.0, 1.5, 3.0]),
    combine=st.sampled_from(["sum", "chi2"]),
    crowding=st.sampled_from([0.2, 1.0, 4.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_catalog__of_any_sky_cut_in_any_way(shape, core_px, halo_px, pixel_scale, threshold, combine, crowding, seed):
    sky = draw_sky(shape, core_px, seed, crowding, pixel_scale)
    detection = DetectionSettings(BANDS, threshold, 5, combine)
    whole = rows_of(sky, TileGrid("m", *shape, max(shape), 0), detection)
    tiled = rows_of(sky, TileGrid("m", *shape, core_px, halo_px), detection)
    assert not any(row.is_truncated for row in whole.values())
    assert [key for key, row in tiled.items() if not row.is_truncated and whole.get(key) != row] == []
    assert missing(whole, tiled) == []


def bar(shape: tuple[int, int], length: int) -> ArraySky:
    """A clumpy bar along x from column 90, and noise around it."""
    rng = np.random.default_rng(5)
    clean = np.zeros(shape)
    clean[shape[0] // 2 - 2 : shape[0] // 2 + 3, 90 : 90 + length] = 20
    for x in range(100, 90 + length, 23):
        draw_blob(clean, shape[0] / 2 + rng.uniform(-5, 5), x, rng.uniform(20, 60), (3, 3))
    image = (clean + rng.normal(0, 1, (3, *shape))).astype(np.float32)
    nothing = np.zeros(image.shape, bool)
    return ArraySky(image, np.ones_like(image), nothing, nothing, 0.2)


def test_open_tile__reads_on_until_a_family_is_whole():
    tile = TileGrid("m", 220, 800, 128, 96).tile(0, 0)
    with open_tile(bar((220, 800), 40), tile, DETECTION) as (wide, _, _):
        assert wide.halo == 96, "what ends in the window needs no more of it"
    with open_tile(bar((200, 700), 40), TileGrid("m", 200, 700, 128, 20).tile(0, 0), DETECTION) as (wide, window, _):
        assert (wide.halo, window.shape) == (40, (168, 168)), "twice the halo holds it"
    with open_tile(bar((220, 800), 500), tile, DETECTION) as (wide, window, _):
        rows = process_tile(wide, window, lambda: [], DETECTION)
    assert wide.halo == largest_halo(128, 96) == 176
    assert window.image.shape == (3, 220, 304) and window.masked.shape == window.image.shape
    near = np.abs(rows["y"].values - 110) < 8
    assert near.any() and has_flag(rows["flags"].values[near], "truncated").all(), "what is larger is flagged"


def test_open_tile__whole_families_give_the_sources_of_the_whole():
    sky = bar((200, 700), 180)
    whole = rows_of(sky, TileGrid("m", 200, 700, 700, 0), DETECTION)
    tiled = rows_of(sky, TileGrid("m", 200, 700, 256, 96), DETECTION)
    assert len(whole) > 5 and whole == tiled


def test_open_tile__one_wide_window_at_a_time():
    sky, grid = bar((200, 700), 500), TileGrid("m", 200, 700, 128, 96)
    opened: list[Tile] = []
    most = []

    def work(tile: Tile) -> int:
        with open_tile(sky, tile, DETECTION) as (wide, _, _):
            opened.append(wide)
            sleep(0.02)  # so that another thread would come in if it could
            most.append(len(opened))
            opened.remove(wide)
        return wide.halo

    with ThreadPoolExecutor(2) as pool:
        halos = list(pool.map(work, [grid.tile(0, 0), grid.tile(0, 2), grid.tile(0, 1), grid.tile(0, 3)], timeout=60))
    assert min(halos) > 96 and most == [1, 1, 1, 1]


def test_open_tile__lets_others_go_on_after_an_error():
    sky, tile = bar((200, 700), 500), TileGrid("m", 200, 700, 128, 96).tile(0, 0)
    halos = []

    def work() -> None:
        with open_tile(sky, tile, DETECTION) as (wide, _, _):
            halos.append(wide.halo)

    def opens_again() -> bool:
        thread = Thread(target=work, daemon=True)
        thread.start()
        thread.join(60)
        return not thread.is_alive()

    with pytest.raises(RuntimeError, match="in a wide tile"), open_tile(sky, tile, DETECTION):
        raise RuntimeError("in a wide tile")
    assert opens_again()
    torn = replace(sky, rms=sky.rms[:, :, :300])  # the window as configured can be read, the wide one cannot
    with pytest.raises(ValueError, match="broadcast"), open_tile(torn, tile, DETECTION):
        pass
    assert opens_again() and halos == [largest_halo(128, 96)] * 2
