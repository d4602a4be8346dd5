"""The predictor on the shipped packages: independence of the grouping, agreement of engines, missing data, refusals."""

import shutil
import threading

import numpy as np
import pytest

from surveycnn.errors import InputError, ModelError
from surveycnn.inference import engines
from surveycnn.inference.engines import OPENVINO_BATCH, OutOfDeviceMemory, available_engines, make_engine, resolve_kind
from surveycnn.inference.load import keras_predictor, load_model
from surveycnn.inference.scaling import transmission
from surveycnn.models.package import load_package, package_folder

TASKS = ["lens", "morphology", "merger", "photoz"]
needs_openvino = pytest.mark.skipif("openvino" not in available_engines(), reason="OpenVINO is not installed")
ENGINES = ["tensorflow", pytest.param("openvino", marks=needs_openvino)]


def stamps_for(card, n, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: card.stamp_px, : card.stamp_px] - (card.stamp_px - 1) / 2
    blob = rng.lognormal(4, 1, n)[:, None, None] * np.exp(-0.5 * (x**2 + y**2) / rng.uniform(2, 30, n)[:, None, None])
    return (blob[..., None] + rng.normal(0, 2, (n, *card.input_shape))).astype(np.float32)


@pytest.fixture(scope="module", params=ENGINES)
def lens(request):
    return load_model("lens", engine=request.param, batch_size=16)


def test_predict__does_not_depend_on_the_grouping(lens):
    stamps = stamps_for(lens.card, 41)
    whole = lens.predict_raw(stamps)
    for step in (1, 7, 16, 40):
        parts = np.concatenate([lens.predict_raw(stamps[start : start + step]) for start in range(0, 41, step)])
        np.testing.assert_allclose(parts, whole, atol=1e-6, rtol=1e-6)
    order = np.random.default_rng(1).permutation(41)
    np.testing.assert_allclose(lens.predict_raw(stamps[order]), whole[order], atol=1e-6, rtol=1e-6)
    assert np.ptp(whole) > 1e-3


def test_predict__several_threads_at_once(lens):
    stamps = [stamps_for(lens.card, 40, seed) for seed in range(4)]
    expected = [lens.predict_raw(part) for part in stamps]
    found = [None] * 4

    def work(index):
        for _ in range(3):
            found[index] = lens.predict_raw(stamps[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    np.testing.assert_array_equal(found, expected)


def test_predict__missing_data(lens):
    stamps = stamps_for(lens.card, 4)
    stamps[1] = np.nan
    stamps[2, :40] = np.nan
    stamps[3, :20] = np.nan
    found = lens.predict(stamps)
    np.testing.assert_array_equal(np.isnan(found["lens_logit"]), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(found["lens_prob"]), [False, True, True, False])
    filled = np.nan_to_num(stamps[3:])
    np.testing.assert_array_equal(lens.predict(filled)["lens_logit"][0], found["lens_logit"][3])


def test_predict__larger_stamps_are_cut_at_the_centre(lens):
    large = np.pad(stamps_for(lens.card, 3), ((0, 0), (4, 4), (7, 7), (0, 0)), constant_values=1e4)
    np.testing.assert_array_equal(lens.predict_raw(large), lens.predict_raw(large[:, 4:-4, 7:-7]))


def test_predict__no_rows(lens):
    found = lens.predict(np.zeros((0, 64, 64, 3), np.float32))
    assert found.sizes["source"] == 0
    lens.schema.validate(found)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 64, 64), r"shape \(5, 64, 64\).*expected numbers \(object, y, x, band\)"),
        ((5, 64, 64, 4), "4 bands along the last axis, but model 'lens' takes 3: g, r, i"),
        ((5, 63, 64, 3), "63 x 64 px, but model 'lens' needs 64 x 64"),
    ],
)
def test_predict__refuses_other_arrays(lens, shape, message):
    with pytest.raises(InputError, match=message):
        lens.predict(np.zeros(shape))


def test_predict__refuses_text(lens):
    with pytest.raises(InputError, match="expected numbers"):
        lens.predict(np.full((1, 64, 64, 3), "a"))


