"""A whole challenge on some dozen stamps: our shipped model and two methods that are trained in no time."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from surveycnn.challenge import plots
from surveycnn.challenge.config import ChallengeConfig
from surveycnn.challenge.run import run_challenge
from surveycnn.cli import main
from surveycnn.errors import ConfigError, ModelError
from surveycnn.models.card import write_card
from surveycnn.models.package import find_card, package_folder

SMALL = {"n_challenge": 66, "n_hard": 24, "n_population": 16, "n_train": 24, "n_valid": 24, "n_workers": 1}


class Lines:
    """Keeps what is told."""

    def __init__(self):
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def stamps(tmp_path_factory) -> Path:
    """Folder whose `stamps` all challenges of this module share."""
    return tmp_path_factory.mktemp("challenge")


@pytest.fixture
def config(stamps, tmp_path):
    """A small challenge whose stamps are there as soon as one test has simulated them."""
    work = tmp_path / "work"
    work.mkdir()
    (stamps / "stamps").mkdir(exist_ok=True)
    os.symlink(stamps / "stamps", work / "stamps")
    return ChallengeConfig(**SMALL, output=str(tmp_path / "out"), work_dir=str(work))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The shipped model without its first stage."""
    folder = shutil.copytree(package_folder("lens"), tmp_path_factory.mktemp("alone") / "lens")
    write_card(folder, find_card("lens").model_copy(update={"cascade": None}))
    return folder


@pytest.fixture
def short(config, alone):
    """The same on the two sets that are not shifted, without a first stage."""
    return config.model_copy(update={"shifted": False, "model": str(alone)})


def without_paths(record: dict) -> dict:
    """A record without what says where it lies."""
    settings = {key: value for key, value in record["config"].items() if key not in ("output", "work_dir")}
    return record | {"config": settings, "output": ""}


def test_run_challenge__writes_record_tables_and_pictures(zoo, config):
    told = Lines()
    done = run_challenge(config, progress=told)
    folder = Path(config.output)
    assert {path.name for path in folder.iterdir()} == {"challenge.json", "challenge.md", *plots.PICTURES}
    assert json.loads((folder / "challenge.json").read_text()) == done.record
    assert list(done.record["finders"]) == ["surveycnn", "surveycnn-cascade", "brightness", "nothing"]
    for name, n in (("challenge", 66), ("hard", 24), ("challenge_shifted", 33), ("hard_shifted", 24), ("population", 16)):
        about = done.record["sets"][name]
        assert about["n"] == n == about["n_lenses"] + about["n_negatives"] == sum(about["kinds"].values())
    ours, staged = (done.record["finders"][name] for name in ("surveycnn", "surveycnn-cascade"))
    assert ours["sets"]["challenge"]["metrics"]["auroc"]["value"] > 0.7, "the shipped model ranks lenses first"
    assert staged["sets"]["challenge"]["metrics"]["tpr0"] == ours["sets"]["challenge"]["metrics"]["tpr0"]
    assert "behind a first stage of 212,721 that lets 2.1% pass" in staged["title"] and staged["sets"] != ours["sets"]
    assert done.record["finders"]["nothing"]["sets"]["hard"]["metrics"]["auroc"]["value"] == 0.5
    assert any(line.startswith("method brightness: fit on 24 stamps") for line in told.lines)
    assert "surveycnn" in done.summary() and "| **surveycnn** |" in (folder / "challenge.md").read_text()


def test_run_challenge__twice_is_once(zoo, short):
    def files():
        return {path: path.stat().st_mtime_ns for path in Path(short.work_dir).rglob("*") if path.is_file()}

    first, kept = run_challenge(short, progress=Lines()), files()
    second = run_challenge(short, progress=Lines())
    assert second.record == first.record
    assert files() == kept
    assert zoo["brightness"].fits == 1


def test_run_challenge__resumed_is_uninterrupted(zoo, short, tmp_path, monkeypatch):
    whole = run_challenge(short, progress=Lines())
    other = short.model_copy(update={"output": str(tmp_path / "b"), "work_dir": str(tmp_path / "b-work")})
    shutil.copytree(Path(short.work_dir) / "stamps", tmp_path / "b-work" / "stamps")

    def interrupted(self, stamps):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(zoo["nothing"], "score", interrupted)
        run_challenge(other, progress=Lines())
    assert not Path(other.output).exists()
    resumed = run_challenge(other, progress=Lines())
    assert without_paths(resumed.record) == without_paths(whole.record)
    assert zoo["brightness"].fits == 2, "once for each work folder"


def test_run_challenge__without_methods_and_shifted_measures_the_model_alone(short):
    alone = short.model_copy(update={"methods": []})
    record = run_challenge(alone, progress=Lines()).record
    assert list(record["finders"]) == ["surveycnn"] and list(record["sets"]) == ["challenge", "hard", "population"]


def test_run_challenge__fresh_forgets_its_own_files_and_no_others(zoo, short):
    one = short.model_copy(update={"methods": ["brightness"]})
    run_challenge(one, progress=Lines())
    work = Path(short.work_dir)
    (work / "stamps").unlink()
    (work / "scores" / "mine.txt").write_text("mine")
    (work / "zoo" / "mine").mkdir()
    run_challenge(one.model_copy(update={"n_challenge": 33, "n_hard": 16}), fresh=True, progress=Lines())
    assert zoo["brightness"].fits == 2
    assert (work / "scores" / "mine.txt").is_file() and (work / "zoo" / "mine").is_dir()


def test_run_challenge__refuses_what_is_no_lens_model(config):
    with pytest.raises(ModelError, match="key 'model': 'photoz' is a photoz model, expected a lens model"):
        run_challenge(config.model_copy(update={"model": "photoz"}))


def test_run_challenge__refuses_files_of_somebody_else(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "roc.png").write_text("not ours")
    with pytest.raises(ConfigError, match=r"holds roc.png, which no challenge has written .* give another folder"):
        run_challenge(config)
    assert (tmp_path / "out" / "roc.png").read_text() == "not ours"


def test_run_challenge__refuses_a_set_without_lenses(config, monkeypatch, make_set):
    monkeypatch.setattr("surveycnn.challenge.sets.simulated", lambda task, n, **kwargs: make_set(n, 1, prior=0.0))
    with pytest.raises(
        ConfigError, match="the set 'challenge' of 66 stamps has 0 lenses, expected both kinds: raise n_challenge"
    ):
        run_challenge(config, progress=Lines())


def test_run_flow__challenge_prints_its_table(zoo, config, capsys):
    overrides = [f"{key}={getattr(config, key)}" for key in (*SMALL, "output", "work_dir")]
    arguments = [part for override in (*overrides, "methods=[brightness]", "shifted=false") for part in ("--set", override)]
    assert main(["run-flow", "challenge", "--no-prefect", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("finder ") and "brightness" in printed.out
    assert "set hard: 24 stamps, mix hard" in printed.err


def test_run_flow__challenge_with_an_unknown_method_is_a_users_mistake(zoo, capsys):
    assert main(["run-flow", "challenge", "--set", "methods=[deeplens]"]) == 2
    assert "unknown method 'deeplens': known are brightness, nothing" in capsys.readouterr().err
