"""What is counted in one pass over a catalog is what pandas counts of all rows at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from surveycnn.catalogs.area import area_of
from surveycnn.catalogs.flags import FLAGS, has_flag
from surveycnn.catalogs.query import open_catalog
from surveycnn.models.package import find_card
from surveycnn.report.density import CellCounts
from surveycnn.report.gather import LOGITS, MAGNITUDES, Gathered, gather
from surveycnn.report.histograms import Axis, Histogram, Histogram2d
from surveycnn.report.rankings import Best

TASKS = ("lens", "morphology", "merger", "photoz")


@pytest.fixture(scope="module")
def rows(small_run):
    return open_catalog(small_run).where("is_primary").to_pandas()


@pytest.fixture(scope="module")
def found(small_run) -> Gathered:
    return gather(open_catalog(small_run), {task: find_card(task) for task in TASKS}, 12)


def test_gather__rows_and_flags(found, rows, small_run):
    assert found.n_rows == len(open_catalog(small_run))
    assert found.n_primary == len(rows)
    assert found.n_clean == (rows["flags"] == 0).sum()
    for flag in FLAGS:
        assert found.flags[flag.name] == has_flag(rows["flags"], flag.name).sum(), flag.name


def test_gather__magnitudes(found, rows):
    assert list(found.magnitudes) == ["g", "r", "i", "z"] and found.band == "i"
    for band, histogram in found.magnitudes.items():
        flux = rows[f"flux_{band}"].to_numpy(float)
        expected = np.histogram(31.4 - 2.5 * np.log10(flux[flux > 0]), MAGNITUDES.edges)[0]
        np.testing.assert_array_equal(histogram.counts, expected)


@pytest.mark.parametrize("task", ["lens", "merger"])
def test_gather__finders(found, rows, task):
    finder, inside = found.finders[task], ~has_flag(rows["flags"], f"outside_domain_{task}")
    np.testing.assert_array_equal(finder.all.counts, np.histogram(rows[f"{task}_logit"].dropna(), LOGITS.edges)[0])
    np.testing.assert_array_equal(finder.inside.counts, np.histogram(rows.loc[inside, f"{task}_logit"].dropna(), LOGITS.edges)[0])
    assert finder.expected == pytest.approx(rows.loc[inside, f"{task}_prob"].sum())
    assert finder.above[0.1] == (rows.loc[inside, f"{task}_prob"] >= 0.1).sum()


@pytest.mark.parametrize("task", TASKS)
def test_gather__domains(found, rows, task):
    outside = has_flag(rows["flags"], f"outside_domain_{task}")
    assert found.domains[task].n_outside == outside.sum()
    known = (rows["flux_i"] > 0) & ~outside
    assert found.domains[task].magnitude_inside.total == known.sum()


def test_gather__n_of_z_is_that_of_the_catalog(found, small_run):
    edges = np.linspace(0, 3, 31)
    exact = open_catalog(small_run).where("is_primary and not has_flag('outside_domain_photoz')").n_of_z(edges)
    assert found.n_of_z.n_rows == exact.n_rows
    np.testing.assert_allclose(found.n_of_z.counts(edges), exact.count, atol=0.01 * exact.count.max())


def test_gather__candidates_are_the_top(found, rows):
    for candidates in found.candidates:
        if candidates.ranking.name == "unusual":
            continue
        by, task = candidates.ranking.by, candidates.ranking.task
        inside = ~has_flag(rows["flags"], f"outside_domain_{task}")
        for is_inside, best in candidates.parts():
            expected = rows[inside == is_inside].nlargest(12 if is_inside else 4, by)
            assert best["source_id"].to_pylist() == expected["source_id"].tolist()


def test_gather__unusual_are_no_artifacts_stars_or_edges(found):
    (unusual,) = [candidates for candidates in found.candidates if candidates.ranking.name == "unusual"]
    (is_inside, best), *_ = unusual.parts()
    assert is_inside and max(best["morph_smooth_or_featured_artifact"].to_pylist()) < 0.5
    assert min(best["flux_radius"].to_pylist()) > 0.75 * 1.15
    assert not has_flag(np.array(best["flags"]), "edge").any() and not has_flag(np.array(best["flags"]), "stamp_incomplete").any()
    assert best["morph_domain"].to_pylist() == sorted(best["morph_domain"].to_pylist(), reverse=True)


def test_gather__does_not_depend_on_the_pieces(found, small_run):
    whole = open_catalog(small_run).to_arrow()
    again = gather(open_catalog(small_run), {task: find_card(task) for task in TASKS}, 12)
    pieces = Gathered(again.layout, again.band, [type(one)(one.ranking, 12) for one in again.candidates])
    for start in range(0, whole.num_rows, 37):
        pieces.add(whole.slice(start, 37))
    for one, other in zip(pieces.candidates, found.candidates, strict=True):
        assert [rows["source_id"] for _, rows in one.parts()] == [rows["source_id"] for _, rows in other.parts()]
    np.testing.assert_allclose(pieces.n_of_z.counts(np.linspace(0, 2, 9)), found.n_of_z.counts(np.linspace(0, 2, 9)))
    np.testing.assert_array_equal(pieces.size.counts, found.size.counts)
    assert dict(zip(pieces.cells.cells, pieces.cells.counts, strict=True)) == dict(
        zip(found.cells.cells, found.cells.counts, strict=True)
    )


def test_density__rows_and_area_are_conserved(found, small_run, rows):
    searched = open_catalog(small_run).coverage
    density = found.cells.density(searched)
    assert density.counts.sum() <= len(rows) and density.counts.sum() > 0.9 * len(rows)
    assert density.area.sum() == pytest.approx(area_of(searched), rel=0.1)


def test_density__large_surveys_get_coarser_cells():
    rng = np.random.default_rng(1)
    counts = CellCounts()
    for _ in range(3):
        counts.add(rng.uniform(0, 360, 30_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 30_000))))
    density = counts.density(None)
    assert density.counts.sum() == 90_000 and len(density.cells) <= 6000
    assert density.area.sum() == pytest.approx(41252.96, rel=0.01)


def test_histogram__counts_like_numpy_and_keeps_what_is_beyond():
    values = np.random.default_rng(2).normal(0, 3, 5000)
    histogram = Histogram(Axis(-5, 5, 40))
    histogram.add(np.append(values, np.nan))
    np.testing.assert_array_equal(histogram.counts, np.histogram(values, np.linspace(-5, 5, 41))[0])
    assert histogram.total == 5000
    assert histogram.median == pytest.approx(np.median(values), abs=0.25)


def test_histogram2d__quantiles():
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 4, 40_000), rng.uniform(0, 1, 40_000)
    counts = Histogram2d(Axis(0, 4, 4), Axis(0, 1, 100))
    counts.add(x, y * (1 + x) / 5)
    middle = counts.quantiles((0.5,))[0]
    expected = [np.median((y * (1 + x) / 5)[(x >= i) & (x < i + 1)]) for i in range(4)]
    np.testing.assert_allclose(middle, expected, atol=0.02)


def test_best__ties_keep_their_order_and_nan_is_never_best():
    best = Best(3)
    values = np.array([1.0, np.nan, 2.0, 2.0, 2.0, np.inf])
    best.add(pa.table({"n": np.arange(6)}), values, np.ones(6, bool))
    best.add(pa.table({"n": [6, 7]}), np.array([2.0, 3.0]), np.array([True, True]))
    assert best.rows["n"].to_pylist() == [7, 2, 3]
