"""The device path, on whatever device TensorFlow has: the same stamps and scores as the host path, smaller batches if it must."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sky import COLOURS, draw_sources, small_wcs

from surveycnn.errors import InputError
from surveycnn.inference import device, engines
from surveycnn.inference.device import DeviceStamps, DeviceTile, block_px, upload_stamps
from surveycnn.inference.load import load_model
from surveycnn.inference.scaling import HostStamps
from surveycnn.run.scoring import TileModel, score
from surveycnn.run.tile import DetectionSettings, process_tile
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.window import Window
from surveycnn.sources.stamps import cut_stamps

SIZE = 12
SETTINGS = DetectionSettings(("g", "r", "i"), 3.0, 5)


@pytest.fixture(scope="module", autouse=True)
def _small_windows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "PIXELS_STEP", 2**14)
        yield


def untimed(name):
    return nullcontext()


@st.composite
def images(draw):
    """(2, 70, 90) with holes, and positions in it, on its edges and beyond."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.normal(0, 10, (2, 70, 90)).astype(np.float32)
    for _ in range(draw(st.integers(0, 6))):
        band, y, x, height, width = (int(rng.integers(0, n)) for n in (2, 70, 90, 9, 9))
        image[band, y : y + height, x : x + width] = np.nan
    whole = draw(st.lists(st.integers(-30, 240), min_size=1, max_size=8))
    y, x = np.array(whole) / 2, np.roll(whole, 1) / 4
    return image, np.append(y, rng.uniform(-10, 80, 8)), np.append(x, rng.uniform(-10, 100, 8))


@settings(deadline=None, max_examples=25)
@given(images(), st.sampled_from([1.0, 0.7, 2.5]))
def test_stamps__are_those_of_the_host(drawn, step):
    image, y, x = drawn
    tile = DeviceTile(image, reach=40)
    gathered = tile.stamps(y, x, SIZE, step, n=16)
    found, expected = gathered.on_host(y.size, (0, 1)), cut_stamps(image, y, x, SIZE, step)
    np.testing.assert_allclose(found, expected, atol=2e-5 * step**2 * 10, rtol=1e-6)
    np.testing.assert_array_equal(gathered.gaps(y.size), np.isnan(expected).any(axis=(1, 2, 3)))
    assert np.isnan(gathered.on_host(16, (0, 1))[y.size :]).all(), "rows that no object has"


def test_stamps__of_some_bands_and_far_outside():
    image = np.random.default_rng(0).normal(0, 1, (3, 40, 40)).astype(np.float32)
    image[1] = np.nan
    y, x = np.array([20.0, 1e6, -1e6]), np.array([20.0, 20.0, 1e12])
    for step in (1.0, 1.35):
        gathered = DeviceTile(image, block_px(SIZE, step)).stamps(y, x, SIZE, step, 16, [2, 0])
        np.testing.assert_array_equal(gathered.gaps(3), [False, True, True])
        expected = cut_stamps(image[[2, 0]], y, x, SIZE, step)
        np.testing.assert_allclose(gathered.on_host(3, (0, 1)), expected, atol=1e-5)


@pytest.fixture(scope="module")
def lens():
    return load_model("lens", engine="tensorflow", batch_size=16)


@pytest.fixture(scope="module")
def photoz():
    predictor = load_model("photoz", engine="tensorflow", batch_size=16)
    card = predictor.card.model_copy(update={"extinction": {"g": 3.3, "r": 2.3, "i": 1.7, "z": 1.3}})
    predictor.card = card
    return predictor


def wide_stamps(n, seed=0):
    rng = np.random.default_rng(seed)
    stamps = rng.normal(0, 30, (n, 70, 68, 4)).astype(np.float32)
    stamps[1, :20] = np.nan
    stamps[2, 10:50] = np.inf
    stamps[3, 40, 40, :] = 3e38
    return stamps


