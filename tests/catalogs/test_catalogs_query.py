import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import surveycnn
from surveycnn.catalogs.flags import has_flag
from surveycnn.catalogs.formats.parquet_piece import ParquetPiece
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.selection.regions import separation_deg
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError
from surveycnn.sky.sphere import unit_vectors


@pytest.fixture(scope="module", params=["hats", "zarr", "fits"])
def catalog(request, table, tmp_path_factory):
    """The catalog read from each format."""
    out = tmp_path_factory.mktemp(request.param) / "kids"
    return open_catalog(publish(table, out, formats=[request.param], partition_rows=300))


def ids(table, mask):
    return table["source_id"].to_numpy()[mask].tolist()


def test_open_catalog__is_public(published):
    assert len(surveycnn.open_catalog(published)) == len(surveycnn.open_catalog(str(published))) == 1500


def test_catalog__same_from_every_format(catalog, table):
    assert len(catalog) == 1500 and catalog.columns == table.column_names
    assert catalog["source_id"].tolist() == table["source_id"].to_pylist()
    assert catalog.schema.field("ra").metadata[b"units"] == b"deg"


def test_catalog__contract_example(catalog, table):
    hot = catalog.cone(352.0, -31.0, 1200).where("lens_prob > 0.5 and z_phot < 1").top(50, by="lens_prob")
    ra, dec, prob, z = (table[name].to_numpy() for name in ("ra", "dec", "lens_prob", "z_phot"))
    inside = separation_deg(unit_vectors(ra, dec), unit_vectors(352.0, -31.0)) * 3600 <= 1200
    rows = np.flatnonzero(inside & (prob > 0.5) & (z < 1))
    rows = rows[np.argsort(-prob[rows], kind="stable")][:50]
    assert 10 < len(rows) and hot["source_id"].tolist() == ids(table, rows)
    assert len(hot) == len(hot.to_table()) == len(hot.to_pandas()) == hot.to_xarray().sizes["source"] == len(rows)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([0.0, 359.9, 180.0, 77.7]), st.floats(-90, 90), st.floats(0, 100))
def test_cone__reads_every_row_inside(sky_published, ra, dec, radius):
    table, folder = sky_published
    distance = separation_deg(unit_vectors(table["ra"].to_numpy(), table["dec"].to_numpy()), unit_vectors(ra, dec))
    assert open_catalog(folder).cone(ra, dec, radius * 3600)["source_id"].tolist() == ids(table, distance <= radius * 3600 / 3600)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 360), st.floats(0, 360), st.floats(-90, 90), st.floats(-90, 90))
def test_box__reads_every_row_inside(sky_published, ra_min, ra_max, dec_a, dec_b):
    table, folder = sky_published
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    low, high = sorted((dec_a, dec_b))
    west, east = ra_min % 360, ra_max % 360
    inside = (ra >= west) & (ra <= east) if west <= east else (ra >= west) | (ra <= east)
    inside = np.ones(len(ra), bool) if ra_max - ra_min >= 360 else inside
    assert open_catalog(folder).box(ra_min, ra_max, low, high)["source_id"].tolist() == ids(
        table, inside & (dec >= low) & (dec <= high)
    )


def test_polygon__reads_every_row_inside(sky_published):
    table, folder = sky_published
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    found = open_catalog(folder).polygon([(350, -20), (10, -20), (10, 20), (350, 20)])["source_id"]
    # its sides along the meridians are great circles, its other sides bulge away from the equator
    core = ((ra >= 350) | (ra <= 10)) & (np.abs(dec) <= 20)
    assert set(ids(table, core)) <= set(found) and len(found) < len(ids(table, core)) * 1.1


def test_where__flags_and_text(catalog, table):
    mosaic, flags = np.array(table["mosaic"].to_pylist()), table["flags"].to_numpy()
    found = catalog.where("mosaic == 'm1' and has_flag('edge') and flags & 4 == 0")
    assert found["source_id"].tolist() == ids(table, (mosaic == "m1") & has_flag(flags, "edge") & (flags & 4 == 0))


def test_where__components(catalog, table):
    weight = arrow_to_numpy(table["pz_weight"])
    assert catalog.where("pz_weight[0] > 0.5")["source_id"].tolist() == ids(table, weight[:, 0] > 0.5)


def test_top__nan_last_and_ties_in_the_order_of_rows(catalog, table):
    prob, flags = table["lens_prob"].to_numpy(), table["flags"].to_numpy()
    assert catalog.top(1500, by="lens_prob")["source_id"].tolist() == ids(table, np.argsort(-prob, kind="stable"))
    assert np.isnan(catalog.top(1500, by="lens_prob")["lens_prob"][-1])
    assert catalog.top(400, by="flags")["source_id"].tolist() == ids(table, np.argsort(-flags, kind="stable")[:400])
    assert len(catalog.top(0, by="flags")) == 0


