"""Demo and simulation flows: the comparison with the truth, and a mosaic that is simulated once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from surveycnn.config import load_config
from surveycnn.errors import ConfigError
from surveycnn.run.demo import _recovered, nearest
from surveycnn.run.simulate import SimulateConfig, run_simulate


def test_nearest__finds_the_nearest_within_the_radius():
    index = nearest([10.0, 10.01, 200.0], [0.0, 0.0, 50.0], [10.0001, 10.01], [0.0, 0.0], 1.0)
    np.testing.assert_array_equal(index, [0, 1, -1])


def test_nearest__of_nothing_is_nothing():
    np.testing.assert_array_equal(nearest([10.0], [0.0], [], [], 1.0), [-1])


def test_recovered__counts_what_lies_in_the_top():
    rows = pd.DataFrame({"lens_logit": np.r_[np.linspace(-5, 0, 98), 4.0, 5.0]})
    truth = pd.DataFrame({"kind": ["lens", "lens", "lens", "star"]})
    line = _recovered(rows, truth, np.array([99, 0, -1, 98]), "lens", "lens_logit")
    assert line == "lens: 3 drawn, 2 detected, 1 in the top 2 of 100 by lens_logit (ranks 1, 100)"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "sky"
    return run_simulate(SimulateConfig(output=str(folder), ny=512, nx=512, n_lenses=1, n_mergers=1))


def test_run_simulate__writes_a_survey_that_can_be_planned(simulated):
    from surveycnn.run.plan import make_plan

    plan = make_plan(load_config(simulated.survey_yaml))
    assert [model.name for model in plan.mosaics[0].models] == ["lens", "morphology", "merger", "photoz"]
    assert set(simulated.truth["kind"]) >= {"lens", "merger", "galaxy"}
    assert len(simulated.truth) == simulated.n_sources


def test_run_simulate__again_leaves_the_mosaic_as_it_is(simulated):
    config = SimulateConfig(output=str(simulated.folder), ny=512, nx=512, n_lenses=1, n_mergers=1)
    before = (simulated.folder / "g.fits").stat().st_mtime_ns
    assert run_simulate(config).n_sources == simulated.n_sources
    assert (simulated.folder / "g.fits").stat().st_mtime_ns == before


def test_run_simulate__leaves_images_that_are_not_its_own(tmp_path):
    (tmp_path / "g.fits").write_text("somebody's")
    with pytest.raises(ConfigError, match=r"holds g.fits, which were not simulated there"):
        run_simulate(SimulateConfig(output=str(tmp_path), ny=512, nx=512), fresh=True)
    assert (tmp_path / "g.fits").read_text() == "somebody's"
