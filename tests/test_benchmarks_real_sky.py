"""What `benchmarks/real_sky.py` computes and draws, on arrays made here: no real image is needed."""

import sys

import numpy as np
import pytest
from matplotlib.image import imread
from small_sky import write_small_sky, write_survey

from benchmarks import real_sky, real_sky_answers, real_sky_blends, real_sky_picture, real_sky_survey
from surveycnn.catalogs.flags import flag_value
from surveycnn.errors import InputError

SPIRAL = {
    "morph_smooth_or_featured_smooth": 0.2,
    "morph_smooth_or_featured_featured_or_disk": 0.75,
    "morph_smooth_or_featured_artifact": 0.05,
    "morph_how_rounded_round": 0.9,
    "morph_how_rounded_in_between": 0.05,
    "morph_how_rounded_cigar": 0.05,
    "morph_disk_edge_on_yes": 0.2,
    "morph_disk_edge_on_no": 0.8,
    "morph_has_spiral_arms_yes": 0.9,
    "morph_bar_strong": 0.1,
    "morph_bar_weak": 0.25,
    "merger_score": 0.31,
    "merger_prob": 0.012,
    "merger_time": -40.2,
    "merger_time_err": 80.0,
    "flags": 0,
}


def make_blend(name="b1", shape=(40, 60), peaks=((20, 30), (10, 5)), flux=(500.0, 2000.0), injected=("", "star i 21.0")):
    rng = np.random.default_rng(3)
    rows, cols = np.indices(shape)
    light = sum(f * np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / 2.0**2) for f, (y, x) in zip(flux, peaks, strict=True))
    image = (light * np.array([0.5, 1.0, 1.5])[:, None, None] + rng.normal(0, 3, (3, *shape))).astype(np.float32)
    return real_sky_blends.Blend(name, image, light > 5, np.array(peaks), injected)


def write_blend(path, blend, matched_at=None):
    kinds = [("x", "f8"), ("y", "f8"), ("sourceType", "S6"), ("imagVar", "f8"), ("redshift", "f8")]
    matched = np.array([] if matched_at is None else [(*matched_at[::-1], b"galaxy", 21.26, 0.512)], dtype=kinds)
    images = np.concatenate([blend.image, blend.image[:2]]) / 10 ** (0.4 * 4.4)
    mask = np.zeros(images.shape, "i4")
    mask[1, 0, :] = 1 << 8
    mask[1, 1, :] = 1 << 5
    np.savez(path, images=images, mask=mask, footprint=blend.footprint, centers=blend.peaks, matched=matched)


def test_answer_lines__relevant_questions_only():
    lines = real_sky_answers.answer_lines(SPIRAL)
    assert lines == [
        "smooth 0.20 featured 0.75 artifact 0.05",
        "edge-on 0.20 @0.75",
        "spiral 0.90 @0.60  bar 0.35 @0.60",
        "merger 0.31 (survey prior: 0.012)",
        "time -40 +- 80 Myr, if merger",
    ]


def test_answer_lines__flags_and_no_numbers():
    flags = flag_value("blended") | flag_value("outside_domain_merger") | flag_value("outside_domain_lens")
    nothing = {name: np.nan for name in SPIRAL} | {"flags": flags}
    lines = real_sky_answers.answer_lines(nothing)
    assert lines == ["morphology: no number", "merger: no number", "blended, outside domain of merger"]
    assert real_sky_answers.answer_lines({"flags": 0}) == []


