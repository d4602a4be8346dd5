"""Metrics of the shipped finder on small sets of each mix, and what a shift of the conditions costs."""

import numpy as np
import pytest

from surveycnn.inference.load import load_model
from surveycnn.training.calibration import fit_calibration
from surveycnn.training.evaluate import held_out_findings
from surveycnn.training.held_out import held_out_sets
from surveycnn.training.plan import Plan
from surveycnn.training.reliability import prior_weights


def test_held_out_findings__every_set_and_every_drop(tmp_path):
    plan = Plan("lens", 16, 16, 88, 1, 1, 8, "wide", n_hard=24)
    sets = held_out_sets(plan, tmp_path, 1, lambda line: None)
    findings = held_out_findings(load_model("lens", engine="tensorflow"), sets, lambda line: None)
    found, curve = findings.metrics, findings.reliability
    assert curve.n == len(sets[""].data) and sorted(curve.score) == curve.score
    assert {"auroc", "ece", "tpr_fpr1e3", "hard_auroc", "shifted_auroc", "shifted_hard_auroc"} <= set(found)
    drops = {name for name in found if name.startswith("drop_")}
    assert {"drop_auroc", "drop_tpr_fpr1e3", "drop_hard_auroc"} <= drops and "drop_tpr10" not in drops
    assert found["drop_auroc"].value == pytest.approx(found["auroc"].value - found["shifted_auroc"].value, abs=2e-6)


def test_fit_calibration__weights_stand_for_another_share_of_positives():
    rng = np.random.default_rng(0)
    y = rng.random(40_000) < 0.1
    logit = np.where(y, rng.normal(1, 1, y.size), rng.normal(-1, 1, y.size))
    weighted = fit_calibration(logit, y, prior_weights(y, 0.5))
    # two unit Gaussians at +-1 with equal shares: the logit is 2 x
    assert weighted.temperature == pytest.approx(0.5, abs=0.02) and weighted.bias == pytest.approx(0.0, abs=0.05)
    assert fit_calibration(logit, y).bias == pytest.approx(np.log(0.1 / 0.9), abs=0.1)
