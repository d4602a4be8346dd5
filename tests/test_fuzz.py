"""The fuzzer catches what it is for, and a few cases of every kind of input end as they should."""

from __future__ import annotations

import contextlib
from pathlib import Path

import fuzz_probe
import pytest

from benchmarks.fuzz.kinds import chance, load_kind
from benchmarks.fuzz.runner import run_kind
from surveycnn.errors import UserError

CAUGHT = {
    "hang": ("hang", "hangs"),
    "kill": ("crash", "code -11"),
    "memory": ("MemoryError", "MemoryError"),
    "swallowed": ("memory", "MB"),
    "write": ("reached out", "open"),
    "native": ("reached out", "changed beside its folder: beside.parquet"),
    "foreign": ("ValueError", "could not convert"),
    "not_user": ("SchemaError", "not a UserError"),
    "process": ("reached out", "subprocess.Popen"),
    "connect": ("reached out", "socket.getaddrinfo"),
    "code": ("reached out", "exec of <catalog>"),
    "unpickle": ("reached out", "pickle.find_class"),
    "exit": ("SystemExit", "SystemExit"),
}


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, str]]:
    """Word, place and text of each failure of the probe, by the name of its case."""
    tally = run_kind("fuzz_probe", 1, range(len(fuzz_probe.CASES)), folder=tmp_path_factory.mktemp("fuzz"))
    assert tally.words["result result"] == 1
    assert tally.words["error InputError"] == 1
    found = {number: (f.word, f.place, f.text) for f in tally.failures.values() for number in f.cases}
    return {fuzz_probe.CASES[number]: failure for number, failure in found.items()}


@pytest.mark.parametrize("name", CAUGHT)
def test_run_kind__catches(name: str, probed: dict[str, tuple[str, str, str]]) -> None:
    word, text = CAUGHT[name]
    assert probed[name][0] == word
    assert text in probed[name][2]


def test_run_kind__place_is_the_innermost_of_ours(probed: dict[str, tuple[str, str, str]]) -> None:
    assert "surveycnn/sky/zeropoints.py" in probed["foreign"][1]


N_CASES = {"where": 15, "config": 40, "tables": 20, "fits_headers": 12, "fits_bytes": 12, "catalogs": 12, "work_dir": 4}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", N_CASES)
def test_kinds__end_in_results_or_our_errors(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: `python -m benchmarks.fuzz` runs thousands, each within its limits."""
    kind, seeds, results = load_kind(name), tmp_path / "seeds", 0
    seeds.mkdir()
    monkeypatch.chdir(seeds)
    kind.prepare(seeds)
    for number in range(N_CASES[name]):
        folder = tmp_path / f"case-{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        with contextlib.suppress(UserError):
            kind.run_case(kind.make_case(chance(name, 12, number), seeds, folder))
            results += 1
    assert 0 < results < N_CASES[name]


def test_run_kind__the_same_cases_for_the_same_seed(tmp_path: Path) -> None:
    make_case = load_kind("where").make_case
    first, again, other = ([make_case(chance("where", seed, n), tmp_path, tmp_path) for n in range(20)] for seed in (1, 1, 2))
    assert first == again != other
