"""Metrics of redshift PDFs: figures worked out by hand, integrals on grids, and those of qp."""

import numpy as np
import pytest
import qp
from hypothesis import given, settings
from hypothesis import strategies as st
from qp.metrics.goodness_of_fit import goodness_of_fit_metrics
from scipy import stats

from surveycnn.errors import InputError
from surveycnn.inference import mixture
from surveycnn.training.redshift_metrics import binned_metrics, ks_distance, pit_by, redshift_metrics, sigma_iqr

NAMES = {
    "bias",
    "bias_median",
    "sigma_nmad",
    "sigma_iqr",
    "eta_0.05",
    "eta_0.15",
    "eta_3sigma",
    "crps",
    "cde_loss",
    "pit_ks",
    "pit_cvm",
    "pit_ad",
    "pit_outside",
    "coverage_68",
    "coverage_90",
}


def gaussians(z_phot: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.ones((len(z_phot), 1)), z_phot[:, None], np.full((len(z_phot), 1), sigma)


def values_of(metrics) -> dict[str, float]:
    return {name: metric.value for name, metric in metrics.items()}


def drawn(n: int, k: int = 4, seed: int = 0) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mixtures and a true redshift drawn from each."""
    rng = np.random.default_rng(seed)
    parts = rng.dirichlet(np.ones(k), n), rng.uniform(0.3, 1.5, (n, k)), rng.uniform(0.02, 0.1, (n, k))
    chosen = (rng.random((n, 1)) > np.cumsum(parts[0], axis=1)).sum(axis=1).clip(max=k - 1)
    mean, sigma = (part[np.arange(n), chosen] for part in parts[1:])
    return rng.normal(mean, sigma), parts


def test_redshift_metrics__point_estimates_by_hand():
    z = np.array([0.0, 1.0, 0.25, 1.0, 3.0])
    z_phot = z + (1 + z) * np.array([-0.02, 0.0, 0.01, 0.07, 0.20])
    found = values_of(redshift_metrics(z, *gaussians(z_phot, 0.1)))
    assert set(found) == NAMES
    assert found["bias"] == pytest.approx(0.052) and found["bias_median"] == pytest.approx(0.01)
    assert found["sigma_nmad"] == pytest.approx(1.4826 * 0.03)  # distances from the median: 0.03, 0.01, 0, 0.06, 0.19
    assert found["sigma_iqr"] == pytest.approx(0.07 / 1.349, abs=1e-6)  # quartiles 0 and 0.07
    assert found["eta_0.05"] == pytest.approx(0.4) and found["eta_0.15"] == pytest.approx(0.2)
    assert found["eta_3sigma"] == pytest.approx(0.2)  # 3 x 0.0519 = 0.156
    narrow = z + (1 + z) * np.array([0.0, 0.001, 0.002, 0.003, 0.059])
    assert values_of(redshift_metrics(z, *gaussians(narrow, 0.1)))["eta_3sigma"] == 0, "below 0.06 nothing is an outlier"


def test_redshift_metrics__point_estimates_of_qp():
    rng = np.random.default_rng(1)
    z = rng.uniform(0.1, 2, 500)
    z_phot = z + 0.03 * (1 + z) * rng.standard_t(2, 500)
    found = values_of(redshift_metrics(z, *gaussians(np.abs(z_phot), 0.1), z_phot=z_phot))
    theirs = qp.metrics.point_estimate_metric_classes
    for name, metric in (
        ("bias_median", theirs.PointBias),
        ("sigma_iqr", theirs.PointSigmaIQR),
        ("sigma_nmad", theirs.PointSigmaMAD),
        ("eta_3sigma", theirs.PointOutlierRate),
    ):
        assert found[name] == pytest.approx(metric().evaluate(z_phot, z), abs=1e-6)


def test_redshift_metrics__pdfs_of_qp():
    z, parts = drawn(150)
    found = values_of(redshift_metrics(z, *parts))
    ensemble = qp.Ensemble(qp.mixmod, data=dict(zip(("weights", "means", "stds"), parts, strict=True)))
    pit = qp.metrics.pit.PIT(ensemble, z)
    np.testing.assert_allclose(mixture.cdf(z, *parts), pit.pit_samps, atol=1e-9)
    assert found["pit_ks"] == pytest.approx(pit.evaluate_PIT_KS().statistic, abs=1e-6)
    assert found["pit_cvm"] == pytest.approx(np.sqrt(pit.evaluate_PIT_CvM().statistic / 150), abs=1e-6)
    squared = goodness_of_fit_metrics["ad"](stats.uniform, np.clip(pit.pit_samps, 1e-6, 1 - 1e-6))
    assert found["pit_ad"] == pytest.approx(np.sqrt(squared / 150), abs=1e-6)
    grid = np.linspace(-0.2, 2, 2001)
    loss = qp.metrics.concrete_metric_classes.CDELossMetric(eval_grid=grid).evaluate(ensemble, z)
    assert found["cde_loss"] == pytest.approx(loss, abs=0.02)
    integral = np.trapezoid((ensemble.cdf(grid) - (grid >= z[:, None])) ** 2, grid, axis=1).mean()
    assert found["crps"] == pytest.approx(integral, abs=5e-4)


def test_binned_metrics__pdfs_of_qp():
    rng = np.random.default_rng(2)
    edges = np.append(0, np.cumsum(rng.uniform(0.05, 0.2, 9)))
    probability, z = rng.dirichlet(np.ones(9), 200), rng.uniform(0.01, edges[-1] - 0.01, 200)
    found = values_of(binned_metrics(z, 3 * probability, edges))
    assert set(found) == NAMES
    ensemble = qp.Ensemble(qp.hist, data={"bins": edges, "pdfs": probability / np.diff(edges)})
    pit = ensemble.cdf(z[:, None])[:, 0]
    assert found["pit_ks"] == pytest.approx(stats.kstest(pit, "uniform").statistic, abs=1e-6)
    assert found["coverage_90"] == pytest.approx(np.mean((pit >= 0.05) & (pit <= 0.95)))
    median = ensemble.ppf(0.5)[:, 0]
    assert found["bias"] == pytest.approx(np.mean((median - z) / (1 + z)), abs=1e-6)
    grid = np.linspace(0, edges[-1], 5_001)
    integral = np.trapezoid((ensemble.cdf(grid) - (grid >= z[:, None])) ** 2, grid, axis=1).mean()
    assert found["crps"] == pytest.approx(integral, abs=4e-4)
    own = ensemble.pdf(z[:, None])[:, 0]
    assert found["cde_loss"] == pytest.approx(np.mean((probability**2 / np.diff(edges)).sum(axis=1) - 2 * own), abs=1e-5)


def test_binned_metrics__fine_bins_of_a_mixture_give_its_figures():
    z, parts = drawn(400, seed=3)
    edges = np.linspace(-0.5, 2.2, 1351)
    below = np.stack([mixture.cdf(np.full(400, edge), *parts) for edge in edges], axis=1)
    binned, plain = (values_of(found) for found in (binned_metrics(z, np.diff(below), edges), redshift_metrics(z, *parts)))
    for name in NAMES:
        assert binned[name] == pytest.approx(plain[name], rel=0.01, abs=2e-3), name


def test_redshift_metrics__right_narrow_and_wide_pdfs():
    z, (weight, mean, sigma) = drawn(3000, seed=4)
    right, narrow, wide = (values_of(redshift_metrics(z, weight, mean, f * sigma)) for f in (1, 0.5, 4))
    assert right["pit_ks"] < 0.03 and right["coverage_68"] == pytest.approx(0.68, abs=0.03)
    assert right["coverage_90"] == pytest.approx(0.90, abs=0.02) and right["pit_outside"] < 0.003
    assert right["pit_cvm"] <= right["pit_ks"] and right["pit_ad"] < 0.05
    for worse in (narrow, wide):
        assert worse["pit_ad"] > 2 * right["pit_ad"] and worse["crps"] > right["crps"] and worse["cde_loss"] > right["cde_loss"]
    assert narrow["coverage_68"] < 0.65 and wide["coverage_68"] > 0.75


def test_redshift_metrics__the_same_pdf_for_all_has_a_flat_pit_and_no_use():
    z, parts = drawn(2000, k=2, seed=5)
    edges = np.linspace(0, 2, 101)
    counts, _ = np.histogram(z[::2], edges)
    everybody = values_of(binned_metrics(z[1::2], np.tile(counts, (1000, 1)), edges))
    own = values_of(redshift_metrics(z[1::2], *(part[1::2] for part in parts)))
    assert everybody["pit_ks"] < 0.05 and everybody["coverage_68"] == pytest.approx(0.68, abs=0.05)
    assert everybody["eta_3sigma"] < 0.02 < everybody["sigma_nmad"]
    assert everybody["crps"] > 1.3 * own["crps"] and everybody["cde_loss"] > own["cde_loss"] + 1


def test_redshift_metrics__objects_without_a_pdf_are_left_out():
    z, parts = drawn(60, seed=6)
    some = [np.where(np.arange(60)[:, None] < 20, np.nan, part).astype(np.float32) for part in parts]
    found = redshift_metrics(z, *some, z_phot=z, prefix="faint_")
    assert set(found) == {f"faint_{name}" for name in NAMES} and {metric.n for metric in found.values()} == {40}
    assert found["faint_bias"].value == 0
    assert all(metric.interval[0] <= metric.interval[1] and metric.definition for metric in found.values())
    assert values_of(redshift_metrics(z[20:], *(part[20:] for part in some), z_phot=z[20:], prefix="faint_")) == values_of(found)


def test_pit_metrics__true_redshifts_that_the_pdf_excludes():
    z = np.full(10, 5.0)
    for found in (redshift_metrics(z, *gaussians(np.ones(10), 0.01)), binned_metrics(z, np.ones((10, 2)), np.arange(3.0))):
        assert found["pit_outside"].value == 1 and found["pit_ks"].value == 1 and np.isfinite(found["pit_ad"].value)
    assert found["crps"].value == pytest.approx(3 + 2 / 3)  # 3 beyond the edge, and the integral of (z / 2)^2 over the bins


def test_pit_by__local_errors_that_cancel():
    pit = np.concatenate([np.linspace(0, 0.5, 50), np.linspace(0.5, 1, 50)])
    magnitude = np.where(np.arange(100) < 50, 20.5, 22.0)
    distance, n = pit_by(pit, magnitude, np.array([19.0, 20, 21, 22, 23]))
    assert n.tolist() == [0, 50, 0, 50] and np.isnan(distance[[0, 2]]).all()
    np.testing.assert_allclose(distance[[1, 3]], 0.5)
    assert ks_distance(pit) < 0.03


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(1e-5, 1 - 1e-5), min_size=2, max_size=30), st.integers(0, 2**32 - 1))
def test_pit_distances__against_scipy_and_resampled_by_counts(values, seed):
    from surveycnn.training.redshift_metrics import _ad, _cvm, _ks

    members = np.random.default_rng(seed).integers(0, len(values), len(values))
    ordered, n = np.sort(values), len(values)
    resampled, counts = ordered[members], np.bincount(members, minlength=n)
    assert _ks(ordered, counts) == pytest.approx(stats.kstest(resampled, "uniform").statistic, abs=1e-9)
    assert (
        n * _cvm(ordered, counts) ** 2 == pytest.approx(stats.cramervonmises(resampled, "uniform").statistic, abs=1e-7) or n == 1
    )
    assert n * _ad(ordered, counts) ** 2 == pytest.approx(goodness_of_fit_metrics["ad"](stats.uniform, resampled), rel=1e-6)


def test_sigma_iqr__of_a_gaussian():
    assert sigma_iqr(stats.norm.ppf((np.arange(999) + 0.5) / 999)) == pytest.approx(1, abs=2e-3)


def test_redshift_metrics__what_is_no_pdf():
    z, (weight, mean, sigma) = drawn(5)
    with pytest.raises(InputError, match="none of 5 objects has a redshift PDF to measure"):
        redshift_metrics(z, np.nan * weight, mean, sigma)
    with pytest.raises(InputError, match="a redshift PDF has a Gaussian of width 0: expected widths above 0"):
        redshift_metrics(z, weight, mean, 0 * sigma)
    with pytest.raises(InputError, match=r"PDFs in 4 bins have edges of the shape \(4,\), expected 5 ascending ones"):
        binned_metrics(z, weight, np.arange(4.0))
    with pytest.raises(InputError, match="expected 5 ascending ones"):
        binned_metrics(z, weight, np.zeros(5))
    with pytest.raises(InputError, match="the lowest probability of a bin is -0.5 and of a PDF 1.5: expected 0 or more"):
        binned_metrics(z, np.tile([2.0, -0.5, 0, 0], (5, 1)), np.arange(5.0))
    with pytest.raises(InputError, match="the lowest probability of a bin is 0 and of a PDF 0"):
        binned_metrics(z, 0 * weight, np.arange(5.0))
