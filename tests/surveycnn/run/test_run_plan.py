"""Planning: what a run will do, and every mistake that is refused before a worker starts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from small_sky import BANDS, write_survey

from surveycnn.catalogs.flags import has_flag
from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.errors import ConfigError
from surveycnn.models.card import write_card
from surveycnn.models.package import find_card, package_folder
from surveycnn.run.checks import check_memory
from surveycnn.run.plan import make_plan
from surveycnn.run.survey import run_ingest, run_survey


@pytest.fixture
def copy(sky, tmp_path) -> Path:
    """A copy of the small sky to damage."""
    for path in sky.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def planned(folder: Path, *overrides: str):
    return make_plan(load_config(folder / "survey.yaml", overrides))


def refused(folder: Path, capsys, *overrides: str, leaves_work: bool = False) -> str:
    """Message of a survey that ends with exit code 2, no traceback and nothing written."""
    options = [option for override in overrides for option in ("--set", override)]
    output = folder / "out"
    command = ["run-flow", "survey", str(folder / "survey.yaml"), "--no-prefect", "--set", f"output={output}", *options]
    assert main(command) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not (output / "provenance.json").exists()
    assert leaves_work or not output.exists(), "a refused run has left something behind"
    return printed.err


def test_make_plan__is_the_same_every_time(sky):
    first, second = planned(sky), planned(sky)
    assert first.digest == second.digest
    ids = [unit.unit_id for unit in first.units(first.mosaics[0])]
    assert ids == [unit.unit_id for unit in second.units(second.mosaics[0])]
    assert len(set(ids)) == first.n_tiles == 4


@pytest.mark.parametrize(
    "override",
    [
        "tiling.core_px=128",
        "tiling.halo_px=128",
        "detection.bands=[g, r]",
        "detection.threshold_sigma=4",
        "detection.min_area_px=6",
        "detection.combine=chi2",
        "photometry.aperture_arcsec=3",
        "models=[lens]",
        "engine.precision=bfloat16",
        "mosaics.0.ebv=0.1",
        "mosaics.0.images.1.zeropoint=26",
        "mosaics.0.images.1.saturation=1000",
        "mosaics.0.images.1.nodata=-99",
    ],
)
def test_make_plan__changes_with_whatever_the_result_depends_on(sky, override):
    assert planned(sky).digest != planned(sky, override).digest


def test_make_plan__changes_with_the_grid_where_images_have_several(sky, copy):
    assert planned(sky).digest == planned(sky, "mosaics.0.grid=i").digest, "all images are on one grid"
    with fits.open(copy / "i.fits", mode="update") as hdus:
        hdus[0].header["CRPIX1"] += 3
    assert planned(copy).digest != planned(copy, "mosaics.0.grid=i").digest


def test_make_plan__changes_with_the_card_of_a_model_alone(sky, tmp_path):
    own = shutil.copytree(package_folder("lens"), tmp_path / "own")
    plans = [planned(sky, f"models=[{own}]")]
    card = find_card(own)
    for change in ({"notes": "told otherwise"}, {"prior": card.prior.model_copy(update={"survey": 0.5})}):
        write_card(own, card.model_copy(update=change))
        plans.append(planned(sky, f"models=[{own}]"))
    assert plans[0].digest == plans[1].digest != plans[2].digest
    assert {plan.cards[str(own)].sha256["model.keras"] for plan in plans} == {card.sha256["model.keras"]}


@pytest.mark.parametrize("override", ["output=elsewhere", "cluster=threads", "formats=[fits]", "engine.batch_size=7"])
def test_make_plan__does_not_change_with_the_rest(sky, override):
    assert planned(sky).digest == planned(sky, override).digest


def test_make_plan__skips_models_that_lack_bands_and_says_why(sky):
    images = "[{band: g, path: g.fits}, {band: r, path: r.fits}, {band: i, path: i.fits}]"
    plan = planned(sky, f"mosaics.0.images={images}")
    assert [model.name for model in plan.mosaics[0].models] == ["lens", "morphology", "merger"]
    assert plan.mosaics[0].skipped == {"photoz": "needs g, r, i, z, and there is no image in z"}
    assert any("model photoz skipped: it needs g, r, i, z, and there is no image in z (mosaic m1)" == note for note in plan.notes)


def test_make_plan__maps_bands(sky):
    images = "[{band: g, path: g.fits}, {band: r, path: r.fits}, {band: i, path: i.fits}, {band: Z, path: z.fits}]"
    plan = planned(sky, f"mosaics.0.images={images}", "bands={z: Z}")
    assert plan.mosaics[0].models[-1].bands == ("g", "r", "i", "Z")


def test_check_memory__says_needed_allowed_and_what_to_do(sky):
    text = r"needs about [\d.]+ GiB of memory, it can use 80% of 0.0 GiB: lower tiling.core_px \(now 256\)"
    with pytest.raises(ConfigError, match=text):
        check_memory(planned(sky), 1000, 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mosaics.0.images.1.path=nowhere.fits", r"nowhere.fits' does not exist"),
        ("mosaics.0.images.1.path=r.fits[3]", r"no HDU 3 in the file"),
        ("mosaics.0.images.1.band=q", r"no model knows the band 'q'.*the models use g, i, r, z"),
        ("bands={q: z}", r"key 'bands.q': no model knows a band 'q'"),
        ("bands={z: Z}", r"key 'bands.z': no mosaic has a band 'Z': the images are in g, i, r, z"),
        ("detection.bands=[K]", r"key 'detection.bands': mosaic 'm1' has none of K"),
        ("models=[lens, nonesuch]", r"no model 'nonesuch': shipped models are lens, merger, morphology, photoz"),
        ("engine.kind=torch", r"key 'engine.kind': 'torch' is not installed"),
        ("output=/proc/nope/run", r"/proc"),
        ("cluster=slurm-nowhere", r"cluster 'slurm-nowhere' is none of serial, threads"),
    ],
)
def test_survey__refuses_with_one_message(copy, capsys, monkeypatch, override, message):
    monkeypatch.chdir(copy)
    assert_match(refused(copy, capsys, override), message)


def assert_match(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text


def test_survey__refuses_a_mosaic_without_zero_point(copy, capsys):
    with fits.open(copy / "r.fits", mode="update") as hdus:
        del hdus[0].header["MAGZP"]
    assert_match(refused(copy, capsys), r"r.fits' has no zero point.*give `zeropoint`")


def test_survey__refuses_images_of_different_shape_without_a_wcs(copy, capsys):
    data = fits.getdata(copy / "i.fits")
    fits.writeto(copy / "i.fits", data[:-1], fits.Header({"MAGZP": 27.0}), overwrite=True)
    message = r"i.fits' has shape \(447, 512\), expected \(448, 512\) as in .*g.fits', and no WCS.*: give it `wcs`, a header file"
    assert_match(refused(copy, capsys), message)


def test_survey__refuses_an_image_that_lies_elsewhere_on_the_sky(copy, capsys):
    with fits.open(copy / "i.fits", mode="update") as hdus:
        hdus[0].header["CRVAL1"] += 1
    message = r"i.fits' lies beside .*g.fits' on the sky: correct its WCS, or list it under a mosaic of its own"
    assert_match(refused(copy, capsys), message)


def test_plan__tells_which_bands_are_brought_to_the_grid(copy):
    with fits.open(copy / "i.fits", mode="update") as hdus:
        hdus[0].header["CRPIX1"] += 0.5
        hdus[0].header["CRPIX2"] += 0.05  # within the tolerance, alone
    plan = planned(copy)
    assert plan.mosaics[0].inputs.regridded == {"i": pytest.approx(0.2)}
    assert any("brought to the pixel grid of band g: i (0.200 arcsec per pixel)" in note for note in plan.notes)
    with fits.open(copy / "i.fits", mode="update") as hdus:
        hdus[0].header["CRPIX1"] -= 0.5
    assert planned(copy).mosaics[0].inputs.regridded == {}


def test_plan__believes_the_header_file_of_the_mosaic_more_than_those_of_its_images(copy):
    header = fits.getheader(copy / "g.fits")
    header.totextfile(copy / "g.hdr")
    with fits.open(copy / "i.fits", mode="update") as hdus:
        hdus[0].header["CRPIX1"] += 3
    assert planned(copy, f"mosaics.0.wcs={copy / 'g.hdr'}").mosaics[0].inputs.regridded == {}


def test_plan__grid_of_another_band(copy):
    with fits.open(copy / "i.fits", mode="update") as hdus:
        hdus[0].header["CRPIX1"] += 3
    assert set(planned(copy, "mosaics.0.grid=i").mosaics[0].inputs.regridded) == {"g", "r", "z"}


@pytest.mark.parametrize(("factor", "found"), [(1e-5, "2e-06"), (1e4, "2e.03")])
def test_survey__refuses_a_pixel_scale_that_no_image_of_the_sky_has(copy, capsys, factor, found):
    with fits.open(copy / "g.fits", mode="update") as hdus:
        for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
            hdus[0].header[key] *= factor
    message = rf"mosaic 'm1': the WCS in '.*g.fits' gives {found} arcsec per pixel, expected 0.001 to 600: correct it"
    assert_match(refused(copy, capsys), message)


def test_survey__refuses_an_image_without_wcs(copy, capsys):
    fits.writeto(copy / "g.fits", fits.getdata(copy / "g.fits"), fits.Header({"MAGZP": 27.0}), overwrite=True)
    assert_match(refused(copy, capsys), r"mosaic 'm1': image .*g.fits' has no usable WCS .*give the mosaic `wcs`, a header file")


def test_survey__refuses_a_truncated_file(copy, capsys):
    path = copy / "z.fits"
    path.write_bytes(path.read_bytes()[:100_000])
    assert_match(refused(copy, capsys), r"z.fits' is cut short")


def test_survey__refuses_an_image_without_a_good_pixel(copy, capsys):
    data, header = fits.getdata(copy / "r.fits", header=True)
    fits.writeto(copy / "r.fits", np.full_like(data, np.nan), header, overwrite=True)
    message = refused(copy, capsys, leaves_work=True)  # the bands before it are ingested, and stay for the next try
    assert_match(message, r"band 'r' of mosaic 'm1' has no good pixel: all are NaN, masked, or of no weight")


def test_survey__goes_on_where_one_of_several_mosaics_lacks_a_band(copy):
    data, header = fits.getdata(copy / "r.fits", header=True)
    fits.writeto(copy / "empty.fits", np.full_like(data, np.nan), header)
    images = [{"band": band, "path": f"{band}.fits"} for band in "gri"]
    lacking = [images[0], {"band": "r", "path": "empty.fits"}, images[2]]
    survey = write_survey(copy, mosaics=[{"id": "a", "images": images}, {"id": "b", "images": lacking}], models="lens")
    result = run_survey(load_config(survey, [f"output={copy / 'out'}", "formats=[fits]"]))
    assert result.is_complete and "band 'r' of mosaic 'b' has no good pixel" in result.summary()
    rows = Table.read(copy / "out" / "catalog.fits")
    lacks = rows["mosaic"] == "b"
    assert 50 < lacks.sum() < len(rows)
    flux_g, flux_r = (np.ma.filled(rows[name], np.nan) for name in ("flux_g", "flux_r"))
    assert np.isnan(flux_r[lacks]).all() and has_flag(rows["flags"][lacks], "missing_band").all()
    assert np.isfinite(flux_g[lacks]).mean() > 0.9 and np.isfinite(flux_r[~lacks]).mean() > 0.9


def test_plan__knows_bands_of_models_that_are_not_in_use(copy):
    assert planned(copy, "bands={z: z}", "models=lens").cards.keys() == {"lens"}


def test_survey__refuses_when_no_model_can_run(copy, capsys):
    assert_match(
        refused(copy, capsys, "mosaics.0.images=[{band: g, path: g.fits}]"),
        r"no model can run on any mosaic \(lens: needs g, r, i",
    )


def test_survey__refuses_a_list_of_models_that_is_empty(copy, capsys):
    assert_match(refused(copy, capsys, "models=[]"), r"'models' is empty: name at least one of lens, merger, morphology, photoz")


def test_survey__refuses_a_name_with_a_blank_in_words(copy, capsys):
    found = refused(copy, capsys, "name=my survey")
    assert_match(found, r"key 'name': expected up to 100 letters, digits and . _ \+ -, .* no blanks \(found 'my survey'\)")


def test_survey__says_which_band_is_new(copy, capsys):
    images = "[{band: g, path: g.fits}, {band: r, path: r.fits}, {band: i, path: i.fits}%s]"
    few, all_bands = (f"mosaics.0.images={images % more}" for more in ("", ", {band: z, path: z.fits}"))
    run_ingest(load_config(copy / "survey.yaml", [few, f"output={copy / 'out'}"]))
    text = refused(copy, capsys, all_bands, leaves_work=True)
    assert_match(text, r"holds a run with other settings or inputs \(band z added to mosaic m1\)")


@pytest.mark.parametrize(("factor", "is_said"), [(1.95, False), (2.05, True)])
def test_plan__says_that_pixels_are_too_wide_for_a_model(copy, factor, is_said):
    for band in BANDS:
        with fits.open(copy / f"{band}.fits", mode="update") as hdus:
            for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
                hdus[0].header[key] *= factor
    notes = planned(copy, "models=lens").notes
    assert is_said == any("over 2 times as wide as those that lens learned from" in note for note in notes)


def test_survey__refuses_a_halo_that_is_smaller_than_half_a_stamp(copy):
    with pytest.raises(ConfigError, match=r"halo_px' is 96, but the 64 px stamps of model 'lens' need at least \d+ px"):
        for band in BANDS:  # 64 px of 0.2 arcsec are 256 px of 0.05 arcsec
            with fits.open(copy / f"{band}.fits", mode="update") as hdus:
                for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
                    hdus[0].header[key] /= 4
        planned(copy, "tiling.halo_px=96")


def test_survey__refuses_a_halo_that_is_smaller_than_what_photometry_looks_at(copy):
    for band in BANDS:
        with fits.open(copy / f"{band}.fits", mode="update") as hdus:
            for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
                hdus[0].header[key] /= 40
    message = r"halo_px' is 96, but photometry looks \d{3} px far on mosaic 'm1' \(0.005 arcsec/px\): raise tiling.halo_px"
    with pytest.raises(ConfigError, match=message):
        planned(copy, "tiling.halo_px=96")


def test_survey__refuses_an_aperture_that_is_larger_than_the_halo(copy):
    message = r"key 'photometry.aperture_arcsec' is 60, 15\d px from the middle .*tiling.halo_px is 96: raise it, or measure less"
    with pytest.raises(ConfigError, match=message):
        planned(copy, "photometry.aperture_arcsec=60", "tiling.halo_px=96")


def test_survey__refuses_an_output_that_is_a_file(copy, capsys):
    assert main(["run-flow", "survey", str(copy / "survey.yaml"), "--no-prefect", "--set", f"output={copy / 'g.fits'}"]) == 2
    assert_match(capsys.readouterr().err, r"key 'output': .*g.fits' exists and is not a folder")


def test_survey__refuses_two_models_of_one_task(copy, tmp_path):
    from surveycnn.models.package import shipped_models

    own = shutil.copytree(shipped_models()["lens"], tmp_path / "own")
    with pytest.raises(ConfigError, match=r"models lens, .*own all do 'lens'.*keep one of them"):
        planned(copy, f"models=[lens, {own}]")


def test_survey__refuses_to_resume_with_other_settings_and_says_which(copy, capsys):
    base = ["run-flow", "ingest", str(copy / "survey.yaml"), "--no-prefect", "--set", f"output={copy / 'out'}"]
    assert main(base) == 0
    capsys.readouterr()
    assert main([*base, "--set", "detection.threshold_sigma=5"]) == 2
    assert_match(capsys.readouterr().err, r"holds a run with other settings or inputs \(detection.threshold_sigma: 3.0 -> 5.0\)")
    assert main([*base, "--set", "detection.threshold_sigma=5", "--fresh"]) == 0


def test_survey__refuses_an_image_that_changed_after_its_ingest(copy, capsys):
    base = ["run-flow", "ingest", str(copy / "survey.yaml"), "--no-prefect", "--set", f"output={copy / 'out'}"]
    assert main(base) == 0
    data, header = fits.getdata(copy / "g.fits", header=True)
    fits.writeto(copy / "g.fits", data + 1, header, overwrite=True)
    assert main(base) == 2
    assert_match(capsys.readouterr().err, r"g.fits' has changed since it was ingested: compute what depends on it with --update")


def test_ingest__believes_a_file_that_was_only_touched(copy):
    base = ["run-flow", "ingest", str(copy / "survey.yaml"), "--no-prefect", "--set", f"output={copy / 'out'}"]
    assert main(base) == 0
    (copy / "g.fits").touch()
    assert main(base) == 0


def test_infer__refuses_a_mosaic_that_was_not_ingested(copy, capsys):
    command = ["run-flow", "infer", str(copy / "survey.yaml"), "--no-prefect", "--set", f"output={copy / 'out'}"]
    assert main(command) == 2
    assert_match(capsys.readouterr().err, r"there is no chunk store at .*: run the ingest first")


def test_publish__refuses_while_tiles_are_left(copy, capsys):
    command = ["run-flow", "publish", str(copy / "survey.yaml"), "--no-prefect", "--set", f"output={copy / 'out'}"]
    assert main(command) == 2
    assert_match(capsys.readouterr().err, r"4 of 4 tiles have not run yet: run the flow infer, or survey, before publish")


@pytest.mark.parametrize("visible", ["", None])
def test_local_cuda__without_a_gpu_is_a_clear_message(copy, capsys, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        if Path("/proc/driver/nvidia/version").exists():
            pytest.skip("this machine has an NVIDIA driver")
    message = refused(copy, capsys, "cluster=local-cuda")
    assert_match(message, r"no NVIDIA GPU can be used on this machine .*use `cluster: local`")


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("work/mosaics/night1.fits", r"holds mosaics, but no plan of a run"),
        ("catalog.fits", r"holds catalog.fits, which no run has"),
    ],
)
def test_survey__leaves_folders_and_files_that_no_run_has_made(copy, capsys, name, message, fresh):
    path = copy / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("somebody's")
    command = ["run-flow", "survey", str(copy / "survey.yaml"), "--no-prefect", "--set", f"output={copy / 'out'}", *fresh]
    assert main(command) == 2
    assert_match(capsys.readouterr().err, message)
    assert path.read_text() == "somebody's"