def test_read_by_eye__labels_by_position(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("mosaic,x,y,label,note\nkids,10.5,20,spiral,\nkids,12,20,star,bright\n")
    labels = real_sky_answers.read_by_eye(path)
    assert real_sky_answers.label_at(labels, "kids", 11.8, 20.0) == "star"
    assert real_sky_answers.label_at(labels, "kids", 10.0, 20.0) == "spiral"
    assert real_sky_answers.label_at(labels, "kids", 20.0, 20.0) == ""


def test_read_by_eye__column_missing(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("mosaic,x,label\n")
    with pytest.raises(InputError, match="has no column y: it needs mosaic, x, y, label"):
        real_sky_answers.read_by_eye(path)


def test_read_blends__units_masks_and_what_was_injected(tmp_path):
    blend = make_blend()
    write_blend(tmp_path / "b1.npz", blend, matched_at=(11, 6))
    (found,) = real_sky_blends.read_blends(tmp_path)
    assert found.name == "b1" and found.injected == ("", "galaxy i 21.3 z 0.51")
    np.testing.assert_allclose(found.image[0], blend.image[0], rtol=1e-5)
    assert np.isnan(found.image[1, 0]).all() and np.isfinite(found.image[1, 1]).all()


def test_read_blends__empty_folder(tmp_path):
    with pytest.raises(InputError, match="holds no .npz files"):
        real_sky_blends.read_blends(tmp_path)


def test_brightest_covered__only_where_there_is_data():
    blend = make_blend()
    assert real_sky_blends.brightest_covered(blend, 64, 0.2, least=0.1) == 1
    assert real_sky_blends.brightest_covered(blend, 64, 0.2, least=0.1, is_real=True) == 0
    assert real_sky_blends.brightest_covered(blend, 64, 0.2, least=0.35) == 0
    assert real_sky_blends.brightest_covered(blend, 64, 0.2, least=0.9) is None


def test_with_sky_around__same_pixels_and_same_noise():
    blend = make_blend()
    blend.image[0, 5, 5] = np.nan
    filled = real_sky_blends.with_sky_around(blend, 40)
    np.testing.assert_array_equal(filled.image[:, 40:80, 40:100], blend.image)
    assert filled.image[:, :40].std() == pytest.approx(3, rel=0.2)
    assert (filled.peaks == blend.peaks + 40).all()
    np.testing.assert_array_equal(filled.image, real_sky_blends.with_sky_around(blend, 40).image)
    assert real_sky_blends.brightest_covered(filled, 64, 0.2, least=0.99) == 1


def test_sky_scatter__no_sky():
    with pytest.raises(InputError, match="too few to tell its noise"):
        real_sky_blends.sky_scatter(np.ones((8, 8)), np.ones((8, 8), bool))


def test_is_same__overlapping_cutouts():
    blend = make_blend()
    moved = real_sky_blends.Blend("b2", blend.image[:, 3:, 7:], blend.footprint[3:, 7:], blend.peaks - [3, 7], ("", ""))
    assert real_sky_blends.is_same((blend, 20, 30), (moved, 17, 23))
    assert not real_sky_blends.is_same((blend, 20, 30), (blend, 10, 5))


def test_choose__by_size_and_flux():
    mags = np.array([15.0, 16, 17, 18, 19, 19.5, 14, 18.5, 18.2, 21])
    radius = np.array([0.6, 0.6, 0.61, 0.6, 0.6, 2.0, 3.0, 5.0, 1.5, 9.0])
    flags = np.zeros(10, "i4")
    columns = {"flux_i": 10 ** (0.4 * (31.4 - mags)), "flux_radius": radius, "flags": flags}
    galaxies, stars = real_sky_survey.choose(columns, 3, 3, faintest=20)
    assert galaxies.tolist() == [6, 8, 7] and stars.tolist() == [0, 2, 4]
    flags[6] = flag_value("edge")
    assert 6 not in real_sky_survey.choose(columns, 3, 3, faintest=20)[0]
    with pytest.raises(InputError, match="no sources of i <= 10"):
        real_sky_survey.choose(columns, 3, 3, faintest=10)


def test_colour_image__colours_and_missing_pixels():
    rows, cols = np.indices((40, 40))
    light = 1000 * np.exp(-0.5 * ((rows - 20) ** 2 + (cols - 20) ** 2) / 9)[..., None]
    noise = np.random.default_rng(1).normal(0, 1, (40, 40, 3))
    red = light * np.array([0.1, 0.5, 1.0]) + noise
    red[:5] = np.nan
    image = real_sky_picture.colour_image(red)
    assert image.min() >= 0 and image.max() <= 1 and image[20, 20, 0] > image[20, 20, 2] + 0.3
    assert (image[:5] == real_sky_picture.NO_DATA).all()
    assert (real_sky_picture.colour_image(np.full((4, 4, 3), np.nan)) == real_sky_picture.NO_DATA).all()


def test_draw_picture__several_pictures(tmp_path):
    rng = np.random.default_rng(2)
    shown = real_sky_picture.Shown("one", rng.normal(0, 1, (64, 64, 3)), rng.normal(0, 1, (90, 90, 3)), 0.3, ["a line"], "star")
    paths = real_sky_picture.draw_picture([shown] * (real_sky_picture.PER_PICTURE + 1), "heading", tmp_path / "a.png")
    assert [path.name for path in paths] == ["a.png", "a_2.png"]
    first, second = map(imread, paths)
    assert first.shape[1] == second.shape[1] and first.shape[0] > 3 * second.shape[0]


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["real_sky", *map(str, words)])
    return real_sky.main()


def test_blends_command__pictures_and_lines(tmp_path, monkeypatch, capsys):
    for name in ("b1", "b2"):
        write_blend(tmp_path / f"{name}.npz", make_blend())
    (tmp_path / "eye.csv").write_text("mosaic,x,y,label\nb1,5,10,star\n")
    options = ("-o", tmp_path / "blends.png", "--beyond", "sky", "--models", "morphology", "--by-eye", tmp_path / "eye.csv")
    assert command(monkeypatch, "blends", tmp_path, *options) == 0
    line, path = capsys.readouterr().out.splitlines()
    assert "b1 5 10" in line and "smooth" in line and line.endswith("by eye: star")
    assert path == str(tmp_path / "blends.png") and (tmp_path / "blends.png").stat().st_size > 10_000
    assert command(monkeypatch, "blends", tmp_path, "-o", tmp_path / "x.png") == 2
    assert "give --beyond sky" in capsys.readouterr().err


def test_galaxies_command__survey_and_picture(tmp_path, monkeypatch, capsys):
    sky = write_small_sky(tmp_path, ny=400, nx=400, rng=np.random.default_rng(5), bands=("g", "r", "i"))
    survey = write_survey(sky, ("g", "r", "i"), models=["merger"], formats=["hats"], output=str(tmp_path / "out"))
    options = ("--n", 3, "--stars", 2, "--wide", 20, "--faintest", 24)
    assert command(monkeypatch, "galaxies", survey, "-o", tmp_path / "sky.png", *options) == 0
    *lines, path = capsys.readouterr().out.splitlines()
    assert 2 <= len(lines) <= 5 and all("| merger" in line for line in lines)
    assert sum(" point " in line for line in lines) == 2
    assert imread(path).ndim == 3
