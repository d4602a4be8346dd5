"""Loading: a network exported before needs no TensorFlow, halves where memory is short, and is refused where it differs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from surveycnn.errors import ModelError
from surveycnn.inference import engines, load
from surveycnn.inference.choice import EngineChoice
from surveycnn.inference.engines import OutOfDeviceMemory, available_engines
from surveycnn.inference.load import bare_rate, check_golden, load_fastest, load_model
from surveycnn.models.package import find_card, package_folder, read_golden

pytestmark = pytest.mark.skipif("openvino" not in available_engines(), reason="OpenVINO is not installed")

IN_A_FRESH_PROCESS = """
import json, sys
from surveycnn.inference.load import load_model
from surveycnn.models.package import find_card, package_folder, read_golden

predictor = load_model("photoz", engine="openvino", batch_size=4, n_threads=1)
golden = read_golden(package_folder("photoz"), predictor.card)
raw = predictor.predict_raw(golden.stamps, *golden.fluxes)
print(json.dumps([sorted({"tensorflow", "keras"} & set(sys.modules)), raw.tolist()]))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Folder of exports that are made by the tests of this module."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SURVEYCNN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def photoz(cache):
    return load_model("photoz", engine="openvino", batch_size=4, n_threads=1)


def test_load_model__exported_before_imports_no_tensorflow(photoz, cache):
    environment = os.environ | {"SURVEYCNN_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-W", "error", "-c", IN_A_FRESH_PROCESS]
    imported, raw = json.loads(subprocess.run(run, env=environment, check=True, capture_output=True, text=True).stdout)
    assert imported == []
    golden = read_golden(package_folder("photoz"), photoz.card)
    np.testing.assert_array_equal(np.float32(raw), photoz.predict_raw(golden.stamps, *golden.fluxes))


def test_load_model__kept_export_that_does_not_fit_the_card(photoz, cache, tmp_path):
    from shutil import copytree

    package = copytree(package_folder("photoz"), tmp_path / "photoz")
    (package / "model.keras").write_bytes(b"other")
    with pytest.raises(ModelError, match="model.keras has sha256 .*, the card says"):
        load_model(package, engine="openvino")


def test_load_fastest__halves_what_cannot_be_compiled(photoz, monkeypatch):
    make = engines.make_engine

    def limited(*args, batch_size, **kwargs):
        if batch_size > 5:
            raise OutOfDeviceMemory("too many")
        return make(*args, batch_size=batch_size, **kwargs)

    monkeypatch.setattr(load.engines, "make_engine", limited)
    loaded = load_fastest("photoz", [EngineChoice("openvino", "float32", 16)], 1)
    assert loaded.choice.batch_size == loaded.predictor.engine.batch_size == 4 and loaded.stamps_per_s == {}

    def never(*args, **kwargs):
        raise OutOfDeviceMemory("none")

    monkeypatch.setattr(load.engines, "make_engine", never)
    with pytest.raises(ModelError, match="one stamp of model 'photoz' does not fit into the device's memory"):
        load_fastest("photoz", [EngineChoice("openvino", "float32", 16)], 1)


def test_load_fastest__times_several_candidates(photoz):
    candidates = [EngineChoice("openvino", "float32", size) for size in (1, 4)]
    candidates[1] = EngineChoice("openvino", "float32", 4, xla=True)  # a name of its own
    loaded = load_fastest("photoz", candidates, 1)
    assert set(loaded.stamps_per_s) == {"openvino float32", "openvino float32 with XLA"}
    assert loaded.stamps_per_s[str(loaded.choice)] == max(loaded.stamps_per_s.values())
    assert bare_rate(loaded.predictor, package_folder("photoz")) > 0


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (0.2, "the engine 'openvino' gives outputs that differ from golden.npz by 0.2, allowed are 0.1"),
        (0.09, "in bfloat16: column 'z_.*' differs from that of golden.npz by .*, allowed are 0.03; use float32"),
    ],
)
def test_check_golden__refuses_what_precision_has_moved(photoz, monkeypatch, shift, message):
    check_golden(photoz, package_folder("photoz"))
    monkeypatch.setattr(photoz.engine, "precision", "bfloat16")
    exact = photoz.predict_raw
    monkeypatch.setattr(photoz, "predict_raw", lambda *args: exact(*args) + np.float32(shift))
    with pytest.raises(ModelError, match=message):
        check_golden(photoz, package_folder("photoz"))


def test_column_finding__another_order(cache):
    card = find_card("lens")
    golden = np.zeros((3, card.n_outputs), np.float32)
    golden[:, 0] = -20.0, -20.05, -21.0
    other = golden.copy()
    other[1, 0] = -19.99
    assert load._column_finding(card, golden, golden, 0.03) == ""
    assert load._column_finding(card, other, golden, 0.03) == (
        "the examples are in another order by 'lens_logit' than in golden.npz"
    )
