"""What the view answers: rows where they are on the mosaic, places, candidates, and messages."""

from __future__ import annotations

import hashlib
import io
import json
import re
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from surveycnn.catalogs.query import open_catalog
from surveycnn.commands.report import chunks_of
from surveycnn.errors import UserError
from surveycnn.view.answers import Answers, position

ALL = {"mosaic": "m1", "x0": "-50", "x1": "9000", "y0": "-50", "y1": "9000", "by": "flux_r"}


@pytest.fixture(scope="module")
def answers(small_run):
    return Answers(open_catalog(small_run), chunks_of(small_run), "runs/small")


def asked(answers, name, **query):
    return json.loads(answers.answer(name, {key: str(value) for key, value in query.items()}).body)


def test_sources__of_the_whole_mosaic_brightest_first(answers, small_run):
    rows = open_catalog(small_run).to_pandas()
    found = asked(answers, "sources", **ALL)
    assert found["rows"] == len(rows) == len(found["sources"])
    best = rows.sort_values("flux_r", ascending=False, kind="stable")
    assert [int(one["id"]) for one in found["sources"]] == best["source_id"].tolist()
    few = asked(answers, "sources", **ALL, n=5)
    assert few["rows"] == len(rows) and few["sources"] == found["sources"][:5]
    first, row = found["sources"][0], best.iloc[0]
    assert (first["x"], first["y"]) == pytest.approx((row.x, row.y), abs=0.01)
    assert first["mags"]["r"] == pytest.approx(31.4 - 2.5 * np.log10(row.flux_r), abs=0.006)
    assert first["primary"] is bool(row.is_primary) and first["scores"]["lens_score"] == pytest.approx(row.lens_score, abs=1e-4)


@pytest.mark.parametrize("rectangle", [(100, 260, 90, 300), (0, 40, 0, 40), (-90, 120.5, 300, 900)])
def test_sources__of_a_part(answers, small_run, rectangle):
    x0, x1, y0, y1 = rectangle
    rows = open_catalog(small_run).to_pandas()
    expected = rows[(rows.x >= x0) & (rows.x <= x1) & (rows.y >= y0) & (rows.y <= y1)]
    found = asked(answers, "sources", **ALL | {"x0": x0, "x1": x1, "y0": y0, "y1": y1})
    assert {int(one["id"]) for one in found["sources"]} == set(expected["source_id"])
    assert asked(answers, "sources", **ALL | {"x0": 9000, "x1": 9999})["rows"] == 0


def test_sources__by_a_condition_and_a_least_score(answers, small_run):
    rows = open_catalog(small_run).to_pandas()
    found = asked(answers, "sources", **ALL | {"by": "lens_score", "where": "flux_i > 3000", "least": "0.001"})
    assert found["rows"] == ((rows.flux_i > 3000) & (rows.lens_score >= 0.001)).sum() > 0
    for where, message in [("flux_i >", "cannot be read"), ("fluxx > 1", "fluxx"), ("__import__('os')", "__import__")]:
        with pytest.raises(UserError, match=re.escape(message)):
            asked(answers, "sources", **ALL | {"where": where})
    with pytest.raises(UserError, match="cannot be ordered by 'mosaic'"):
        asked(answers, "sources", **ALL | {"by": "mosaic"})


def test_markers__are_where_the_pictures_are_bright(answers):
    """Row of a tile and y of a source are the same."""
    for source in asked(answers, "sources", **ALL, where="flags == 0", n=8)["sources"]:
        row, col = int(source["y"] + 0.5) // 256, int(source["x"] + 0.5) // 256
        y, x = int(source["y"] + 0.5) - 256 * row, int(source["x"] + 0.5) - 256 * col
        query = {"mosaic": "m1", "bands": "i,r,g", "scale": "report", "level": "0", "row": str(row), "col": str(col)}
        picture = np.asarray(Image.open(io.BytesIO(answers.answer("tile", query).body))).astype(int).sum(axis=2)
        assert picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean() > np.median(picture) + 150


