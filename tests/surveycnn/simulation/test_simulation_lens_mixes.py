"""The mixes of stamps for lens finders: what is in them, and that no shortcut tells lenses from the rest."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from surveycnn.errors import ConfigError
from surveycnn.simulation.conditions import CONDITIONS, draw_exposures, find_conditions
from surveycnn.simulation.confusers import REARRANGED, saturated
from surveycnn.simulation.lens_task import KINDS, MIXES
from surveycnn.simulation.render import draw_light, sersic
from surveycnn.simulation.stamps import simulate_parts, simulate_stamps


@pytest.fixture(scope="module")
def train_mix():
    return simulate_stamps("lens", 900, seed=21, n_workers=2)


def magnitudes_and_colours(flux):
    """asinh magnitudes (object, band) and their differences."""
    magnitude = np.arcsinh(flux / 200.0)
    return np.concatenate([magnitude, np.diff(magnitude, axis=1)], axis=1)


def test_train_mix__totals_colours_and_central_pixels_do_not_tell_lenses(train_mix):
    stamps = np.nan_to_num(train_mix.stamps.astype(np.float64))
    y, x = np.ogrid[:64, :64]
    inside = np.hypot(y - 31.5, x - 31.5) < 16
    totals, centre = stamps[:, inside].sum(axis=1), stamps[:, 30:34, 30:34].sum(axis=(1, 2))
    features = np.concatenate([magnitudes_and_colours(totals), magnitudes_and_colours(centre)], axis=1)
    is_lens = train_mix.labels["is_lens"]
    classifier = HistGradientBoostingClassifier(max_depth=4, max_iter=80, learning_rate=0.08, random_state=0)
    guess = cross_val_predict(classifier, features, is_lens, cv=5, method="predict_proba")[:, 1]
    assert roc_auc_score(is_lens, guess) < 0.65


def test_train_mix__holds_every_kind(train_mix):
    kinds, counts = np.unique(train_mix.truth["kind"], return_counts=True)
    assert set(kinds) == set(KINDS)
    assert 0.42 < counts[list(kinds).index("lens")] / 900 < 0.58
    lenses = train_mix.truth["kind"] == "lens"
    assert train_mix.truth["is_detectable"][lenses].all() and not train_mix.truth["is_detectable"][~lenses].any()
    np.testing.assert_array_equal(np.isfinite(train_mix.truth["arc_sn"]), lenses)


def test_mixes__shares_add_up():
    for mix in MIXES.values():
        assert not mix.negatives or sum(mix.negatives.values()) == pytest.approx(1.0)
    assert set(MIXES["hard"].negatives) == set(REARRANGED)


def test_simulate_stamps__mixes_differ_and_pieces_make_the_set():
    hard = simulate_stamps("lens", 9, seed=2, mix="hard")
    assert set(hard.truth["kind"]) <= {"lens", *REARRANGED}
    assert not np.array_equal(hard.stamps, simulate_stamps("lens", 9, seed=2).stamps)
    pieces = list(simulate_parts("lens", 9, seed=2, mix="hard"))
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate([piece.stamps for piece in pieces]), hard.stamps)


def test_simulate_stamps__refuses_an_unknown_mix():
    with pytest.raises(ConfigError, match="unknown mix 'easy' of the task 'lens': choose one of"):
        simulate_stamps("lens", 2, seed=1, mix="easy")
    with pytest.raises(ConfigError, match="unknown mix 'hard' of the task 'merger'"):
        simulate_stamps("merger", 2, seed=1, mix="hard")


def test_shifted_conditions__worse_in_seeing_and_depth():
    draws = {
        name: [draw_exposures(np.random.default_rng(seed), name, ("i",))[0] for seed in range(60)] for name in ("wide", "shifted")
    }
    fwhm, noise = ({name: np.array([getattr(e, key) for e in draw]) for name, draw in draws.items()} for key in ("fwhm", "sigma"))
    np.testing.assert_allclose(fwhm["shifted"] / fwhm["wide"], 1.25)
    # the noise of a larger pixel, and 0.4 mag less depth at the worse seeing
    expected = 10 ** (0.4 * 0.4) / 1.25 * (0.26 / 0.2)
    np.testing.assert_allclose(noise["shifted"] / noise["wide"], expected)
    assert find_conditions("shifted").crowding > 1.0 and set(CONDITIONS) > {"lsst", "kids", "des", "hsc", "wide"}


def test_shifted_conditions__light_is_kept_by_the_resampling():
    """A lone bright object on the detector's pixels and on the model's."""
    from surveycnn.simulation.render import Component
    from surveycnn.simulation.stamps import _at_model_scale

    exposures = draw_exposures(np.random.default_rng(3), "shifted", ("i",))
    image = draw_light([Component(sersic(1.0, 0.6, 0.8, 0.3), np.array([500.0]))], exposures)
    stamp = _at_model_scale(image, exposures[0].pixel_scale)
    assert stamp.shape == (64, 64, 1) and np.isfinite(stamp).all()
    assert stamp.sum() == pytest.approx(image.sum(), rel=0.01)
    peak = np.unravel_index(stamp[..., 0].argmax(), (64, 64))
    assert all(31 <= place <= 32 for place in peak)


def test_saturated__cuts_at_a_level_and_leaves_the_faint_alone():
    image = np.full((2, 20, 20), 1.0)
    image[:, 9:12, 9:12] = 1e5
    cut = saturated(np.random.default_rng(1), image, np.array([1.0, 1e6]))
    assert cut[0].max() < 1e4 and (image == 1e5).sum() == 18
    np.testing.assert_array_equal(cut[1], image[1])
