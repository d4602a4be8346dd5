"""Methods for photometric redshifts: on drawn galaxies whose colours follow the redshift, and on simulated ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surveycnn.errors import ConfigError, InputError, ModelError
from surveycnn.evaluation.methods import METHODS, Binned, DIsanto18, FluxMixture, NearestFluxes, Pasquet19, flux_knn, networks
from surveycnn.evaluation.methods.dcmdn import (
    LOG_SIGMA_RANGE,
    MIN_STAMP_PX,
    N_GAUSSIANS,
    build_dcmdn,
    crps_loss,
    log_loss,
    with_colours,
)
from surveycnn.evaluation.methods.flux_knn import features, gaussians
from surveycnn.evaluation.methods.fluxes import measured
from surveycnn.evaluation.methods.networks import count_trained, weights_of
from surveycnn.evaluation.methods.pasquet19 import build_pasquet19, inception
from surveycnn.inference import mixture
from surveycnn.models.backend import import_keras
from surveycnn.training.data import LabelledStamps, simulated

SIZE = 36
SMALL: dict[str, dict] = {
    "pasquet19": {"n_train": 160, "epochs": 10, "batch_size": 16, "stamp_px": 16, "n_bins": 24},
    "dcmdn": {"n_train": 96, "epochs": 5, "batch_size": 16, "stamp_px": 12},
    "binned": {"n_train": 160, "epochs": 10, "batch_size": 16, "rate": 5e-3, "n_bins": 24},
    "flux_mdn": {"n_train": 160, "members": 1, "epochs": 30},
    "flux_knn": {"n_train": 160},
}
SLOW = ("pasquet19", "binned", "flux_mdn")
EACH = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SMALL]
BINNED = ("pasquet19", "binned")
N_TEST = 32


def galaxies(n: int, seed: int) -> LabelledStamps:
    """Round galaxies, the redder the farther."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    z = rng.uniform(0.1, 1.2, n)
    light = rng.uniform(40, 80, n)[:, None, None] * np.exp(-0.5 * (x**2 + y**2) / 2.5**2)
    colours = 10 ** (0.6 * np.linspace(-1, 1, 4) * z[:, None])
    stamps = light[..., None] * colours[:, None, None, :] + rng.normal(0, 2, (n, SIZE, SIZE, 4))
    return LabelledStamps("photoz", ("g", "r", "i", "z"), stamps.astype(np.float32), {"redshift": z.astype(np.float32)})


@pytest.fixture(scope="module")
def sets() -> tuple[LabelledStamps, LabelledStamps, LabelledStamps]:
    return galaxies(160, 1), galaxies(20, 2), galaxies(N_TEST, 3)


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Networks answer for as many stamps at once as the test set has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "SCORING_BATCH", N_TEST)
        yield


