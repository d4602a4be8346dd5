"""The notebooks run on a small catalog, and the outputs that they show are those of their cells."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from astropy.table import Table

from surveycnn.catalogs.query import open_catalog

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("exploring_a_catalog", "judging_a_lens_finder")
MOST_BYTES = 400_000


def _tool():
    spec = importlib.util.spec_from_file_location("execute_notebooks", ROOT / "docs" / "notebooks" / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def demo(small_run, tmp_path, monkeypatch) -> Path:
    """runs/demo in the current folder: the small run, with a list of what was drawn beside it, made of what was found."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "demo"
    folder.mkdir(parents=True)
    for part in small_run.iterdir():
        (folder / part.name).symlink_to(part)
    rows = open_catalog(small_run).where("is_primary").top(40, by="lens_logit").to_table()
    truth = Table({"ra": rows["ra"], "dec": rows["dec"], "kind": np.where(np.arange(len(rows)) % 8 == 0, "lens", "galaxy")})
    (folder / "simulated").mkdir()
    truth.write(folder / "simulated" / "truth.fits")
    return Path("runs/demo")


@pytest.mark.parametrize("name", NAMES)
def test_notebook__runs(name, demo, monkeypatch):
    monkeypatch.setenv("SURVEYCNN_STAMPS", "80")
    monkeypatch.setenv("SURVEYCNN_CATALOG", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = _tool().execute(ROOT / "docs" / "notebooks" / f"{name}.ipynb", demo)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_notebook__shows_the_outputs_of_its_cells(name):
    path = ROOT / "docs" / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata["surveycnn"]["outputs_of"] == _tool().digest(notebook), (
        f"{path.name} was edited since its outputs were made: run `python docs/notebooks/execute.py runs/demo`"
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert path.stat().st_size < MOST_BYTES


def test_notebooks__are_all_tested():
    assert [path.stem for path in _tool().notebooks()] == list(NAMES)
