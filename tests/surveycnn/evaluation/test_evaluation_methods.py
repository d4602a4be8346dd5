"""Methods of the literature on drawn stamps: smooth or barred galaxies, one or two nuclei, in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surveycnn.errors import ConfigError, InputError, ModelError
from surveycnn.evaluation.methods import METHODS, DeepMerge, DominguezSanchez18, HuertasCompany14, HuertasCompany15, networks
from surveycnn.evaluation.methods.deepmerge import build_deepmerge
from surveycnn.evaluation.methods.ds18 import build_ds18, examples, strong_share
from surveycnn.evaluation.methods.hc15 import NOT_ASKED, fraction_error, turned_45, views_of
from surveycnn.evaluation.methods.networks import count_trained
from surveycnn.evaluation.methods.pixels import resized, turned_zoomed_shifted, unit_stretch
from surveycnn.evaluation.methods.votes import N_ANSWERS, answer_slices
from surveycnn.models.backend import import_keras
from surveycnn.models.morphology import QUESTIONS
from surveycnn.training.data import LabelledStamps
from surveycnn.training.metrics import auroc

SIZE = 48
SMALL: dict[str, dict] = {
    "ds18": {"n_train": 16, "epochs": 1, "batch_size": 16, "questions": ["smooth_or_featured", "bar"]},
    "hc15": {"n_train": 96, "epochs": 8, "batch_size": 16, "n_dense": 64},
    "hc14_svm": {"n_train": 36, "n_workers": 1},
    "deepmerge": {"n_train": 160, "epochs": 4, "batch_size": 16},
    "sersic_images": {"n_train": 160, "epochs": 3, "batch_size": 16},
    "whole_images": {"n_train": 160, "epochs": 3, "batch_size": 16},
    "apertures": {"n_train": 160},
}
TASK = {name: METHODS[name].task for name in SMALL}  # type: ignore[attr-defined]
LONG = ("ds18", "hc14_svm", "hc15", "whole_images", "sersic_images")
"""Methods whose smallest fit takes eight seconds and more."""


def named(task=None):
    """Parameters: the methods of a task, or all; those that take long are marked slow."""
    names = [name for name in SMALL if task in (None, TASK[name])]
    return [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in names]


FEATURED = answer_slices()["smooth_or_featured"].start + 1
N_TEST = 16


def bump(y: np.ndarray, x: np.ndarray, at: tuple[float, float], width: float) -> np.ndarray:
    return np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / width**2)


def galaxies(n: int, seed: int) -> LabelledStamps:
    """Half of them round and smooth, half thin and lumpy, about whom the volunteers agree."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    is_featured = rng.permutation(np.arange(n) % 2 == 0)
    stamps = rng.normal(0, 1, (n, SIZE, SIZE, 3))
    for stamp, featured in zip(stamps, is_featured, strict=True):
        light = 30 * bump(y, x, (0, 0), 3)
        if featured:
            angle = rng.uniform(0, np.pi)
            for side in (-1, 1):
                light += 25 * bump(y, x, (side * 9 * np.sin(angle), side * 9 * np.cos(angle)), 2)
        stamp += light[..., None] * [0.5, 1.0, 1.2]
    labels = {}
    for question, answers in QUESTIONS.items():
        votes = np.zeros((n, len(answers)), np.int16)
        votes[:, 0] = np.where(is_featured, 1, 19)
        votes[:, 1] = 20 - votes[:, 0]
        labels[question] = votes
    labels["bar"][:] = np.where(is_featured[:, None], [12, 6, 2], [0, 0, 20])
    labels["has_spiral_arms"][:] = [20, 0]  # all alike: nothing to be learned
    labels["disk_edge_on"][~is_featured] = 0  # asked of the featured ones alone
    return LabelledStamps("morphology", ("g", "r", "i"), (20 * stamps).astype(np.float32), labels)


