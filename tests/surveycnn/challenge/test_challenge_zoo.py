"""The zoo on drawn stamps: a red core with blue arcs around it, or the core alone, in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import hog

from surveycnn.challenge.zoo import METHODS, CMUDeepLens, EdgesLogistic, GaborSVM, PlainCNN
from surveycnn.challenge.zoo.cmu_deeplens import build_cmu_deeplens
from surveycnn.challenge.zoo.edges_logistic import oriented_gradients
from surveycnn.challenge.zoo.gabor_svm import gabor_windows, polar_images
from surveycnn.challenge.zoo.lens_light import subtract_lens
from surveycnn.challenge.zoo.pixels import lens_centre
from surveycnn.challenge.zoo.regions import find_regions, measure_regions
from surveycnn.errors import ConfigError, InputError, ModelError
from surveycnn.evaluation.methods.pixels import noise_of
from surveycnn.training.data import LabelledStamps
from surveycnn.training.metrics import auroc

SIZE = 32
SMALL = {
    "cmu_deeplens": {"n_train": 128, "epochs": 3, "batch_size": 16, "rate": 3e-3, "n_blocks": 1},
    "plain_cnn": {"n_train": 200, "epochs": 3, "batch_size": 16, "rate": 1e-3},
    "gabor_svm": {"n_train": 200, "n_kernel": 50},
    "edges_logistic": {"n_train": 200},
    "arc_finder": {"n_train": 200},
    "ringfinder": {},
}
LEARNING = sorted(set(SMALL) - {"ringfinder"})


def drawn(n: int, seed: int) -> LabelledStamps:
    """Half of the stamps with an arc and its counterpart at 1.2 to 1.8 arcsec, which are brightest in g."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    is_lens = rng.permutation(np.arange(n) % 2 == 0)
    stamps = rng.normal(0, 1, (n, SIZE, SIZE, 3))
    for stamp, lens in zip(stamps, is_lens, strict=True):
        dy, dx = rng.uniform(-0.5, 0.5, 2)
        radius, angle = np.hypot(y - dy, x - dx), np.arctan2(y - dy, x - dx)
        core = rng.uniform(40, 80) * np.exp(-0.5 * (radius / 2) ** 2)
        stamp += core[..., None] * [0.3, 0.7, 1.0]
        if lens:
            along = np.exp(2 * (np.cos(2 * (angle - rng.uniform(0, np.pi))) - 1))
            arc = rng.uniform(15, 25) * np.exp(-0.5 * ((radius - rng.uniform(6, 9)) / 1.2) ** 2) * along
            stamp += arc[..., None] * [1.0, 0.6, 0.4]
    return LabelledStamps("lens", ("g", "r", "i"), (40 * stamps).astype(np.float32), {"is_lens": is_lens})


@pytest.fixture(scope="module")
def sets() -> tuple[LabelledStamps, LabelledStamps, LabelledStamps]:
    return drawn(240, 1), drawn(60, 2), drawn(100, 3)


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


def test_methods__are_those_of_the_challenge():
    assert set(METHODS) == set(SMALL)
    for name, method in METHODS.items():
        assert method.name == name and method.title and method.reference
        published = method.published
        assert published is None or 0 <= published.tpr0 <= published.tpr10 <= published.auroc <= 1


@pytest.mark.parametrize("name", SMALL)
def test_score__ranks_blatant_lenses_first_without_ties(name, fitted, sets):
    score = fitted(name).score(sets[2].stamps)
    assert score.dtype == np.float64 and np.isfinite(score).all()
    assert len(np.unique(score)) == len(score)
    assert auroc(score, sets[2].labels["is_lens"]) > 0.8


@pytest.mark.parametrize("name", SMALL)
def test_score__is_the_same_alone_and_among_others(name, fitted, sets):
    stamps, method = sets[2].stamps[:20], fitted(name)
    whole = method.score(stamps)
    parts = np.concatenate([method.score(stamps[:3]), method.score(stamps[3:4]), method.score(stamps[4:])])
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert method.score(stamps[:0]).shape == (0,)


@pytest.mark.parametrize("name", SMALL)
def test_score__bears_pixels_without_data(name, fitted, sets):
    stamps = sets[2].stamps[:6].copy()
    stamps[0, :, 20:] = np.nan
    stamps[1, ..., 0] = np.nan
    stamps[2] = np.nan
    stamps[3] = 0
    stamps[4, 3:9, 3:9] = np.nan
    score = fitted(name).score(stamps)
    assert np.isfinite(score).all()
    np.testing.assert_allclose(score[5], fitted(name).score(sets[2].stamps[5:6])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LEARNING)
def test_fit__loads_what_an_identical_call_left(name, fitted, sets, fits):
    first, second, lines = fitted(name), METHODS[name](**SMALL[name]), []
    second.fit(*sets[:2], folder=fits, seed=1, log=lines.append)
    assert lines == [f"{name}: loaded, trained before"]
    assert {key: value.tobytes() for key, value in second._state.items()} == {
        key: np.asarray(value).tobytes() for key, value in first._state.items()
    }


def test_fit__trains_again_for_another_seed_or_set(sets, tmp_path):
    lines: list[str] = []
    others = drawn(240, 9)
    for train, seed, n_train in ((sets[0], 1, 100), (sets[0], 2, 100), (others, 1, 100), (sets[0], 1, 90)):
        EdgesLogistic(n_train=n_train).fit(train, sets[1], folder=tmp_path, seed=seed, log=lines.append)
    assert len(list(tmp_path.glob("edges_logistic-*/fitted.npz"))) == 4
    assert not any("loaded" in line for line in lines)


