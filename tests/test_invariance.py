"""The promises: the catalog does not depend on the tiles, the executor, or on being interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from small_sky import write_survey

from surveycnn.config import SurveyConfig, load_config
from surveycnn.run.progress import Silent
from surveycnn.run.session import open_session
from surveycnn.run.survey import run_infer, run_ingest, run_publish, run_survey

SCORE_TOLERANCE = 1e-4
"""Forward passes differ in the last bits with the place of a stamp in its batch."""


def config_for(sky: Path, output: Path, **overrides: object) -> SurveyConfig:
    return load_config(sky / "survey.yaml", [f"output={output}", *(f"{key}={value}" for key, value in overrides.items())])


def rows_of(output: Path) -> Table:
    return Table.read(output / "catalog.fits")


def assert_same_catalog(first: Table, second: Table) -> None:
    """Same sources in the same order, measurements to the bit, scores to the engine's accuracy."""
    assert first.colnames == second.colnames
    np.testing.assert_array_equal(first["source_id"], second["source_id"])
    models = ("lens_", "morph_", "merger_", "z_", "pz_")
    for name in first.colnames:
        if name.startswith(models):
            np.testing.assert_allclose(first[name], second[name], rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE, err_msg=name)
        else:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.fixture(scope="module")
def reference(small_run) -> Table:
    """Catalog of the small sky, in one process, in tiles of 256 px."""
    rows = rows_of(small_run)
    assert len(rows) > 100
    return rows


@pytest.mark.parametrize("core_px", [128, 512])
def test_catalog__does_not_depend_on_the_tiles(sky, tmp_path, reference, core_px):
    run_survey(config_for(sky, tmp_path, **{"tiling.core_px": core_px}))
    assert_same_catalog(reference, rows_of(tmp_path))


@pytest.mark.parametrize("cluster", ["threads", "local"])
def test_catalog__does_not_depend_on_the_executor(sky, tmp_path, reference, cluster, monkeypatch):
    """The catalog is published on it, too, as a large one would be."""
    monkeypatch.setattr("surveycnn.run.publish.SPREAD_ROWS", 0)
    run_survey(config_for(sky, tmp_path, cluster=cluster))
    assert_same_catalog(reference, rows_of(tmp_path))


def test_catalog__does_not_depend_on_the_batch_size(sky, tmp_path, reference):
    run_survey(config_for(sky, tmp_path, **{"engine.batch_size": 7}))
    assert_same_catalog(reference, rows_of(tmp_path))


def test_catalog__of_a_resumed_run_is_that_of_an_unbroken_one(sky, tmp_path, reference):
    class Stop(Exception):
        pass

    class StopsAfterTwo(Silent):
        """A progress that ends the run in the middle of infer."""

        def __init__(self) -> None:
            self.n_done = 0

        def advance(self, stage: str, n_units: int = 1) -> None:
            self.n_done += stage == "infer"
            if self.n_done == 2:
                raise Stop

    config = config_for(sky, tmp_path)
    with pytest.raises(Stop):
        run_survey(config, progress=StopsAfterTwo())
    tiles = sorted((tmp_path / "work" / "tiles").rglob("*.parquet"))
    times = {path: path.stat().st_mtime_ns for path in tiles}
    assert 2 <= len(tiles) < 4
    run_survey(config)
    assert {path: path.stat().st_mtime_ns for path in tiles} == times, "finished tiles were done again"
    assert_same_catalog(reference, rows_of(tmp_path))


def test_catalog__of_the_stages_alone_is_that_of_the_survey(sky, tmp_path, reference):
    config = config_for(sky, tmp_path)
    assert [record["band"] for record in run_ingest(config)] == ["g", "r", "i", "z"]
    assert run_infer(config) == {"done": 4}
    assert run_infer(config) == {}
    run_publish(config)
    assert_same_catalog(reference, rows_of(tmp_path))


def test_catalog__published_twice_has_the_same_bytes(sky, tmp_path):
    config = config_for(sky, tmp_path)
    run_survey(config)
    first = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file() and "work" not in path.parts}
    run_survey(config)
    second = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file() and "work" not in path.parts}
    assert first.keys() == second.keys()
    assert [str(path) for path in first if first[path] != second[path]] == []


def test_catalog__with_two_halves_of_a_mosaic_has_each_object_once(sky, tmp_path, reference):
    """The same images listed as two mosaics: every object is primary in one of them only."""
    for path in sky.glob("*.fits"):
        shutil.copy(path, tmp_path)
    images = [{"band": band, "path": f"{band}.fits"} for band in "griz"]
    survey = write_survey(tmp_path, mosaics=[{"id": "a", "images": images}, {"id": "b", "images": images}])
    result = run_survey(load_config(survey, [f"output={tmp_path / 'out'}"]))
    assert result.n_sources == 2 * len(reference)
    assert result.n_primary == len(reference)


def test_session__finds_nothing_left_to_do_after_a_run(sky, tmp_path):
    config = config_for(sky, tmp_path)
    run_survey(config)
    with open_session(config) as session:
        assert [list(session.unfinished(mosaic)) for mosaic in session.plan.mosaics] == [[]]
