"""What the benchmarks of speed compute and print, on a small sky: no time is asserted."""

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from benchmarks import area, bare, careful_script, hyrax, ingest_speed, naive_script, scripts, slowdown
from benchmarks.environment import environment, table
from benchmarks.hyrax_twin import twin_weights
from benchmarks.mosaics import mosaic_of_size, write_repeated
from benchmarks.predict_engine import PredictEngine
from benchmarks.timed import STAGES, Lap, Marks, Timed
from surveycnn.config import load_config
from surveycnn.models.package import load_package, package_folder, read_golden

TWIN = Path(hyrax.__file__).parent / "hyrax_side"


@pytest.fixture(scope="module")
def config(sky):
    return load_config(sky / "survey.yaml", ["models=lens", "engine.batch_size=8"])


@pytest.fixture(scope="module")
def lens():
    """Folder, card and Keras model of the shipped lens finder."""
    folder = package_folder("lens")
    return folder, *load_package(folder, golden=False)


@pytest.fixture(scope="module")
def rows(small_run):
    """Catalog of the small sky."""
    return Table.read(small_run / "catalog.fits")


def timed(seconds=2.0, n_sources=10, catalog=Path("catalog.fits")):
    return Timed(seconds, 2 * seconds, dict.fromkeys(STAGES, seconds / 4), {"read": 0.5}, n_sources, catalog)


def test_environment_and_table():
    assert "Python 3" in environment("more") and environment("more").endswith("more")
    assert table(["a", "b"], [[1, "x"]]).splitlines() == ["| a | b |", "|---|---|", "| 1 | x |"]


def test_mosaic_of_size__crops_and_repeats(config, sky, tmp_path):
    pixels = fits.getdata(sky / "g.fits")
    for size in (300, 600):
        own = mosaic_of_size(config, size, tmp_path / str(size), ["cluster=threads"])
        found = fits.getdata(own.mosaics[0].images[0].path)
        assert found.shape == (size, size) and own.cluster == "threads"
        np.testing.assert_array_equal(found[:300, :300], pixels[:300, :300])
    np.testing.assert_array_equal(found[448:, 512:], pixels[:152, :88])
    assert own.output_path == tmp_path / "600" / "out"


def test_write_repeated__zero_point_of_the_configuration(sky, tmp_path):
    write_repeated(str(sky / "g.fits"), None, None, 25.5, tmp_path / "g.fits", 64)
    assert fits.getheader(tmp_path / "g.fits")["MAGZP"] == 25.5


def test_marks__stages_cover_the_run():
    marks = Marks()
    for stage in ("ingest", "infer"):
        marks.add(stage, 1)
        marks.advance(stage)
    marks.message("publishing")
    ended = marks.last["infer"] + 1
    spans = marks.spans(ended)
    assert list(spans) == list(STAGES) and spans["publish"] == pytest.approx(1)
    assert sum(spans.values()) == pytest.approx(ended - marks.started)
    assert Marks().spans(ended)["infer"] == 0


def test_scripts__find_and_score_what_the_survey_does(config, lens, rows, tmp_path):
    images = careful_script.images_of(config)
    n_careful = careful_script.run(images, lens[2], tmp_path / "careful.fits")
    n_naive = naive_script.run(images, lens[2], tmp_path / "careful.fits", 2, tmp_path / "naive.fits")
    careful, naive = (Table.read(tmp_path / f"{name}.fits") for name in ("careful", "naive"))
    n_matched, *ranks = scripts.agreement(rows, careful)
    assert (n_careful, n_naive) == (len(careful), len(naive)) == (n_careful, 2)
    assert n_matched > 0.9 * len(rows) and min(ranks) > 0.75  # so bright that the sky counts
    np.testing.assert_array_equal(naive["x"], careful["x"][:2])


def test_bare_parts__same_scores_from_the_engine_and_from_predict(config, lens, rows):
    (predictor,) = bare.load_predictors(config)
    parts = bare.bare_parts(config, [predictor], rows[:20])
    assert [name.split(",")[0] for name in parts] == [bare.READ, bare.BACKGROUND, bare.EXTRACTION, "forward pass of lens"]
    assert all(taken.seconds > 0 for by_threads in parts.values() for taken in by_threads.values())
    image, scale = bare.to_flux(config, [bare.read_array(image) for image in config.mosaics[0].images])
    (batch,) = bare.batches_of(predictor, ["g", "r", "i", "z"], image, scale, rows[:6])
    assert batch[0].shape == (8, 64, 64, 3) and not batch[0][6:].any()
    found = PredictEngine(lens[2], 8)(*batch)
    np.testing.assert_allclose(found[:6], predictor.engine(*batch)[:6], atol=1e-4)
    assert not found[6:].any()


