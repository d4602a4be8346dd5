"""What a user may ask of a challenge, and which sets follow from it."""

import pytest

from surveycnn.challenge.config import ChallengeConfig
from surveycnn.challenge.sets import check_seeds, held_out_sets, training_sets
from surveycnn.commands.flow import flow_config
from surveycnn.errors import ConfigError
from surveycnn.models.package import find_card


def test_flow_config__refuses_an_unknown_method_and_names_the_known_ones(zoo):
    with pytest.raises(ConfigError, match="unknown method 'deeplens': known are brightness, nothing"):
        flow_config("challenge", None, ["methods=[brightness,deeplens]"])


def test_flow_config__refuses_a_method_that_is_named_twice(zoo):
    with pytest.raises(ConfigError, match="named twice"):
        flow_config("challenge", None, ["methods=[brightness,brightness]"])


def test_flow_config__of_nothing_is_all_methods_on_fifty_thousand_negatives(zoo):
    config = flow_config("challenge", None, [])
    assert config.methods is None and config.shifted
    assert config.n_challenge * 10 / 11 == pytest.approx(50_500, abs=100)
    assert str(config.work_path) == "runs/challenge/work"
    assert str(ChallengeConfig(work_dir="elsewhere").work_path) == "elsewhere"


def test_held_out_sets__have_seeds_of_their_own():
    config = ChallengeConfig()
    specs = [*training_sets(config), *held_out_sets(config)]
    assert len({spec.seed for spec in specs}) == len(specs) == 7
    names = {spec.name: (spec.mix, spec.conditions) for spec in held_out_sets(config)}
    assert names["challenge"] == ("survey", "wide") and names["hard_shifted"] == ("hard", "shifted")
    assert [spec.name for spec in held_out_sets(ChallengeConfig(shifted=False))] == ["challenge", "hard", "population"]


def test_held_out_sets__without_shifted_are_the_same_stamps():
    both = held_out_sets(ChallengeConfig())
    assert [*both[:2], both[-1]] == held_out_sets(ChallengeConfig(shifted=False))


def test_check_seeds__refuses_stamps_that_the_model_was_trained_on():
    card = find_card("lens")
    check_seeds(ChallengeConfig(), card)
    with pytest.raises(ConfigError, match=f"key 'seed': {card.training.seed} takes the seed .* choose a seed of"):
        check_seeds(ChallengeConfig(seed=card.training.seed), card)
