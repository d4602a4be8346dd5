"""What workers of a run agree on: the engine of the first, whatever the others would choose."""

import json
from dataclasses import asdict, replace

import pytest

from surveycnn.config import EngineConfig
from surveycnn.errors import ModelError
from surveycnn.inference.engines import available_engines
from surveycnn.models.package import find_card
from surveycnn.run.worker import EngineNote, LoadModels, ModelKey, predictor_for, read_engine_note

pytestmark = pytest.mark.skipif("openvino" not in available_engines(), reason="OpenVINO is not installed")

NOTE = EngineNote("openvino", "float32", False, 4, "AMD EPYC", {}, {"lens": 450.2, "/models/mine": 1200.0})


@pytest.fixture(scope="module")
def key():
    return ModelKey("photoz", find_card("photoz").digest)


def written(path, note):
    path.write_text(json.dumps(asdict(note)))
    return path


def test_engine_note__description():
    assert NOTE.description == "openvino float32, batches of 4, AMD EPYC, lens 450 stamps/s, mine 1,200 stamps/s"
    assert replace(NOTE, kind="tensorflow", xla=True).description.startswith("tensorflow float32 with XLA, batches")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "openvino"}'])
def test_read_engine_note__unreadable(tmp_path, text):
    assert read_engine_note(tmp_path / "engine.json") is None
    (tmp_path / "engine.json").write_text(text)
    assert read_engine_note(tmp_path / "engine.json") is None


def test_predictor_for__first_worker_writes_the_note(tmp_path, key):
    path = tmp_path / "engine.json"
    engine = EngineConfig(kind="openvino", batch_size=8)
    LoadModels((key,), engine, 1, path)()
    note = read_engine_note(path)
    assert (note.kind, note.precision, note.batch_size, note.stamps_per_s) == ("openvino", "float32", 8, {})
    assert note.bare["photoz"] > 0 and note.device and [item.name for item in tmp_path.iterdir()] == ["engine.json"]
    first = predictor_for(key, engine, 1, path)
    path.unlink()  # started afresh in the same process
    assert predictor_for(key, engine, 1, path) is first and read_engine_note(path) == note


def test_predictor_for__replaces_a_damaged_note(tmp_path, key):
    """Left as it is, each worker would choose for itself."""
    path = tmp_path / "engine.json"
    path.write_text('{"kind": "open')
    LoadModels((key,), EngineConfig(kind="openvino", batch_size=8), 1, path)()
    note = read_engine_note(path)
    assert note is not None and note.batch_size == 8 and note.bare["photoz"] > 0
    assert [item.name for item in tmp_path.iterdir()] == ["engine.json"]


def test_predictor_for__others_follow_it(tmp_path, key):
    path = written(tmp_path / "engine.json", replace(NOTE, bare={}))
    assert predictor_for(key, EngineConfig(), 1, path).engine.batch_size == 4
    assert read_engine_note(path).bare.keys() == {"photoz"}
    alone = predictor_for(key, EngineConfig(kind="openvino", batch_size=8), 1)
    assert alone.engine.batch_size == 8


def test_predictor_for__resumed_with_another_engine(tmp_path, key):
    path = written(tmp_path / "engine.json", NOTE)
    assert predictor_for(key, EngineConfig(kind="openvino", batch_size=2), 1, path).engine.batch_size == 2
    assert read_engine_note(path).batch_size == 2


def test_predictor_for__note_that_this_worker_cannot_follow(tmp_path, key):
    path = written(tmp_path / "engine.json", replace(NOTE, kind="torch"))
    with pytest.raises(ModelError, match=r"this run computes with torch float32, .*engine.json'\), which this worker cannot: "):
        predictor_for(key, EngineConfig(), 1, path)
