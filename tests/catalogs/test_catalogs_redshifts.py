import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from surveycnn.catalogs import columns, redshifts
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.philox import philox
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import Catalog, open_catalog
from surveycnn.catalogs.source import TableSource
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.errors import CatalogError
from surveycnn.inference.heads import mixture_parameters, redshift_columns
from surveycnn.schema import Schema

N, K = 600, 4
NO_PDF = slice(None, None, 50)


def gaussians(n=N, seed=0):
    """Columns of the catalog as a network gives them, every fiftieth row without a PDF."""
    rng = np.random.default_rng(seed)
    found = redshift_columns(*mixture_parameters(rng.normal(0, 1, (n, 3 * K)) - np.repeat([0.0, 0.0, 2.0], K), scale=0.5))
    for values in found.values():
        values[NO_PDF] = np.nan
    return {name: values.astype("f4") for name, values in found.items()}


def mixture_of(found):
    return tuple(found[name] for name in redshifts.MIXTURE)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A catalog of those rows in several partitions."""
    schema = Schema([*columns.position_columns(), *columns.lens_columns(), *columns.photoz_columns(K)])
    rng = np.random.default_rng(1)
    values = {name: variable.empty(N) for name, variable in schema.items()} | gaussians()
    values["ra"], values["dec"] = rng.uniform(10, 12, N), rng.uniform(-1, 1, N)
    values["source_id"], values["is_primary"] = rng.permutation(10**6)[:N].astype("i8"), rng.random(N) < 0.7
    values["lens_prob"] = rng.random(N).astype("f4")
    values["lens_score"] = np.where(rng.random(N) < 0.9, values["lens_prob"], np.nan).astype("f4")
    order = np.lexsort((values["source_id"], healpix_index(values["ra"], values["dec"])))
    table = dataset_to_arrow(schema.dataset({name: column[order] for name, column in values.items()}))
    out = tmp_path_factory.mktemp("redshifts") / "z"
    return open_catalog(publish(table, out, formats=["hats"], partition_rows=200))


def mixtures_of(catalog):
    """Gaussians of the rows that have them, double precision, from the columns."""
    values = [catalog[name] for name in redshifts.MIXTURE]
    known = np.isfinite(values[1]).all(axis=1)
    weight, mean, sigma = (column[known].astype("f8") for column in values)
    return weight / weight.sum(axis=1, keepdims=True), mean, sigma


# -- agreement with the columns ----------------------------------------------------------------------------------------------


def test_quantiles__are_those_of_the_columns(catalog):
    found = catalog.redshift_quantiles([0.5, 0.16, 0.84])
    for place, name in enumerate(("z_phot", "z_phot_lo", "z_phot_hi")):
        np.testing.assert_allclose(found[:, place], catalog[name], rtol=2e-5, atol=2e-6)
    assert np.isnan(found).all(axis=1).sum() == N // 50


def test_pdf__has_its_peak_at_the_mode_and_half_of_it_below_the_median(catalog):
    known = catalog.where("z_phot > -1")
    z_mode, z_phot = known["z_mode"].astype("f8"), known["z_phot"].astype("f8")
    gaussians = tuple(known[name] for name in redshifts.MIXTURE)
    at_mode = np.diag(redshifts.pdf(z_mode, *gaussians))
    assert (known.redshift_pdf(np.linspace(0, 5, 301)) <= at_mode[:, None] * 1.01).all()
    np.testing.assert_allclose(np.diag(redshifts.cdf(z_phot, *gaussians)), 0.5, atol=2e-4)


def test_real_catalog__agrees_with_its_columns(small_run):
    catalog = open_catalog(small_run)
    found = catalog.redshift_quantiles([0.5, 0.16, 0.84])
    expected = np.stack([catalog[name] for name in ("z_phot", "z_phot_lo", "z_phot_hi")], axis=1)
    assert np.isfinite(found).any()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# -- truth -------------------------------------------------------------------------------------------------------------------


def test_pdf_and_cdf__against_scipy(catalog):
    weight, mean, sigma = mixtures_of(catalog)
    z = np.linspace(-0.5, 4, 91)
    frozen = stats.norm(mean[..., None], sigma[..., None])
    found = catalog.redshift_pdf(z)
    np.testing.assert_allclose(
        found[np.isfinite(found[:, 0])], (weight[..., None] * frozen.pdf(z)).sum(axis=1), rtol=1e-9, atol=1e-300
    )
    below = redshifts.cdf(z, weight, mean, sigma)
    np.testing.assert_allclose(below, (weight[..., None] * frozen.cdf(z)).sum(axis=1), rtol=1e-9, atol=1e-15)


def test_pdf__is_that_of_qp(catalog):
    z = np.linspace(0, 3, 31)
    ensemble, found = catalog.to_qp(), catalog.redshift_pdf(z)
    known = np.isfinite(found[:, 0])
    assert ensemble.ancil["source_id"].tolist() == catalog["source_id"][known].tolist()
    np.testing.assert_allclose(ensemble.pdf(z), found[known], rtol=1e-6, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    arrays("f4", (3, 2), elements=st.floats(0.0, 1, width=16)),
    arrays("f4", (3, 2), elements=st.floats(0.0, 5, width=16)),
    arrays("f4", (3, 2), elements=st.floats(0.0078125, 2, width=16)),
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4, unique=True),
)
def test_pdfs__are_normalised_and_their_functions_agree(weight, mean, sigma, levels):
    has = (weight > 0).any(axis=1)
    grid = np.linspace(-20, 30, 10_001)
    total = redshifts.pdf(grid, weight, mean, sigma).sum(axis=1) * (grid[1] - grid[0])
    np.testing.assert_allclose(total, np.where(has, 1, np.nan), atol=1e-6)
    levels = sorted(levels)
    found = redshifts.quantiles(levels, weight, mean, sigma)
    assert np.isnan(found[~has]).all() and (np.diff(found[has], axis=1) >= -1e-12).all()  # levels may be one but for rounding
    for row in np.flatnonzero(has):
        below = redshifts.cdf(found[row], *(values[row : row + 1] for values in (weight, mean, sigma)))[0]
        np.testing.assert_allclose(below, levels, atol=1e-3)  # the step of the search, 1e-6, at the steepest


def test_rows_without_a_pdf__give_nan():
    weight = np.array([[0.5, 0.5], [0, 0], [np.nan, 1], [-0.1, 1.1], [0.5, 0.5], [0.5, 0.5], [2, 2]])
    mean = np.full((7, 2), 0.5)
    sigma = np.full((7, 2), 0.1)
    mean[4, 0], sigma[5, 0] = np.inf, 0.0
    is_known = [True, False, False, False, False, False, True]
    for found in (
        redshifts.pdf(0.5, weight, mean, sigma),
        redshifts.quantiles(0.5, weight, mean, sigma),
        redshifts.draws(np.arange(7), 3, 0, weight, mean, sigma),
    ):
        assert np.isfinite(found).all(axis=1).tolist() == is_known and np.isnan(found).any(axis=1).sum() == 5
        assert found[6, 0] == found[0, 0] or found.shape[1] == 3, "weights count by their share"


def test_results__do_not_depend_on_the_blocks(catalog, monkeypatch):
    z, edges = np.linspace(0, 2, 7), np.linspace(0, 2, 5)
    whole = catalog.redshift_pdf(z), catalog.draw_redshifts(3), catalog.redshift_quantiles(0.3)
    monkeypatch.setattr(redshifts, "BLOCK_VALUES", 50)
    for one, other in zip(
        whole, (catalog.redshift_pdf(z), catalog.draw_redshifts(3), catalog.redshift_quantiles(0.3)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert catalog.n_of_z(edges).n_without == N // 50


# -- draws -------------------------------------------------------------------------------------------------------------------


def test_philox__gives_the_authors_words():
    """The vectors of the authors' library, Random123."""
    for counter, key, expected in (
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ):
        words = tuple(np.array([int(word, 16)]) for word in counter.split())
        k0, k1 = (int(word, 16) for word in key.split())
        assert " ".join(f"{int(word[0]):08x}" for word in philox(words, (k0, k1))) == expected


