"""Cards: what is refused, what is derived from them, and that they come back from disk as they were."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from surveycnn.errors import ModelError
from surveycnn.models.card import Calibration, Card, Domain, Outputs, Prior, Scaling, Training, read_card, write_card
from surveycnn.models.package import find_card


def lens_values(**changes) -> dict:
    values = {
        "name": "lens",
        "version": "1",
        "task": "lens",
        "bands": ["g", "r"],
        "pixel_scale": 0.2,
        "stamp_px": 16,
        "scaling": Scaling(softening={"g": 1.0, "r": 2.0}),
        "prior": Prior(training=0.5, survey=1e-3),
        "calibration": Calibration(),
        "domain": Domain(band="r", magnitude=(17, 24)),
        "training": Training(simulation="blobs", seed=1, n=0, command="none"),
        "licence": "BSD-3-Clause",
        "keras": "3",
    }
    return values | changes


def test_write_card__comes_back_equal(tmp_path):
    card = Card(**lens_values())
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


def test_card__stamps_follow_the_mosaic_unless_it_says_sky():
    assert Card(**lens_values()).orientation == "mosaic"
    assert Card(**lens_values(orientation="sky")).orientation == "sky"


def test_read_card__unknown_key_is_named_with_the_allowed_ones(tmp_path):
    write_card(tmp_path, Card(**lens_values()))
    path = tmp_path / "card.yaml"
    path.write_text(path.read_text() + "pixelscale: 0.3\n")
    with pytest.raises(ModelError, match="pixelscale: unknown key; allowed keys are name, version"):
        read_card(tmp_path)


def test_read_card__unknown_key_in_a_part(tmp_path):
    write_card(tmp_path, Card(**lens_values()))
    values = yaml.safe_load((tmp_path / "card.yaml").read_text())
    values["prior"]["sky"] = 0.1
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ModelError, match=r"prior\.sky: unknown key"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2", "is not YAML"), ("- a\n", "cannot be used: card: "), ("!!python/object/apply:os.getcwd []", "is not YAML")],
)
def test_read_card__not_a_card(tmp_path, text, message):
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(ModelError, match=message):
        read_card(tmp_path)


def test_read_card__missing_and_too_large(tmp_path):
    with pytest.raises(ModelError, match=r"no model package at .*card\.yaml is missing"):
        read_card(tmp_path)
    (tmp_path / "card.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ModelError, match="has more than 1000000 bytes"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior": None}, "a lens model needs prior"),
        ({"task": "merger"}, "needs outputs.time_mean, outputs.time_scale"),
        ({"task": "morphology"}, "needs outputs.questions"),
        ({"task": "photoz"}, "needs outputs.n_components"),
        ({"bands": ["g", "g"]}, "name a band twice"),
        ({"bands": ["g", "i"]}, "scaling.softening has the bands"),
        ({"photometry": {"softening": {"g": 1.0}}}, r"photometry.softening has the bands \['g'\], expected \['g', 'r'\]"),
        ({"extinction": {"g": 3.2, "i": 1.6}}, r"extinction has the bands \['g', 'i'\], expected \['g', 'r'\] or none"),
        ({"flux_unit": "uJy"}, "flux_unit"),
        ({"orientation": "north"}, "orientation\n.*'mosaic' or 'sky'"),
        ({"pixel_scale": float("nan")}, "pixel_scale"),
        ({"domain": {"band": "r", "magnitude": [24, 17]}}, "expected .brightest, faintest."),
        ({"prior": {"training": 0.5, "survey": 0.0}}, "survey"),
        (
            {"reliability": {"score": [0.1, 0.9], "fraction": [0.1], "error": [0.0], "n": 5, "definition": "of two"}},
            r"score, fraction and error have \[2, 1, 1\] bins, expected the same number",
        ),
    ],
)
def test_card__refuses(changes, message):
    with pytest.raises(ValidationError, match=message):
        Card(**lens_values(**changes))


@pytest.mark.parametrize(
    ("changes", "n_outputs", "columns"),
    [
        ({}, 1, ["lens_logit", "lens_score", "lens_prob"]),
        (
            {"task": "morphology", "outputs": Outputs(questions={"bar": ["yes", "no"]})},
            2,
            ["morph_bar_yes", "morph_bar_yes_conc", "morph_bar_no", "morph_bar_no_conc"],
        ),
        ({"task": "photoz", "outputs": Outputs(n_components=4)}, 12, ["z_phot", "z_phot_lo", "z_phot_hi", "z_mode"]),
        ({"task": "merger", "outputs": Outputs(time_mean=0, time_scale=1)}, 3, ["merger_logit", "merger_score"]),
    ],
)
def test_card__outputs_and_columns(changes, n_outputs, columns):
    card = Card(**lens_values(**changes))
    assert card.n_outputs == n_outputs
    assert list(card.schema)[: len(columns)] == columns
    assert card.input_shape == (16, 16, 2)


def test_digest__is_the_same_whatever_was_measured():
    curve = {"score": [0.1, 0.9], "fraction": [0.2, 0.8], "error": [0.1, 0.1], "n": 50, "definition": "of two"}
    assert Card(**lens_values(reliability=curve)).digest == Card(**lens_values()).digest


def test_shipped_cards__have_the_reliability_that_was_measured():
    path = Path(__file__).resolve().parents[3] / "docs" / "card_reliability.py"
    spec = importlib.util.spec_from_file_location("card_reliability", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for task, curve in module.measured().items():
        card = find_card(task)
        assert card.reliability == curve, "run `python docs/card_reliability.py`"
        distance = np.abs(np.subtract(curve.score, curve.fraction)).mean()
        assert abs(distance - card.metrics["ece"].value) < 0.01  # two sets of the same simulation


def test_find_card__imports_no_engine():
    code = (
        "import sys, surveycnn.models.package as p; cards = [p.find_card(name) for name in p.shipped_models()];"
        "assert sorted(c.task for c in cards) == ['lens', 'merger', 'morphology', 'photoz'], cards;"
        "bad = {'keras', 'tensorflow', 'openvino', 'jax', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