@pytest.fixture(scope="module")
def fits(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fits")


@pytest.fixture(scope="module")
def fitted(sets, fits):
    """The methods by name, each fitted once for all tests."""
    made: dict = {}

    def get(name: str):
        if name not in made:
            made[name] = METHODS[name](**SMALL[name])
            made[name].fit(*sets[:2], folder=fits, seed=1, log=lambda line: None)
        return made[name]

    return get


def medians(pdfs: dict[str, np.ndarray]) -> np.ndarray:
    if "pz_mean" in pdfs:
        return mixture.quantile(0.5, *(pdfs[name] for name in ("pz_weight", "pz_mean", "pz_sigma")))
    middles = (pdfs["pz_edges"][1:] + pdfs["pz_edges"][:-1]) / 2
    return middles[(pdfs["pz_probability"].cumsum(axis=1) < 0.5).sum(axis=1).clip(max=len(middles) - 1)]


def error_over_guess(pdfs: dict[str, np.ndarray], z: np.ndarray, known: np.ndarray) -> float:
    """Mean error of the medians in units of that of the training set's median for all."""
    return float(np.abs(medians(pdfs) - z).mean() / np.abs(np.median(known) - z).mean())


def test_methods__name_themselves_and_their_papers():
    for name, method in METHODS.items():
        if method.task == "photoz":  # type: ignore[attr-defined]
            made = method()
            assert name in SMALL and made.name == name and made.title and made.reference and made.mix == "train"
            assert made.bands == ("g", "r", "i", "z") and made.n_train >= 1000
            assert made.n_learned is None and made.n_weights is None
            assert (made.n_passes is None) == name.startswith("flux_")


@pytest.mark.parametrize("name", EACH)
def test_predict__gives_probabilities(name, fitted, sets):
    method, test = fitted(name), sets[2]
    pdfs = method.predict(test.stamps)
    assert all(values.dtype == np.float64 and np.isfinite(values).all() for values in pdfs.values())
    if name in BINNED:
        assert set(pdfs) == {"pz_probability", "pz_edges"} and pdfs["pz_probability"].shape == (N_TEST, 24)
        share = pdfs["pz_probability"]
        np.testing.assert_allclose(pdfs["pz_edges"], np.linspace(0, method._state["edges"][-1], 25))
        assert pdfs["pz_edges"][-1] == pytest.approx(sets[0].labels["redshift"].max(), abs=0.05)
    else:
        assert set(pdfs) == {"pz_weight", "pz_mean", "pz_sigma"} and (pdfs["pz_sigma"] > 0).all()
        share = pdfs["pz_weight"]
        assert pdfs["pz_mean"].shape == pdfs["pz_sigma"].shape == share.shape
    assert len(share) == N_TEST and (share >= 0).all()
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-6)
    empty = method.predict(test.stamps[:0])
    assert set(empty) == set(pdfs) and all(len(values) == 0 for key, values in empty.items() if key != "pz_edges")


@pytest.mark.parametrize("name", EACH)
def test_predict__finds_red_galaxies_far_away(name, fitted, sets):
    train, _, test = sets
    assert error_over_guess(fitted(name).predict(test.stamps), test.labels["redshift"], train.labels["redshift"]) < 0.5


@pytest.mark.parametrize("name", EACH)
def test_predict__bears_pixels_without_data(name, fitted, sets):
    test = sets[2].stamps
    stamps, expected = test[:6].copy(), fitted(name).predict(test)
    stamps[0, :, 30:] = np.nan
    stamps[1, ..., 0] = np.nan
    stamps[2] = np.nan
    stamps[3] = 0
    stamps[4, 16:19, 16:19] = np.nan
    found = fitted(name).predict(stamps)
    for key, values in found.items():
        blank = np.isnan(values)
        assert not blank.any() or (name == "flux_mdn" and blank[2:4].all(axis=1).any() and not blank[[0, 1, 4, 5]].any())
        if key != "pz_edges":
            np.testing.assert_allclose(values[5], expected[key][5], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EACH)
