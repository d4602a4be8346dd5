"""Packages of models of users': what is right is a package, what is wrong is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import surveycnn
from surveycnn.errors import InputError, ModelError
from surveycnn.models.backend import import_keras
from surveycnn.models.package import check_package


@pytest.fixture(scope="module")
def stamps() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 5, (60, 20, 20, 2)).astype("f4")


def network(n_outputs: int = 1, **last: Any) -> Any:
    layers, keras = import_keras().layers, import_keras()
    return keras.Sequential(
        [keras.Input((16, 16, 2)), layers.Conv2D(3, 5), layers.GlobalMaxPooling2D(), layers.Dense(n_outputs, **last)]
    )


ABOUT: dict[str, Any] = {"bands": ["r", "VIS"], "pixel_scale": 0.1, "softening": [5, 4]}


def test_save_model__gives_a_package_that_is_accepted_and_calibrated(tmp_path, stamps):
    labels = np.arange(60) % 2
    folder, model = tmp_path / "mine", network()
    card = surveycnn.save_model(
        folder, model, task="lens", **ABOUT, examples=stamps, prior=(0.5, 0.01), validation=(stamps, labels), notes="tiny"
    )
    assert check_package(folder) == [] and (card.name, card.stamp_px, card.notes) == ("mine", 16, "tiny")
    assert card.metrics["auroc"].n == 60 and "calibrated it" in card.metrics["ece"].definition
    scaled = surveycnn.scale_stamps(stamps[:, 2:-2, 2:-2], ABOUT["softening"])
    logit = surveycnn.load_model(folder).predict(stamps)["lens_logit"].values
    np.testing.assert_allclose(logit, np.asarray(model(scaled))[:, 0], atol=1e-4)


def test_save_model__takes_questions_of_its_own(tmp_path, stamps):
    questions = {"questions": {"ring": ["yes", "no"]}}
    surveycnn.save_model(tmp_path / "rings", network(2), task="morphology", **ABOUT, examples=stamps, outputs=questions)
    found = surveycnn.load_model(tmp_path / "rings").predict(stamps)
    assert {"morph_ring_yes", "morph_ring_no"} <= set(found)
    np.testing.assert_allclose(found["morph_ring_yes"] + found["morph_ring_no"], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": {"activation": "sigmoid"}}, ModelError, "has the activation sigmoid: expected the raw outputs"),
        ({"network": {"n_outputs": 3}}, ModelError, r"to \(3,\), the card says .* to \(1,\)"),
        ({"prior": None}, ModelError, "a lens model needs prior"),
        ({"bands": ["r"], "softening": [5]}, ModelError, r"takes \(16, 16, 2\), expected square stamps .* in 1 bands"),
        ({"softening": [5]}, ModelError, "softening has 1 values, expected one for each of the bands r VIS"),
        ({"task": "bars"}, ModelError, "task: Input should be 'lens'"),
        ({"colour": "red"}, ModelError, "colour: unknown key; allowed keys are name, version"),
        ({"examples": np.zeros((3, 8, 8, 2))}, InputError, r"examples have the shape \(3, 8, 8, 2\), expected"),
        ({"validation": (np.zeros((3, 16, 16, 2)), [1, 0])}, InputError, r"labels of validation have the shape \(2,\)"),
    ],
)
def test_save_model__says_what_is_wrong(tmp_path, stamps, changes, error, message):
    changes = dict(changes)
    values = (
        {"model": network(**changes.pop("network", {})), "task": "lens", "examples": stamps, "prior": (0.5, 0.01)}
        | ABOUT
        | changes
    )
    with pytest.raises(error, match=message):
        surveycnn.save_model(tmp_path / "mine", **values)


def test_save_model__refuses_a_validation_that_tells_nothing(tmp_path, stamps):
    bright = stamps + 100 * (np.arange(60) % 2)[:, None, None, None].astype("f4")
    model = network()
    model.layers[0].set_weights([np.ones((5, 5, 2, 3), "f4"), np.zeros(3, "f4")])
    model.layers[-1].set_weights([np.ones((3, 1), "f4"), np.zeros(1, "f4")])
    with pytest.raises(InputError, match="told apart without a mistake"):
        surveycnn.save_model(
            tmp_path / "mine",
            model,
            task="lens",
            **ABOUT,
            examples=stamps,
            prior=(0.5, 0.01),
            validation=(bright, np.arange(60) % 2),
        )
    assert not (tmp_path / "mine").exists(), "a package that is not calibrated is left behind"


def test_save_model__refuses_a_probability_behind_a_layer_without_weights(tmp_path, stamps):
    keras = import_keras()
    model = keras.Sequential([*network(1, activation="sigmoid").layers, keras.layers.Reshape((1,))])
    with pytest.raises(ModelError, match="has the activation sigmoid"):
        surveycnn.save_model(tmp_path / "mine", model, task="lens", **ABOUT, examples=stamps, prior=(0.5, 0.01))