def pairs(n: int, seed: int) -> LabelledStamps:
    """Half of them with a second nucleus."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    is_merger = rng.permutation(np.arange(n) % 2 == 0)
    stamps = rng.normal(0, 1, (n, SIZE, SIZE, 3))
    for stamp, merger in zip(stamps, is_merger, strict=True):
        angle = rng.uniform(0, 2 * np.pi)
        light = 40 * bump(y, x, (0, 0), 3)
        if merger:
            light += 40 * bump(y, x, (9 * np.sin(angle), 9 * np.cos(angle)), 3)
        stamp += light[..., None] * [0.8, 1.0, 1.2]
    return LabelledStamps("merger", ("g", "r", "i"), (20 * stamps).astype(np.float32), {"is_merger": is_merger})


@pytest.fixture(scope="module")
def sets() -> dict[str, tuple[LabelledStamps, ...]]:
    return {
        "morphology": (galaxies(96, 1), galaxies(20, 2), galaxies(N_TEST, 3)),
        "merger": (pairs(160, 1), pairs(40, 2), pairs(N_TEST, 3)),
    }


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Networks answer for as many stamps at once as the test sets have."""
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
            made[name].fit(*sets[TASK[name]][:2], folder=fits, seed=1, log=lambda line: None)
        return made[name]

    return get


def test_methods__name_themselves_and_their_papers():
    assert {name for name, method in METHODS.items() if method.task != "photoz"} == set(SMALL)  # type: ignore[attr-defined]
    for name in SMALL:
        made = METHODS[name]()
        assert made.name == name and made.title and made.reference
        assert made.mix == ("sersic" if name == "sersic_images" else "train")
        assert made.n_train >= 1000 and made.n_learned is None and made.n_weights is None
        assert (made.n_passes is None) == (name in ("hc14_svm", "apertures"))


@pytest.mark.parametrize("name", named("morphology"))
def test_predict__gives_fractions_of_the_questions_that_are_answered(name, fitted, sets):
    method, test = fitted(name), sets["morphology"][2]
    fractions = method.predict(test.stamps)
    assert fractions.shape == (N_TEST, N_ANSWERS) and fractions.dtype == np.float64
    answered = {question: np.isfinite(fractions[:, columns]).all() for question, columns in answer_slices().items()}
    expected = {
        "ds18": {"smooth_or_featured", "bar"},
        "hc15": set(QUESTIONS),
        "hc14_svm": set(QUESTIONS) - {"has_spiral_arms", "disk_edge_on"},
    }
    assert {question for question, known in answered.items() if known} == expected[name]
    for question, columns in answer_slices().items():
        if answered[question]:
            np.testing.assert_allclose(fractions[:, columns].sum(axis=1), 1)
            assert (fractions[:, columns] >= 0).all()
        else:
            assert np.isnan(fractions[:, columns]).all()
    assert method.predict(test.stamps[:0]).shape == (0, N_ANSWERS)


@pytest.mark.parametrize("name", ["hc15", "hc14_svm"])
def test_predict__finds_lumpy_galaxies_featured(name, fitted, sets):
    test = sets["morphology"][2]
    featured = fitted(name).predict(test.stamps)[:, FEATURED]
    assert auroc(featured, test.labels["smooth_or_featured"][:, 1] > 10) > 0.9


@pytest.mark.parametrize("name", named("merger"))
def test_predict__gives_probabilities_of_mergers(name, fitted, sets):
    method, test = fitted(name), sets["merger"][2]
    probability = method.predict(test.stamps)
    assert probability.shape == (N_TEST,) and probability.dtype == np.float64
    assert (probability >= 0).all() and (probability <= 1).all()
    assert auroc(probability, test.labels["is_merger"]) > 0.8
    assert method.predict(test.stamps[:0]).shape == (0,)


