"""Training sets that are a part of others."""

import dataclasses

import numpy as np

from surveycnn.training.data import subset
from surveycnn.training.selection import spectroscopic


def test_subset__keeps_rows_together(blobs):
    data = blobs("photoz", 20, 0)
    members = np.array([1, 5, 6, 19])
    part = subset(data, members)
    assert len(part) == 4 and part.stamps.shape == (4, *data.stamps.shape[1:])
    np.testing.assert_array_equal(part.stamps[:], data.stamps[members])
    np.testing.assert_array_equal(part.stamps[np.array([0, 3])], data.stamps[[1, 19]])
    for name, values in part.labels.items():
        np.testing.assert_array_equal(values, data.labels[name][members])


def test_spectroscopic__fewer_faint_galaxies_and_the_same_ones_again(blobs):
    data = blobs("photoz", 300, 0)
    truth = {"mag_i": np.linspace(18, 25, 300), "spectral_type": np.ones(300)}
    data = dataclasses.replace(data, truth=truth)
    part = spectroscopic(data, seed=1)
    assert 0.3 < len(part) / 300 < 0.9 and part.truth["mag_i"].mean() < 21
    np.testing.assert_array_equal(spectroscopic(data, seed=1).labels["redshift"], part.labels["redshift"])
    assert len(spectroscopic(data, seed=2)) != len(part) or not np.array_equal(
        spectroscopic(data, seed=2).labels["redshift"], part.labels["redshift"]
    )