def test_top__then_further_selections(catalog, table):
    """Selections apply in the order in which they are written."""
    prob, flags = table["lens_prob"].to_numpy(), table["flags"].to_numpy()
    best = np.argsort(-prob, kind="stable")[:100]
    assert catalog.top(100, by="lens_prob").where("flags > 7")["source_id"].tolist() == ids(table, best[flags[best] > 7])
    small = catalog.where("flags > 7").top(100, by="lens_prob").top(3, by="flux_g").cone(352, -31, 36000)
    rows = np.flatnonzero(flags > 7)
    rows = rows[np.argsort(-prob[rows], kind="stable")][:100]
    rows = rows[np.argsort(-table["flux_g"].to_numpy()[rows], kind="stable")][:3]
    assert small["source_id"].tolist() == ids(table, rows)


def test_select__columns_and_their_order(catalog):
    some = catalog.where("lens_prob > 0").select(["z_phot", "source_id"])
    assert some.columns == some.to_table().colnames == list(some.to_pandas()) == ["z_phot", "source_id"]
    assert len(some.where("ra > 352").top(3, by="flux_g")) == 3


def test_catalog__nothing_selected_from_it_has_every_column(catalog):
    empty = catalog.cone(10, 10, 1)
    assert len(empty) == 0 and empty.to_table().colnames == catalog.columns and len(empty.to_pandas()) == 0
    assert empty.to_xarray()["pz_mean"].shape == (0, 3) and empty["lens_prob"].dtype == np.float32


def test_catalog__steps_leave_the_catalog_as_it_is(catalog):
    catalog.where("lens_prob > 0").top(3, by="ra")
    assert catalog.steps == () and len(catalog) == 1500


def test_catalog__reads_only_what_is_needed(published, monkeypatch):
    """Opening reads no rows; a small cone reads few partitions, and only the columns asked for."""
    read = []
    real = ParquetPiece.read

    def recorded(self, columns, groups):
        part = real(self, columns, groups)
        read.append((part.num_rows, tuple(columns)))
        return part

    monkeypatch.setattr(ParquetPiece, "read", recorded)
    catalog = open_catalog(published)
    step = catalog.cone(352, -31, 60).where("lens_prob > 0").select(["source_id"])
    assert len(catalog) == 1500 and repr(step) and catalog._repr_html_() and not read
    assert step["source_id"] is not None
    assert len(read) <= 4 and sum(rows for rows, _ in read) < 200
    assert {columns for _, columns in read} <= {("ra", "dec", "lens_prob"), ("source_id",)}


def test_catalog__is_shown_with_its_selections(published):
    catalog = open_catalog(published).where("lens_prob > 0.9 and z_phot < 1").cone(352, -31, 60).top(3, by="lens_prob")
    assert repr(catalog).splitlines() == [
        "<Catalog 'kids': 1,500 rows, 28 columns>",
        "  where lens_prob > 0.9 and z_phot < 1",
        "  cone(352, -31, 60 arcsec)",
        "  top 3 by lens_prob",
    ]
    assert "z_phot &lt; 1" in catalog._repr_html_() and "right ascension, ICRS" in catalog._repr_html_()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: c.where("lens_prb > 1"), "no column 'lens_prb': did you mean 'lens_prob"),
        (lambda c: c.top(3, by="lense_prob"), "no column 'lense_prob': did you mean 'lens_prob"),
        (lambda c: c.top(-1, by="ra"), "top: -1 rows asked for"),
        (lambda c: c.top(1, by="mosaic"), "top: column 'mosaic' is of type string, expected one number per row"),
        (lambda c: c.top(1, by="pz_mean"), "expected one number per row"),
        (lambda c: c.select(["ra", "decl"]), "no column 'decl': did you mean 'dec"),
        (lambda c: c.select([]), "expected at least one"),
        (lambda c: c.select(["ra", "ra"]), "none twice"),
        (lambda c: c.top(2.5, by="ra"), "top: 2.5 rows asked for, expected a whole number"),
        (lambda c: c.select("ra"), "select: found the text 'ra', expected a list of columns"),
        (lambda c: c.cone("a", 2, 3), r"cone: found \('a', 2, 3\), expected numbers"),
        (lambda c: c.box(1, None, 2, 3), r"box: found \(1, None, 2, 3\), expected numbers"),
        (lambda c: c["rra"], "no column 'rra': did you mean 'ra"),
        (lambda c: c.cone(0, 100, 1), "cone: position is"),
        (lambda c: c.crossmatch(c).coverage, "has no coverage.fits"),
    ],
)
def test_catalog__wrong_arguments_at_once(make, message, published):
    with pytest.raises(CatalogError, match=message):
        make(open_catalog(published))


def test_open_catalog__not_a_catalog(tmp_path):
    with pytest.raises(CatalogError, match="there is no folder"):
        open_catalog(tmp_path / "none")
    (tmp_path / "thing").touch()
    with pytest.raises(CatalogError, match=r"holds no catalog: expected hats/, catalog.zarr or catalog.fits, found thing"):
        open_catalog(tmp_path)
