"""Manifests and placeholders: the same configuration as the mosaics written out, and a message for each mistake."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from surveycnn.config import SurveyConfig, load_config
from surveycnn.errors import ConfigError, InputError
from surveycnn.tables.files import write_table

ROWS = {
    "mosaic": ["007", "007", "b"],
    "band": ["g", "r", "g"],
    "path": ["007/g.fits[1]", "s3://sky/r.fits", "b.fits"],
    "zeropoint": [22.5, None, None],
    "plane": [None, 1, None],
    "weight": ["007/w.fits", None, None],
    "ebv": [None, 0.1, None],
    "wcs": ["007.hdr", "007.hdr", None],
    "image_wcs": [None, "r.hdr", None],
    "grid": ["g", None, None],
}


def survey(folder: Path, mosaics: object) -> Path:
    path = folder / "survey.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "mosaics": mosaics}))
    return path


def csv(folder: Path, text: str, name: str = "m.csv") -> Path:
    (folder / name).write_text(text)
    return survey(folder, name)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def images(config: SurveyConfig, folder: Path) -> dict[str, list[str]]:
    return {m.id: [i.path.removeprefix(f"{folder}/") for i in m.images] for m in config.mosaics}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".ecsv", ".fits", ".vot"])
def test_manifest__is_the_list_written_out(tmp_path, suffix):
    written_out = [
        {
            "id": "007",
            "wcs": "lists/007.hdr",
            "ebv": 0.1,
            "grid": "g",
            "images": [
                {"band": "g", "path": "lists/007/g.fits[1]", "zeropoint": 22.5, "weight": "lists/007/w.fits"},
                {"band": "r", "path": "s3://sky/r.fits", "plane": 1, "wcs": "lists/r.hdr"},
            ],
        },
        {"id": "b", "images": [{"band": "g", "path": "lists/b.fits"}]},
    ]
    (tmp_path / "lists").mkdir()
    manifest = tmp_path / "lists" / f"m{suffix}"
    if suffix == ".vot":
        parquet = write_table(pa.table(ROWS), manifest.with_suffix(".ecsv"))
        from astropy.table import Table

        Table.read(parquet).write(manifest, format="votable")
    else:
        write_table(pa.table(ROWS), manifest)
    expected = load_config(survey(tmp_path, written_out))
    assert load_config(survey(tmp_path, f"lists/m{suffix}")) == expected
    assert load_config(survey(tmp_path, written_out[1:]), [f"mosaics=lists/m{suffix}"]) == expected


def test_manifest__of_a_configuration_made_directly(tmp_path, monkeypatch):
    csv(tmp_path, "mosaic,band,path\na,g,a.fits\n")
    monkeypatch.chdir(tmp_path)
    config = SurveyConfig(name="s", mosaics="m.csv")
    assert config.mosaics[0].images[0].path == str(tmp_path / "a.fits")
    assert SurveyConfig.model_validate(config.model_dump(mode="json")) == config
    schema = SurveyConfig.model_json_schema()["properties"]["mosaics"]
    assert {"type": "string"} in schema["anyOf"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mosaic,band,path,zeropiont\na,g,a,1\n",
            r"m.csv': unknown column 'zeropiont': did you mean 'zeropoint'\? allowed",
        ),
        ("mosaic,file\na,b\n", r"unknown column 'file': allowed columns are mosaic, band, path, .*, image_wcs, .*, wcs"),
        ("mosaic,zeropoint\na,1\n", r"has no column 'band' and no column 'path': its columns are mosaic, zeropoint; each row"),
        ("mosaic,band,path\n", "has no rows: give one row per image"),
        ("mosaic,band,path\na,g,a\na, ,b\n", r"m.csv', row 2: no 'band': fill the cell"),
        ("mosaic,band,path,plane\na,g,a,-1\n", r"m.csv', row 1: key 'plane': .* \(found -1\)"),
        ("mosaic,band,path,weight,rms\na,g,a,w,r\n", r"row 1: .*give one of weight, variance and rms, found weight and rms"),
        ("mosaic,band,path\na,g,a\nb,g,b\na,g,c\n", r"m.csv', rows 1, 3: .*'a' has more than one image in band g"),
        ("mosaic,band,path\na b,g,a\n", r"m.csv', row 1: key 'id': .*\(found 'a b'\)"),
        ("mosaic,band,path,ebv\na,g,a,0.1\na,r,c,0.2\n", "'a' has ebv 0.1 in row 1 and 0.2 in row 2: give one value"),
    ],
)
def test_manifest__says_which_row_is_wrong(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(csv(tmp_path, text))


def test_manifest__that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"there is no table '.*m.csv'"):
        load_config(survey(tmp_path, "m.csv"))
    with pytest.raises(ConfigError, match=r"the manifest 's3://sky/m.csv' is a URL: copy it here"):
        load_config(survey(tmp_path, "s3://sky/m.csv"))


def test_placeholders__are_the_list_written_out(tmp_path):
    entry = {
        "id": "m{tile}",
        "wcs": "data/{tile}.hdr",
        "ebv": 0.1,
        "images": [
            {"band": "g", "path": "data/{tile}/{tile}_?_g_*.fits[1]", "weight": "data/{tile}/w[{tile}].fits"},
            {"band": "r", "path": "data/{tile}/r*.fits"},
            {"band": "z", "path": "s3://sky/{tile}/z.fits?version=*"},
        ],
    }
    for tile in ("9", "10_a"):
        touch(
            tmp_path,
            *(f"data/{tile}/{name}" for name in (f"{tile}_1_g_x.fits", f"w[{tile}].fits", "r5.fits")),
            f"data/{tile}.hdr",
        )
    touch(tmp_path, "data/8/9_1_g_x.fits")  # two values for one placeholder
    written_out = [
        {
            "id": f"m{tile}",
            "wcs": f"data/{tile}.hdr",
            "ebv": 0.1,
            "images": [
                {"band": "g", "path": f"data/{tile}/{tile}_1_g_x.fits[1]", "weight": f"data/{tile}/w[{tile}].fits"},
                {"band": "r", "path": f"data/{tile}/r5.fits"},
                {"band": "z", "path": f"s3://sky/{tile}/z.fits?version=*"},
            ],
        }
        for tile in ("10_a", "9")
    ]
    config = load_config(survey(tmp_path, [entry]))
    assert config == load_config(survey(tmp_path, written_out))
    assert SurveyConfig.model_validate(config.model_dump(mode="json")) == config


def test_placeholders__of_two_names_beside_other_entries(tmp_path, monkeypatch):
    touch(tmp_path, "a_1.fits", "a_2.fits", "b_1.fits", "{c}.fits", "one.fits")
    mosaics = [
        {"id": "plain", "images": [{"band": "g", "path": "nowhere.fits"}]},
        {"id": "{row}-{col}", "images": [{"band": "g", "path": "{row}_{col}.fits"}]},
        {"id": "brace", "images": [{"band": "g", "path": "{c}.fits"}]},
        {"id": "wild", "images": [{"band": "g", "path": "o*.fits"}]},
    ]
    expected = {
        "plain": ["nowhere.fits"],
        "a-1": ["a_1.fits"],
        "a-2": ["a_2.fits"],
        "b-1": ["b_1.fits"],
        "brace": ["{c}.fits"],
        "wild": ["one.fits"],
    }
    assert images(load_config(survey(tmp_path, mosaics)), tmp_path) == expected
    monkeypatch.chdir(tmp_path)
    assert images(SurveyConfig(name="s", mosaics=mosaics[1:2]), tmp_path).keys() == {"a-1", "a-2", "b-1"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("{t}", "{t}_x.fits"), r"key 'mosaics\[0\]': no file in '.*' is like '{t}_x.fits': correct the path"),
        (("all", "{t}_g.fits"), r"the id 'all' is the same for t=a and t=b: put a placeholder into it .*\({t}\)"),
        (("{t}", "{t}_g.fits", "{t}_r.fits"), r"no file is like '{t}_r.fits' for t=b \(1 of 2 mosaics\): add the files, or list"),
        (
            ("{t}", "{t}_?.fits"),
            r"2 files are like '{t}_\?.fits' for t=a, expected one: a_g.fits, a_r.fits: make",
        ),
        (("{t}", "{t}_g.fits", "{t}*.fits"), r"2 files are like '{t}\*.fits' for t=a, expected one"),
        (("m", "a*.fits"), r"2 files are like 'a\*.fits', expected one: a_g.fits, a_r.fits"),
        (("m", "a_g.fits", "z*.fits"), r"no file is like 'z\*.fits' for z\*.fits \(1 of 1 mosaics\)"),
        (("{x}", "{t}_g.fits"), r"'{x}' has the placeholder {x}, but .* first image, '{t}_g.fits', has only {t}: its files give"),
        (("{x}", "a_g.fits"), r"but the path of the first image, 'a_g.fits', has none"),
        (("{t}", "https://sky/{t}.fits"), r"is a URL, in which no files are looked for: list the images in a manifest"),
    ],
)
def test_placeholders__say_what_they_found(tmp_path, entry, message):
    touch(tmp_path, "a_g.fits", "b_g.fits", "a_r.fits")
    name, *paths = entry
    mosaic = {"id": name, "images": [{"band": band, "path": path} for band, path in zip("gr", paths, strict=False)]}
    with pytest.raises(ConfigError, match=message):
        load_config(survey(tmp_path, [mosaic]))


@pytest.mark.parametrize("mosaics", [3, None, [3], [{"id": "{t}"}], [{"id": "{t}", "images": "x"}], [{"images": [{"path": 3}]}]])
def test_mosaics__of_another_form_are_left_to_the_validation(tmp_path, mosaics):
    with pytest.raises(ConfigError, match=r"key 'mosaics"):
        load_config(survey(tmp_path, mosaics))
