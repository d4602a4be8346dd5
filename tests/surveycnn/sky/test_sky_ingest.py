import hashlib
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from surveycnn.config import ImageConfig
from surveycnn.errors import InputError
from surveycnn.sky.background import finish_mesh, mesh_statistics
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.strips import inverse_variance, read_strips, scale_pixels
from surveycnn.sky.wcs import wcs_text
from surveycnn.sky.zeropoints import to_njy

NY, NX, CORE = 300, 270, 192


@pytest.fixture
def sky():
    return np.random.default_rng(1).normal(5, 1, (NY, NX)).astype(np.float32)


@pytest.fixture
def make_store(tmp_path, tan_wcs):
    def make(bands=("g",), has_weight=False, ny=NY, nx=NX):
        path = str(tmp_path / "m1.zarr")
        ChunkStore.create(
            path,
            mosaic="m1",
            bands=list(bands),
            ny=ny,
            nx=nx,
            core_px=CORE,
            wcs_header=wcs_text(tan_wcs),
            pixel_scale=0.2,
            has_weight=has_weight,
        )
        return path

    return make


@pytest.fixture
def write(tmp_path):
    def write(name, pixels, **header):
        path = str(tmp_path / f"{name}.fits")
        fits.writeto(path, pixels, fits.Header(header), overwrite=True)
        return path

    return write


def read_all(path, halo_px=300):
    store = ChunkStore.open(path)
    return store.read_window(store.grid(halo_px).tile(0, 0))


def test_ingest_band__pixels_in_njy_and_record(make_store, write, sky):
    path = make_store()
    sky[3, 4], sky[200, 7] = np.nan, np.inf
    image = ImageConfig(band="g", path=write("g", sky, MAGZP=30.0))
    record = ingest_band(path, image, 0, CORE)
    stored = np.asarray(ChunkStore.open(path).array("image")[0])
    good = np.isfinite(sky)
    np.testing.assert_allclose(stored[good], sky[good] * to_njy(30.0), rtol=1e-6)
    assert np.isnan(stored[~good]).all()
    with open(image.path, "rb") as stream:
        assert record["sha256"] == hashlib.sha256(stream.read()).hexdigest()
    assert (record["zeropoint"], record["n_bad"], record["bytes"], record["has_weight"]) == (30.0, 2, NY * NX * 4, False)
    assert record["sky"] == pytest.approx(5 * to_njy(30.0), rel=0.02)
    assert ChunkStore.open(path).band_record("g") == record