def test_draws__follow_the_pdfs(catalog):
    """Each draw's place in its own PDF is uniform, over the rows and over the draws of a row; draws are independent."""
    known = catalog.where("z_phot > -1")
    drawn = known.draw_redshifts(40, seed=3)
    gaussians = tuple(known[name] for name in redshifts.MIXTURE)
    place = np.stack([np.diag(redshifts.cdf(column, *gaussians)) for column in drawn.T], axis=1)
    assert stats.kstest(place.ravel(), "uniform").pvalue > 0.01
    assert min(stats.kstest(column, "uniform").pvalue for column in place.T) > 1e-3
    assert min(stats.kstest(row, "uniform").pvalue for row in place[:100]) > 1e-4
    assert np.abs(np.corrcoef(place.T) - np.eye(40)).max() < 5 / np.sqrt(len(place))
    assert np.abs(np.corrcoef(place[:100]) - np.eye(100)).max() < 5 / np.sqrt(40)


def test_draws__belong_to_the_source_and_the_seed(catalog):
    whole = dict(zip(catalog["source_id"].tolist(), catalog.draw_redshifts(4, seed=7).tolist(), strict=True))
    some = catalog.where("is_primary").top(50, by="lens_prob")
    for number, drawn in zip(some["source_id"].tolist(), some.draw_redshifts(2, seed=7).tolist(), strict=True):
        np.testing.assert_array_equal(drawn, whole[number][:2])
    others = catalog.draw_redshifts(4, seed=8)
    assert not np.isin(others[np.isfinite(others)], list(whole.values())).any()


