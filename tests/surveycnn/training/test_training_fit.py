"""Whole trainings on blobs: they learn, resume where they stopped, and write packages that hold."""

import dataclasses

import numpy as np
import pytest

from surveycnn.errors import ConfigError
from surveycnn.inference.load import load_model
from surveycnn.models.backend import import_keras
from surveycnn.models.package import check_package
from surveycnn.training.first_card import build_model, domain_of, first_card
from surveycnn.training.fit import Sets, train_on
from surveycnn.training.optimise import Schedule, fit
from surveycnn.training.plan import Plan
from surveycnn.training.precision import in_precision


def plan(task, epochs=8, **changes):
    return Plan(task, 192, 64, 64, 7, epochs, 16, "blobs", widths=(8, 16), **changes)


def trained(task, blobs, folder, lines, members=2):
    sets = [blobs(task, n, seed, 32) for seed, n in enumerate((192, 64, 64))]
    wanted = plan(task, members=members, views=2)
    return train_on(wanted, Sets(*sets), folder / "package", work_dir=folder / "work", log=lines.append)


def test_train_on__learns_and_writes_a_package_that_holds(blobs, tmp_path):
    lines = []
    card = trained("lens", blobs, tmp_path, lines)
    assert check_package(tmp_path / "package") == []
    assert card.metrics["auroc"].value > 0.9
    assert sum("lens member 1: epoch" in line for line in lines) == sum("lens member 2: epoch" in line for line in lines) == 8
    assert card.metrics["baseline_auroc"].n == 64
    assert card.training.command == (
        "surveycnn run-flow train --set task=lens --set n_train=192 --set n_valid=64 --set n_test=64 "
        "--set seed=7 --set epochs=8 --set batch_size=16 --set conditions=blobs --set widths=[8,16] --set members=2 --set views=2"
    )
    assert card.stamp_px == 32 and card.training.n == 192
    predictor = load_model(tmp_path / "package", engine="tensorflow")
    assert predictor.card == card and card.flops > 0
    _knows_its_domain(predictor, blobs)
    assert not list((tmp_path / "work").glob("fit-*"))


@pytest.mark.slow
def test_train_on__merger_scores_and_times(blobs, tmp_path):
    card = trained("merger", blobs, tmp_path, [], members=1)
    assert check_package(tmp_path / "package") == []
    assert card.metrics["balanced_accuracy"].value > 0.8 and card.metrics["specificity_projected"].n > 10
    assert card.metrics["time_median_error"].n == card.metrics["completeness_2pc"].n
    assert card.calibration.time_err != 1.0 and card.has_distance and "baseline_auroc" in card.metrics
    assert list(card.schema)[-1] == "merger_domain"


@pytest.mark.slow
def test_train_on__morphology_fractions_and_factors(blobs, tmp_path):
    card = trained("morphology", blobs, tmp_path, [], members=1)
    assert check_package(tmp_path / "package") == []
    assert card.metrics["smooth_or_featured_accuracy"].value > 0.9 and card.metrics["coverage90"].n > 10
    assert set(card.calibration.concentration) == set(card.questions)
    assert card.calibration.concentration["smooth_or_featured"] != 1.0
    assert card.calibration.concentration["has_spiral_arms"] == 1.0  # nobody was asked
    assert list(card.schema)[-1] == "morph_domain" and "baseline_smooth_or_featured_accuracy" in card.metrics


def _knows_its_domain(predictor, blobs):
    """Blobs like those of the training are inside, noise a hundred times as high is not."""
    like, unlike = blobs("lens", 60, 9, 32).stamps, np.random.default_rng(1).normal(0, 200, (20, 32, 32, 3)).astype(np.float32)
    inside, outside = (predictor.predict(stamps)["lens_domain"].values for stamps in (like, unlike))
    assert (inside < 1).mean() > 0.9 and (outside > 1).all()


@pytest.mark.slow
def test_train_on__redshifts_with_fluxes_and_a_selected_twin(blobs, tmp_path):
    sets = []
    for seed, n in enumerate((192, 64, 64)):
        truth = {"mag_i": np.linspace(20, 23, n), "spectral_type": np.ones(n)}
        sets.append(dataclasses.replace(blobs("photoz", n, seed, 32), truth=truth))
    wanted = plan("photoz", epochs=4, members=1, selected=True)
    lines = []
    card = train_on(wanted, Sets(*sets), tmp_path / "package", work_dir=tmp_path / "work", log=lines.append)
    assert check_package(tmp_path / "package") == []
    assert card.photometry is not None and card.extinction["g"] > card.extinction["z"] > 0
    assert card.calibration.width != 1.0 and list(card.schema)[-1] == "pz_domain"
    assert card.metrics["crps"].value < 0.3 and card.metrics["selected_crps"].n == card.metrics["crps"].n == 64
    assert "of 192 galaxies, measured on all" in card.metrics["selected_crps"].definition
    assert any("that a spectroscopic survey would have selected" in line for line in lines)
    assert card.metrics["baseline_crps"].n == 64