@needs_openvino
@pytest.mark.parametrize("name", TASKS)
def test_predict__engines_agree(name):
    tensorflow, openvino = (load_model(name, engine=kind, batch_size=16) for kind in ("tensorflow", "openvino"))
    stamps = stamps_for(tensorflow.card, 24)
    np.testing.assert_allclose(openvino.predict_raw(stamps), tensorflow.predict_raw(stamps), atol=2e-3, rtol=1e-3)
    found = openvino.predict(stamps)
    openvino.schema.validate(found)
    assert not any(np.isnan(found[column]).any() for column in found)


def test_predict__halves_the_batch_when_memory_runs_out(monkeypatch):
    predictor = load_model("lens", engine="tensorflow", batch_size=16)
    stamps = stamps_for(predictor.card, 20)
    expected = predictor.predict_raw(stamps)
    kind = type(predictor.engine)
    run = kind.__call__

    def limited(self, batch):
        if len(batch) > 5:
            raise OutOfDeviceMemory("16 do not fit")
        return run(self, batch)

    monkeypatch.setattr(kind, "__call__", limited)
    np.testing.assert_allclose(predictor.predict_raw(stamps), expected, atol=1e-5)
    assert predictor.engine.batch_size == 4
    monkeypatch.setattr(kind, "__call__", lambda self, batch: (_ for _ in ()).throw(OutOfDeviceMemory("none fits")))
    with pytest.raises(ModelError, match="one stamp of model 'lens' does not fit into the device's memory"):
        predictor.predict_raw(stamps)


def test_load_model__refuses_a_package_with_another_scaling(tmp_path):
    package = shutil.copytree(package_folder("lens"), tmp_path / "lens")
    card = package / "card.yaml"
    lines = card.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == "softening:") + 1
    lines[at] = "    g: 300.0"
    card.write_text("\n".join(lines))
    with pytest.raises(ModelError, match="the engine 'tensorflow' gives outputs that differ from golden.npz"):
        load_model(package, engine="tensorflow")


def test_load_model__auto_is_openvino_without_a_gpu():
    predictor = load_model("photoz")
    if engines.has_gpu():
        assert (predictor.engine.kind, predictor.engine.batch_size) == ("tensorflow", 512)
    else:
        expected = "openvino" if "openvino" in available_engines() else "tensorflow"
        assert (predictor.engine.kind, predictor.engine.batch_size) == (expected, OPENVINO_BATCH)
    assert predictor.engine.precision == "float32"
    assert repr(predictor).startswith("Predictor('photoz', engine='")


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "large"])
def test_load_model__batch_size(batch_size):
    with pytest.raises(ModelError, match="expected auto or a whole number from 1"):
        load_model("lens", engine="tensorflow", batch_size=batch_size)


def test_resolve_kind__refusals(monkeypatch):
    with pytest.raises(ModelError, match="engine 'onnx' is not known: expected auto, tensorflow, openvino, jax, torch"):
        resolve_kind("onnx")
    for kind in ("jax", "torch"):
        if kind not in available_engines():
            with pytest.raises(ModelError, match=f"engine '{kind}' is not installed: installed are .*tensorflow"):
                resolve_kind(kind)
    monkeypatch.setattr(engines, "is_installed", lambda kind: True)
    with pytest.raises(
        ModelError, match="engine 'jax' needs Keras on the backend 'jax', but 'tensorflow' is loaded: set KERAS_BACKEND=jax"
    ):
        resolve_kind("jax")


def test_resolve_kind__auto_without_openvino(monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda kind: kind == "tensorflow")
    assert resolve_kind("auto") == "tensorflow"


def test_make_engine__precisions():
    _, model = load_package("photoz", golden=False)
    with pytest.raises(ModelError, match="precision 'half' is not known"):
        make_engine("tensorflow", model, batch_size=2, precision="half")
    with pytest.raises(ModelError, match="precision 'bfloat16' is not to be had from the engine 'tensorflow'"):
        make_engine("tensorflow", model, batch_size=2, precision="bfloat16")


@needs_openvino
def test_make_engine__openvino_precision_that_the_cpu_lacks():
    from surveycnn.models.backend import import_openvino

    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    lacking = [name for name, key in (("bfloat16", "BF16"), ("float16", "FP16")) if key not in capabilities]
    if not lacking:
        pytest.skip("this CPU has both")
    _, model = load_package("photoz", golden=False)
    with pytest.raises(ModelError, match="is not to be had on this CPU"):
        make_engine("openvino", model, batch_size=2, precision=lacking[0])


