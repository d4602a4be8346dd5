"""Catalogs that cannot be compared with their work directory, and what a comparison finds."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from small_sky import write_small_sky

from surveycnn.catalogs.columns import source_schema
from surveycnn.config import load_config
from surveycnn.errors import CatalogError
from surveycnn.models.card import write_card
from surveycnn.models.package import find_card, package_folder
from surveycnn.run.plan import make_plan
from surveycnn.run.resume import bind_plan
from surveycnn.run.session import open_session
from surveycnn.run.store import WorkStore, write_json
from surveycnn.run.verify import check_inputs, check_models, differences, recompute_tiles
from surveycnn.sky.files import file_sha256


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


@pytest.fixture
def made_with(tmp_path):
    """A package, and the folder of a catalog that says that it was made with it."""
    own = shutil.copytree(package_folder("photoz"), tmp_path / "own")
    card = find_card(own)
    record = {"reference": str(own), "sha256": card.sha256, "digest": card.digest}
    write_json(tmp_path / "provenance.json", {"models": {"photoz": record}})
    return own, tmp_path


def test_check_models__of_the_same_package_finds_nothing(made_with):
    assert check_models(made_with[1]) == []


def test_check_models__names_files_and_cards_that_are_others(made_with):
    own, catalog = made_with
    with (own / "model.keras").open("ab") as file:
        file.write(b"more")
    (own / "golden.npz").unlink()
    golden, network = check_models(catalog)
    assert re.fullmatch(r"model 'photoz': golden.npz is missing, the catalog was made with \w{12}\.\.\.", golden)
    assert re.fullmatch(r"model 'photoz': model.keras has sha256 \w{12}\.\.\., the catalog was made with \w{12}\.\.\.", network)
    shutil.copytree(package_folder("photoz"), own, dirs_exist_ok=True)
    card = find_card(own)
    write_card(own, card.model_copy(update={"name": "other"}))
    assert check_models(catalog) == ["model 'photoz': its card is another one than the catalog was made with"]
    shutil.rmtree(own)
    assert check_models(catalog) == [], "what is not at hand cannot be compared"


def test_check_inputs__names_files_that_are_others(tmp_path):
    for name in ("g", "w"):
        (tmp_path / f"{name}.fits").write_text(name)
    image = {"band": "g", "path": f"{tmp_path}/g.fits[0]", "weight": f"{tmp_path}/w.fits"}
    digests = {"image": file_sha256(str(tmp_path / "g.fits")), "weight": file_sha256(str(tmp_path / "w.fits"))}
    provenance = {
        "config": {"mosaics": [{"id": "m1", "images": [image]}]},
        "inputs": {"m1": {"g": {"digests": digests}}},
    }
    assert list(check_inputs(provenance, "m1")) == []
    (tmp_path / "w.fits").write_text("delivered again")
    (finding,) = check_inputs(provenance, "m1")
    assert re.fullmatch(r"mosaic 'm1': file '.*/w.fits' has sha256 \w{12}\.\.\., the catalog was made with \w{12}\.\.\.", finding)
    (tmp_path / "w.fits").unlink()
    assert list(check_inputs(provenance, "m1")) == []