def test_cursor_and_go__are_inverse(answers):
    here = asked(answers, "cursor", mosaic="m1", x=123.25, y=300.5)
    for text in (f"{here['ra']} {here['dec']}", f"{here['ra']},{here['dec']}", here["hms"]):
        place = asked(answers, "go", to=text)
        assert place["mosaic"] == "m1" and (place["x"], place["y"]) == pytest.approx((123.25, 300.5), abs=0.1)
    source = asked(answers, "sources", **ALL, n=1)["sources"][0]
    whole = asked(answers, "go", to=source["id"])
    assert whole["x"] == source["x"] and {one["name"] for one in whole["columns"]} >= {"ra", "flux_r", "z_phot", "pz_weight"}


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("10 10", "is on none of the 1 mosaics"),
        ("330 -2", "is on none of the 1 mosaics"),
        ("400 0", "expected degrees"),
        ("nan nan", "expected degrees"),
        ("the Moon", "is no place: expected RA DEC"),
        ("17", "has no source_id 17"),
    ],
)
def test_go__messages(answers, to, message):
    with pytest.raises(UserError, match=message):
        asked(answers, "go", to=to)


def test_candidates__are_those_of_the_report(answers, small_run):
    rows = open_catalog(small_run).where("is_primary and not has_flag('outside_domain_lens')").to_pandas()
    expected = rows.dropna(subset="lens_logit").sort_values("lens_logit", ascending=False, kind="stable")["source_id"].tolist()
    assert [int(one["id"]) for one in asked(answers, "candidates", of="lens")] == expected[:200]
    with pytest.raises(UserError, match="no candidates of 'stars'"):
        asked(answers, "candidates", of="stars")


def test_about_and_mosaic(answers):
    about, mosaic = asked(answers, "catalog"), asked(answers, "mosaic", mosaic="m1")
    assert about["mosaics"] == ["m1"] and about["start"] == {"mosaic": "m1"} and about["rankings"] == ["lens", "merger"]
    assert (mosaic["nx"], mosaic["ny"], mosaic["levels"], mosaic["colours"]) == (512, 448, 2, ["i", "r", "g"])
    # small_wcs turns the mosaic by ten degrees
    assert abs(mosaic["north"]) == pytest.approx(10, abs=0.1) and mosaic["east_left"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": "i,r"}, "expected one or three of"),
        ({"bands": "q"}, "expected one or three of"),
        ({"scale": "none"}, "expected shallow, report, deep"),
        ({"level": "7"}, "there is no block"),
        ({"row": "../1"}, "row is '../1', expected a number"),
        ({"mosaic": "../m1"}, "there is no mosaic '../m1'"),
    ],
)
def test_tile__messages(answers, change, message):
    query = {"mosaic": "m1", "bands": "i,r,g", "scale": "report", "level": "0", "row": "0", "col": "0"}
    with pytest.raises(UserError, match=re.escape(message)):
        answers.answer("tile", query | change)


def test_tile__lossless_at_full_resolution_alone(answers):
    query = {"mosaic": "m1", "bands": "i,r,g", "scale": "report", "row": "0", "col": "0"}
    kinds = [answers.answer("tile", query | {"level": str(level)}).kind for level in (0, 1)]
    assert kinds == ["image/png", "image/webp"]
    sent = np.asarray(Image.open(io.BytesIO(answers.answer("tile", query | {"level": "0"}).body)))
    np.testing.assert_array_equal(sent, answers.mosaics.picture("m1", ["i", "r", "g"], "report", 0, 0, 0))


@pytest.mark.parametrize(("text", "message"), [("1", "is no place"), ("1 2 3", "is no place"), ("", "is no place")])
def test_position__messages(text, message):
    with pytest.raises(UserError, match=message):
        position(text)


def test_vendor__is_what_its_readme_says():
    folder = files("surveycnn.view") / "page" / "vendor"
    digest = hashlib.sha256((folder / "openseadragon.min.js").read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text() and "6.1.1" in (folder / "README.md").read_text()
    assert b"CodePlex" in (folder / "openseadragon.LICENSE.txt").read_bytes()
