"""Catalogs that cannot be compared with their work directory, and what a comparison finds."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from small_sky import write_small_sky

from surveycnn.catalogs.columns import source_schema
from surveycnn.config import load_config
from surveycnn.errors import CatalogError
from surveycnn.run.plan import make_plan
from surveycnn.run.resume import bind_plan
from surveycnn.run.session import open_session
from surveycnn.run.store import WorkStore, write_json
from surveycnn.run.verify import differences, recompute_tiles


@pytest.fixture
def planned(sky, tmp_path):
    """The plan of a survey, and what its catalog would say of where it came from."""
    plan = make_plan(load_config(sky / "survey.yaml", ["models=lens", f"output={tmp_path}"]))
    return plan, {"run_digest": plan.digest, "config": plan.config.model_dump(mode="json")}


def test_recompute_tiles__folder_that_no_run_has_published(tmp_path):
    with pytest.raises(CatalogError, match=r"has no provenance.json: it is not the output of a run"):
        recompute_tiles(tmp_path, 1)


def test_recompute_tiles__work_directory_is_gone(planned, tmp_path):
    write_json(tmp_path / "provenance.json", planned[1])
    with pytest.raises(CatalogError, match=r"work directory '.*/work' of this catalog is gone: its tiles cannot be computed"):
        recompute_tiles(tmp_path, 1)


def test_recompute_tiles__work_directory_of_another_run(planned, tmp_path):
    plan, provenance = planned
    bind_plan(WorkStore(tmp_path / "work"), plan)
    write_json(tmp_path / "provenance.json", provenance)
    assert recompute_tiles(tmp_path, 1) == [], "the right one, in which no tile has run yet"
    write_json(tmp_path / "provenance.json", provenance | {"run_digest": "0" * 64})
    with pytest.raises(CatalogError, match=r"work directory '.*/work' now belongs to another run: its tiles cannot be compared"):
        recompute_tiles(tmp_path, 1)


@pytest.fixture
def rows():
    found = source_schema(["g"]).empty(3)
    found["source_id"].values[:] = [3, 5, 8]
    found["flux_g"].values[:] = [1.0, np.nan, 1e6]
    return found


def test_differences__of_equal_rows_and_of_rounding_are_none(rows):
    again = rows.copy(deep=True)
    again["flux_g"].values[:] *= 1.0005
    assert list(differences(rows, rows)) == list(differences(rows, again)) == []


def test_differences__says_what_differs(rows):
    again = rows.copy(deep=True)
    again["flux_g"].values[:] = [1.1, 0, 1.1e6]
    again["flags"].values[1] = 4
    expected = ["computed again, 1 values of flags differ", "computed again, 3 values of flux_g differ"]
    assert sorted(differences(rows, again)) == expected
    again["source_id"].values[:] = [3, 8, 9]
    assert list(differences(rows, again)) == ["computed again, 1 sources are missing and 1 are new"]


def test_recompute_tiles__of_inputs_that_have_changed_says_which(tmp_path):
    folder = write_small_sky(tmp_path, ny=260, nx=340, rng=np.random.default_rng(3), bands=("g", "r", "i"))
    config = load_config(folder / "survey.yaml", ["models=lens", f"output={tmp_path / 'out'}"])
    with open_session(config) as session:
        write_json(
            tmp_path / "out" / "provenance.json", {"config": config.model_dump(mode="json"), "run_digest": session.plan.digest}
        )
    with fits.open(folder / "g.fits", mode="update") as hdus:
        hdus[0].header["MAGZP"] = 26.0
    with pytest.raises(
        CatalogError, match=r"changed since this catalog was made \(mosaics.m1.images\[0\].zeropoint: 27.0 -> 26.0\)"
    ):
        recompute_tiles(tmp_path / "out", 1)
