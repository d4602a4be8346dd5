"""Figures of one finder on one set, on sets whose answers are known."""

import json

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from surveycnn.challenge.assess import (
    assess,
    assess_population,
    binomial_interval,
    by_kind,
    in_bins,
    operating_points,
    purity,
    rate_limit,
    roc_points,
)
from surveycnn.challenge.finders import Scores
from surveycnn.challenge.sets import SetSpec
from surveycnn.training.metrics import tpr_at_fp


def scored(n=8000, prior=1 / 11, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < prior
    return rng.normal(0, 1, n) + 2 * y, y


def test_operating_points__hold_what_their_thresholds_give():
    score, y = scored()
    for point in operating_points(score, y):
        selected = score > point["threshold"]
        assert point["n_false_positive"] == (selected & ~y).sum() <= point["allowed"]
        assert point["tpr"] == selected[y].mean()
        assert point["n_negative"] == (~y).sum()
        for entry in point["purity"]:
            lenses, others = entry["prior"] * point["tpr"], (1 - entry["prior"]) * point["fpr"]
            assert entry["purity"] == pytest.approx(lenses / (lenses + others))
            assert entry["purity_lower_95"] < entry["purity"]


def test_operating_points__without_a_false_positive_do_not_promise_purity():
    score, y = scored()
    point = operating_points(score, y)[0]
    assert point["fpr"] == 0 and point["purity"][0]["purity"] == 1
    assert point["fpr_upper_95"] == pytest.approx(3 / (~y).sum(), rel=0.01)
    assert point["purity"][-1]["purity_lower_95"] < 0.05


def test_purity__of_the_literature_and_of_no_selection():
    """TPR 0.75 at FPR 1e-3: 27 % in Euclid Q1 (1 lens in 2000)."""
    assert purity(0.75, 1e-3, 5e-4) == pytest.approx(0.27, abs=0.005)
    assert purity(0.0, 0.0, 5e-4) is None


@pytest.mark.parametrize(("k", "n"), [(0, 100), (3, 100), (50, 50)])
def test_rate_limit__is_where_so_few_become_unlikely(k, n):
    limit = rate_limit(k, n)
    assert limit == 1 if k == n else binom.cdf(k, n, limit) == pytest.approx(0.05)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 40), (40, 40), (1, 1)])
def test_binomial_interval__is_that_of_wilson(k, n):
    expected = binomtest(k, n).proportion_ci(norm.cdf(1) - norm.cdf(-1), method="wilson")
    assert binomial_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_in_bins__counts_every_object_once_and_no_nan():
    value = np.array([0.5, 1.0, 1.5, 2.0, 5.0, np.nan])
    found = in_bins(np.array([True, False, True, True, True, True]), value, (0.0, 1.0, 2.0, 3.0, 4.0))
    assert [(entry["n"], entry["n_selected"]) for entry in found] == [(1, 1), (2, 1), (1, 1), (0, 0)]
    assert found[1]["fraction"] == 0.5 and found[3]["fraction"] is None


def test_by_kind__the_worst_first():
    found = by_kind(np.array([True, False, False, False]), np.array(["ring", "ring", "star", "star"]))
    assert [(entry["kind"], entry["fraction"], entry["n"]) for entry in found] == [("ring", 0.5, 2), ("star", 0.0, 2)]


def test_roc_points__are_true_positive_rates_at_counts_of_false_positives():
    score, y = scored(3000)
    score = np.round(score, 1)
    found = roc_points(score, y)
    n_negative = int((~y).sum())
    for fpr, tpr in zip(found["fpr"], found["tpr"], strict=True):
        assert tpr == pytest.approx(tpr_at_fp(score, y, round(fpr * n_negative)))


@pytest.mark.parametrize("mix", ["survey", "hard"])
def test_assess__is_plain_json(make_set, mix):
    data = make_set(1500, 3, 0.3)
    logit = np.random.default_rng(4).normal(0, 1, 1500) + 2 * data.labels["is_lens"]
    logit[:20] = np.nan
    found = assess(Scores(logit, 1 / (1 + np.exp(-logit))), data, SetSpec("a", mix, "wide", 1500, 1), 0.5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["n_without_score"] == 20
    assert sum(entry["n"] for entry in found["false_positives_by_kind"]) == (~data.labels["is_lens"]).sum()
    if mix == "survey":
        selected = np.nansum(logit[data.labels["is_lens"]] > found["threshold"])
        assert selected == round(found["metrics"]["tpr_fpr1e3"]["value"] * data.labels["is_lens"].sum())


def test_assess_population__detectable_by_radius_all_by_signal(make_set):
    data = make_set(900, 3, 1.0)
    logit = np.where(data.truth["arc_sn"] > 100, 5.0, -5.0)
    found = assess_population(Scores(logit, 1 / (1 + np.exp(-logit))), data, 0.0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    by_signal = {entry["low"]: entry for entry in found["completeness"]["arc_sn"]}
    assert by_signal[70.0]["fraction"] == 0.0 and by_signal[100.0]["fraction"] == 1.0
    assert sum(entry["n"] for entry in by_signal.values()) == 900
    by_radius = found["completeness"]["theta_e"]
    assert sum(entry["n"] for entry in by_radius) == found["n_detectable"] == data.truth["is_detectable"].sum() < 900


def test_assess__of_a_finder_without_any_score(make_set):
    data = make_set(300, 3, 0.3)
    nothing = np.full(300, np.nan)
    found = assess(Scores(nothing, nothing), data, SetSpec("a", "survey", "wide", 300, 1), 0.5)
    assert found["reliability"] is None and found["n_without_score"] == 300
    assert found["metrics"]["auroc"]["value"] == 0.5 and found["metrics"]["tpr10"]["value"] == 0
    json.dumps(found, allow_nan=False)
