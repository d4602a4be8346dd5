"""What needs a GPU: `make gpu-check`; skips with the reason where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from surveycnn.config import load_config
from surveycnn.errors import ClusterError
from surveycnn.run.cluster import open_cluster
from surveycnn.run.survey import run_survey

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> None:
    try:
        with open_cluster("local-cuda"):
            pass
    except ClusterError as error:
        pytest.skip(str(error))


def test_survey__on_local_cuda_gives_the_catalog_of_the_cpu(sky, small_run, tmp_path):
    run_survey(load_config(sky / "survey.yaml", [f"output={tmp_path}", "cluster=local-cuda"]))
    gpu, cpu = (Table.read(output / "catalog.fits") for output in (tmp_path, small_run))
    np.testing.assert_array_equal(gpu["source_id"], cpu["source_id"])
    np.testing.assert_array_equal(gpu["flux_r"], cpu["flux_r"])
    np.testing.assert_allclose(gpu["lens_logit"], cpu["lens_logit"], atol=0.02)