def test_slowdown__tables(config, rows):
    parts = {bare.READ: {1: Lap(1.0, 1.0), 2: Lap(0.5, 0.75)}, "forward pass": {2: Lap(1.0, 2.25)}}
    measured = slowdown.Measured(9.0, [timed(1.5), timed(3.0)], [parts, parts])
    assert measured.sums == [(1.5, 3.0), (1.5, 3.0)] and measured.ratios == [1.0, 2.0]
    assert measured.rate == pytest.approx(5) and measured.cpu_ratio == 1.5
    assert "| end to end |  |  | 2.25 | 150% | 4.50 | 150% |" in slowdown.parts_table(measured)
    assert slowdown.score_columns(config) == ["lens_logit"]
    assert slowdown.compare(rows, rows, ["lens_score"]) == ["1.000000", "1.000000"]
    assert slowdown.compare(rows[1:], rows, ["lens_score"])[0] == f"{len(rows) - 1} sources, not {len(rows)}"


def test_rank_agreement():
    scores = np.arange(200.0)
    assert slowdown.rank_agreement(scores, scores) == pytest.approx((1, 1))
    assert slowdown.rank_agreement(-scores, scores) == pytest.approx((-1, 0))
    assert slowdown.rank_agreement(np.append(scores, np.nan), np.append(scores, 5)) == pytest.approx((1, 1))


def test_slowdown__refuses_predict_in_a_cluster(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["slowdown", "survey.yaml", "--engines", "predict", "--cluster", "local"])
    with pytest.raises(SystemExit):
        slowdown.main()
    assert "predict runs in this process alone" in capsys.readouterr().err


def test_ingest_speed__both_sides_run(config, tmp_path):
    found = ingest_speed.measure(config, 2, tmp_path)
    assert np.shape(found) == (2, 2) and np.min(found) > 0
    assert not list(tmp_path.iterdir())


def test_area_table():
    text = area.area_table([100, 200], [timed(1.0), timed(4.0, 40)])
    assert "| 200 x 200 | 40 | 4.0 | 10.0 |" in text
    assert "| exponent |  |  |  | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |" in text


def test_hyrax__files_of_cut_outs(config, lens, rows, tmp_path):
    stamps = hyrax.cut_files(config, lens[1], rows[:5], tmp_path)
    catalog = Table.read(tmp_path / "catalog.fits")
    assert stamps.shape == (5, 3, 64, 64) and len(catalog) == 15
    assert sorted(set(catalog["filter"])) == ["0_g", "1_r", "2_i"]  # Hyrax sorts them: the network's order
    np.testing.assert_array_equal(fits.getdata(tmp_path / catalog["filename"][4]), stamps[1, 1])


def test_hyrax__side_and_table(rows, small_run, capsys):
    assert hyrax.side_px(1000, 1000 / 1920**2) == 1920
    survey = timed(2.0, len(rows), small_run / "catalog.fits")
    scores = np.asarray(survey.rows()["lens_score"])
    told = {"seconds": 8.0, "cpu": 9.0, "bare_seconds": 4.0, "outputs": {"hyrax": scores[:, None]}}
    hyrax.print_size(survey, 100.0, Lap(2.0, 1.0), [(0, told)])
    text = capsys.readouterr().out
    assert "| 2.50 | 1.0000 |" in text and "ours over Hyrax: 5.00 with the cutting, 4.00 without" in text


def test_hyrax__twin_that_is_another_network(lens):
    stamps = np.zeros((2, 3, 64, 64), np.float32)
    with pytest.raises(SystemExit, match="the twin's outputs differ from Keras's by .*, allowed are 0.0001"):
        hyrax.check_twin(*lens[1:], stamps, np.full((2, 2), 9.0))


def test_twin_weights__what_the_twin_needs(lens):
    weights = twin_weights(*lens[1:])
    assert weights["member1/kernel_0"].shape == (5, 5, 3, 24) and weights["member1/norm_0"].shape == (4, 24)
    assert weights["n_views"] == 2 and "member2/kernel_0" not in weights


def test_twin__is_the_network(lens, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(TWIN)
    from twin import Twin

    folder, card, model = lens
    golden = read_golden(folder, card)
    with torch.no_grad():
        inputs = torch.from_numpy(np.ascontiguousarray(golden.inputs.transpose(0, 3, 1, 2)))
        found = Twin(twin_weights(card, model)).eval().scaled(inputs).numpy()
    np.testing.assert_allclose(found, golden.raw, atol=1e-4)
