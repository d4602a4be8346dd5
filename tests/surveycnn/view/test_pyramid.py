"""The pyramid of a mosaic: pixels as the report draws them, no seams, levels that agree, and no more memory than allowed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from small_sky import small_wcs

from surveycnn.commands.report import chunks_of
from surveycnn.errors import InputError
from surveycnn.report.pixels import NO_DATA, Pixels, colour
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.tiling import Tile
from surveycnn.sky.wcs import wcs_text
from surveycnn.view.kept import Kept
from surveycnn.view.pyramid import BLOCK_PX, Pyramid, halved

BANDS = ("i", "r", "g")
BALANCE = {"g": 1.4, "r": 1.0, "i": 0.8}


@pytest.fixture(scope="module")
def pyramid(small_run):
    return Pyramid(Pixels(chunks_of(small_run)("m1")), Kept(2**28))


def blocks(pyramid, level):
    """Rows and columns of the blocks of a level."""
    ny, nx = (-(-side // BLOCK_PX) for side in pyramid.shape(level))
    return [[(row, col) for col in range(nx)] for row in range(ny)]


def whole(pyramid, level, make):
    """All blocks of a level, put together."""
    rows = [np.concatenate([make(level, *place) for place in row], axis=1) for row in blocks(pyramid, level)]
    return np.concatenate(rows)


def window(pyramid, bands):
    """The mosaic as a worker reads it."""
    chunks = pyramid.pixels.chunks
    return chunks.read_window(Tile("m1", 0, 0, 0, chunks.ny, 0, chunks.nx, 0, chunks.ny, chunks.nx), bands).image


def test_picture__is_that_of_the_report_without_seams(pyramid):
    found = whole(pyramid, 0, lambda *place: pyramid.picture(BANDS, *place, BALANCE))
    factors = np.array([BALANCE[band] for band in BANDS])
    # the stretch has no memory of neighbours, so that blocks are parts of the picture of all
    expected = colour(window(pyramid, BANDS), pyramid.pixels.noise(BANDS), factors)[::-1]
    np.testing.assert_array_equal(found, expected)
    assert (found[200:210, 300:330] == NO_DATA).all()
    assert not (found == NO_DATA).all(axis=2)[:190].any()


def test_picture__grey_and_brighter(pyramid):
    grey = pyramid.picture(("r",), 0, 0, 0, {})
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    assert pyramid.picture(("r",), 0, 0, 0, {}, gain=4.0).mean() > grey.mean() > 0


@pytest.mark.parametrize("shape", [(2301, 701), (300, 250)])
def test_levels__agree(tmp_path, shape):
    pyramid = made_of(tmp_path, shape)
    finer = whole(pyramid, 0, lambda *place: pyramid.block("r", *place))
    for level in range(1, pyramid.n_levels):
        coarser = whole(pyramid, level, lambda *place: pyramid.block("r", *place))
        assert coarser.shape == pyramid.shape(level)
        np.testing.assert_allclose(coarser, halved(finer), rtol=1e-5, atol=1e-4)
        finer = coarser
    assert max(finer.shape) <= BLOCK_PX and np.isnan(finer).any() and np.isfinite(finer).any()


def made_of(folder, shape):
    """Pyramid of noise with holes, in shards of 2048 px."""
    ny, nx = shape
    image = np.random.default_rng(3).normal(5, 2, shape).astype("f4")
    image[ny // 3 : ny // 3 + 77, : nx // 2] = np.nan
    options = {"mosaic": "m1", "bands": ["r"], "ny": ny, "nx": nx, "core_px": 2048, "pixel_scale": 0.2, "has_weight": False}
    chunks = ChunkStore.create(folder / "m1.zarr", wcs_header=wcs_text(small_wcs(ny, nx)), **options)
    chunks.array("image")[0] = image
    chunks.array("sky")[0], chunks.array("rms")[0] = 5.0, 2.0
    chunks.write_record("r", {"empty": None, "has_bits": False, "has_weight": False})
    return Pyramid(Pixels(ChunkStore.open(folder / "m1.zarr")), Kept(2**28))


@pytest.mark.parametrize("place", [(0, 2, 0), (0, 0, -1), (9, 0, 0), (-1, 0, 0)])
def test_block__beyond_the_mosaic(pyramid, place):
    with pytest.raises(InputError, match="there is no block"):
        pyramid.block("r", *place)


def test_halved__means_of_what_is_known():
    image = np.array([[1, 3, 2], [5, np.nan, np.nan], [np.nan, np.nan, 7]], np.float32)
    np.testing.assert_array_equal(halved(image), np.array([[3, 2], [np.nan, 7]], np.float32))


def test_kept__makes_once_and_forgets_the_oldest():
    kept, made, start = Kept(3 * 800), [], threading.Barrier(4)

    def make(key):
        made.append(key)
        return np.full(100, key, np.float64)

    def ask():
        start.wait()
        kept.get(0, lambda: make(0))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [0]
    for key in (1, 2, 0, 3):
        kept.get(key, lambda key=key: make(key))
    assert kept.n_bytes == 2400 and made == [0, 1, 2, 3]
    kept.get(0, lambda: make(0))
    kept.get(1, lambda: make(1))
    assert made == [0, 1, 2, 3, 1]


def test_kept__counts_an_array_once_that_two_have_made():
    kept = Kept(10**6)

    def make():
        kept._making.pop(1)  # as where another's call has ended meanwhile
        kept.get(1, lambda: np.zeros(100))
        return np.ones(100)

    kept.get(1, make)
    assert kept.n_bytes == 800 and kept.get(1, lambda: np.zeros(0)).sum() == 100


def test_kept__failure_is_not_kept():
    kept = Kept(10**6)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 / 0)
    assert kept.get("a", lambda: np.ones(2)).sum() == 2
