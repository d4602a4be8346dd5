"""Stages out of order, and a work directory that cannot be made."""

from __future__ import annotations

import os

import numpy as np
import pytest
import yaml
from small_sky import write_small_sky

from surveycnn.config import load_config
from surveycnn.errors import ConfigError, InputError
from surveycnn.run.checks import check_output
from surveycnn.run.session import infer_mosaic, ingest_mosaic, open_session
from surveycnn.run.store import WorkStore
from surveycnn.run.survey import run_survey
from surveycnn.sky.chunks import ChunkStore


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = write_small_sky(tmp_path_factory.mktemp("tiny"), ny=260, nx=340, rng=np.random.default_rng(3), bands=("g", "r", "i"))
    return folder / "survey.yaml"


def test_infer_mosaic__after_an_ingest_that_was_broken_off(survey, tmp_path):
    with open_session(load_config(survey, ["models=lens", f"output={tmp_path}"])) as session:
        mosaic = session.plan.mosaics[0]
        assert [record["band"] for record in ingest_mosaic(session, mosaic)] == ["g", "r", "i"]
        chunks = ChunkStore.open(session.store.chunk_path("m1"), mode="r+")
        for band in "ri":
            chunks.remove_record(band)
        with pytest.raises(InputError, match="mosaic 'm1' has not been ingested in r, i: run the flow ingest, or survey"):
            infer_mosaic(session, mosaic)


def test_lock__folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    work = tmp_path / "file" / "work"
    with (
        pytest.raises(ConfigError, match=r"key 'work_dir': cannot make the folder '.*/file/work' \(.*\): give another path"),
        WorkStore(work).lock(),
    ):
        pass


def test_run_survey__again_starts_no_cluster(sky, tmp_path, monkeypatch):
    """Of several mosaics too: there may be a queue before the cluster."""
    tree = yaml.safe_load((sky / "survey.yaml").read_text())
    images = [image | {"path": str(sky / image["path"])} for image in tree["mosaics"][0]["images"]]
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(tree | {"mosaics": [{"id": name, "images": images} for name in ("a", "b")]}))
    config = load_config(path, [f"output={tmp_path / 'run'}", "models=[photoz]", "tiling.core_px=512"])
    first = run_survey(config)
    with open_session(config) as session:
        assert not session.has_work()
    monkeypatch.setattr("surveycnn.run.session.open_cluster", lambda *_, **__: pytest.fail("a cluster is started"))
    assert run_survey(config).n_sources == first.n_sources > 100


@pytest.fixture
def ordinary_user():
    """Lets permissions count where the tests run as root: the process asks what its real user may."""
    if os.getuid() == 0:
        try:
            os.setresuid(65534, 0, 0)
        except OSError as error:
            pytest.skip(f"root may write everywhere, and cannot become another user here: {error}")
        yield
        os.setresuid(0, 0, 0)
    else:
        yield


def test_check_output__folder_without_permission_to_write(survey, tmp_path, ordinary_user):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(ConfigError, match=r"key 'output': no permission to write into '.*/closed': give another path"):
        check_output(load_config(survey, [f"output={closed / 'run'}"]))
