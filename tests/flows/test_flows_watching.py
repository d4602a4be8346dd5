"""What a look at a configuration finds: nothing new, a change, files on their way, another run."""

from __future__ import annotations

import shutil

import pytest

from surveycnn.config import load_config
from surveycnn.flows.watching import look, run_watch
from surveycnn.run.publish import SurveyResult
from surveycnn.run.store import WorkStore


@pytest.fixture(scope="module")
def changes(sky, tmp_path_factory):
    """What makes a configuration of the small sky that of a run which is published."""
    output = tmp_path_factory.mktemp("watched")
    settings = [f"output={output}", "models=[photoz]", "formats=[fits]"]
    assert isinstance(run_watch(load_config(sky / "survey.yaml", settings), settle_minutes=0), SurveyResult)
    return settings


@pytest.fixture
def config(sky, changes):
    return load_config(sky / "survey.yaml", changes)


def test_look__at_what_is_published_finds_nothing_new(config):
    assert look(config, 0).reason.startswith("nothing new: mosaic m1 in the catalog ")
    assert look(config, 0).config is None


def test_look__finds_a_mosaic_that_was_added(sky, changes, tmp_path):
    for band in "griz":
        shutil.copy(sky / f"{band}.fits", tmp_path)
    images = ", ".join(f"{{band: {band}, path: {tmp_path}/{band}.fits}}" for band in "griz")
    old = ", ".join(f"{{band: {band}, path: {sky}/{band}.fits}}" for band in "griz")
    both = f"mosaics=[{{id: m1, images: [{old}]}}, {{id: m2, images: [{images}]}}]"
    config = load_config(sky / "survey.yaml", [*changes, both])
    found = look(config, 0)
    assert [mosaic.id for mosaic in found.config.mosaics] == ["m1", "m2"]
    assert "mosaic m2 added; an update takes: ingest of 4 bands, 4 tiles to run, 4 tiles as before" in found.reason


def test_look__leaves_what_is_being_written(config, sky, tmp_path):
    assert "mosaic m1, which the catalog has, is being written again" in look(config, 1e6).reason
    new = load_config(sky / "survey.yaml", [f"output={tmp_path / 'new'}"])
    assert look(new, 1e6).reason == "nothing to run; left to the next look, as files are on their way: mosaic m1"
    assert not (tmp_path / "new").exists()


def test_look__steps_aside_for_another_run(config):
    with WorkStore(config.work_path).lock():
        found = look(config, 0)
    assert found.is_busy
    assert "is in use by process" in found.reason
