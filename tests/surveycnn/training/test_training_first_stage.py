"""The first stage of a cascade: what is asked for, what is counted, and a whole training on blobs."""

import numpy as np
import pytest

from surveycnn.errors import ConfigError
from surveycnn.inference.load import load_model
from surveycnn.models.package import check_package
from surveycnn.training.first_stage import FirstStageSets, train_first_stage_on
from surveycnn.training.first_stage_metrics import first_stage_metrics, passed_metric
from surveycnn.training.fit import Sets, train_on
from surveycnn.training.held_out import HeldOut
from surveycnn.training.plan import Plan


def plan(task="lens", **changes):
    return Plan(task, 192, 64, 64, 7, 12, 16, "blobs", widths=(8, 16), **changes)


def test_plan__first_stage_of():
    assert plan(first_stage_of="lens").command.endswith("--set widths=[8,16] --set first_stage_of=lens")
    with pytest.raises(ConfigError, match="first_stage_of can be set for 'lens' alone, not for 'photoz': leave it out"):
        plan("photoz", first_stage_of="lens")
    with pytest.raises(ConfigError, match="views is set beside first_stage_of, which trains no network of that kind"):
        plan(first_stage_of="lens", views=2)


def test_train_first_stage_on__refuses_what_is_no_lens_model(tmp_path):
    with pytest.raises(ConfigError, match="first_stage_of is 'photoz', a photoz model: expected a lens model"):
        train_first_stage_on(plan(first_stage_of="photoz"), None, tmp_path / "package", work_dir=tmp_path)


def test_first_stage_metrics__counts():
    y = np.arange(3012) < 12
    logit = np.where(y, np.arange(3012)[::-1], 0.0)
    logit[12:23] = 3005.5, *np.linspace(3004, 3001, 10)  # among the lenses' 3000 to 3011
    passes = np.ones(3012, bool)
    passes[[0, 8, 11, 100, 101]] = False
    found = first_stage_metrics(passes, logit, y)
    assert (found["lost10"].value, found["lost10"].n) == (0.2, 10)
    assert (found["lost_fpr1e3"].value, found["lost_fpr1e3"].n) == (0.125, 8)
    assert found["lost"].value == 0.25 and found["lost"].definition.startswith(
        "of all 12 lenses, those that the first stage stops"
    )
    assert found["passed_negatives"].value == round(2998 / 3000, 6)
    low, high = passed_metric(np.ones(5, bool)).interval
    assert 0.8 < low < high < 1


@pytest.mark.slow
def test_train_first_stage_on__learns_from_a_model_and_stands_before_it(blobs, tmp_path):
    data = [blobs("lens", n, seed, 32) for seed, n in enumerate((192, 64, 64))]
    train_on(plan(), Sets(*data), tmp_path / "lens", work_dir=tmp_path / "work", log=lambda line: None)
    sets = FirstStageSets(*data[:2], lambda: data[1], lambda: data[2], lambda: {"": HeldOut("survey", data[2])})
    about = {"work_dir": tmp_path / "work", "log": lambda line: None}
    card = train_first_stage_on(plan(first_stage_of=str(tmp_path / "lens")), sets, tmp_path / "two", **about)
    assert check_package(tmp_path / "two") == [] and not card.has_cascade
    assert (tmp_path / "two" / "model.keras").read_bytes() == (tmp_path / "lens" / "model.keras").read_bytes()
    assert card.metrics["cascade_passed_negatives"].value < 0.3 and card.metrics["cascade_lost"].value < 0.5
    assert card.cascade.passed == card.metrics["cascade_passed"].value and {"auroc", "cascade_auroc"} <= set(card.metrics)
    stages = load_model(tmp_path / "two", engine="tensorflow", cascade=True).predict(data[2].stamps)["lens_stage"].values
    assert np.mean(stages == 2) == pytest.approx(card.cascade.passed, abs=0.02)
    assert not list((tmp_path / "work").glob("fit-*"))
