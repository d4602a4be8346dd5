"""The mixes of the merger task: kinds, matching of the classes, and what the smooth profiles leave."""

import numpy as np
import pytest

from surveycnn.simulation.interactions import MAX_SEPARATION, MAX_TIME_MYR, MIN_TIDAL_FRACTION
from surveycnn.simulation.merger_task import NEGATIVES
from surveycnn.simulation.stamps import simulate_stamps
from surveycnn.training.metrics import auroc


@pytest.fixture(scope="module")
def mergers():
    return simulate_stamps("merger", 192, seed=12)


def test_train__half_mergers_and_all_kinds(mergers):
    is_merger, kind = mergers.labels["is_merger"], mergers.truth["kind"]
    assert 0.3 < is_merger.mean() < 0.65
    assert set(kind) == {"merger", *NEGATIVES}
    assert ((kind == "merger") == is_merger).all()


def test_train__tides_of_mergers_show(mergers):
    is_merger, truth = mergers.labels["is_merger"], mergers.truth
    assert truth["is_detectable"][is_merger].all() and not truth["is_detectable"][~is_merger].any()
    assert truth["tidal_fraction"][is_merger].min() >= MIN_TIDAL_FRACTION
    assert np.isnan(truth["tidal_fraction"][~is_merger]).all()
    time = mergers.labels["time_myr"][is_merger]
    assert time.min() > -15.0 and time.max() < MAX_TIME_MYR + 15.0


def test_train__projected_pairs_are_as_far_apart(mergers):
    kind, separation = mergers.truth["kind"], mergers.truth["separation"]
    pairs = separation[kind == "projected"]
    assert np.nanmax(separation) <= MAX_SEPARATION
    assert np.median(pairs) == pytest.approx(np.median(separation[kind == "merger"]), abs=0.8)


def test_train__brightness_is_no_shortcut(mergers):
    for name in ("mag_i", "flux_g", "flux_i", "redshift"):
        assert abs(auroc(np.asarray(mergers.truth[name], float), mergers.labels["is_merger"]) - 0.5) < 0.15, name


def test_sersic__smooth_but_as_bright():
    smooth = simulate_stamps("merger", 64, seed=12, mix="sersic")
    assert smooth.labels["is_merger"].any() and not smooth.labels["is_merger"].all()
    flux = [np.median(s.truth["flux_i"]) for s in (smooth, simulate_stamps("merger", 64, seed=12))]
    assert flux[0] == pytest.approx(flux[1], rel=0.6)


def test_population__mergers_alone_not_all_detectable():
    population = simulate_stamps("merger", 96, seed=3, mix="population")
    assert population.labels["is_merger"].all()
    assert 0.05 < population.truth["is_detectable"].mean() < 0.9
