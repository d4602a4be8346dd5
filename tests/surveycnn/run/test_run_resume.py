"""What a work unit's id depends on, what is said of another plan, and what the overview tells of it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_sky import write_small_sky

from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.errors import ResumeError
from surveycnn.run.changes import all_changes
from surveycnn.run.plan import make_plan
from surveycnn.run.resume import bind_plan, plan_record
from surveycnn.run.store import WorkStore, read_json
from surveycnn.run.update import find_update


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_sky(tmp_path_factory.mktemp("tiny"), ny=200, nx=280, rng=np.random.default_rng(3))


def planned(folder, *overrides, output="nowhere"):
    return make_plan(load_config(folder / "survey.yaml", [f"output={folder / output}", "models=[photoz]", *overrides]))


def ids(plan, number=0):
    return [unit.unit_id for unit in plan.units(plan.mosaics[number])]


def with_second(folder, *, first=False):
    """An override that adds another mosaic of the same images."""
    images = [{"band": band, "path": str(folder / f"{band}.fits")} for band in "griz"]
    entries = [{"id": name, "images": images} for name in ("m1", "m2")]
    return f"mosaics={json.dumps(entries[::-1] if first else entries)}"


@pytest.mark.parametrize(
    "override",
    [
        "tiling.halo_px=128",
        "detection.bands=[g, r]",
        "detection.threshold_sigma=4",
        "detection.min_area_px=6",
        "detection.combine=chi2",
        "photometry.aperture_arcsec=3",
        "models=[lens]",
        "models=[lens, photoz]",
        "engine.precision=bfloat16",
        "mosaics.0.ebv=0.1",
        "mosaics.0.images.1.zeropoint=26",
        "mosaics.0.images.1.plane=0",
        "mosaics.0.images.1.path=r.fits[0]",
        "bands={z: i}",
    ],
)
def test_units__have_other_ids_where_their_rows_may_be_others(folder, override):
    assert not set(ids(planned(folder))) & set(ids(planned(folder, override)))


@pytest.mark.parametrize(
    "override",
    [
        "output=elsewhere",
        "cluster=threads",
        "formats=[fits]",
        "engine.batch_size=7",
        "engine.precision=float32",
        "detection.bands=[g, r, i]",
        "mosaics.0.grid=r",
    ],
)
def test_units__keep_their_ids_with_the_rest(folder, override):
    assert ids(planned(folder)) == ids(planned(folder, override))


def test_units__do_not_know_of_other_mosaics_and_of_any_order(folder):
    one = ids(planned(folder, "models=[lens, photoz]"))
    two = planned(folder, with_second(folder), "models=[photoz, lens]")
    assert ids(two) == one == ids(planned(folder, with_second(folder, first=True), "models=[lens, photoz]"), 1)
    assert not set(ids(two, 1)) & set(one)


def test_units__of_a_model_that_asks_for_no_extinction_do_not_depend_on_it(folder):
    plans = [planned(folder, "models=[lens]"), planned(folder, "models=[lens]", "mosaics.0.ebv=0.1")]
    has_extinction = bool(plans[0].cards["lens"].extinction)
    assert (ids(plans[0]) == ids(plans[1])) is not has_extinction


def test_units__of_a_package_that_lies_elsewhere_are_the_same(folder, tmp_path):
    from surveycnn.models.package import package_folder

    own = shutil.copytree(package_folder("photoz"), tmp_path / "own")
    assert ids(planned(folder)) == ids(planned(folder, f"models=[{own}]"))


def test_all_changes__names_models_and_mosaics(folder):
    record = json.loads(json.dumps(plan_record(planned(folder))))
    assert all_changes(record, planned(folder)) == []
    assert all_changes(record, planned(folder, "models=[lens]")) == ["model lens added", "model photoz removed"]
    assert all_changes(record, planned(folder, with_second(folder), "tiling.halo_px=99")) == [
        "mosaic m2 added",
        "tiling.halo_px: 96 -> 99",
    ]
    record["fingerprint"]["models"]["photoz"] = "0" * 64
    assert all_changes(record, planned(folder)) == ["model photoz has other weights or another card"]


def test_bind_plan__refuses_another_plan_and_says_how_to_go_on(folder, tmp_path):
    store = WorkStore(tmp_path / "work")
    bind_plan(store, planned(folder))
    message = (
        r"holds a run with other settings or inputs \(model lens added; model photoz removed\): undo the change, compute what "
        "depends on it with --update, start over with --fresh, or give another output"
    )
    with pytest.raises(ResumeError, match=message):
        bind_plan(store, planned(folder, "models=[lens]"))
    said: list[str] = []
    bind_plan(store, planned(folder), update=True, say=said.append)
    assert said == [], "nothing has changed"
    bind_plan(store, planned(folder, "models=[lens]"), update=True, say=said.append)
    assert said == [
        "since the work directory was made: model lens added; model photoz removed",
        "an update takes: ingest of 4 bands, 2 tiles to run",
    ]
    assert (read_json(store.plan_path) or {})["digest"] == planned(folder, "models=[lens]").digest


def test_find_update__of_no_run_is_none(folder, tmp_path):
    assert find_update(WorkStore(tmp_path), planned(folder)) is None


def test_plan_and_status__say_what_an_update_would_do(folder, tmp_path, capsys):
    plan = planned(folder, f"output={tmp_path}")
    bind_plan(WorkStore(tmp_path / "work"), plan)
    command = ["plan", str(folder / "survey.yaml"), "--set", f"output={tmp_path}", "--set", "models=[photoz]"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["update"] is None
    assert main([*command, "--set", "tiling.halo_px=99"]) == 0
    assert "tiling.halo_px: 96 -> 99\nan update takes: ingest of 4 bands, 2 tiles to run" in capsys.readouterr().out
    assert main([*command, "--set", "tiling.halo_px=99", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)["update"]
    assert record["changes"] == ["tiling.halo_px: 96 -> 99"]
    assert (record["bands"], record["tiles"]) == (4, {"whole": 2, "models": 0, "columns": 0, "kept": 0})
    assert main(["status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["update"] is None
    assert plan.digest == (read_json(tmp_path / "work" / "plan.json") or {})["digest"], "looking changes nothing"


@pytest.mark.parametrize("text", ["", '{"digest": "0', "[]", '{"digest": "01"}'])
def test_bind_plan__damaged(folder, tmp_path, text):
    store = WorkStore(tmp_path)
    (tmp_path / "tiles").mkdir()
    store.plan_path.write_text(text)
    with pytest.raises(ResumeError, match=r"plan.json' is damaged: start over with --fresh, or give another output"):
        bind_plan(store, planned(folder))
    store.clear()
    bind_plan(store, planned(folder))