def test_draws__of_seeds_and_ids_up_to_64_bits():
    mixture = (np.ones((3, 1)), np.ones((3, 1)), np.ones((3, 1)))
    ids = np.array([1, 1 << 32, (1 << 62) + 1])
    found = [redshifts.draws(ids, 2, seed, *mixture) for seed in (0, 1, 1 << 32, (1 << 64) - 1)]
    assert np.unique(found).size == 24


# -- n(z) --------------------------------------------------------------------------------------------------------------------


def test_n_of_z__is_the_sum_of_the_probabilities(catalog):
    weight, mean, sigma = mixtures_of(catalog)
    edges = np.array([0.0, 0.2, 0.5, 1.0, 2.0])
    found = catalog.n_of_z(edges)
    share = (weight[..., None] * np.diff(stats.norm(mean[..., None], sigma[..., None]).cdf(edges))).sum(axis=1)
    np.testing.assert_allclose(found.count, share.sum(axis=0), rtol=1e-9)
    assert (found.n_rows, found.n_without) == (N, N // 50)
    assert found.count.sum() + found.below + found.above == pytest.approx(N - N // 50)
    assert (found.density * np.diff(edges)).sum() == pytest.approx(1)
    assert repr(found).splitlines()[:2] == [
        "<n(z) of 600 rows, 12 of them without a PDF>",
        f"        0 to     0.2  {found.count[0]:10.2f} +- {found.error[0]:.2f}",
    ]


def test_n_of_z__errors_are_those_of_a_bootstrap(catalog):
    edges = np.array([0.0, 0.3, 0.6, 1.5])
    found = catalog.n_of_z(edges, weights="lens_prob")
    weight, mean, sigma = mixtures_of(catalog)
    share = (weight[..., None] * np.diff(stats.norm(mean[..., None], sigma[..., None]).cdf(edges))).sum(axis=1)
    share *= catalog.where("z_phot > -1")["lens_prob"].astype("f8")[:, None]
    np.testing.assert_allclose(found.count, share.sum(axis=0), rtol=1e-6)
    counts = np.random.default_rng(0).poisson(1.0, (5_000, len(share))) @ share
    np.testing.assert_allclose(found.covariance, np.cov(counts.T), rtol=0.1, atol=0.03 * found.covariance.max())


def test_n_of_z__of_a_selection_and_weights_given_as_an_array(catalog):
    some = catalog.where("is_primary").top(80, by="lens_prob")
    by_name, by_array = (some.n_of_z([0, 1, 2], weights=w) for w in ("lens_prob", some["lens_prob"]))
    np.testing.assert_array_equal(by_name.count, by_array.count)
    none = catalog.where("lens_prob > 2").n_of_z([0, 1])
    assert (none.n_rows, none.count.tolist(), np.isnan(none.density).all()) == (0, [0.0], True)
    assert catalog.where("lens_prob > 2").redshift_pdf([0, 1]).shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: c.redshift_pdf([]), r"z is \[\], expected redshifts: one, or a list of finite numbers"),
        (lambda c: c.redshift_pdf([0, np.nan]), "z is"),
        (lambda c: c.redshift_pdf([[0, 1]]), "z is"),
        (lambda c: c.redshift_pdf("low"), "z is 'low'"),
        (lambda c: c.redshift_quantiles([0.5, 1]), r"q is \[0.5, 1.0\], expected fractions between 0 and 1"),
        (lambda c: c.n_of_z([0]), r"edges are \[0.0\], expected at least two redshifts that increase"),
        (lambda c: c.n_of_z([0, 1, 1]), "edges are"),
        (lambda c: c.n_of_z([0, 1], weights="lens_prb"), "weights: catalog 'z' has no column 'lens_prb'"),
        (lambda c: c.n_of_z([0, 1], weights="mosaic"), "weights: mosaic is object of shape .*, expected one number for each row"),
        (
            lambda c: c.n_of_z([0, 1], weights="lens_score"),
            "weights: lens_score has NaN or infinite values: leave these rows out",
        ),
        (lambda c: c.n_of_z([0, 1], weights=[1.0, 2.0]), "weights: 2 numbers for 600 rows"),
        (lambda c: c.n_of_z([0, 1], weights=np.ones(601)), "weights: 601 numbers for 600 rows"),
        (lambda c: c.draw_redshifts(0), "n_draws is 0, expected a whole number from 1 to"),
        (lambda c: c.draw_redshifts(1.5), "n_draws is 1.5, expected a whole number"),
        (lambda c: c.draw_redshifts(1, seed=-1), "seed is -1, expected a whole number from 0 to"),
    ],
)
def test_redshifts__wrong_arguments(make, message, catalog):
    with pytest.raises(CatalogError, match=message):
        make(catalog)


def test_redshifts__of_a_catalog_without_photoz(published):
    match = open_catalog(published).select(["source_id", "ra", "dec"]).crossmatch(pa.table({"ra": [1.0], "dec": [1.0]}))
    for make in (lambda c: c.redshift_pdf(0.5), lambda c: c.draw_redshifts(), lambda c: c.n_of_z([0, 1]), lambda c: c.to_qp()):
        with pytest.raises(CatalogError, match=r"has no columns \['pz_weight', 'pz_mean', 'pz_sigma'\]: a photo-z model did not"):
            make(match)


def test_redshifts__of_columns_that_are_no_mixtures(catalog):
    table = catalog.to_arrow()
    for values in (table["z_phot"], pa.array(table["pz_mean"].to_pylist()), pa.array(["?"] * N)):
        odd = Catalog(TableSource(table.set_column(table.column_names.index("pz_mean"), "pz_mean", values)), "odd")
        with pytest.raises(CatalogError, match="catalog 'odd': pz_weight is .*, pz_mean is .*: expected as many numbers per row"):
            odd.redshift_pdf(0.5)