@pytest.mark.parametrize("n", [16, 7])
def test_device_stamps__are_scaled_as_on_the_host(lens, n):
    card, stamps = lens.card, wide_stamps(16)
    passed = np.random.default_rng(1).uniform(0.5, 1, (16, 3))
    rows = np.arange(16)[:n]
    own = stamps[:n, 3:67, 2:66, 1:]
    for given_passed in (None, passed[:n]):
        host = HostStamps(card, own, given_passed)
        there = DeviceStamps(card, upload_stamps(stamps, 16).values, [1, 2, 3], rows, given_passed)
        for some in (slice(0, n), slice(2, 5)):
            expected = host.inputs(some, 16, [])[0]
            found = np.asarray(there.inputs(some, 16, [])[0])
            k = some.stop - some.start
            np.testing.assert_allclose(found[:k], expected[:k], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(there.n_missing, host.n_missing)
        assert host.n_missing[1] > 0 and host.n_missing[2] > own[0].size / 2
    mask = rows % 2 == 1
    picked, alike = there[mask], host[mask]
    everything = slice(0, len(picked))
    found = np.asarray(picked.inputs(everything, 16, [])[0])[: len(picked)]
    np.testing.assert_allclose(found, alike.inputs(everything, 16, [])[0][: len(picked)], rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def window():
    """A window with a hole, beside the edge of its mosaic."""
    rng = np.random.default_rng(5)
    sources = draw_sources(300, 330, rng, 60)
    image = np.stack([COLOURS[band] * sources + rng.normal(0, 1, sources.shape) for band in "griz"]).astype(np.float32)
    image[:, 150:158, 200:230] = np.nan
    nothing = np.zeros(image.shape, bool)
    rms = np.where(np.isnan(image), np.nan, 1).astype(np.float32)
    return Window("m", 0, 70, 300, 400, tuple("griz"), image, rms, nothing, nothing, small_wcs(300, 400), 0.2)


@contextmanager
def on_device(*predictors):
    """Their engines as if on a GPU."""
    for predictor in predictors:
        predictor.engine.on_device = True
    try:
        yield
    finally:
        for predictor in predictors:
            predictor.engine.on_device = False


def assert_alike(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        values = np.asarray(expected[name])
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, atol=1e-4, rtol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_process_tile__on_the_device_as_on_the_host(lens, photoz, window, monkeypatch):
    tile = TileGrid("m", ny=300, nx=400, core_px=350, halo_px=280).tile(0, 1)
    models = [TileModel(lens, ("g", "r", "i"), 0.05), TileModel(photoz, ("g", "r", "i", "z"), 0.05)]
    steps = []

    def step(name):
        steps.append(name)
        return nullcontext()

    expected = process_tile(tile, window, lambda: models, SETTINGS)
    with on_device(lens, photoz):
        monkeypatch.setattr(lens, "predict", None)
        found = process_tile(tile, window, lambda: models, SETTINGS, step)
        bare = process_tile(tile, window, lambda: models, replace(SETTINGS, threshold_sigma=1e4))
    assert expected.sizes["source"] > 5 and bare.sizes["source"] == 0
    assert_alike(found, expected)
    assert expected["flags"].values.any()
    assert {"stamps", "predict", "forward"} <= set(steps)


def with_card(predictor, **changes):
    """The predictor as if its card said otherwise."""
    other = copy(predictor)
    other.card = predictor.card.model_copy(update=changes)
    return other


def test_score__resampled_and_turned(lens, window):
    rng = np.random.default_rng(2)
    columns = {"y": rng.uniform(0, 300, 35), "x": rng.uniform(70, 400, 35)}
    coarse, turned = with_card(lens, pixel_scale=0.3), with_card(lens, orientation="sky")
    for predictor in (coarse, turned):
        models = [TileModel(predictor, ("g", "r", "i"))]
        expected, incomplete = score(window, columns, models, untimed)
        with on_device(lens):
            found, on_the_device = score(window, columns, models, untimed)
        assert_alike(found, expected)
        np.testing.assert_array_equal(on_the_device["lens"], incomplete["lens"])
        assert 0 < np.count_nonzero(incomplete["lens"]) < 35


def test_score__halves_the_batch_when_the_device_is_full(lens, window, monkeypatch):
    predictor = copy(lens)
    columns = {"y": np.linspace(40, 260, 21), "x": np.linspace(80, 390, 21)}
    models = [TileModel(predictor, ("g", "r", "i"))]
    expected, _ = score(window, columns, models, untimed)
    kind = type(lens.engine)
    run = kind.call_on_device

    def limited(self, batch):
        if len(batch) > 5:
            raise engines.OutOfDeviceMemory("16 do not fit")
        return run(self, batch)

    monkeypatch.setattr(kind, "call_on_device", limited)
    with on_device(lens):
        found, _ = score(window, columns, models, untimed)
    assert_alike(found, expected)
    assert predictor.engine.batch_size == 4 and lens.engine.batch_size == 16


def test_predict_gathered__measures_fluxes_that_nobody_gives(photoz):
    stamps = np.abs(wide_stamps(16)[:5, :, :, :])[4:].repeat(3, axis=0)
    gathered = upload_stamps(stamps, 16)
    expected = photoz.predict(stamps, ebv=np.full(3, 0.1))
    assert_alike(photoz.predict_gathered(gathered, 3, [0, 1, 2, 3], ebv=np.full(3, 0.1)), expected)
    with pytest.raises(InputError, match=r"flux has the shape \(2, 4\), expected \(3, 4\)"):
        photoz.predict_gathered(gathered, 3, [0, 1, 2, 3], np.ones((2, 4)), np.ones((2, 4)))
