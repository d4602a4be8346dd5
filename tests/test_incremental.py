"""Runs that go on with another plan: what depends on the change is computed, and the catalog is that of a run from scratch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_sky import ZEROPOINT, draw_sources, small_wcs, write_survey
from tiny_models import change_prior, write_tiny_models

from surveycnn.catalogs.verify import verify_catalog
from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.errors import ConfigError, ResumeError
from surveycnn.run.progress import Silent
from surveycnn.run.session import open_session
from surveycnn.run.stages import RunTile
from surveycnn.run.store import WorkStore
from surveycnn.run.survey import run_ingest, run_survey

BANDS = ("g", "r")


class Said(Silent):
    """A progress that keeps what it is told."""

    def __init__(self):
        self.texts, self.n_units = [], {"ingest": 0, "infer": 0}

    def message(self, text):
        self.texts.append(text)

    def add(self, stage, n_units):
        if stage in self.n_units:
            self.n_units[stage] += n_units


@dataclass
class Survey:
    """Two mosaics that overlap, models, and a folder of catalogs."""

    images: Path
    folder: Path
    models: dict[str, Path]

    def config(self, output: str, models="lens merger", mosaics="east west", **changes):
        entries = [self.entry(name) for name in mosaics.split()]
        packages = [str(self.models[name]) for name in models.split()]
        given = {"mosaics": entries, "models": packages, "formats": ["fits"], "output": str(self.folder / output)}
        given["tiling"] = {"core_px": 128, "halo_px": 96}
        return load_config(write_survey(self.folder, BANDS, **given | changes))

    def entry(self, name: str, **paths: Path):
        """A mosaic of the configuration."""
        images = [{"band": band, "path": str(paths.get(band, self.images / f"{name}_{band}.fits"))} for band in BANDS]
        return {"id": name, "images": images}

    def run(self, output: str, *, update=False, **changes) -> Said:
        said = Said()
        assert run_survey(self.config(output, **changes), update=update, progress=said).is_complete
        return said

    def rows(self, output: str) -> bytes:
        """The catalog as it lies on the disk: rows, flags, their order and all columns."""
        return (self.folder / output / "catalog.fits").read_bytes()

    def times(self, output: str, pattern: str = "*/*.parquet") -> dict[str, int]:
        """When each tile file was written."""
        tiles = self.folder / output / "work" / "tiles"
        return {str(path.relative_to(tiles)): path.stat().st_mtime_ns for path in sorted(tiles.glob(pattern))}

    def deliver(self, name: str, seed: int, x0: int = 0) -> None:
        """Write the images of a mosaic, the same sky with another noise."""
        sources = draw_sources(150, 300, np.random.default_rng(5), 60)
        rng = np.random.default_rng(seed)
        header = small_wcs(150, 300).to_header()
        header["CRPIX1"] -= x0
        header["MAGZP"] = ZEROPOINT
        for band in BANDS:
            image = sources[:, x0 : x0 + 180] + rng.normal(50, 1.0, (150, 180))
            image[20:24, 100:108] = np.nan
            fits.writeto(self.images / f"{name}_{band}.fits", image.astype("f4"), header, overwrite=True)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    lens, merger = write_tiny_models(tmp_path_factory.mktemp("models"))
    other = shutil.copytree(lens, lens.parent / "other")
    change_prior(other, 0.3)
    return {"lens": lens, "merger": merger, "other": other}


@pytest.fixture(scope="module")
def done(packages, tmp_path_factory):
    """Catalogs from scratch, with both models, one of them and one mosaic."""
    survey = Survey(tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("survey"), packages)
    survey.deliver("east", 1)
    survey.deliver("west", 2, x0=120)
    survey.run("both")
    survey.run("lens", models="lens")
    survey.run("east", mosaics="east")
    return survey


@pytest.fixture
def survey(done, tmp_path):
    """A copy, to go on with; the images are as before when a test is over."""
    originals = shutil.copytree(done.images, tmp_path / "originals")
    yield Survey(done.images, shutil.copytree(done.folder, tmp_path / "survey"), dict(done.models))
    shutil.copytree(originals, done.images, dirs_exist_ok=True)


def lines(said: Said) -> str:
    return "\n".join(said.texts)


def test_update__with_a_model_added_scores_the_stored_rows(survey, monkeypatch):
    monkeypatch.setattr(RunTile, "rows", None)  # nothing is detected or measured
    said = survey.run("lens", update=True)
    assert survey.rows("lens") == survey.rows("both")
    assert f"since the work directory was made: model {survey.models['merger']} added" in said.texts
    assert "an update takes: 8 tiles for model tiny-merger alone" in said.texts
    assert said.n_units == {"ingest": 0, "infer": 8}
    with open_session(survey.config("lens")) as session:
        assert not any(session.todo(session.plan.mosaics[0])), "the same command without --update goes on"


def test_update__with_a_model_removed_reads_no_pixel(survey, monkeypatch):
    monkeypatch.setattr(RunTile, "rows", None)
    monkeypatch.setattr(RunTile, "tile_models", lambda self, models=None: [] if models is not None and not models else 1 / 0)
    monkeypatch.setattr("surveycnn.sky.chunks.ChunkStore.read_window", None)
    said = survey.run("both", models="lens", update=True)
    assert survey.rows("both") == survey.rows("lens")
    assert "an update takes: the loss of columns of 8 tiles" in said.texts
    assert survey.run("both", models="lens", update=True).n_units == {"ingest": 0, "infer": 0}, "nothing has changed"


def test_update__with_a_model_replaced(survey):
    said = survey.run("both", models="other merger", update=True)
    survey.run("scratch", models="other merger")
    assert survey.rows("both") == survey.rows("scratch") != survey.rows("lens")
    assert "an update takes: 8 tiles for model tiny-lens alone" in said.texts


def test_update__with_a_package_of_other_contents_names_it(survey, tmp_path):
    own = survey.models["own"] = shutil.copytree(survey.models["lens"], tmp_path / "own")
    survey.run("own", models="own", mosaics="east")
    change_prior(own, 0.2)
    message = rf"\(model {own} has other weights or another card\): undo the change, compute what depends on it with --update, "
    with pytest.raises(ResumeError, match=message):
        survey.run("own", models="own", mosaics="east")
    before = survey.rows("own")
    said = survey.run("own", models="own", mosaics="east", update=True)
    assert said.n_units == {"ingest": 0, "infer": 4} and survey.rows("own") != before


def test_update__with_a_mosaic_delivered_again(survey, capsys):
    before = survey.times("both")
    survey.deliver("west", 3, x0=120)
    file = survey.images / "west_g.fits"
    config = str(survey.folder / "survey.yaml")
    survey.config("both")
    assert main(["plan", config]) == 0
    assert f"file {file} has another size or time than it had: --update reads it again" in capsys.readouterr().out
    assert main(["status", config, "--json"]) == 0
    update = json.loads(capsys.readouterr().out)["update"]
    assert update["bands"] == 2 and update["tiles"] == {"whole": 4, "models": 0, "columns": 0, "kept": 4}
    with pytest.raises(ResumeError, match=r"west_g.fits' has changed since it was ingested: compute .* with --update"):
        survey.run("both")
    said = survey.run("both", update=True)
    assert f"file {file} has other bytes than were ingested" in lines(said)
    assert "an update takes: ingest of 2 bands, 4 tiles to run, 4 tiles as before" in said.texts
    assert said.n_units == {"ingest": 2, "infer": 4}
    after = survey.times("both")
    assert {name: after[name] == before[name] for name in after} == {name: name.startswith("east") for name in before}
    survey.run("scratch")
    assert survey.rows("both") == survey.rows("scratch") != survey.rows("lens")


def test_update__with_the_same_bytes_under_another_name_runs_no_tile(survey):
    before = survey.times("both")
    moved = shutil.copy2(survey.images / "west_g.fits", survey.folder / "moved.fits")
    survey.config("both")
    mosaics = [survey.entry("east"), survey.entry("west", g=moved)]
    said, config = Said(), load_config(survey.folder / "survey.yaml", [f"mosaics={json.dumps(mosaics)}"])
    assert run_survey(config, update=True, progress=said).is_complete
    assert said.n_units == {"ingest": 1, "infer": 0}
    assert survey.times("both") == before


def test_update__with_a_mosaic_added_and_removed(survey):
    before = survey.times("east")
    said = survey.run("east", update=True)
    assert survey.rows("east") == survey.rows("both")
    assert "since the work directory was made: mosaic west added" in said.texts
    assert before.items() <= survey.times("east").items()
    shutil.copytree(survey.folder / "both", survey.folder / "less")
    work = survey.folder / "less" / "work"
    assert (work / "mosaics" / "west.zarr").exists()
    said = survey.run("less", mosaics="east", update=True)
    assert "an update takes: 4 tiles as before, mosaic west gone with its tiles" in said.texts
    assert not (work / "mosaics" / "west.zarr").exists() and not (work / "tiles" / "west").exists()
    survey.run("scratch", mosaics="east")
    assert survey.rows("less") == survey.rows("scratch") != survey.rows("both")
    coverage = [(survey.folder / name / "coverage.fits").read_bytes() for name in ("less", "scratch")]
    assert coverage[0] == coverage[1]


def test_update__with_another_detection_reads_no_image_again(survey):
    changes = {"detection": {"threshold_sigma": 6.0}}
    said = survey.run("both", update=True, **changes)
    assert "since the work directory was made: detection.threshold_sigma: 3.0 -> 6.0" in said.texts
    assert said.n_units == {"ingest": 0, "infer": 8}
    survey.run("scratch", **changes)
    assert survey.rows("both") == survey.rows("scratch") != survey.rows("lens")


def test_update__with_other_tiles_leaves_no_file_of_the_old_ones(survey):
    before = survey.rows("both")
    said = survey.run("both", update=True, tiling={"core_px": 192, "halo_px": 96})
    assert said.n_units == {"ingest": 4, "infer": 2}
    assert len(survey.times("both")) == 2
    assert survey.rows("both") == before, "nor does the catalog depend on them"
    assert verify_catalog(survey.folder / "both") == []


def test_update__that_was_killed_goes_on_with_the_same_command_or_without_the_option(survey, monkeypatch):
    run_tile, n_done = RunTile.__call__, []

    def killed(self, unit):
        if len(n_done) == 3:
            raise KeyboardInterrupt
        n_done.append(unit)
        return run_tile(self, unit)

    monkeypatch.setattr(RunTile, "__call__", killed)
    shutil.copytree(survey.folder / "lens", survey.folder / "again")
    for output in ("lens", "again"):
        n_done.clear()
        with pytest.raises(KeyboardInterrupt):
            survey.run(output, update=True)
    monkeypatch.setattr(RunTile, "__call__", run_tile)
    for output, update in (("lens", True), ("again", False)):
        assert survey.run(output, update=update).n_units["infer"] == 5
        assert survey.rows(output) == survey.rows("both")


def test_update__in_all_formats(survey):
    shutil.copytree(survey.folder / "lens", survey.folder / "all")
    survey.run("all", update=True, formats=["hats", "zarr", "fits"])
    assert verify_catalog(survey.folder / "all") == [], "the formats hold the same rows"
    assert survey.rows("all") == survey.rows("both")


def test_update__does_a_tile_anew_whose_rows_cannot_be_read(survey):
    path = survey.folder / "lens" / "work" / "tiles" / "east" / "r0000_c0000.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)
    survey.run("lens", update=True)
    assert survey.rows("lens") == survey.rows("both")


def test_update__with_fresh_is_refused(survey, capsys):
    with pytest.raises(ConfigError, match=r"--fresh \(start over\) and --update \(keep what is still right\) exclude each other"):
        run_survey(survey.config("both"), fresh=True, update=True)
    with pytest.raises(SystemExit):
        main(["run-flow", "survey", str(survey.folder / "survey.yaml"), "--fresh", "--update"])
    assert "--update and --fresh exclude each other: give one of them" in capsys.readouterr().err
    assert main(["run-flow", "simulate", "--update"]) == 2
    assert "--update is for the flows survey, ingest, infer, publish, not for 'simulate'" in capsys.readouterr().err


def test_update__of_given_sources(survey):
    table = survey.folder / "sources.csv"
    ra, dec = 150.0 + np.array([0.001, -0.002, 0.0031]), 2.0 + np.array([0.001, 0.002, -0.0012])
    detection = {"catalog": str(table)}
    for n in (2, 3):
        table.write_text("\n".join(["ra,dec", *(f"{a:.6f},{d:.6f}" for a, d in zip(ra[:n], dec[:n], strict=True))]))
        said = survey.run("given", update=True, mosaics="east", detection=detection)
    assert "catalog_sha256" in lines(said)
    survey.run("scratch", mosaics="east", detection=detection)
    assert survey.rows("given") == survey.rows("scratch")


def test_update__of_the_flow_ingest_alone(survey):
    survey.deliver("east", 9)
    records = run_ingest(survey.config("both"), update=True)
    assert len(records) == 4
    with open_session(survey.config("both")) as session:
        todo = {mosaic.id: sum(session.todo(mosaic)) for mosaic in session.plan.mosaics}
    assert todo == {"east": 4, "west": 0}


def test_work_directory__of_a_removed_mosaic_leaves_nothing_half_removed(survey):
    store = WorkStore(survey.folder / "both" / "work")
    store.discard(store.chunk_path("west"), store.chunk_path("nowhere"))
    assert not store.chunk_path("west").exists() and not (store.root / ".discarded").exists()