def test_predictor__keeps_no_state_between_models():
    card, model = load_package("lens", golden=False)
    one, two = (keras_predictor(card, model, batch_size=size) for size in (8, 8))
    stamps = stamps_for(card, 8)
    before = one.predict_raw(stamps)
    two.predict_raw(stamps[::-1])
    np.testing.assert_array_equal(one.predict_raw(stamps), before)


@pytest.fixture(scope="module", params=ENGINES)
def photoz(request):
    return load_model("photoz", engine=request.param, batch_size=8)


def galaxies_for(card, n, size=64):
    """Stamps wider than those of the model, fluxes and errors of round galaxies with a colour."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    blob = np.exp(-0.5 * (x**2 + y**2) / rng.uniform(4, 9, n)[:, None, None])
    total = rng.lognormal(8, 0.5, (n, 1)) * np.array([0.5, 1.0, 1.4, 1.6])
    shape = blob / blob.sum(axis=(1, 2), keepdims=True)
    stamps = total[:, None, None, :] * shape[..., None] + rng.normal(0, 2, (n, size, size, len(card.bands)))
    return stamps.astype(np.float32), total, np.full(total.shape, 50.0)


def test_predict__fluxes_are_given_or_measured(photoz):
    stamps, flux, flux_err = galaxies_for(photoz.card, 20)
    given = photoz.predict(stamps, flux, flux_err)["z_phot"].values
    np.testing.assert_allclose(photoz.predict(stamps[:, 4:-4, 4:-4], flux, flux_err)["z_phot"], given, rtol=1e-5)
    measured = photoz.predict(stamps)["z_phot"].values
    assert np.isfinite(measured).all() and 0 < np.median(np.abs(measured - given)) < 0.1
    redder = photoz.predict(stamps, flux * [0.3, 1, 1, 1], flux_err)["z_phot"].values
    assert np.median(np.abs(redder - given)) > 1e-3
    lost = photoz.predict(stamps, flux * [np.nan, 1, 1, 1], flux_err)["z_phot"].values
    assert np.isfinite(lost).all() and not np.allclose(lost, given, rtol=1e-3)


def test_predict__does_not_depend_on_the_grouping_with_fluxes(photoz):
    stamps, flux, flux_err = galaxies_for(photoz.card, 19)
    whole = photoz.predict_raw(stamps, flux, flux_err)
    for step in (1, 8, 11):
        pieces = [slice(start, start + step) for start in range(0, 19, step)]
        parts = np.concatenate([photoz.predict_raw(stamps[some], flux[some], flux_err[some]) for some in pieces])
        np.testing.assert_allclose(parts, whole, atol=1e-5, rtol=1e-5)


def test_predict__frees_from_the_dust_of_the_milky_way(photoz):
    stamps, flux, flux_err = galaxies_for(photoz.card, 12)
    clear = photoz.predict(stamps, flux, flux_err)
    ebv = np.linspace(0, 0.3, 12)
    passed = transmission(photoz.card, ebv)
    dimmed = (stamps * passed[:, None, None, :], flux * passed, flux_err * passed)
    freed = photoz.predict(*dimmed, ebv=ebv)
    np.testing.assert_allclose(freed["z_phot"], clear["z_phot"], atol=1e-3)
    through = photoz.predict(*dimmed)["z_phot"].values
    assert np.abs(through - clear["z_phot"].values)[6:].max() > 0.01
    ebv[3] = np.nan
    np.testing.assert_allclose(photoz.predict(*dimmed, ebv=ebv)["z_phot"][3], through[3], rtol=1e-5)


def test_predict__fluxes_that_do_not_fit(photoz):
    stamps, flux, flux_err = galaxies_for(photoz.card, 3)
    with pytest.raises(InputError, match="flux and flux_err go together: give both, or neither"):
        photoz.predict(stamps, flux)
    with pytest.raises(InputError, match=r"flux_err has the shape \(2, 4\), expected \(3, 4\): a row per stamp"):
        photoz.predict(stamps, flux, flux_err[:2])
    with pytest.raises(InputError, match=r"ebv has the shape \(\), expected \(3,\): one value per stamp"):
        photoz.predict(stamps, flux, flux_err, ebv=0.1)