@pytest.mark.parametrize("name", named())
def test_predict__bears_pixels_without_data(name, fitted, sets):
    test = sets[TASK[name]][2].stamps
    stamps, expected = test[:6].copy(), fitted(name).predict(test)[:6]
    stamps[0, :, 30:] = np.nan
    stamps[1, ..., 0] = np.nan
    stamps[2] = np.nan
    stamps[3] = 0
    stamps[4, 20:26, 20:26] = np.nan
    found = fitted(name).predict(stamps)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_allclose(found[5], expected[5], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", named())
def test_fit__loads_what_an_identical_call_left(name, fitted, sets, fits):
    first, second, lines = fitted(name), METHODS[name](**SMALL[name]), []
    second.fit(*sets[TASK[name]][:2], folder=fits, seed=1, log=lines.append)
    assert lines == [f"{name}: loaded, trained before"]
    assert {key: value.tobytes() for key, value in second._state.items()} == {
        key: np.asarray(value).tobytes() for key, value in first._state.items()
    }
    assert second.n_learned == first.n_learned and 0 < second.n_learned <= 160
    assert second.n_weights == first.n_weights
    assert (second.n_weights is None) == (name in ("hc14_svm", "apertures"))


def test_fit__apertures_are_fitted_again_for_another_validation_set(sets, tmp_path):
    lines: list[str] = []
    for valid in (sets["merger"][1], sets["merger"][2]):
        METHODS["apertures"]().fit(sets["merger"][0], valid, folder=tmp_path, seed=1, log=lines.append)
    assert len(list(tmp_path.glob("apertures-*/fitted.npz"))) == 2


def test_networks__have_the_published_numbers_of_weights():
    ds18, deepmerge = build_ds18(), build_deepmerge()
    assert ds18.count_params() == count_trained(ds18) == 2_602_849
    assert count_trained(deepmerge) == 174_626
    assert ds18.output_shape == (None, 1) and deepmerge.output_shape == (None, 2)


def test_examples__are_galaxies_on_which_volunteers_agree():
    votes = np.array([[8, 2, 0], [1, 9, 0], [5, 5, 0], [0, 4, 0], [1, 1, 8], [0, 0, 0]])
    members, is_positive = examples(votes, "smooth_or_featured")
    assert members.tolist() == [0, 1] and is_positive.tolist() == [False, True]
    members, is_positive = examples(np.array([[4, 4, 2], [0, 1, 9], [3, 3, 4]]), "bar")
    assert members.tolist() == [0, 1] and is_positive.tolist() == [True, False]


def test_strong_share__is_that_of_the_votes():
    labels = np.zeros((2, N_ANSWERS))
    assert strong_share(labels) == 0.5
    labels[:, answer_slices()["bar"]] = [[3, 0, 9], [0, 1, 9]]
    assert strong_share(labels) == 0.75


@pytest.mark.slow
def test_ds18__bars_share_the_probability_and_artifacts_get_none(fitted, sets):
    fractions = fitted("ds18").predict(sets["morphology"][2].stamps)
    strong, weak, _ = fractions[:, answer_slices()["bar"]].T
    np.testing.assert_allclose(strong, 2 * weak)
    assert (fractions[:, answer_slices()["smooth_or_featured"]][:, 2] == 0).all()


def test_views__have_the_middle_at_one_corner():
    images = np.zeros((2, 64, 64, 1), np.float32)
    images[:, 31:33, 31:33] = 1
    for n_views in (4, 8, 16):
        views = views_of(images, n_views)
        assert views.shape == (2, n_views, 45, 45, 1)
        assert (views[..., 31:33, 31:33, 0].sum(axis=(2, 3)) > 3).all()
        assert (views.sum(axis=(2, 3, 4)) < 4.01).all()


def test_turned_45__turns_a_line_into_a_diagonal():
    y, x = np.mgrid[:49, :49] - 24
    line = np.exp(-0.5 * (y / 2) ** 2 - 0.5 * (x / 6) ** 2)
    turned = turned_45(line[None, ..., None].astype(np.float32))[0, ..., 0]
    assert turned.sum() == pytest.approx(line.sum(), rel=0.01)
    moments = [float((turned * product).sum() / turned.sum()) for product in (y * y, x * x, y * x)]
    assert moments == pytest.approx([20, 20, 16], abs=0.5)  # of 4 across and 36 along the line


def test_fraction_error__leaves_out_questions_that_were_not_asked():
    raw = np.zeros((2, N_ANSWERS), np.float32)
    even = np.concatenate([np.full(len(answers), 1 / len(answers)) for answers in QUESTIONS.values()])
    fractions = np.full((2, N_ANSWERS), NOT_ASKED, np.float32)
    fractions[0] = even
    fractions[1, :3] = even[:3] + [0.3, -0.3, 0]
    ops = import_keras().ops
    found = float(fraction_error(ops.convert_to_tensor(fractions), ops.convert_to_tensor(raw)))
    assert found == pytest.approx(np.sqrt(2 * 0.3**2 / (N_ANSWERS + 3)), abs=2e-4)


def test_resized__keeps_a_gradient_and_the_size_that_is_right():
    y, x = np.mgrid[:64, :64].astype(np.float32) + 0.5
    image = np.stack([y, x], axis=-1)[None] / 64
    larger = resized(image, 75)
    expected = (np.arange(75) + 0.5) / 75
    np.testing.assert_allclose(larger[0, 1:-1, 5, 0], expected[1:-1], atol=1e-3)
    np.testing.assert_allclose(larger[0, 5, 1:-1, 1], expected[1:-1], atol=1e-3)
    assert resized(image, 64) is image


def test_turned_zoomed_shifted__keeps_the_middle_and_zooms():
    images = np.zeros((8, 64, 64, 1), np.float32)
    images[:, 24:40, 24:40] = 1
    rng = np.random.default_rng(0)
    turned = turned_zoomed_shifted(images, rng, zoom=(1.25, 1.25), shift=0, size=69)
    assert turned.shape == (8, 69, 69, 1) and (turned[:, 34, 34] > 0.99).all()
    growth = turned.sum(axis=(1, 2, 3)) / 256
    np.testing.assert_allclose(growth, (1.25 * 69 / 64) ** 2, rtol=0.02)


def test_unit_stretch__is_between_0_and_1():
    values = unit_stretch(np.array([-1e9, 0.0, 1e9])[:, None, None, None] * np.ones(3), np.ones(3))
    assert values[0, 0, 0, 0] == 0 and 0 < values[1, 0, 0, 0] < 0.5 and values[2, 0, 0, 0] == 1


def with_changes(data: LabelledStamps, **changes) -> LabelledStamps:
    return LabelledStamps(**({key: getattr(data, key) for key in ("task", "bands", "stamps", "labels", "truth")} | changes))


def test_fit__refuses_what_cannot_be_learned_from(sets, tmp_path):
    train, valid, _ = sets["merger"]
    galaxy_train, galaxy_valid, _ = sets["morphology"]
    made, given = DeepMerge(), {"folder": tmp_path, "seed": 1, "log": print}
    with pytest.raises(InputError, match="training set is one of the task 'morphology', the method 'deepmerge' needs 'merger'"):
        made.fit(galaxy_train, galaxy_valid, **given)
    with pytest.raises(InputError, match="validation set has the bands r, i, z, the method 'deepmerge' needs g, r, i"):
        made.fit(train, with_changes(valid, bands=("r", "i", "z")), **given)
    with pytest.raises(InputError, match="training set has 160 mergers among 160 stamps"):
        made.fit(with_changes(train, labels={"is_merger": np.ones(160, bool)}), valid, **given)
    with pytest.raises(InputError, match="training set has no votes on how_rounded, disk_edge_on"):
        votes = {"smooth_or_featured": galaxy_train.labels["smooth_or_featured"]}
        HuertasCompany15().fit(with_changes(galaxy_train, labels=votes), galaxy_valid, **given)
    with pytest.raises(InputError, match=r"votes on bar in the training set have the shape \(96, 2\), expected \(96, 3\)"):
        votes = galaxy_train.labels | {"bar": galaxy_train.labels["bar"][:, :2]}
        HuertasCompany15().fit(with_changes(galaxy_train, labels=votes), galaxy_valid, **given)
    with pytest.raises(InputError, match="96 positive and 0 negative galaxies on which the volunteers agree in has_spiral_arms"):
        DominguezSanchez18(questions=["has_spiral_arms"]).fit(galaxy_train, galaxy_valid, **given)


def test_predict__refuses_other_shapes_and_untrained_methods(sets, fitted):
    with pytest.raises(ModelError, match="'hc15' has not been trained: call fit"):
        HuertasCompany15().predict(np.zeros((1, 64, 64, 3)))
    with pytest.raises(InputError, match=r"shape \(64, 64, 3\), expected \(object, y, x, 3\)"):
        DeepMerge().predict(np.zeros((64, 64, 3)))
    with pytest.raises(InputError, match="stamps have 32 x 32 pixels, the method 'hc15' needs 45 x 45"):
        fitted("hc15").predict(np.zeros((1, 32, 32, 3)))


def test_predict__refuses_outputs_that_are_not_finite(sets, fitted):
    broken = HuertasCompany15(**SMALL["hc15"])
    state = fitted("hc15")._state
    broken._state = {key: value * np.nan if key.startswith("weight_") else value for key, value in state.items()}
    with pytest.raises(ModelError, match="method 'hc15' gives outputs that are not finite"):
        broken.predict(sets["morphology"][2].stamps[:2])


def test_settings__are_checked():
    with pytest.raises(ConfigError, match="n_train of the method 'hc14_svm' is 0"):
        HuertasCompany14(n_train=0)
    with pytest.raises(ConfigError, match="n_views of the method 'hc15' is 5, expected one of 4, 8, 16"):
        HuertasCompany15(n_views=5)
    with pytest.raises(
        ConfigError, match=r"questions of the method 'ds18' are \['bulge_size'\], expected one or more of smooth_or"
    ):
        DominguezSanchez18(questions=["bulge_size"])
