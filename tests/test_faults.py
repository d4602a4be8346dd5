"""Faults: what dies is done again, what cannot be done is named, and everything else is published.

Those of processes, workers and schedulers stand in test_lost_workers.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from fault_injection import (
    fill_disk,
    flip_bits,
    inject,
    n_files,
    raise_error,
    small_disk,
    tries_of,
    truncate,
    use_up_quota,
)

from surveycnn.catalogs.publishing import merge as merge_module
from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.errors import InputError, ResumeError, StorageError, SurveyCNNError
from surveycnn.inference.predictor import Predictor
from surveycnn.run.plan import make_plan
from surveycnn.run.session import infer_mosaic, ingest_mosaic, open_session
from surveycnn.run.status import run_status
from surveycnn.run.store import WorkStore
from surveycnn.run.survey import run_ingest, run_publish, run_survey


@pytest.fixture(scope="module")
def done(sky, tmp_path_factory):
    """Output folder of a run with one model, published as a FITS table."""
    output = tmp_path_factory.mktemp("done") / "run"
    run_survey(one_model(sky, output))
    return output


@pytest.fixture
def run(done, sky, tmp_path):
    """A copy of that run, and its configuration."""
    shutil.copytree(done, tmp_path / "run")
    return one_model(sky, tmp_path / "run")


def one_model(sky, output, *more):
    return load_config(sky / "survey.yaml", [f"output={output}", "models=[photoz]", "formats=[fits]", *more])


def status_of(config):
    return run_status(make_plan(config), WorkStore(config.work_path))


def tiles_of(config) -> Path:
    return config.work_path / "tiles" / "m1"


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if "partial" in path.name or "staging" in path.name]


def test_survey__publishes_the_rest_of_a_tile_that_fails(sky, tmp_path, monkeypatch):
    """A tile that raises is tried three times, named in the status, left out of the coverage, and done by the next run."""
    (tmp_path / "tries").mkdir()
    inject(monkeypatch, raise_error, "r0000_c0001", folder=str(tmp_path / "tries"))
    config = one_model(sky, tmp_path / "run")
    partial = run_survey(config)
    assert tries_of(tmp_path / "tries", "r0000_c0001") == 3
    assert not partial.is_complete
    assert partial.status.problems == [
        {"mosaic": "m1", "tile": "r0000_c0001", "state": "failed", "reason": "RuntimeError: bad memory"}
    ]
    rows = Table.read(tmp_path / "run" / "catalog.fits")
    assert not ((rows["x"] > 260) & (rows["y"] < 252)).any()
    from mocpy import MOC

    covered = MOC.from_fits(str(tmp_path / "run" / "coverage.fits")).sky_fraction
    monkeypatch.undo()
    whole = run_survey(config)
    assert whole.is_complete
    assert whole.n_sources > partial.n_sources
    assert covered < 0.8 * MOC.from_fits(str(tmp_path / "run" / "coverage.fits")).sky_fraction


def test_survey__does_a_tile_that_fails_once(sky, run, tmp_path, monkeypatch):
    (tmp_path / "tries").mkdir()
    (tiles_of(run) / "r0000_c0001.parquet").unlink()
    inject(monkeypatch, raise_error, "r0000_c0001", tries=2, folder=str(tmp_path / "tries"))
    assert run_survey(run).is_complete
    assert tries_of(tmp_path / "tries", "r0000_c0001") == 3


def test_run_flow__with_a_failed_tile_ends_with_3(sky, tmp_path, monkeypatch, capsys):
    inject(monkeypatch, raise_error, "r0000_c0000", models=False)
    command = ["run-flow", "survey", str(sky / "survey.yaml"), "--no-prefect"]
    assert main([*command, "--set", f"output={tmp_path}", "--set", "formats=[fits]"]) == 3
    assert "failed: tile r0000_c0000 of m1: RuntimeError: bad memory" in capsys.readouterr().out


def test_survey__does_a_damaged_tile_again(sky, run):
    config, n_sources = run, len(Table.read(run.output_path / "catalog.fits"))
    truncate(tiles_of(run) / "r0001_c0000.parquet", 1000)
    with open_session(config) as session:
        assert [unit.tile.name for unit in session.unfinished(session.plan.mosaics[0])] == ["r0001_c0000"]
    again = run_survey(config)
    assert again.n_sources == n_sources
    assert again.performance["tiles"] == 1, "what an earlier session did is not this one's"
    assert 0 < again.performance["sources"] < n_sources
    assert again.performance["seconds"]["ingest"] == 0
    assert f"{again.performance['sources']} sources of 1 of 4 tiles in" in again.summary()
    assert "of 1 of 4 tiles" not in replace(again, performance=again.performance | {"tiles": 0}).summary()


@pytest.mark.parametrize("name", ["notes.txt", "work/notes.txt"])
def test_survey__leaves_what_is_not_its_own(sky, tmp_path, name):
    (tmp_path / "work").mkdir()
    (tmp_path / name).write_text("keep")
    run_survey(one_model(sky, tmp_path), fresh=True)
    assert (tmp_path / name).read_text() == "keep"


def test_publish__finds_bits_that_flipped_in_a_tile_file(run):
    """Its footer is whole, so that it counts as done, until its rows are read; the old catalog stays."""
    path, catalog = tiles_of(run) / "r0001_c0000.parquet", run.output_path / "catalog.fits"
    before, column = catalog.read_bytes(), pq.read_metadata(path).row_group(0).column(1)
    flip_bits(path, column.data_page_offset + column.total_compressed_size - 2, mask=4)
    assert status_of(run).tiles["done"] == 4
    with pytest.raises(
        ResumeError, match=r"damaged tile file '.*/r0001_c0000.parquet' \(.*CRC.*\): removed, and nothing is published; the same"
    ):
        run_publish(run)
    assert status_of(run).tiles == {"done": 3, "todo": 1}
    assert catalog.read_bytes() == before
    again = run_survey(run)
    assert again.is_complete
    assert again.performance["tiles"] == 1
    assert catalog.read_bytes() == before


@pytest.mark.parametrize("n_rows", [-1, 1])
def test_publish__refuses_other_rows_than_the_tile_files_hold(run, monkeypatch, n_rows):
    """A merge that loses a row, or has one twice, is not published."""
    import pyarrow as pa

    before, read = (run.output_path / "catalog.fits").read_bytes(), merge_module.TilePart.read

    def broken(part):
        table = read(part)
        return table.slice(0, table.num_rows - 1) if n_rows < 0 else pa.concat_tables([table.slice(0, 1), table])

    monkeypatch.setattr(merge_module.TilePart, "read", broken)
    message = (
        r"hats of the catalog has \d+ rows when read back, expected \d+: nothing is" if n_rows < 0 else "is not sorted by HEAL"
    )
    with pytest.raises(SurveyCNNError, match=message):
        run_publish(run)
    assert (run.output_path / "catalog.fits").read_bytes() == before
    monkeypatch.undo()
    run_publish(run)


def test_verify__compares_the_catalog_with_the_tile_files(run, capsys):
    run_publish(run)  # the provenance of the copy names the work directory of the original
    assert main(["verify", str(run.output_path)]) == 0
    path = tiles_of(run) / "r0001_c0000.parquet"
    whole = path.read_bytes()
    path.unlink()
    assert main(["verify", str(run.output_path)]) == 2
    assert re.search(r"the tile files in '.*/work' hold \d+ rows, the catalog \d+: run the survey again", capsys.readouterr().err)
    path.write_bytes(whole[:-10])
    assert main(["verify", str(run.output_path)]) == 2
    assert re.search(r"tile file '.*r0001_c0000.parquet' is damaged: run the survey again", capsys.readouterr().err)
    assert run_survey(run).is_complete
    assert main(["verify", str(run.output_path)]) == 0


def test_publish__refuses_a_format_with_other_rows(run, monkeypatch):
    """As many rows as there should be, but one of them in place of another."""
    from surveycnn.catalogs.publishing import building

    before, write = (run.output_path / "catalog.fits").read_bytes(), building.write_fits_parts

    def twice(paths, first, table):
        write(paths, first, table.take([0, 0, *range(2, table.num_rows)]))

    monkeypatch.setattr(building, "write_fits_parts", twice)
    with pytest.raises(SurveyCNNError, match=r"fits of the catalog has other rows when read back, 1 of \d+ are lost: nothing is"):
        run_publish(run)
    assert (run.output_path / "catalog.fits").read_bytes() == before


def test_survey__of_a_model_that_gives_no_numbers_fails_and_says_so(run, monkeypatch):
    """NaN for all stamps is a fault of the engine: no row of such a tile is published."""
    shutil.rmtree(tiles_of(run))
    raw = Predictor._raw
    monkeypatch.setattr(Predictor, "_raw", lambda *args: np.full_like(raw(*args), np.nan))
    result = run_survey(run)
    assert not result.is_complete
    reasons = {problem["reason"] for problem in result.status.problems}
    assert any("gave no number for" in reason and "stamps with data" in reason for reason in reasons)
    monkeypatch.undo()
    assert run_survey(run).is_complete


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (fill_disk, r"cannot write into '.*/work': no space is left on its disk \(.* free\): make room there; the same command"),
        (use_up_quota, r"cannot write into '.*/work': the disk quota is used up \(.* free\): make room there, or have the quota"),
    ],
)
def test_survey__on_a_full_disk_stops_and_blames_no_tile(run, monkeypatch, fault, message):
    shutil.rmtree(tiles_of(run))
    inject(monkeypatch, fault, "r0000_c0001", "r0001_c0000", models=False)
    with pytest.raises(StorageError, match=message):
        run_survey(run)
    assert status_of(run).tiles["failed"] == 0
    assert n_files(run.work_path / "failures", "*.json") == 0


def test_survey__on_a_disk_that_is_full_goes_on_when_there_is_room(sky, done, tmp_path):
    """A real small disk, that is full during the ingest, the tiles and the publishing: one message, and nothing half-written."""
    with small_disk(tmp_path / "disk", 12_000_000) as disk:
        config, filler = one_model(sky, disk / "run"), disk / "filler"

        def refused(function) -> None:
            filler.write_bytes(bytes(max(shutil.disk_usage(disk).free - 50_000, 0)))
            with pytest.raises(StorageError, match=r"cannot write into '.*/disk/run.*': no space is left on its disk"):
                function(config)
            filler.unlink()
            assert leftovers(disk) == []

        refused(run_survey)
        run_ingest(config)
        refused(run_survey)
        assert status_of(config).tiles["failed"] == 0
        assert run_survey(config).is_complete
        catalog = (disk / "run" / "catalog.fits").read_bytes()
        assert catalog == (done / "catalog.fits").read_bytes()
        refused(run_publish)
        assert (disk / "run" / "catalog.fits").read_bytes() == catalog
        run_publish(config)


def test_run_flow__on_a_full_disk_is_one_message(run, sky, monkeypatch, capsys):
    shutil.rmtree(tiles_of(run))
    inject(monkeypatch, fill_disk, "r0000_c0000", models=False)
    command = ["run-flow", "survey", str(sky / "survey.yaml"), "--no-prefect", "--set", f"output={run.output_path}"]
    assert main([*command, "--set", "models=[photoz]", "--set", "formats=[fits]"]) == 2
    printed = capsys.readouterr().err
    assert "no space is left on its disk" in printed
    assert "Traceback" not in printed


@pytest.fixture
def own_sky(sky, tmp_path):
    """A copy of the small sky that may be harmed."""
    shutil.copytree(sky, tmp_path / "sky")
    return tmp_path / "sky"


def test_survey__of_an_image_that_vanishes_before_it_is_read(own_sky, tmp_path):
    config = one_model(own_sky, tmp_path / "run")
    with open_session(config) as session:
        (own_sky / "i.fits").rename(own_sky / "moved")
        with pytest.raises(InputError, match=r"i.fits' does not exist|i.fits' is gone"):
            ingest_mosaic(session, session.plan.mosaics[0])
    (own_sky / "moved").rename(own_sky / "i.fits")
    assert [record["band"] for record in run_ingest(config)] == ["g", "r", "i", "z"]


def test_survey__of_an_image_that_vanishes_after_it_was_read(own_sky, done, tmp_path):
    config = one_model(own_sky, tmp_path / "run")
    with open_session(config) as session:
        ingest_mosaic(session, session.plan.mosaics[0])
        (own_sky / "i.fits").rename(own_sky / "moved")
        assert infer_mosaic(session, session.plan.mosaics[0]) == {"done": 4}
    with pytest.raises(InputError, match=r"i.fits' does not exist.*: correct the path"):
        run_publish(config)
    (own_sky / "moved").rename(own_sky / "i.fits")
    run_publish(config)
    assert (tmp_path / "run" / "catalog.fits").read_bytes() == (done / "catalog.fits").read_bytes()


def test_survey__of_an_image_whose_header_changes_before_it_is_read(own_sky, tmp_path):
    from astropy.io import fits

    with open_session(one_model(own_sky, tmp_path / "run")) as session:
        fits.setval(own_sky / "g.fits", "CRVAL1", value=150.001)
        with pytest.raises(ResumeError, match="the headers of mosaic 'm1' have changed since the run was planned: give the same"):
            ingest_mosaic(session, session.plan.mosaics[0])