def test_fit__loads_what_an_identical_call_left(name, fitted, sets, fits):
    first, second, lines = fitted(name), METHODS[name](**SMALL[name]), []
    second.fit(*sets[:2], folder=fits, seed=1, log=lines.append)
    assert lines == [f"{name}: loaded, trained before"]
    assert {key: value.tobytes() for key, value in second._state.items()} == {
        key: np.asarray(value).tobytes() for key, value in first._state.items()
    }
    assert second.n_learned == first.n_learned == SMALL[name]["n_train"] and second.n_passes == first.n_passes
    assert second.n_weights == first.n_weights and (second.n_weights is None) == (name == "flux_knn")
    for one, other in zip(first.predict(sets[2].stamps).values(), second.predict(sets[2].stamps).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_build_pasquet19__is_the_published_network():
    """Kernels, biases and slopes of the convolutions, and the dense layers, counted from the description."""

    def module(n_in: int, narrow: int, wide: int, sizes: tuple[int, ...]) -> int:
        bare = (
            [(1, n_in, wide), (1, n_in, narrow)] + [(1, n_in, narrow) for _ in sizes] + [(size, narrow, wide) for size in sizes]
        )
        return sum(size**2 * source * width + 2 * width for size, source, width in bare)

    convolutions = 25 * 5 * 64 + 2 * 64 + module(64, 48, 64, (3, 5)) + module(240, 64, 92, (3, 5))
    convolutions += module(340, 92, 128, (3, 5)) + module(476, 92, 128, (3, 5)) + module(476, 92, 128, (3,))
    dense = (22_272 + 1 + 1) * 1096 + (1096 + 1) * 1096 + (1096 + 1) * 180
    model = build_pasquet19((64, 64, 5), has_reddening=True)
    assert model.get_layer("flat").output.shape == (None, 22_272)
    assert count_trained(model) == model.count_params() == convolutions + dense
    assert count_trained(model) == pytest.approx(27.6e6, abs=0.05e6)
    assert [tuple(tensor.shape) for tensor in model.inputs] == [(None, 64, 64, 5), (None, 1)]
    assert model.output_shape == (None, 180)


def test_inception__joins_wide_wide_wide_narrow():
    keras = import_keras()
    inputs = keras.Input((8, 8, 3))
    assert inception(inputs, 5, 7, "float32").shape == (None, 8, 8, 7 + 7 + 7 + 5)
    assert inception(inputs, 5, 7, "float32", has_5x5=False).shape == (None, 8, 8, 7 + 7 + 5)


@pytest.mark.slow
def test_pasquet19__is_the_same_in_the_engine(fitted, sets):
    method, stamps = fitted("pasquet19"), sets[2].stamps
    model = method.build((16, 16, 4), "float32")
    model.set_weights(weights_of(method._state))
    images = method.prepare(stamps, method._state["noise"])
    np.testing.assert_allclose(method.raw_outputs(stamps, method._state), model.predict_on_batch(images), rtol=1e-3, atol=1e-3)


def test_build_dcmdn__is_the_published_network():
    original, ours, larger = (build_dcmdn(shape) for shape in ((16, 16, 15), (16, 16, 10), (28, 28, 10)))
    without_first = 4 * 256 * 512 + 512 + 4 * 512 * 1024 + 1024 + (2 * 2 * 1024 + 1) * 500 + 501 * 100 + 101 * 15
    assert count_trained(original) == 9 * 15 * 256 + 256 + without_first
    assert count_trained(ours) == 9 * 10 * 256 + 256 + without_first == 4_746_387
    assert count_trained(larger) - count_trained(ours) == (25 - 4) * 1024 * 500
    assert ours.output_shape == build_dcmdn((MIN_STAMP_PX, MIN_STAMP_PX, 10)).output_shape == (None, 3 * N_GAUSSIANS)


def test_with_colours__are_all_differences():
    images = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype(np.float32)
    found = with_colours(images)
    assert found.shape == (2, 3, 3, 10)
    np.testing.assert_array_equal(found[..., :4], images)
    np.testing.assert_array_equal(found[..., 4], images[..., 0] - images[..., 1])
    np.testing.assert_array_equal(found[..., 9], images[..., 2] - images[..., 3])


def test_losses__are_those_of_the_mixture():
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 0.7, (50, 15)).astype(np.float32)
    z = rng.uniform(0, 2, (50, 1)).astype(np.float32)
    mean, log_sigma, logit = np.split(raw.astype(np.float64), 3, axis=1)
    weight = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    parts = (z[:, 0].astype(np.float64), weight, mean, np.exp(log_sigma))
    np.testing.assert_allclose(np.asarray(log_loss(z, raw)), -np.log(mixture.pdf(*parts)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.asarray(crps_loss(z, raw)), mixture.crps(*parts), rtol=1e-3, atol=1e-4)
    raw[:, 5:10] = -30
    narrow = -float(log_loss(np.zeros((1, 1), np.float32), np.where(np.arange(15) < 5, 0, raw[:1]).astype(np.float32))[0])
    assert narrow == pytest.approx(-LOG_SIGMA_RANGE[0] - 0.5 * np.log(2 * np.pi), rel=1e-5)


@pytest.mark.slow
def test_dcmdn__learns_by_the_crps_too(sets, tmp_path):
    train, valid, test = sets
    method = DIsanto18(**SMALL["dcmdn"] | {"loss": "crps", "epochs": 4})
    lines: list[str] = []
    method.fit(train, valid, folder=tmp_path, seed=1, log=lines.append)
    assert len(lines) == 5 and "epoch 4/4" in lines[3]
    assert error_over_guess(method.predict(test.stamps), test.labels["redshift"], train.labels["redshift"]) < 0.8
    assert method.settings()["trained_on"] == "crps"


def test_flux_knn__takes_the_redshifts_of_the_neighbours(fitted, sets):
    method, (train, _, test) = fitted("flux_knn"), sets
    pdfs = method.predict(test.stamps)
    assert pdfs["pz_mean"].shape == (N_TEST, 15) and (pdfs["pz_weight"] == 1 / 15).all()
    assert np.isin(pdfs["pz_mean"].astype(np.float32), train.labels["redshift"]).all()
    width = float(method._state["width"])
    assert width in flux_knn.WIDTHS
    np.testing.assert_allclose(pdfs["pz_sigma"], width * (1 + pdfs["pz_mean"]))
    wanted = features(np.split(measured(test.stamps), 2, axis=1)[0], method._state["softening"])
    distance = np.linalg.norm(wanted[:, None] - method._state["features"], axis=2)
    np.testing.assert_array_equal(pdfs["pz_mean"][:, 0], method._state["z"][distance.argmin(axis=1)])


def test_flux_knn__takes_fluxes_from_labels_that_hold_them(fitted, sets, tmp_path):
    train, valid, _ = sets
    flux, flux_err = np.split(measured(train.stamps), 2, axis=1)
    labels = train.labels | {"flux": flux, "flux_err": flux_err}
    method, lines = NearestFluxes(**SMALL["flux_knn"]), []
    method.fit(LabelledStamps("photoz", train.bands, train.stamps, labels), valid, folder=tmp_path, seed=1, log=lines.append)
    assert not any("measuring" in line for line in lines)
    for key, values in fitted("flux_knn")._state.items():
        np.testing.assert_array_equal(method._state[key], values)


def test_flux_knn__prefers_the_width_of_a_kernel_density():
    """Where fluxes tell the redshift but for a scatter, the width is that of Silverman's rule for 15 values of that scatter."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0.2, 1.2, 2000)
    z = true + 0.05 * (1 + true) * rng.normal(size=2000)
    state = {"features": true[:, None] * np.ones(4), "z": z}
    assert NearestFluxes()._best_width(state) == pytest.approx(0.05 * (4 / (3 * 15)) ** 0.2, rel=0.3)
    assert NearestFluxes()._best_width({"features": np.zeros((1, 4)), "z": np.ones(1)}) == flux_knn.WIDTHS[-1]
    weight, mean, sigma = gaussians(np.array([[0.0, 1.0]]), 0.1)
    assert weight.tolist() == [[0.5, 0.5]] and mean.tolist() == [[0.0, 1.0]] and sigma.tolist() == [[0.1, 0.2]]


def test_features__bear_negative_and_missing_fluxes():
    found = features(np.array([[100.0, 100, 100, 100], [-5, np.nan, 0, 1e6]]), np.ones(4))
    assert np.isfinite(found).all() and found.shape == (2, 4)
    np.testing.assert_allclose(found[0, 1:], 0, atol=1e-12)
    assert found[1, 2] == 0  # no data counts as no flux: r - i of nothing


def with_changes(data: LabelledStamps, **changes) -> LabelledStamps:
    return LabelledStamps(**({key: getattr(data, key) for key in ("task", "bands", "stamps", "labels", "truth")} | changes))


def test_fit__refuses_what_cannot_be_learned_from(sets, tmp_path):
    train, valid, _ = sets
    given = {"folder": tmp_path, "seed": 1, "log": print}
    with pytest.raises(InputError, match="validation set is one of the task 'merger', the method 'binned' needs 'photoz'"):
        Binned().fit(train, with_changes(valid, task="merger"), **given)
    with pytest.raises(InputError, match="training set has the bands g, r, i, the method 'binned' needs g, r, i, z"):
        Binned().fit(with_changes(train, bands=("g", "r", "i"), stamps=train.stamps[..., :3]), valid, **given)
    with pytest.raises(InputError, match="training set has no label 'redshift': simulate the set again"):
        NearestFluxes().fit(with_changes(train, labels={}), valid, **given)
    z = train.labels["redshift"].copy()
    z[:3] = np.nan, -1, np.inf
    for bad, found in ((z, r"\(160,\) for 160 stamps, 3 of them negative"), (z[4:], r"\(156,\) for 160 stamps, 0 of them")):
        with pytest.raises(InputError, match=f"training set has redshifts of the shape {found}"):
            DIsanto18().fit(with_changes(train, labels={"redshift": bad}), valid, **given)
    with pytest.raises(InputError, match="and some above 0"):
        DIsanto18().fit(with_changes(train, labels={"redshift": 0 * z[4:].repeat(2)[:160]}), valid, **given)
    with pytest.raises(InputError, match="stamps have 36 x 36 pixels, the method 'pasquet19' needs 48 x 48"):
        Pasquet19(stamp_px=48).fit(train, valid, **given)


def test_predict__refuses_other_shapes_and_untrained_methods(sets):
    with pytest.raises(ModelError, match="'flux_mdn' has not been trained: call fit"):
        FluxMixture().predict(sets[2].stamps)
    with pytest.raises(InputError, match=r"shape \(2, 36, 36, 3\), expected \(object, y, x, 4\) with the bands g, r, i, z"):
        Binned().predict(sets[2].stamps[:2, ..., :3])


def test_settings__are_checked():
    for make, match in (
        (lambda: Pasquet19(n_bins=0), "n_bins of the method 'pasquet19' is 0"),
        (lambda: Binned(stamp_px=0), "stamp_px of the method 'binned' is 0"),
        (lambda: DIsanto18(stamp_px=11), "stamp_px of the method 'dcmdn' is 11, expected 12 or more: the network pools twice"),
        (lambda: DIsanto18(loss="mse"), "loss of the method 'dcmdn' is 'mse', expected one of nll, crps"),
        (lambda: NearestFluxes(n_neighbours=0), "n_neighbours of the method 'flux_knn' is 0"),
        (lambda: FluxMixture(members=0), "members of the method 'flux_mdn' is 0"),
        (lambda: FluxMixture(epochs=0), "epochs of the method 'flux_mdn' is 0"),
    ):
        with pytest.raises(ConfigError, match=match):
            make()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_fit__learns_from_simulated_galaxies(name, tmp_path_factory):
    stamps = tmp_path_factory.getbasetemp() / "photoz-stamps"
    train, test = (simulated("photoz", n, seed=seed, conditions="wide", folder=stamps) for n, seed in ((400, 1), (100, 2)))
    settings: dict = {"flux_knn": {}, "flux_mdn": {"members": 2}}.get(name, {"epochs": 8, "batch_size": 16})
    settings |= {"stamp_px": 16} if name == "pasquet19" else {}
    method = METHODS[name](**settings)
    method.fit(train, test, folder=stamps / "fits", seed=1, log=print)
    assert error_over_guess(method.predict(test.stamps), test.labels["redshift"], train.labels["redshift"]) < 0.8
