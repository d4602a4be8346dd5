import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.errors import ConfigError
from surveycnn.sky.tiling import TileGrid


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 100), st.integers(1, 100), st.integers(10, 130), st.integers(0, 70))
def test_tile_grid__every_pixel_in_exactly_one_core(ny, nx, core_px, halo_px):
    grid = TileGrid("m", ny, nx, core_px, halo_px)
    covered = np.zeros((ny, nx), int)
    for tile in grid:
        covered[tile.core] += 1
        assert tile.oy0 <= tile.y0 < tile.y1 <= tile.oy1 <= ny
        assert tile.ox0 <= tile.x0 < tile.x1 <= tile.ox1 <= nx
    assert (covered == 1).all()
    assert len(list(grid)) == len(grid)


def test_owns__is_half_open():
    tile = TileGrid("m", 100, 100, 50, 10).tile(0, 1)
    assert tile.owns([0, 49, 50, 10, 10], [50, 99, 60, 49, 100]).tolist() == [True, True, False, False, False]


def test_outer__is_clipped_to_the_mosaic():
    tile = TileGrid("m", 130, 300, 64, 16).tile(2, 0)
    assert (tile.oy0, tile.oy1, tile.ox0, tile.ox1) == (112, 130, 0, 80)
    assert tile.name == "r0002_c0000"


def test_tile__outside_the_grid():
    with pytest.raises(IndexError, match=r"tile \(2, 0\) is outside the 2 x 2 tiles of 'm'"):
        TileGrid("m", 100, 100, 50, 0).tile(2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 5, 64, 0), "shape"), ((5, 5, 0, 0), "core_px is 0"), ((5, 5, 64, -1), "halo_px is -1")],
)
def test_tile_grid__refuses_sizes(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TileGrid("m", *arguments)
