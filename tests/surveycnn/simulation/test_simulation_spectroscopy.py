"""Whose redshifts a spectroscopic survey gets: fewer of the faint, of the passive and of those in the desert."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surveycnn.simulation.spectroscopy import draw_successes, redshift_success


@given(mag=st.floats(15, 26), z=st.floats(0, 3), kind=st.floats(0, 3), fainter=st.floats(0.01, 3))
def test_redshift_success__is_a_probability_that_falls_with_the_light(mag, z, kind, fainter):
    bright, faint = redshift_success(np.array([mag, mag + fainter]), np.array([z, z]), np.array([kind, kind]))
    assert 0 <= faint <= bright <= 1


def test_redshift_success__lines_help_and_the_desert_does_not():
    mag = np.full(2, 22.5)
    passive, starforming = redshift_success(mag, np.full(2, 0.8), np.array([0.0, 3.0]))
    assert passive < 0.5 < starforming
    before, inside = redshift_success(np.full(2, 21.0), np.array([1.1, 1.7]), np.full(2, 2.5))
    assert before > 0.9 and inside < 0.25


def test_draw_successes__follow_the_probability():
    n = 20_000
    rng = np.random.default_rng(0)
    columns = (np.full(n, 22.5), np.full(n, 0.8), np.full(n, 1.0))
    assert abs(draw_successes(rng, *columns).mean() - redshift_success(*(column[:1] for column in columns))[0]) < 0.015
