"""Configuration: what is refused and how, overrides, and paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from surveycnn.config import load_config
from surveycnn.errors import ConfigError
from surveycnn.sections import apply_overrides

MINIMAL = {"name": "kids", "mosaics": [{"id": "m1", "images": [{"band": "g", "path": "g.fits[1]", "zeropoint": 0.0}]}]}


def write(folder: Path, tree: object) -> Path:
    path = folder / "survey.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def test_load_config__fills_defaults_and_resolves_paths(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = load_config(write(tmp_path, MINIMAL))
    assert config.mosaics[0].images[0].path == str(tmp_path / "g.fits[1]")
    assert config.output_path == tmp_path / "here" / "runs" / "kids"
    assert config.work_path == tmp_path / "here" / "runs" / "kids" / "work"
    assert config.models == ("lens", "morphology", "merger", "photoz")
    assert config.tiling.core_px == 2048


def test_load_config__keeps_urls_and_model_names(tmp_path):
    tree = MINIMAL | {
        "mosaics": [{"id": "m1", "images": [{"band": "g", "path": "s3://sky/g.fits"}]}],
        "models": ["lens", "./own"],
    }
    config = load_config(write(tmp_path, tree))
    assert config.mosaics[0].images[0].path == "s3://sky/g.fits"
    assert config.models == ("lens", str(tmp_path / "own"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tilling": {}}, r"unknown key 'tilling': did you mean 'tiling'\? allowed keys are name, output"),
        ({"tiling": {"core": 512}}, r"unknown key 'tiling.core': .*allowed keys are core_px, halo_px"),
        ({"tiling": {"core_px": 1000}}, r"key 'tiling.core_px': .*multiple of 64 \(found 1000\)"),
        ({"name": "../up"}, r"key 'name': .*\(found '../up'\)"),
        ({"mosaics": []}, r"key 'mosaics': the list is empty, expected at least one item"),
        ({"mosaics": [{"id": "m1"}]}, r"key 'mosaics\[0\].images' is missing"),
        ({"mosaics": MINIMAL["mosaics"] * 2}, r"mosaic id 'm1' is used more than once"),
        ({"mosaics": [{"id": "m1", "images": [{"band": "g", "path": "a", "zeropiont": 1}]}]}, r"did you mean 'zeropoint'\?"),
        ({"mosaics": [{"id": "m1", "images": [{"band": "g", "path": "a"}] * 2}]}, r"more than one image in band g"),
        (
            {"mosaics": [{"id": "m1", "images": [{"band": "g", "path": "a", "weight": "w", "rms": "r"}]}]},
            r"give one of weight, variance and rms, found weight and rms",
        ),
        (
            {"detection": {"id": "ID", "ra": "RA"}},
            r"key 'detection': ra and id name columns of detection.catalog, which is not given",
        ),
        (
            {"mosaics": [{"id": "m1", "grid": "z", "images": [{"band": "g", "path": "a"}, {"band": "r", "path": "b"}]}]},
            r"mosaic 'm1' has no band 'z' \(key grid\): its images are in g, r",
        ),
        (
            {"mosaics": [{"id": "m1", "wcs": "m.hdr", "images": [{"band": "g", "path": "a", "wcs": "g.hdr"}]}]},
            r"give `wcs` for mosaic 'm1' or for its image in g, whose grid it has, not for both",
        ),
        ({"formats": ["csv"]}, r"key 'formats\[0\]': .*'hats', 'zarr' or 'fits' \(found 'csv'\)"),
        ({"engine": {"batch_size": 0}}, r"key 'engine.batch_size"),
    ],
)
def test_load_config__says_what_is_wrong(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, MINIMAL | change))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not valid YAML"), ("- 1", "holds list, expected keys"), ("!!python/object:os.system {}", "is not valid YAML")],
)
def test_load_config__refuses_what_is_no_mapping(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_load_config__names_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.yaml' does not exist"):
        load_config(tmp_path / "nowhere.yaml")


def test_apply_overrides__reaches_sections_and_list_items():
    tree = apply_overrides(MINIMAL, ["tiling.core_px=512", "mosaics.0.id=other", "models=[lens]"])
    assert tree["tiling"] == {"core_px": 512}
    assert tree["mosaics"][0]["id"] == "other"
    assert tree["models"] == ["lens"]
    assert MINIMAL["mosaics"][0]["id"] == "m1"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tiling.core_px", "is not of the form key=value"),
        ("=1", "is not of the form key=value"),
        ("mosaics.9.id=x", "'9' is not the number of one of 1 list items"),
        ("name.first=x", "'first' lies inside a single value"),
        ("name=[", "the value is not valid YAML"),
    ],
)
def test_apply_overrides__says_what_is_wrong(override, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides(MINIMAL, [override])
