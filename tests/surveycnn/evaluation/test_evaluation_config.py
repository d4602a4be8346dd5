"""What an evaluation refuses before it simulates anything, and the seeds that it takes."""

import numpy as np
import pytest

from surveycnn.commands.flow import flow_config
from surveycnn.errors import ConfigError
from surveycnn.evaluation import sets
from surveycnn.evaluation.config import EvaluateConfig
from surveycnn.evaluation.run import run_evaluate
from surveycnn.evaluation.sets import SetSpec, check_mix, check_seeds, measured_sets, open_set, training_sets
from surveycnn.models.package import find_card
from surveycnn.training.data import LabelledStamps


def test_config__one_model_many_or_the_shipped_ones():
    assert EvaluateConfig(model="lens").models == ["lens"]
    assert flow_config("evaluate", None, ["model=[merger,photoz]"]).models == ["merger", "photoz"]
    assert flow_config("evaluate", None, []).models == ["lens", "morphology", "merger", "photoz"]
    assert str(EvaluateConfig(output="a").work_path) == "a/work" and str(EvaluateConfig(work_dir="b").work_path) == "b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=[]", "no model is named"),
        ("model=[lens,lens]", "a model is named twice"),
        ("methods=[magic]", "unknown method 'magic': known are "),
        ("methods=[deepmerge,deepmerge]", "a method is named twice"),
    ],
)
def test_config__mistakes(override, message):
    with pytest.raises(ConfigError, match=message):
        flow_config("evaluate", None, [override])


def test_sets__each_has_a_seed_of_its_own():
    config = EvaluateConfig(model="merger", n=100, seed=50, n_train=40, n_valid=20)
    specs = [*measured_sets(config, "merger", "train"), *training_sets(config, "merger", "train")]
    assert [(spec.role, spec.seed, spec.n, spec.conditions) for spec in specs] == [
        ("test", 50, 100, "wide"),
        ("shifted", 53, 50, "shifted"),
        ("train", 51, 40, "wide"),
        ("valid", 52, 20, "wide"),
    ]
    assert len(measured_sets(config.model_copy(update={"shifted": False}), "merger", "train")) == 1
    assert [spec.seed for spec in training_sets(config.model_copy(update={"train_seed": 1}), "merger", "train")] == [1, 2]


def test_check_seeds__those_of_the_training():
    card = find_card("merger")
    first = card.training.seed
    message = rf"key 'seed': 7 takes the seed {first + 1}, but the model 'merger' was trained .* choose a seed of {first + 20}"
    with pytest.raises(ConfigError, match=message):
        check_seeds(7, [first + 1, first + 30], card)
    check_seeds(7, [first + 20], card)


def test_run_evaluate__refuses_seeds_of_the_training_and_methods_without_a_model(tmp_path):
    common = {"model": "photoz", "output": str(tmp_path / "out")}
    seed = find_card("photoz").training.seed
    with pytest.raises(ConfigError, match=f"key 'seed': {seed} takes the seed {seed}"):
        run_evaluate(EvaluateConfig(**common, seed=seed))
    with pytest.raises(ConfigError, match="'deepmerge' is a merger method, but no model of that task is measured: leave it out"):
        run_evaluate(EvaluateConfig(**common, methods=["deepmerge"]))
    common_merger = {"model": "merger", "output": str(tmp_path / "out"), "methods": ["deepmerge"]}
    with pytest.raises(ConfigError, match="key 'train_seed': methods would be trained and measured on seed 903"):
        run_evaluate(EvaluateConfig(**common_merger, seed=900, train_seed=902))
    with pytest.raises(ConfigError, match="key 'mix': the task 'photoz' has no mix 'survey', expected one of train"):
        run_evaluate(EvaluateConfig(**common, mix="survey"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lens_confusion.png").write_text("mine")
    with pytest.raises(ConfigError, match="holds lens_confusion.png, which no evaluation has written"):
        run_evaluate(EvaluateConfig(**common))


def test_check_mix__conditions_too():
    check_mix("survey", "wide", "lens")
    with pytest.raises(ConfigError, match="sunny"):
        check_mix("train", "sunny", "lens")


def test_open_set__lenses_of_one_kind_alone(tmp_path, monkeypatch):
    stamps, labels = np.zeros((16, 4, 4, 3), np.float32), {"is_lens": np.ones(16, bool)}
    monkeypatch.setattr(sets, "simulated", lambda *args, **kwargs: LabelledStamps("lens", ("g", "r", "i"), stamps, labels))
    message = "the set 'test' of 16 stamps of the mix 'lenses' has 16 lenses, expected both kinds: raise n or take another mix"
    with pytest.raises(ConfigError, match=message):
        open_set(SetSpec("test", "lens", "lenses", "wide", 16, 1), tmp_path, 1, print)
