import shutil

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC
from scipy.special import expit, logit

from surveycnn.catalogs import columns
from surveycnn.catalogs.area import SKY_DEG2, area_of
from surveycnn.catalogs.flags import flag_value
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.lens_candidates import longest_list
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.selection.regions import Box, Cone, Polygon
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.errors import CatalogError
from surveycnn.schema import Schema

N, PRIOR = 40_000, 0.02
BOX = (10.0, 12.0, -1.0, 1.0)
AREA = 4.0
"""Square degrees of the coverage, whose cells at the border add a thousandth."""


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A catalog of lenses and others with calibrated probabilities, and the truth by source_id.

    Scores are Gaussian, 3 sigma apart: the probability of each is known.
    """
    rng = np.random.default_rng(2)
    schema = Schema([*columns.position_columns(), *columns.lens_columns()])
    values = {name: variable.empty(N) for name, variable in schema.items()}
    is_lens = rng.random(N) < PRIOR
    score = rng.normal(3.0 * is_lens, 1.0)
    values["lens_prob"] = np.round(expit(logit(PRIOR) + 3.0 * score - 4.5), 4).astype("f4")  # rounded: many ties
    values["lens_prob"][rng.random(N) < 0.01] = np.nan
    values["ra"], values["dec"] = rng.uniform(*BOX[:2], N), rng.uniform(*BOX[2:], N)
    values["source_id"], values["is_primary"] = np.arange(N), rng.random(N) < 0.8
    values["flags"] = np.where(rng.random(N) < 0.1, flag_value("outside_domain_lens"), 0).astype("i4") | 1
    order = np.lexsort((values["source_id"], healpix_index(values["ra"], values["dec"])))
    table = dataset_to_arrow(schema.dataset({name: column[order] for name, column in values.items()}))
    coverage = MOC.from_polygon([10, 12, 12, 10] * u.deg, [-1, -1, 1, 1] * u.deg, max_depth=16)
    provenance = {"models": {"finder": {"task": "lens", "prior": PRIOR}}}
    out = tmp_path_factory.mktemp("lenses") / "sim"
    publish(table, out, formats=["hats"], partition_rows=10_000, coverage=coverage, provenance=provenance)
    return open_catalog(out), is_lens


def test_lens_candidates__expected_is_true(survey):
    """Of calibrated probabilities, what is expected is what is there, within counting noise."""
    catalog, is_lens = survey
    for budget in (1.0, 10.0, 100.0):
        found = catalog.lens_candidates(budget)
        truth = is_lens[found.rows["source_id"]]
        assert len(truth) == found.n > 0 and found.expected_contaminants <= budget * found.area_deg2
        n_contaminants = np.count_nonzero(~truth)
        assert abs(n_contaminants - found.expected_contaminants) < 4 * np.sqrt(found.expected_contaminants + 1)
        assert abs(truth.sum() - found.expected_lenses) < 4 * np.sqrt(found.expected_contaminants + 1)
        assert found.purity == pytest.approx(truth.mean(), abs=0.1)


def test_lens_candidates__is_the_longest_list_within_the_budget(survey):
    catalog, _ = survey
    prob, flags = catalog["lens_prob"].astype("f8"), catalog["flags"]
    usable = catalog["is_primary"] & (flags & flag_value("outside_domain_lens") == 0) & np.isfinite(prob)
    found = catalog.lens_candidates(20.0)
    listed = prob[usable & (prob >= found.threshold)]
    assert (found.n, found.n_ranked) == (len(listed), usable.sum())
    assert (1 - listed).sum() <= 20 * found.area_deg2
    following = prob[usable & (prob < found.threshold)].max()
    assert (1 - prob[usable & (prob >= following)]).sum() > 20 * found.area_deg2
    rows = found.rows["lens_prob"]
    assert (np.diff(rows) <= 0).all() and rows[-1] == np.float32(found.threshold)
    assert found.n_without == (catalog["is_primary"] & np.isnan(prob)).sum()
    assert found.n_outside_domain == (catalog["is_primary"] & np.isfinite(prob) & ~usable).sum()


def test_lens_candidates__rows_outside_of_the_domain_when_asked_for(survey):
    catalog, _ = survey
    without, with_them = (catalog.lens_candidates(20.0, outside_domain=option) for option in (False, True))
    assert with_them.n_outside_domain == 0 and with_them.n_ranked == without.n_ranked + without.n_outside_domain
    assert (with_them.rows["flags"] & flag_value("outside_domain_lens")).any()
    assert not (without.rows["flags"] & flag_value("outside_domain_lens")).any()


def test_lens_candidates__of_no_budget_and_of_any(survey):
    catalog, _ = survey
    none = catalog.where("lens_prob < 0.9").lens_candidates(0)
    assert (none.n, len(none.rows), none.expected_contaminants) == (0, 0, 0) and np.isnan([none.threshold, none.purity]).all()
    sure = catalog.lens_candidates(0)
    assert (sure.rows["lens_prob"] == 1).all() and sure.n == len(sure.rows)
    for budget in (1e9, np.inf):
        everything = catalog.lens_candidates(budget)
        assert everything.n == everything.n_ranked == len(everything.rows) and everything.completeness == pytest.approx(1)


def test_lens_candidates__area_of_the_selection(survey):
    catalog, _ = survey
    assert catalog.lens_candidates(1).area_deg2 == pytest.approx(AREA, rel=2e-3)
    cone = catalog.cone(11, 0, 1800).lens_candidates(5)
    assert cone.area_deg2 == pytest.approx(np.pi * 0.25, rel=2e-3)
    assert cone.expected_contaminants <= 5 * cone.area_deg2
    # half of the box lies on the coverage
    assert catalog.box(11, 13, -1, 1).lens_candidates(5).area_deg2 == pytest.approx(AREA / 2, rel=4e-3)
    assert catalog.where("lens_prob > 0.1").lens_candidates(5, area_deg2=2.5).area_deg2 == 2.5


def test_lens_candidates__is_shown(survey):
    catalog, _ = survey
    found = catalog.lens_candidates(10.0, area_deg2=4.0)
    assert repr(found).splitlines() == [
        f"<{found.n:,} lens candidates of {found.n_ranked:,} rows on 4 square degrees>",
        f"  lens_prob >= {found.threshold:.4g}, calibrated at one lens in 50",
        f"  expected: {found.expected_lenses:.3g} lenses, {found.expected_contaminants:.3g} contaminants "
        f"({found.expected_contaminants / 4:.3g} per square degree)",
        f"  purity {found.purity:.3g}, completeness {found.completeness:.3g} of {found.expected_in_all:.3g} lenses in all",
        f"  left out: {found.n_outside_domain:,} rows outside of the model's domain",
        f"  left out: {found.n_without} rows without a number",
    ]
    assert repr(catalog.where("lens_prob < 0.1").lens_candidates(0)).splitlines()[1].startswith("  left out")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: c.lens_candidates(-1), "contaminants per square degree are -1, expected a number from 0"),
        (lambda c: c.lens_candidates(np.nan), "contaminants per square degree are nan"),
        (lambda c: c.lens_candidates(1, area_deg2=0), "the area is 0 square degrees, expected more than 0"),
        (lambda c: c.cone(200, 0, 60).lens_candidates(1), "the area is 0.0 square degrees"),
        (lambda c: c.where("ra > 11 and dec < 0").lens_candidates(1), "the area of 'where ra > 11 and dec < 0' is not known"),
        (lambda c: c.crossmatch(c).lens_candidates(1), "has no coverage: give area_deg2"),
    ],
)
def test_lens_candidates__wrong_arguments(make, message, survey):
    with pytest.raises(CatalogError, match=message):
        make(survey[0])


def test_lens_candidates__without_a_lens_model(survey):
    match = survey[0].top(3, by="ra").select(["source_id", "ra", "dec"]).crossmatch(Table({"ra": [1.0], "dec": [1.0]}))
    with pytest.raises(CatalogError, match=r"has no columns \['lens_prob', 'is_primary', 'flags'\]: a lens model did not run"):
        match.lens_candidates(1)


def test_lens_candidates__area_of_the_lens_models_own_coverage(survey, tmp_path):
    """The model, named after its package, was skipped on half of the sky that was searched."""
    shutil.copytree(survey[0].path, tmp_path / "half")
    MOC.from_polygon([10, 11, 11, 10] * u.deg, [-1, -1, 1, 1] * u.deg, max_depth=16).save(
        tmp_path / "half" / "coverage_finder.fits", format="fits"
    )
    catalog = open_catalog(tmp_path / "half")
    assert catalog.lens_candidates(5).area_deg2 == pytest.approx(AREA / 2, rel=4e-3)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), max_size=8), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 3.0, np.inf]),
)
def test_longest_list__by_trying_all(parts, budget):
    everything = sorted((p for part in parts for p in part), reverse=True)
    fitting = [[p for p in everything if p >= low] for low in set(everything)]
    fitting = [listed for listed in fitting if sum(1 - p for p in listed) <= budget]
    assert longest_list([np.array(part) for part in parts], budget).tolist() == max(fitting, key=len, default=[])


# -- area --------------------------------------------------------------------------------------------------------------------


def zone(ra_width, south, north):
    return np.radians(ra_width) * (np.sin(np.radians(north)) - np.sin(np.radians(south))) * SKY_DEG2 / (4 * np.pi)


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([Box(350, 20, -30, 10)], zone(30, -30, 10)),
        ([Cone(0, 90, 3.0)], SKY_DEG2 * (1 - np.cos(np.radians(3))) / 2),
        ([Cone(77, -45, 1 / 60)], SKY_DEG2 * (1 - np.cos(np.radians(1 / 60))) / 2),
        ([Polygon.of([(0, 0), (90, 0), (0, 90)])], SKY_DEG2 / 8),
        ([Box(0, 20, -10, 10), Box(10, 40, 0, 30)], zone(10, 0, 10)),
        ([Box(0, 0.1, -40, 40)], zone(0.1, -40, 40)),
    ],
)
def test_area__of_regions(regions, expected):
    assert area_of(MOC.from_string("0/0-11"), regions) == pytest.approx(expected, rel=1e-2)


def test_area__of_scattered_coverage():
    coverage = MOC.from_string("12/5 1000 77777 20000000")
    assert area_of(coverage) == pytest.approx(4 * SKY_DEG2 / (12 << 24))
    assert area_of(coverage, [Box(0, 360, -90, 90)]) == pytest.approx(area_of(coverage))
    assert area_of(MOC.new_empty(10), [Cone(0, 0, 1)]) == area_of(MOC.new_empty(10)) == 0