def test_ingest_band__meshes_are_those_of_the_whole_mosaic(make_store, write, sky):
    path = make_store()
    ingest_band(path, ImageConfig(band="g", path=write("g", sky), zeropoint=31.4), 0, CORE)
    expected = finish_mesh(*mesh_statistics(sky))
    store = ChunkStore.open(path)
    np.testing.assert_allclose(store.array("sky")[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(store.array("rms")[0], expected[1], rtol=1e-6)


@pytest.mark.parametrize("kind", ["weight", "variance", "rms"])
def test_ingest_band__noise_maps(make_store, write, sky, kind):
    path = make_store(has_weight=True)
    rms = np.random.default_rng(2).uniform(0.5, 2, sky.shape)
    values = {"weight": rms**-2, "variance": rms**2, "rms": rms}[kind]
    values[0, :4] = [0, -1, np.nan, np.inf]
    noise = write(kind, values.astype(np.float32))
    ingest_band(path, ImageConfig(band="g", path=write("g", sky), zeropoint=28.9, **{kind: noise}), 0, CORE)
    window = read_all(path)
    assert np.isnan(window.image[0, 0, :4]).all() and np.isnan(window.rms[0, 0, :4]).all()
    assert not window.masked.any() and np.isnan(window.image).sum() == 4
    np.testing.assert_allclose(window.rms[0, 1:], 10 * rms[1:], rtol=1e-5)


def test_ingest_band__mask_is_kept_apart_from_coverage(make_store, write, sky):
    path = make_store()
    mask = np.zeros(sky.shape, np.uint8)
    mask[10:20, 10:20] = 4
    sky[0, 0] = np.nan
    record = ingest_band(path, ImageConfig(band="g", path=write("g", sky), zeropoint=0, mask=write("m", mask)), 0, CORE)
    window = read_all(path)
    assert window.masked[0].sum() == 100 and not window.masked[0, 0, 0]
    assert np.isnan(window.image[0]).sum() == record["n_bad"] == 101


def test_ingest_band__mask_of_an_earlier_attempt_is_gone(make_store, write, sky):
    path = make_store()
    first, last = np.zeros((2, *sky.shape), np.uint8)
    first[:20, :20], last[-10:, -10:] = 1, 1
    for number, mask in enumerate((first, last)):
        image = ImageConfig(band="g", path=write("g", sky), zeropoint=0, mask=write(f"m{number}", mask))
        ingest_band(path, image, 0, CORE)
    np.testing.assert_array_equal(read_all(path).masked[0], last > 0)


def test_ingest_band__in_another_process(make_store, write, sky):
    path = make_store(bands=("g", "r"))
    images = [ImageConfig(band=band, path=write(band, sky * (i + 1)), zeropoint=31.4) for i, band in enumerate("gr")]
    assert pickle.loads(pickle.dumps(images[0])) == images[0]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        list(pool.map(ingest_band, [path] * 2, images, [0, 1], [CORE] * 2))
    store = ChunkStore.open(path)
    assert store.finished_bands() == ("g", "r")
    np.testing.assert_array_equal(np.asarray(store.array("image")[1]), 2 * sky)


def test_ingest_band__aborted_ingest_is_not_finished(make_store, write, sky, monkeypatch):
    path = make_store()
    image = ImageConfig(band="g", path=write("g", sky), zeropoint=31.4)
    ingest_band(path, image, 0, CORE)

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("surveycnn.sky.background.finish_mesh", fail)
    with pytest.raises(KeyboardInterrupt):
        ingest_band(path, image, 0, CORE)
    assert ChunkStore.open(path).finished_bands() == ()


def test_ingest_band__wrong_shapes(make_store, write, sky):
    path = make_store()
    with pytest.raises(
        InputError, match=r"g.fits' of mosaic 'm1' has shape \(300, 200\), expected \(300, 270\) as its header said"
    ):
        ingest_band(path, ImageConfig(band="g", path=write("g", sky[:, :200]), zeropoint=0), 0, CORE)
    image = ImageConfig(band="g", path=write("g", sky), zeropoint=0, mask=write("m", np.zeros((NY, 5), np.uint8)))
    with pytest.raises(InputError, match=r"mask '.*m.fits' has shape \(300, 5\), expected \(300, 270\) as its image"):
        ingest_band(path, image, 0, CORE)


def test_ingest_band__no_zero_point(make_store, write, sky):
    with pytest.raises(InputError, match="g.fits' has no zero point"):
        ingest_band(make_store(), ImageConfig(band="g", path=write("g", sky)), 0, CORE)


def test_ingest_band__no_good_pixel(make_store, write, sky):
    path = make_store()
    with pytest.raises(InputError, match="band 'g' of mosaic 'm1' has no good pixel: all are NaN, masked, or of no weight"):
        ingest_band(path, ImageConfig(band="g", path=write("g", sky * np.nan), zeropoint=0), 0, CORE)
    assert ChunkStore.open(path).finished_bands() == ()


def test_ingest_band__no_noise_level(make_store, write, sky):
    with pytest.raises(InputError, match="gives no noise level: nowhere is a quarter of 128 x 128 px good"):
        ingest_band(make_store(), ImageConfig(band="g", path=write("g", np.ones_like(sky)), zeropoint=0), 0, CORE)


def test_ingest_band__other_core(make_store, write, sky):
    with pytest.raises(InputError, match="has shards of 192 px, expected 128"):
        ingest_band(make_store(), ImageConfig(band="g", path=write("g", sky), zeropoint=0), 0, 128)


def test_ingest_band__mosaic_smaller_than_a_mesh_cell(make_store, write, sky):
    path = make_store(ny=20, nx=30)
    ingest_band(path, ImageConfig(band="g", path=write("g", sky[:20, :30]), zeropoint=31.4), 0, CORE)
    assert abs(np.median(read_all(path).image)) < 0.2


def test_scale_pixels__overflow_and_infinity_become_nan():
    pixels = np.array([1.0, 1e38, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(scale_pixels(pixels, 100.0), np.array([100, np.nan, np.nan, np.nan], np.float32))


def test_inverse_variance__maggies_stay_in_range():
    weight = inverse_variance(np.array([1e-12]), "rms", to_njy(0.0))
    assert 1 / np.sqrt(weight[0]) == pytest.approx(1e-12 * to_njy(0.0))


@pytest.mark.parametrize("gone", [False, True])
def test_ingest__refuses_a_file_that_changes_while_it_is_read(sky, make_store, write, monkeypatch, gone):
    image = ImageConfig(band="g", path=write("g", sky, MAGZP=27.0))

    def delivered_again(maps, *arguments):
        Path(image.path).unlink() if gone else write("g", sky + 1, MAGZP=27.0)
        return read_strips(maps, *arguments)

    monkeypatch.setattr("surveycnn.sky.ingest.read_strips", delivered_again)
    with pytest.raises(InputError, match=r"g.fits' (has changed while it was read: run the same command again|does not exist)"):
        ingest_band(make_store(), image, 0, CORE)
    assert ChunkStore.open(make_store()).finished_bands() == ()
