"""Model packages: a good one loads, and each way of damaging one is refused."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
import yaml

from surveycnn.config import EngineConfig
from surveycnn.errors import ModelError, ResumeError
from surveycnn.models.backend import import_keras
from surveycnn.models.package import (
    Golden,
    check_package,
    find_card,
    load_package,
    package_folder,
    read_golden,
    save_package,
    shipped_models,
)
from surveycnn.run.worker import ModelKey, predictor_for


def resign(package):
    """Write the digests of the files as they now are into the card, as a careful forger would."""
    values = yaml.safe_load((package / "card.yaml").read_text())
    for name in values["sha256"]:
        values["sha256"][name] = hashlib.sha256((package / name).read_bytes()).hexdigest()
    (package / "card.yaml").write_text(yaml.safe_dump(values))


def rewrite(package, change):
    """Pass config.json of the network through `change` and sign the package again."""
    path = package / "model.keras"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change(config)
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    resign(package)


def test_check_package__good(package):
    assert check_package(package) == []


def test_load_package__gives_the_golden_outputs(package):
    card, model = load_package(package)
    with np.load(package / "golden.npz") as golden:
        np.testing.assert_allclose(np.asarray(model(golden["inputs"])), golden["raw"], atol=1e-5)
    assert card.n_weights == model.count_params() > 0
    assert card.activation_bytes >= 4 * (16 * 16 * 2 + 8 * 8 * 4)
    stem, block = 2 * 5 * 5 * 2 * 4 * 8 * 8, 2 * 9 * 4 * 4 * 8 * 8
    assert card.flops > stem + 2 * block
    assert card.keras == import_keras().__version__


def test_save_package__keeps_no_optimizer(package):
    _, model = load_package(package)
    model.compile("adam", "mse")
    card = save_package(package, model, find_card(package), read_golden(package, find_card(package)))
    assert check_package(package) == []
    config = json.loads(zipfile.ZipFile(package / "model.keras").read("config.json"))
    assert not config.get("compile_config")
    assert card == find_card(package)


def test_save_package__network_of_another_shape(package):
    _, model = load_package(package)
    card = find_card(package).model_copy(update={"stamp_px": 32})
    with pytest.raises(ModelError, match=r"goes from \(16, 16, 2\) to \(1,\), the card says from \(32, 32, 2\)"):
        save_package(package, model, card, Golden(np.zeros((1, 32, 32, 2)), np.zeros((1, 32, 32, 2))))


@pytest.mark.parametrize("changed", ["weights", "prior"])
def test_predictor_for__package_that_has_changed_since_the_plan(package, changed):
    planned, (card, model) = ModelKey(str(package), find_card(package).digest), load_package(package)
    if changed == "weights":
        model.layers[-1].bias.assign(model.layers[-1].bias + 1.0)
    else:
        card = card.model_copy(update={"prior": card.prior.model_copy(update={"survey": 0.01})})
    save_package(package, model, card, read_golden(package, card))
    engine = EngineConfig(kind="tensorflow", batch_size=4)
    with pytest.raises(ResumeError, match=r"model '.*/package' has changed since the run was planned: go on with --update, or"):
        predictor_for(planned, engine, 1)
    assert predictor_for(ModelKey(str(package), find_card(package).digest), engine, 1).card.name == "tiny"


@pytest.mark.parametrize("name", ["model.keras", "golden.npz"])
def test_load_package__missing_file(package, name):
    (package / name).unlink()
    with pytest.raises(ModelError, match=f"is refused: {name} is missing"):
        load_package(package)


@pytest.mark.parametrize("name", ["model.keras", "golden.npz"])
def test_load_package__changed_file(package, name):
    content = bytearray((package / name).read_bytes())
    content[len(content) // 2] ^= 1
    (package / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} has sha256"):
        load_package(package)


def test_load_package__no_digest(package):
    values = yaml.safe_load((package / "card.yaml").read_text())
    del values["sha256"]["golden.npz"]
    (package / "card.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ModelError, match="the card has no sha256 of golden.npz"):
        load_package(package)


def test_load_package__other_weights_under_a_right_digest(package):
    _, model = load_package(package)
    arrays = dict(np.load(package / "golden.npz"))
    model.layers[-1].kernel.assign(model.layers[-1].kernel + 1.0)
    model.save(package / "model.keras")
    resign(package)
    with pytest.raises(ModelError, match=r"outputs differ from golden\.npz by"):
        load_package(package)
    arrays["raw"] = arrays["raw"] * np.nan
    np.savez(package / "golden.npz", **arrays)
    resign(package)
    assert check_package(package)[0].startswith("outputs differ from golden.npz by inf")


def test_check_package__golden_of_another_shape(package):
    arrays = dict(np.load(package / "golden.npz"))
    np.savez(package / "golden.npz", **arrays | {"raw": arrays["raw"][:, :0]})
    resign(package)
    assert "raw (3, 0), expected stamps (3, 16, 16, 2), inputs (3, 16, 16, 2), raw (3, 1)" in check_package(package)[0]


def test_check_package__golden_with_pickles(package):
    arrays = dict(np.load(package / "golden.npz"))
    np.savez(package / "golden.npz", **arrays | {"raw": np.array([{}], dtype=object)})
    resign(package)
    assert "golden.npz cannot be read: raw.npy has the type object, expected float32 or float64" in check_package(package)[0]


def test_check_package__card_of_another_network(package):
    values = yaml.safe_load((package / "card.yaml").read_text())
    (package / "card.yaml").write_text(yaml.safe_dump(values | {"stamp_px": 32}))
    assert "the network goes from (16, 16, 2) to (1,), the card says from (32, 32, 2)" in check_package(package)[0]


def test_check_package__no_card(tmp_path):
    assert "card.yaml is missing" in check_package(tmp_path)[0]


def test_check_package__not_a_zip(package):
    (package / "model.keras").write_bytes(b"network")
    resign(package)
    assert check_package(package) == ["model.keras: not a zip file: File is not a zip file"]


def test_check_package__broken_weights(package):
    with zipfile.ZipFile(package / "model.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["model.weights.h5"] = entries["model.weights.h5"][:2000]
    with zipfile.ZipFile(package / "model.keras", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    resign(package)
    assert "model.weights.h5 cannot be read: OSError" in check_package(package)[0]


def test_check_package__entries_beyond_a_network(package):
    with zipfile.ZipFile(package / "model.keras", "a") as archive:
        archive.writestr("../../evil.py", "print()")
    resign(package)
    assert "entries are ['../../evil.py', 'config.json'" in check_package(package)[0]


def test_check_package__zip_bomb(package):
    with zipfile.ZipFile(package / "model.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["metadata.json"] = b" " * 5_000_000
    with zipfile.ZipFile(package / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    resign(package)
    assert "too much for a network" in check_package(package)[0]


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("keras.layers", "Lambda"), ("keras.layers", "TFSMLayer"), ("my.layers", "Conv2D")]
)
def test_check_package__foreign_objects(package, module, name):
    def plant(config):
        config["config"]["layers"][1].update({"module": module, "class_name": name})

    rewrite(package, plant)
    assert (
        f"model.keras has objects that a network may not have: {module}.{name}; allowed of keras.layers are Activation, "
        in str(check_package(package))
    )


def test_check_package__config_of_no_network(package):
    rewrite(package, lambda config: config.clear())
    assert "config.json is not that of a network: expected the class Functional or Sequential" in check_package(package)[0]


def test_package_folder__unknown_name():
    with pytest.raises(ModelError, match="no model 'lense': did you mean 'lens'. shipped models are lens, merger, "):
        package_folder("lense")


@pytest.mark.parametrize("name", ["lens", "morphology", "merger", "photoz"])
def test_shipped_models__pass_their_own_check(name):
    assert check_package(shipped_models()[name]) == []
    assert find_card(name).name == name
