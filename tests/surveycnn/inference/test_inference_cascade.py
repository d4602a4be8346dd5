"""The two stages of a cascade: one scale, an order that holds, and numbers that depend on the stamp alone."""

import numpy as np
import pytest

from surveycnn.inference.cascade import CascadePredictor
from surveycnn.inference.cascade_scale import ceiling, passed_logit, rejected_logit
from surveycnn.inference.heads import calibrated
from surveycnn.inference.load import keras_predictor
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Cascade, Domain, Prior, Scaling, Training
from surveycnn.models.package import first_stage_card

SIZE = 8


def small_card(threshold=0.0, *, has_distance=True):
    return Card(
        name="tiny",
        version="1",
        task="lens",
        bands=["g", "r"],
        pixel_scale=0.2,
        stamp_px=SIZE,
        scaling=Scaling(softening={"g": 1.0, "r": 2.0}),
        prior=Prior(training=0.5, survey=1e-3),
        calibration=Calibration(temperature=0.8, bias=1.4),
        domain=Domain(band="r", magnitude=(16, 24), feature_distance=1.5) if has_distance else None,
        cascade=Cascade(enabled=True, threshold=threshold, temperature=1.3, bias=-1.0, passed=0.5, lost=0.0, command="none"),
        training=Training(simulation="noise", seed=3, n=0, command="none"),
        licence="BSD-3-Clause",
        keras="",
    )


def network(n_outputs, seed):
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIZE, SIZE, 2))
    return keras.Model(inputs, keras.layers.Dense(n_outputs)(keras.layers.Flatten()(inputs)))


@pytest.fixture(scope="module")
def stamps():
    values = np.random.default_rng(1).normal(0, 5, (60, SIZE, SIZE, 2)).astype(np.float32)
    values[7] = np.nan
    return values


@pytest.fixture(scope="module")
def predictors():
    """The cascade, its network alone, its first stage alone."""
    card = small_card()
    whole = keras_predictor(card, network(2, 4), batch_size=4)
    first = keras_predictor(first_stage_card(card), network(1, 5), batch_size=16)
    return CascadePredictor(whole, first), whole, first


def test_cascade_scale__same_score_on_both_scales():
    card, first = small_card(), np.array([-9.0, -3.0, -0.5])
    score, _ = calibrated(card, rejected_logit(card, first).astype(float))
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-(first / 1.3 - 1.0))), rtol=1e-5)


def test_cascade_scale__no_stamp_that_is_stopped_stands_before_one_that_passes():
    card = small_card(-1.25)
    stopped = rejected_logit(card, np.nextafter(np.float32([-1.25, -2, -80]), np.float32(-np.inf)))
    own = np.linspace(-200, 30, 4001, dtype=np.float32)
    passed = passed_logit(card, own)
    assert stopped.max() <= ceiling(card) < passed.min() and stopped.dtype == passed.dtype == np.float32
    assert (np.diff(passed) >= 0).all() and (np.diff(stopped) < 0).all()
    is_kept = own >= ceiling(card) + 1
    np.testing.assert_array_equal(passed[is_kept], own[is_kept])
    assert 100 < is_kept.sum() < 4000 and (passed[~is_kept] <= ceiling(card) + 1).all()


def test_cascade_predictor__each_stage_where_it_should(predictors, stamps):
    both, whole, first = predictors
    rows, own = both.predict(stamps), whole.predict_raw(stamps)
    passes = first.predict_raw(stamps)[:, 0] >= 0
    stage = rows["lens_stage"].values
    assert stage[7] == 0 and np.isnan(rows["lens_logit"].values[7])
    known = np.arange(60) != 7
    np.testing.assert_array_equal(stage[known], np.where(passes, 2, 1)[known])
    assert 10 < passes.sum() < 50
    logit = rows["lens_logit"].values
    assert logit[known & passes].min() > logit[known & ~passes].max()
    clear = known & passes & (own[:, 0] > ceiling(both.card) + 1)
    assert clear.any()
    np.testing.assert_array_equal(logit[clear], own[clear, 0])
    np.testing.assert_array_equal(np.isnan(rows["lens_domain"].values), ~(known & passes))
    assert both.engine.batch_size == 16 and repr(both).startswith("CascadePredictor(Predictor('tiny'")


def test_cascade_predictor__neither_neighbours_nor_order_matter(predictors, stamps):
    both = predictors[0]
    together = both.predict_raw(stamps)
    order = np.random.default_rng(2).permutation(60)
    np.testing.assert_array_equal(both.predict_raw(stamps[order]), together[order])
    for some in (slice(0, 1), slice(3, 20), slice(41, 60), slice(0, 0)):
        np.testing.assert_array_equal(both.predict_raw(stamps[some]), together[some])


def test_cascade_predictor__nobody_or_everybody_passes(stamps):
    for threshold, stage in ((1e3, 1), (-1e3, 2)):
        card = small_card(threshold, has_distance=False)
        first = keras_predictor(first_stage_card(card), network(1, 5), batch_size=16)
        rows = CascadePredictor(keras_predictor(card, network(1, 4), batch_size=4), first).predict(stamps[:6])
        assert rows["lens_stage"].values.tolist() == [stage] * 6 and np.isfinite(rows["lens_logit"].values).all()
