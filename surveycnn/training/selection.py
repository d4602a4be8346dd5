"""Training sets that are not representative: the galaxies whose redshifts a spectroscopic survey would have measured."""

from __future__ import annotations

import numpy as np

from surveycnn.simulation.spectroscopy import draw_successes
from surveycnn.training.data import LabelledStamps, subset


def spectroscopic(data: LabelledStamps, seed: int) -> LabelledStamps:
    """The galaxies of a simulated set whose redshifts a spectroscopic survey would have measured."""
    columns = (np.asarray(data.truth["mag_i"]), np.asarray(data.labels["redshift"]), np.asarray(data.truth["spectral_type"]))
    return subset(data, np.flatnonzero(draw_successes(np.random.default_rng([seed, 4]), *columns)))
