"""Packages with a first stage: they round-trip, load with it and without, and each way of damaging one is refused."""

import shutil

import numpy as np
import pytest
import yaml

from surveycnn.errors import ModelError
from surveycnn.inference.load import load_model
from surveycnn.models.card import Cascade
from surveycnn.models.first_stage import build_first_stage
from surveycnn.models.package import add_first_stage, check_package, find_card, load_first_stage, load_package, read_first_golden


def cascade(**changes):
    values = {"threshold": 0.0, "temperature": 1.0, "bias": -2.0, "passed": 0.1, "lost": 0.01, "command": "none"}
    return Cascade(**values | changes)


def changed(package, **values):
    """Write values into the card, in its section `cascade` where they belong there."""
    card = yaml.safe_load((package / "card.yaml").read_text())
    for key, value in values.items():
        (card["cascade"] if key in card["cascade"] else card)[key] = value
    (package / "card.yaml").write_text(yaml.safe_dump(card))


@pytest.fixture(scope="module")
def pristine_cascade(pristine, tmp_path_factory):
    folder = shutil.copytree(pristine, tmp_path_factory.mktemp("cascade") / "package")
    add_first_stage(folder, build_first_stage(16, 2, widths=(4, 8), depth=1), cascade())
    return folder


@pytest.fixture
def two_stages(pristine_cascade, tmp_path):
    """Path of a copy of a package with a first stage that is off."""
    return shutil.copytree(pristine_cascade, tmp_path / "package")


def test_add_first_stage__round_trip(two_stages, pristine):
    assert check_package(two_stages) == []
    card, before = find_card(two_stages), find_card(pristine)
    assert card.cascade.n_weights > 0 and card.cascade.flops > 0 and not card.has_cascade
    assert (two_stages / "model.keras").read_bytes() == (pristine / "model.keras").read_bytes()
    assert card.schema == before.schema and card.model_copy(update={"cascade": None, "sha256": before.sha256}) == before
    golden = read_first_golden(two_stages, card)
    np.testing.assert_allclose(load_first_stage(two_stages, card)(golden.inputs), golden.raw, rtol=1e-5, atol=1e-5)


def test_card__digest_follows_a_cascade_that_is_used(two_stages):
    off = find_card(two_stages).digest
    changed(two_stages, threshold=0.5)
    assert find_card(two_stages).digest == off
    changed(two_stages, enabled=True)
    on = find_card(two_stages).digest
    changed(two_stages, threshold=0.25)
    assert len({off, on, find_card(two_stages).digest}) == 3


def test_load_model__with_and_without_the_first_stage(two_stages, pristine):
    stamps = np.random.default_rng(5).normal(0, 20, (40, 16, 16, 2)).astype(np.float32)
    median = np.median(load_first_stage(two_stages, find_card(two_stages), golden=False)(np.arcsinh(stamps / [1.0, 2.0])))
    changed(two_stages, threshold=float(median))
    own, off, on = (
        load_model(path, engine="tensorflow", batch_size=16, cascade=wanted).predict(stamps)
        for path, wanted in ((pristine, None), (two_stages, None), (two_stages, True))
    )
    assert off.identical(own) and "lens_stage" not in off
    assert np.bincount(on["lens_stage"].values).tolist() == [0, 20, 20]
    changed(two_stages, enabled=True)
    assert load_model(two_stages, engine="tensorflow", batch_size=16).predict(stamps).identical(on)
    assert load_model(two_stages, engine="tensorflow", batch_size=16, cascade=False).predict(stamps).identical(own)


def test_load_model__no_first_stage(pristine):
    with pytest.raises(ModelError, match="'tiny' has no first stage: leave cascade out, or train one"):
        load_model(pristine, engine="tensorflow", cascade=True)


@pytest.mark.parametrize("name", ["first_stage.keras", "first_stage.npz"])
def test_load_package__first_stage_missing_changed_or_unsigned(two_stages, name):
    content = bytearray((two_stages / name).read_bytes())
    content[len(content) // 2] ^= 1
    (two_stages / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} has sha256"):
        load_package(two_stages)
    (two_stages / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_package(two_stages)
    shutil.copy(two_stages / "golden.npz", two_stages / name)
    changed(two_stages, sha256={key: "0" * 64 for key in ("model.keras", "golden.npz")})
    assert f"the card has no sha256 of {name}" in check_package(two_stages)


def test_check_package__first_stage_of_other_outputs(two_stages):
    card = find_card(two_stages)
    other = build_first_stage(16, 2, widths=(4, 8), depth=1)
    with pytest.raises(ModelError, match=r"goes from \(32, 32, 2\) to \(1,\), the card says from \(16, 16, 2\)"):
        add_first_stage(two_stages, build_first_stage(32, 2, widths=(4, 8), depth=1), card.cascade)
    golden = (two_stages / "first_stage.npz").read_bytes()
    other.layers[-1].bias.assign([0.5])
    add_first_stage(two_stages, other, card.cascade)
    assert check_package(two_stages) == []
    (two_stages / "first_stage.npz").write_bytes(golden)
    resigned(two_stages)
    assert check_package(two_stages)[0].startswith("outputs differ from first_stage.npz by")
    with pytest.raises(ModelError, match=r"the engine 'tensorflow' gives outputs that differ from first_stage\.npz by"):
        load_model(two_stages, engine="tensorflow", cascade=True)
    np.savez(two_stages / "first_stage.npz", raw=np.zeros((2, 1), np.float32))
    resigned(two_stages)
    assert check_package(two_stages) == ["first_stage.npz has raw (2, 1), expected (3, 1)"]


def resigned(package):
    """Write the digest of the first stage's golden file as it now is into the card."""
    from surveycnn.models.package_files import file_sha256

    digests = find_card(package).sha256 | {"first_stage.npz": file_sha256(package / "first_stage.npz")}
    changed(package, sha256=digests)


def test_card__cascade_of_another_task(two_stages):
    changed(two_stages, task="photoz", outputs={"n_components": 2})
    assert "cascade is for lens models alone, not for a photoz model: leave it out" in check_package(two_stages)[0]
