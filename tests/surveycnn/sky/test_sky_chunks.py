import numpy as np
import pytest

from surveycnn.errors import ConfigError, InputError, ResumeError
from surveycnn.sky.background import evaluate_mesh
from surveycnn.sky.chunks import ChunkStore, inner_chunk_px
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.wcs import wcs_text


@pytest.fixture
def arguments(tan_wcs):
    return {
        "mosaic": "m1",
        "bands": ["g", "r"],
        "ny": 300,
        "nx": 200,
        "core_px": 128,
        "wcs_header": wcs_text(tan_wcs),
        "pixel_scale": 0.2,
        "has_weight": True,
    }


@pytest.fixture
def filled(tmp_path, arguments):
    """Store whose band g has weights and a mask, and whose band r has the mesh alone."""
    store = ChunkStore.create(tmp_path / "m1.zarr", **arguments)
    rng = np.random.default_rng(1)
    pixels = rng.normal(10, 1, (2, 300, 200)).astype(np.float32)
    pixels[0, 5, 6] = np.nan
    store.array("image")[:] = pixels
    store.array("weight")[0] = np.full((300, 200), 4, np.float32)
    store.array("bits")[0, 100:110, 50:60] = 1
    store.array("sky")[:] = rng.normal(10, 1, (2, 3, 2)).astype(np.float32)
    store.array("rms")[:] = rng.uniform(1, 2, (2, 3, 2)).astype(np.float32)
    store.write_record("g", {"has_weight": True, "has_bits": True})
    store.write_record("r", {"has_weight": False, "has_bits": False})
    return store, pixels


def test_inner_chunk_px__divides_the_core():
    for core in range(64, 4096, 64):
        inner = inner_chunk_px(core)
        assert core % inner == 0 and 64 <= inner <= 256


def test_create__same_arguments_keep_finished_bands(tmp_path, arguments):
    store = ChunkStore.create(tmp_path / "a.zarr", **arguments)
    assert store.finished_bands() == () and store.band_record("g") is None
    store.write_record("r", {"sha256": "abc"})
    again = ChunkStore.create(tmp_path / "a.zarr", **arguments)
    assert again.finished_bands() == ("r",)
    assert again.band_record("r") == {"sha256": "abc"}
    again.remove_record("r")
    again.remove_record("r")
    assert ChunkStore.open(tmp_path / "a.zarr").finished_bands() == ()


def test_create__other_arguments(tmp_path, arguments):
    ChunkStore.create(tmp_path / "a.zarr", **arguments).write_record("g", {})
    with pytest.raises(ResumeError, match="a.zarr' has another core_px, shape: use --fresh"):
        ChunkStore.create(tmp_path / "a.zarr", **(arguments | {"nx": 201, "core_px": 256}))
    assert ChunkStore.create(tmp_path / "a.zarr", **(arguments | {"nx": 201}), overwrite=True).finished_bands() == ()


def test_create__core_must_divide(tmp_path, arguments):
    with pytest.raises(ConfigError, match="core_px is 100, expected a multiple of 64"):
        ChunkStore.create(tmp_path / "a.zarr", **(arguments | {"core_px": 100}))


def test_open__interrupted_creation_is_made_again(tmp_path, arguments):
    store = ChunkStore.create(tmp_path / "a.zarr", **arguments)
    del store._group.attrs["surveycnn"]
    with pytest.raises(InputError, match="is no complete chunk store"):
        ChunkStore.open(tmp_path / "a.zarr")
    assert ChunkStore.create(tmp_path / "a.zarr", **arguments).bands == ("g", "r")


def test_open__nothing_there(tmp_path):
    with pytest.raises(InputError, match="there is no chunk store at .*a.zarr': run the ingest first"):
        ChunkStore.open(tmp_path / "a.zarr")


def test_open__attributes(filled, tmp_path):
    store = ChunkStore.open(tmp_path / "m1.zarr")
    assert (store.mosaic, store.bands, store.ny, store.nx, store.core_px) == ("m1", ("g", "r"), 300, 200, 128)
    assert store.pixel_scale == 0.2 and store.has_weight and store.attrs == {}
    assert store.wcs.pixel_to_world_values(9, 5) == (pytest.approx(30.0), pytest.approx(-20.0))
    assert store.array("image").shards == (1, 128, 128)


def test_read_window__subtracts_sky_and_marks_bad_pixels(filled):
    store, pixels = filled
    window = store.read_window(next(iter(store.grid(64))))
    assert window.image.shape == window.rms.shape == window.masked.shape == (2, 192, 192)
    assert window.image.dtype == window.rms.dtype == np.float32
    sky = evaluate_mesh(store.array("sky")[1], 0, 192, 0, 192)
    np.testing.assert_array_equal(window.image[1], pixels[1, :192, :192] - sky)
    assert np.isnan(window.image[0, 5, 6]) and not window.masked[0, 5, 6]
    assert window.masked[0].sum() == 100 and np.isnan(window.image[0][window.masked[0]]).all()
    assert np.isnan(window.rms[0]).sum() == 101 and np.nanmax(window.rms[0]) == np.nanmin(window.rms[0]) == 0.5
    assert not np.isnan(window.rms[1]).any()


@pytest.mark.parametrize(("core_px", "halo_px"), [(64, 64), (128, 70), (192, 100), (320, 64)])
def test_read_window__same_pixels_however_it_is_cut(filled, core_px, halo_px):
    store, _ = filled
    whole = store.read_window(TileGrid("m1", 300, 200, 512, 64).tile(0, 0))
    for tile in store.grid(halo_px, core_px):
        window = store.read_window(tile)
        for name in ("image", "rms", "masked"):
            part = getattr(whole, name)[(slice(None), *tile.outer)]
            assert getattr(window, name).tobytes() == part.tobytes()


def test_read_window__some_bands_in_another_order(filled):
    store, _ = filled
    tile = store.grid(64).tile(1, 1)
    both, swapped = store.read_window(tile), store.read_window(tile, ["r", "g"])
    assert swapped.bands == ("r", "g")
    np.testing.assert_array_equal(swapped.image[::-1], both.image)
    np.testing.assert_array_equal(both.select(["r"]).image[0], swapped.image[0])
    assert both.band_indices(["i", "r"]) == [1]


def test_open_edges__only_inside_the_mosaic(filled):
    store, _ = filled
    edges = [store.read_window(tile).open_edges for tile in store.grid(16)]
    assert edges[0] == (False, True, False, True) and edges[-1] == (True, False, True, False)


def test_read_window__refuses(filled):
    store, _ = filled
    with pytest.raises(InputError, match=r"tile r0000_c0000 is of mosaic 'm2' \(300 x 200 px\), the store .* holds 'm1'"):
        store.read_window(TileGrid("m2", 300, 200, 128, 64).tile(0, 0))
    tile = store.grid(64).tile(0, 0)
    with pytest.raises(InputError, match="has no band 'z': it has g, r"):
        store.read_window(tile, ["z"])
    store.remove_record("r")
    with pytest.raises(InputError, match="band 'r' in .* is not complete: run the ingest again"):
        store.read_window(tile)
    assert store.read_window(tile, ["g"]).bands == ("g",)
