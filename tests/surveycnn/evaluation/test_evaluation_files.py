"""Files of an evaluation: whole or not there, kept under a key, never those of somebody else."""

import numpy as np
import pytest

from surveycnn.errors import ConfigError
from surveycnn.evaluation.entries import make_method
from surveycnn.evaluation.files import check_output, forget, write_files
from surveycnn.evaluation.kept import digest_of_files, kept_arrays


def test_kept_arrays__are_made_once_for_each_key(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"score": np.arange(3.0), "kind": np.array(["a", "b", "c"])}

    first, second = (kept_arrays(tmp_path / "a", "mine", "key", make) for _ in range(2))
    assert len(made) == 1 and first["score"].tolist() == second["score"].tolist() and second["kind"].tolist() == ["a", "b", "c"]
    kept_arrays(tmp_path / "a", "mine", "another", make)
    assert len(made) == 2 and len(list((tmp_path / "a").iterdir())) == 2


def test_digest_of_files__sees_names_and_contents(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    two.write_text("a")
    digests = {digest_of_files([one]), digest_of_files([two]), digest_of_files([one], "word")}
    one.write_text("b")
    assert len(digests | {digest_of_files([one])}) == 4


def test_write_files__leaves_nothing_half_written(tmp_path):
    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_files(tmp_path, {"a": lambda path: path.write_text("whole"), "b": fail})
    assert (tmp_path / "a").read_text() == "whole" and not (tmp_path / "b").exists()


def test_check_output__files_without_their_record(tmp_path):
    (tmp_path / "b.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds b.md, which no evaluation has written \(no r.json\): give another folder"):
        check_output(tmp_path, "r.json", ("a.md", "b.md"), "evaluation")
    (tmp_path / "r.json").write_text("{}")
    check_output(tmp_path, "r.json", ("a.md", "b.md"), "evaluation")


def test_forget__what_matches_and_nothing_else(tmp_path):
    (tmp_path / "set-seed1").mkdir()
    (tmp_path / "set-seed1" / "x").write_text("")
    (tmp_path / "a.npz").write_text("")
    (tmp_path / "mine").write_text("")
    forget(tmp_path, ("set-*", "*.npz"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_make_method__passes_are_for_those_that_are_fitted_in_passes():
    class Network:
        def __init__(self, *, epochs: int = 2) -> None:
            self.epochs = epochs

    assert make_method(Network, None).epochs == 2 and make_method(Network, 9).epochs == 9
    assert isinstance(make_method(object, 9), object)