@pytest.mark.parametrize("task", [*(pytest.param(task, marks=pytest.mark.slow) for task in ("morphology", "merger")), "photoz"])
def test_fit__lowers_the_loss(task, blobs, tmp_path):
    data = blobs(task, 160, 0, 32)
    card = first_card(plan(task), data)
    import_keras().utils.set_random_seed(1)
    model = build_model(card, data, (8, 16))
    lines = []
    fit(model, card, data, blobs(task, 32, 1, 32), Schedule(4, 16, 7), state=tmp_path / "state", log=lines.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert len(losses) == 4 and losses[-1] < losses[0] - 0.05


class Interrupted(Exception):
    pass


def test_fit__resumed_equals_uninterrupted(blobs, tmp_path):
    data, valid = blobs("lens", 64, 0, 32), blobs("lens", 16, 1, 32)
    card = first_card(plan("lens"), data)

    def run(state, stop_after=None):
        import_keras().utils.set_random_seed(2)
        model = build_model(card, data, (8, 16))

        def log(line):
            if stop_after and f"epoch {stop_after}/" in line:
                raise Interrupted

        fit(model, card, data, valid, Schedule(3, 16, 7), state=state, log=log)
        return model.get_weights()

    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", stop_after=2)
    resumed = run(tmp_path / "broken")
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_first_card__comes_from_the_data(blobs):
    data = blobs("merger", 200, 0)
    card = first_card(plan("merger"), data)
    times = data.labels["time_myr"][data.labels["is_merger"]]
    assert card.outputs.time_mean == pytest.approx(times.mean(), abs=0.1)
    assert card.prior.training == pytest.approx(data.labels["is_merger"].mean(), abs=1e-3)
    assert card.scaling.softening["r"] == pytest.approx(2, rel=0.05)


def test_domain_of__covers_the_magnitudes(blobs):
    domain = domain_of(blobs("photoz", 300, 0), "blobs")
    assert domain.band == "i" and 20 < domain.magnitude[0] < domain.magnitude[1] < 26


def test_fit__stops_when_patience_ends_and_keeps_the_best(blobs, tmp_path):
    """Validation labels that are the opposite of the training's: each epoch of learning makes the loss worse."""
    data, valid = blobs("lens", 64, 0, 32), blobs("lens", 32, 1, 32)
    valid.labels["is_lens"] = ~valid.labels["is_lens"]
    card, lines = first_card(plan("lens"), data), []
    model = build_model(card, data, (8, 16))
    schedule = Schedule(30, 16, 7, patience=2)
    fit(model, card, data, valid, schedule, state=tmp_path / "state", log=lines.append)
    losses = [float(line.split("valid ")[1].split(",")[0]) for line in lines]
    assert len(losses) == int(np.argmin(losses)) + 3 < 30
    best = build_model(card, data, (8, 16))
    best.load_weights(tmp_path / "state" / "best.weights.h5")
    for one, other in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    again = []
    fit(model, card, data, valid, schedule, state=tmp_path / "state", log=again.append)
    assert again == []


def test_fit__bfloat16_twin_ends_in_float32(blobs, tmp_path):
    keras = import_keras()
    data = blobs("lens", 64, 0, 32)
    card = first_card(plan("lens"), data)
    dtypes = []

    def learn(model):
        dtypes.append(model.layers[1].compute_dtype)
        fit(model, card, data, data, Schedule(1, 16, 7), state=tmp_path / "state", log=print)

    model = in_precision("bfloat16", lambda: build_model(card, data, (8, 16)), learn)
    assert dtypes == ["bfloat16"] and model.layers[1].compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "stars"}, "task 'stars' is not known: expected lens, morphology"),
        ({"epochs": 0}, "epochs is 0, expected a whole number"),
        ({"task": "merger", "n_disks": 20}, "n_disks can be set for 'morphology' alone, not for 'merger'"),
        ({"task": "photoz", "mosaics": 2}, "mosaics can be set for 'lens' and 'merger' alone, not for 'photoz'"),
    ],
)
def test_plan__refuses(changes, message):
    values = {"task": "lens", "n_train": 20, "n_valid": 20, "n_test": 20, "seed": 1, "epochs": 1, "batch_size": 8}
    with pytest.raises(ConfigError, match=message):
        Plan(**(values | {"conditions": "wide"} | changes))
