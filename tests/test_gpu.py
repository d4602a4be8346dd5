"""What needs a GPU: `make gpu-check`; skips with the reason where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from surveycnn.catalogs.flags import has_flag
from surveycnn.config import load_config
from surveycnn.errors import ClusterError
from surveycnn.inference import engines
from surveycnn.inference.device import DeviceTile
from surveycnn.inference.load import load_model
from surveycnn.run.cluster import open_cluster
from surveycnn.run.survey import run_survey
from surveycnn.sources.stamps import cut_stamps

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> None:
    if not engines.has_gpu():
        pytest.skip("the Keras backend sees no GPU on this machine")


@pytest.fixture(scope="module")
def _local_cuda() -> None:
    try:
        with open_cluster("local-cuda"):
            pass
    except ClusterError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("_local_cuda")
def test_survey__on_local_cuda_gives_the_catalog_of_the_cpu(sky, small_run, tmp_path):
    result = run_survey(load_config(sky / "survey.yaml", [f"output={tmp_path}", "cluster=local-cuda"]))
    gpu, cpu = (Table.read(output / "catalog.fits") for output in (tmp_path, small_run))
    np.testing.assert_array_equal(gpu["source_id"], cpu["source_id"])
    np.testing.assert_array_equal(gpu["flux_r"], cpu["flux_r"])
    np.testing.assert_array_equal(*(has_flag(np.asarray(rows["flags"]), "stamp_incomplete") for rows in (gpu, cpu)))
    np.testing.assert_allclose(gpu["lens_logit"], cpu["lens_logit"], atol=0.02)
    np.testing.assert_allclose(gpu["z_phot"], cpu["z_phot"], atol=0.02)
    assert 0 < result.performance["device_busy"] <= 1


@pytest.mark.parametrize("step", [1.0, 0.7, 2.5])
def test_stamps__are_those_of_the_host_on_a_gpu(step):
    rng = np.random.default_rng(3)
    image = rng.normal(0, 10, (3, 500, 600)).astype(np.float32)
    image[1, 100:110, 200:400] = np.nan
    y, x = rng.uniform(-5, 505, 200), rng.uniform(-5, 605, 200)
    found = DeviceTile(image, 200).stamps(y, x, 64, step, 256)
    expected = cut_stamps(image, y, x, 64, step)
    np.testing.assert_allclose(found.on_host(200, (0, 1, 2)), expected, atol=2e-4 * step**2)
    np.testing.assert_array_equal(found.gaps(200), np.isnan(expected).any(axis=(1, 2, 3)))


def test_load_model__takes_the_gpu_and_says_so():
    predictor = load_model("lens")
    assert predictor.engine.on_device and predictor.engine.kind != "openvino"
    stamps = np.random.default_rng(1).normal(0, 5, (700, 64, 64, 3)).astype(np.float32)
    whole = predictor.predict_raw(stamps)
    np.testing.assert_allclose(
        np.concatenate([predictor.predict_raw(stamps[:9]), predictor.predict_raw(stamps[9:])]), whole, atol=1e-3
    )
