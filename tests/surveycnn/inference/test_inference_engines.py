"""Engines: where exports are kept, what is known without importing Keras, and libraries that run out of memory."""

import os
import time
import zipfile

import numpy as np
import pytest

from surveycnn.inference.choice import EngineChoice, device_name, engine_candidates, stamps_per_s
from surveycnn.inference.engines import (
    CPU_BATCH,
    OPENVINO_BATCH,
    OutOfDeviceMemory,
    available_engines,
    has_gpu,
    make_engine,
    memory_errors_named,
)
from surveycnn.inference.engines.exports import KEEP_DAYS, Export, cache_root, kept_export
from surveycnn.models import backend
from surveycnn.models.package import load_package, package_folder, read_golden

needs_openvino = pytest.mark.skipif("openvino" not in available_engines(), reason="OpenVINO is not installed")


class Exporter:
    """Gives an export and counts how often it was asked."""

    def __init__(self, content=b"weights"):
        self.n_calls, self._content = 0, content

    def __call__(self):
        self.n_calls += 1
        return Export(b"<net/>", self._content)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SURVEYCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


def test_kept_export__is_made_once_per_network(cache):
    export = Exporter()
    assert kept_export("aa", export) == kept_export("aa", export) == Export(b"<net/>", b"weights")
    assert export.n_calls == 1
    kept_export("bb", export)
    assert export.n_calls == 2 and len(list(cache.glob("*.zip"))) == len(list(cache.iterdir())) == 2
    assert cache.stat().st_mode & 0o777 == 0o700


def test_kept_export__other_libraries(cache, monkeypatch):
    from surveycnn.inference.engines import exports

    export = Exporter()
    kept_export("aa", export)
    monkeypatch.setattr(exports, "_version", lambda package: "99")
    kept_export("aa", export)
    assert export.n_calls == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "no digests"])
def test_kept_export__damaged_entry_is_made_anew(cache, damage):
    kept_export("aa", Exporter())
    (entry,) = cache.iterdir()
    if damage == "cut":
        entry.write_bytes(entry.read_bytes()[:-30])
    elif damage == "empty":
        entry.write_bytes(b"")
    else:
        with zipfile.ZipFile(entry) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        contents = contents | {"weights": b"other"} if damage == "changed" else {"xml": b"", "weights": b""}
        with zipfile.ZipFile(entry, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    export = Exporter()
    assert kept_export("aa", export) == kept_export("aa", export) == Export(b"<net/>", b"weights")
    assert export.n_calls == 1


@pytest.mark.parametrize("folder", ["file/cache", "open", "exchangeable"])
def test_kept_export__folder_that_is_not_to_be_had(tmp_path, monkeypatch, folder):
    (tmp_path / "file").write_text("")
    (tmp_path / "open" / "networks").mkdir(parents=True)
    (tmp_path / "open" / "networks").chmod(0o777)
    (tmp_path / "exchangeable").mkdir()
    (tmp_path / "exchangeable").chmod(0o777)
    monkeypatch.setenv("SURVEYCNN_CACHE", str(tmp_path / folder))
    export = Exporter()
    assert kept_export("aa", export) == kept_export("aa", export) == Export(b"<net/>", b"weights")
    assert export.n_calls == 2 and not list((tmp_path / "open" / "networks").iterdir())


def test_kept_export__removes_what_nobody_uses(cache):
    kept_export("aa", Exporter())
    (old,) = cache.iterdir()
    long_ago = time.time() - 86400 * (KEEP_DAYS + 1)
    os.utime(old, (long_ago, long_ago))
    kept_export("bb", Exporter())
    assert old not in cache.iterdir()
    (new,) = cache.iterdir()
    os.utime(new, (long_ago, long_ago))
    kept_export("bb", Exporter())  # used again, and so kept
    kept_export("cc", Exporter())
    assert new in cache.iterdir()


def test_cache_root__places(monkeypatch, tmp_path):
    for name in ("SURVEYCNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "surveycnn"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(cache_root()) == "/x/surveycnn"
    monkeypatch.setenv("SURVEYCNN_CACHE", "~/own")
    assert cache_root() == tmp_path / "own"


def test_keras_backend__as_keras_would_find_it(monkeypatch, tmp_path):
    monkeypatch.setattr(backend.sys, "modules", {})
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert backend.keras_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert backend.keras_backend() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert backend.keras_backend() == "jax"


@pytest.mark.parametrize("visible", ["", "-1"])
def test_has_gpu__none_is_visible(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert not backend.may_have_gpu() and not has_gpu()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17592186044416 bytes."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 17592186044416 bytes"),
        RuntimeError("Exception from src/core/src/runtime/allocator.cpp:79:\nstd::bad_alloc"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
)
def test_memory_errors_named__words_of_the_libraries(error):
    with pytest.raises(OutOfDeviceMemory), memory_errors_named():
        raise error
    with pytest.raises(ValueError, match="shapes differ"), memory_errors_named():
        raise ValueError("shapes differ")


@pytest.mark.slow  # TensorFlow tries for ten seconds
def test_memory_errors_named__tensorflow():
    import tensorflow as tf

    with pytest.raises(OutOfDeviceMemory, match="OOM when allocating"), memory_errors_named():
        tf.random.uniform((1 << 20, 1 << 20, 4))


@pytest.fixture(scope="module")
def photoz():
    return load_package("photoz", golden=False)


@needs_openvino
def test_openvino_engine__batch_that_does_not_fit(photoz):
    with pytest.raises(OutOfDeviceMemory, match="bad_alloc"):
        make_engine("openvino", photoz[1], batch_size=2**27, n_threads=1)


@pytest.mark.slow
def test_tensorflow_engine__with_xla(photoz):
    card, model = photoz
    golden = read_golden(package_folder("photoz"), card)
    n = len(golden.raw)
    found = make_engine("tensorflow", model, batch_size=n, xla=True)(*golden.network_inputs)
    np.testing.assert_allclose(found, golden.raw, atol=1e-4, rtol=1e-4)


def test_engine_candidates__one_where_the_answer_is_known(monkeypatch):
    monkeypatch.setattr("surveycnn.inference.engines.has_gpu", lambda: False)
    assert engine_candidates("tensorflow", "auto", "auto") == (EngineChoice("tensorflow", "float32", CPU_BATCH),)
    if "openvino" in available_engines():
        assert engine_candidates("auto", "bfloat16", 7) == (EngineChoice("openvino", "bfloat16", 7),)


def test_engine_candidates__with_and_without_xla_on_a_gpu(monkeypatch):
    monkeypatch.setattr("surveycnn.inference.engines.has_gpu", lambda: True)
    found = engine_candidates("auto", "auto", "auto")
    assert [str(choice) for choice in found] == ["tensorflow float32", "tensorflow float32 with XLA"]
    assert {choice.batch_size for choice in found} == {512}
    if "openvino" in available_engines():
        assert engine_candidates("openvino", "auto", "auto") == (EngineChoice("openvino", "float32", OPENVINO_BATCH),)


def test_stamps_per_s__takes_the_fastest_batch():
    class Sleeper:
        batch_size, waits = 8, [0.05, 0.01, 0.05, 0.05]

        def __call__(self, stamps):
            assert stamps.shape == (8, 2) and stamps.dtype == np.float32
            time.sleep(self.waits.pop(0) if self.waits else 1)

    assert 8 / 0.05 < stamps_per_s(Sleeper(), [np.zeros((3, 2))], seconds=0.12) <= 8 / 0.01


def test_device_name__of_a_cpu():
    assert len(device_name("openvino")) > 2
