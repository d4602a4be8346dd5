"""Stages out of order, and a work directory that cannot be made."""

from __future__ import annotations

import os

import numpy as np
import pytest
from small_sky import write_small_sky

from surveycnn.config import load_config
from surveycnn.errors import ConfigError, InputError
from surveycnn.run.checks import check_output
from surveycnn.run.session import infer_mosaic, ingest_mosaic, open_session
from surveycnn.run.store import WorkStore
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
