"""What raw outputs become: probabilities, Myr, vote fractions, quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surveycnn.inference.heads import MIN_SIGMA_Z, columns_of, mixture_parameters, redshift_columns
from surveycnn.models.card import Calibration, Domain, Outputs, Prior
from surveycnn.models.package import find_card


def with_parts(name, **changes):
    return find_card(name).model_copy(update=changes)


def test_columns_of__lens_prior_correction():
    card = with_parts("lens", prior=Prior(training=0.5, survey=0.01), calibration=Calibration(temperature=2, bias=0.5))
    columns = columns_of(card, np.array([[3.0, 1.0], [-40.0, 1.0]]))
    score = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(columns["lens_score"][0], score)
    odds = score / (1 - score) / 99
    np.testing.assert_allclose(columns["lens_prob"][0], odds / (1 + odds))
    np.testing.assert_array_equal(columns["lens_logit"], [3, -40])


def test_columns_of__lens_domain_is_one_at_the_limit():
    card = with_parts("lens", domain=Domain(band="i", magnitude=(16, 24), feature_distance=1.5))
    columns = columns_of(card, np.array([[0.0, 1.5**2], [0.0, 9.0], [0.0, -1e-6]]))
    np.testing.assert_allclose(columns["lens_domain"], [1.0, 2.0, 0.0])
    assert list(columns) == list(card.schema) and card.n_outputs == 2
    without = with_parts("lens", domain=Domain(band="i", magnitude=(16, 24)))
    assert "lens_domain" not in columns_of(without, np.zeros((2, 1))) and without.n_outputs == 1


@pytest.mark.parametrize(
    ("name", "column"), [("merger", "merger_domain"), ("morphology", "morph_domain"), ("photoz", "pz_domain")]
)
def test_columns_of__domain_column_of_other_tasks(name, column):
    inside = Domain(band="i", magnitude=(16, 24))
    with_limit = with_parts(name, domain=inside.model_copy(update={"feature_distance": 2.0}))
    without = with_parts(name, domain=inside)
    raw = np.random.default_rng(0).normal(size=(5, with_limit.n_outputs))
    raw[:, -1] = 16.0
    columns, plain = columns_of(with_limit, raw), columns_of(without, raw[:, :-1])
    np.testing.assert_allclose(columns.pop(column), 2.0)
    assert with_limit.n_outputs == without.n_outputs + 1 and list(columns) == list(plain)
    for key, values in plain.items():
        np.testing.assert_array_equal(columns[key], values)


def test_columns_of__factors_of_the_calibration():
    raw = np.array([[0.0, 2.0, 0.0]])
    card = with_parts("merger", calibration=Calibration(time_err=1.5), outputs=Outputs(time_mean=300, time_scale=50), domain=None)
    np.testing.assert_allclose(columns_of(card, raw)["merger_time_err"], [75])
    card = with_parts("morphology", domain=None)
    question, answers = next(iter(card.questions.items()))
    scaled = card.model_copy(update={"calibration": Calibration(concentration={question: 0.5})})
    raw = np.random.default_rng(0).normal(size=(4, card.n_outputs))
    before, after = columns_of(card.model_copy(update={"calibration": None}), raw), columns_of(scaled, raw)
    for name in (f"morph_{question}_{answer}" for answer in answers):
        np.testing.assert_allclose(after[name], before[name])
        np.testing.assert_allclose(after[f"{name}_conc"], 0.5 * before[f"{name}_conc"])


def test_columns_of__prob_is_score_at_the_training_prior():
    card = with_parts("merger", prior=Prior(training=0.3, survey=0.3), domain=None)
    columns = columns_of(card, np.random.default_rng(0).normal(size=(9, 3)))
    np.testing.assert_allclose(columns["merger_prob"], columns["merger_score"])


def test_columns_of__merger_time_in_myr():
    card = with_parts("merger", outputs=Outputs(time_mean=300, time_scale=50), calibration=Calibration(), domain=None)
    columns = columns_of(card, np.array([[0.0, 2.0, 2 * np.log(3)]]))
    np.testing.assert_allclose((columns["merger_time"], columns["merger_time_err"]), [[400], [150]])


def test_columns_of__vote_fractions():
    card = with_parts("morphology", calibration=None, domain=None)
    columns = columns_of(card, np.random.default_rng(0).normal(0, 30, (50, card.n_outputs)))
    start = 0
    for question, answers in card.outputs.questions.items():
        fractions = np.stack([columns[f"morph_{question}_{answer}"] for answer in answers])
        concentrations = np.stack([columns[f"morph_{question}_{answer}_conc"] for answer in answers])
        np.testing.assert_allclose(fractions.sum(axis=0), 1)
        np.testing.assert_allclose(fractions, concentrations / concentrations.sum(axis=0))
        assert 0.01 < concentrations.min() < 0.02 and 80 < concentrations.max() < 91
        start += len(answers)
    assert start == card.n_outputs


def test_columns_of__photoz_is_ordered_and_the_mixture_is_the_published_one():
    card = find_card("photoz")
    raw = np.random.default_rng(0).normal(0.5, 1, (60, card.n_outputs))
    columns = columns_of(card, raw)
    assert np.all(columns["z_phot_lo"] <= columns["z_phot"]) and np.all(columns["z_phot"] <= columns["z_phot_hi"])
    np.testing.assert_allclose(columns["pz_weight"].sum(axis=1), 1)
    assert np.all(np.diff(columns["pz_weight"], axis=1) <= 0)
    k = card.outputs.n_components
    heaviest = raw[:, :k].argmax(axis=1)
    raw_mean = raw[np.arange(60), k + heaviest]
    bright = raw_mean > 0.8  # where the softplus is the identity
    np.testing.assert_allclose(columns["pz_mean"][bright, 0], raw_mean[bright] + MIN_SIGMA_Z, atol=1e-3)


def test_mixture_parameters__sigma_has_a_floor():
    _, mean, sigma = mixture_parameters(np.array([[0.0, 0.5, -800.0], [0.0, 0.5, 800.0]]))
    np.testing.assert_allclose(sigma[:, 0], [MIN_SIGMA_Z, mean[1, 0]], rtol=1e-3)


@given(raw=arrays(np.float64, (7, 12), elements=st.floats(-50, 50)), width=st.floats(0.2, 5), scale=st.floats(0.01, 3))
def test_mixture_parameters__redshifts_are_not_negative(raw, width, scale):
    weight, mean, sigma = mixture_parameters(raw, width, scale)
    assert np.all(mean > 0) and np.all(sigma > 0) and np.all(sigma <= mean) and np.allclose(weight.sum(axis=1), 1)
    columns = redshift_columns(weight, mean, sigma)
    for name in ("z_phot", "z_phot_lo", "z_phot_hi", "z_mode"):
        assert np.all(columns[name] >= -1e-9 * scale)


def test_mixture_parameters__width_and_scale():
    raw = np.array([[0.0, 0.0, 1.0, 2.0, -3.0, -2.0]])
    weight, mean, sigma = mixture_parameters(raw)
    wide = mixture_parameters(raw, width=2.0)
    np.testing.assert_allclose(wide[1], mean)
    np.testing.assert_allclose(wide[2] / sigma, 2.0, rtol=0.02)  # less where a Gaussian is nearly as wide as its mean
    large = mixture_parameters(raw, scale=3.0)
    np.testing.assert_allclose(large[1], 3 * mean)
    np.testing.assert_allclose(large[2], 3 * sigma)


@pytest.mark.parametrize("name", ["lens", "morphology", "merger", "photoz"])
def test_columns_of__gives_the_columns_of_the_schema(name):
    card = find_card(name)
    assert list(columns_of(card, np.zeros((0, card.n_outputs)))) == list(card.schema)