def test_score__refuses_other_shapes_and_untrained_methods():
    with pytest.raises(ModelError, match="'plain_cnn' has not been trained: call fit"):
        PlainCNN().score(np.zeros((1, 32, 32, 3)))
    with pytest.raises(InputError, match=r"shape \(32, 32, 3\), expected \(object, y, x, 3\)"):
        METHODS["ringfinder"]().score(np.zeros((32, 32, 3)))


def test_fit__refuses_what_cannot_be_learned_from(sets, tmp_path):
    train, valid, _ = sets
    one_class = LabelledStamps("lens", train.bands, train.stamps, {"is_lens": np.ones(len(train), bool)})
    with pytest.raises(InputError, match="training set has 240 lenses among 240 stamps"):
        GaborSVM().fit(one_class, valid, folder=tmp_path, seed=1, log=print)
    other_bands = LabelledStamps("lens", ("r", "i", "z"), valid.stamps, valid.labels)
    with pytest.raises(InputError, match="validation set has the bands r, i, z"):
        GaborSVM().fit(train, other_bands, folder=tmp_path, seed=1, log=print)
    with pytest.raises(ConfigError, match="n_train of the method 'gabor_svm' is 0"):
        GaborSVM(n_train=0)
    with pytest.raises(ConfigError, match="epochs of the method 'cmu_deeplens' is 0"):
        CMUDeepLens(epochs=0)


def test_build_cmu_deeplens__has_the_published_size():
    model = build_cmu_deeplens((64, 64, 3))
    assert 3.4e6 < model.count_params() < 3.6e6
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Add") == 15  # 5 stages of 3 blocks
    assert kinds.count("Conv2D") == 1 + 15 * 3 + 4  # a shortcut where the width changes
    assert model.layers[-2].input.shape[1:] == (4, 4, 512)


def test_augment__keeps_the_light_of_the_lens():
    rng = np.random.default_rng(0)
    images = np.zeros((6, SIZE, SIZE, 3), np.float32)
    images[:, 12:20, 12:20] = 1
    turned = CMUDeepLens().augment(images, rng)
    assert turned.shape == images.shape and turned.dtype == np.float32
    growth = turned.sum(axis=(1, 2, 3)) / images.sum(axis=(1, 2, 3))
    assert (growth > 0.99).all() and (growth < 1.01 / 0.9**2).all()  # zoomed in, never out
    np.testing.assert_allclose(PlainCNN().augment(images, rng), images)


def test_oriented_gradients__agree_with_scikit_image():
    images = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(3, 48, 48)), (0, 1, 1)).astype(np.float32)
    expected = [hog(image, 9, (8, 8), (2, 2), block_norm="L2-Hys", feature_vector=True) for image in images]
    np.testing.assert_allclose(oriented_gradients(images), expected, atol=2e-3)


def test_polar_images__turn_a_ring_into_a_line():
    y, x = np.mgrid[:64, :64] - 31.5
    ring = np.exp(-0.5 * ((np.hypot(y, x) - 10) / 1.5) ** 2)
    polar = polar_images(ring[None, ..., None].astype(np.float32))[0, 0]
    assert polar.shape == (24, 64)
    assert (polar.argmax(axis=0) == 9).all()  # radii start at 1
    strength = [np.abs(np.fft.ifft2(np.fft.fft2(np.pad(polar, ((4, 4), (0, 0)))) * window)).mean() for window in gabor_windows()]
    assert int(np.argmax(strength)) % 4 == 0  # waves along the radius


def test_regions__measure_an_arc_and_a_spoke():
    y, x = np.mgrid[:41, :41] - 20
    mask = np.zeros((2, 41, 41), bool)
    mask[0] = (np.abs(np.hypot(y, x) - 10) < 1) & (np.abs(np.arctan2(y, x)) < 0.5)
    mask[1] = (np.abs(y) < 1.5) & (x > 5) & (x < 16)
    mask[1, 0, 0] = True  # too small
    labels, kept = find_regions(mask, 5)
    centre = (np.full((2, 1, 1), 20.0), np.full((2, 1, 1), 20.0))
    regions = measure_regions(labels, kept, centre)
    assert regions.owner.tolist() == [0, 1]
    assert regions.misalignment[0] < 1 and regions.misalignment[1] > 89
    assert regions.distance == pytest.approx([1.9, 2.1], abs=0.1)
    assert (regions.major > 2 * regions.minor).all()


def test_noise_of__frame_without_data_takes_that_of_the_others():
    stamps = np.random.default_rng(0).normal(0, [1, 2, 3], (40, SIZE, SIZE, 3)).astype(np.float32)
    stamps[0] = np.nan
    np.testing.assert_allclose(noise_of(stamps), np.tile([1, 2, 3], (40, 1)), rtol=0.25)


def test_subtract_lens__leaves_the_arc():
    y, x = np.mgrid[:64, :64] - 31.5
    lens = 100 * np.exp(-0.5 * (np.hypot(y / 0.8, x) / 2.5) ** 2)
    arc = 5 * np.exp(-0.5 * ((np.hypot(y, x) - 9) / 1) ** 2)
    light = np.stack([0.4 * lens + arc, 0.7 * lens + 0.6 * arc, lens + 0.3 * arc], axis=-1)[None]
    noise = np.full((1, 3), 0.3)
    centre = lens_centre(light[..., 2])
    assert [float(value[0, 0, 0]) for value in centre] == pytest.approx([31.5, 31.5], abs=0.05)
    residual, core = subtract_lens(light, noise, centre)
    assert np.abs(residual[0, ..., 0] - arc).max() < 1.5
    assert core[0, 0] / core[0, 2] == pytest.approx(0.4, rel=0.05)
