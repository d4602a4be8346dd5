"""Mosaics in a bucket: the rows of local files, each file fetched once, and one clear message for whatever is missing."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.io import fits
from services.s3 import BUCKET, DENIED, KEYS, S3Server, s3_server
from small_sky import BANDS, write_small_sky

import surveycnn
from surveycnn.cli import main
from surveycnn.errors import CatalogError
from surveycnn.run.survey import run_survey


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """The server, named by the usual environment alone."""
    import s3fs

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    nowhere = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    for name, value in (server.environment | nowhere | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # it would remember another environment
    server.bytes_fetched()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()
    gc.collect()  # closes their connections


@pytest.fixture(scope="module")
def folder(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sky with weights and a tile-compressed band, whose files are in the bucket too, and a manifest of each."""
    made = write_small_sky(tmp_path_factory.mktemp("cloud"), ny=320, nx=320, rng=np.random.default_rng(3), bands=BANDS[:3])
    for band in BANDS[:3]:
        with fits.open(made / f"{band}.fits") as hdus:
            weight = np.where(np.isfinite(hdus[0].data), np.float32(1), np.float32(0))
            fits.writeto(made / f"{band}.weight.fits", weight, hdus[0].header)
            if band == "r":
                fits.CompImageHDU(hdus[0].data, hdus[0].header, compression_type="GZIP_2", quantize_level=0).writeto(
                    made / "r.fits.fz"
                )
    (made / "r.fits").unlink()
    server.upload(made)
    for name, where in (("local.csv", ""), ("s3.csv", f"s3://{BUCKET}/")):
        rows = (f"m1,{b},{where}{b}.fits{'.fz' * (b == 'r')},{where}{b}.weight.fits" for b in BANDS[:3])
        (made / name).write_text("\n".join(["mosaic,band,path,weight", *rows]) + "\n")
    return made


def config(folder: Path, output: Path, **changes: object) -> Path:
    survey = yaml.safe_load((folder / "survey.yaml").read_text()) | {"models": ["lens"], "output": str(output)} | changes
    path = folder / f"{output.name}.yaml"
    path.write_text(yaml.safe_dump(survey))
    return path


def of_image(folder: Path, path: str) -> Path:
    return config(folder, folder / "one", mosaics=[{"id": "m1", "images": [{"band": "g", "path": path}]}])


@pytest.fixture(scope="module")
def local_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a survey of the local files, in this process."""
    output = tmp_path_factory.mktemp("local") / "run"
    assert run_survey(surveycnn.load_config(config(folder, output, mosaics="local.csv"))).is_complete
    return output


def test_survey__rows_of_a_bucket_are_those_of_local_files_and_each_file_is_fetched_once(folder, local_run, s3, tmp_path):
    """The environment reaches Dask's workers."""
    found = surveycnn.load_config(config(folder, tmp_path / "s3", mosaics="s3.csv", cluster="local"))
    assert run_survey(found).is_complete
    rows, expected = (surveycnn.open_catalog(path).to_pandas() for path in (tmp_path / "s3", local_run))
    assert len(rows) > 20
    pd.testing.assert_frame_equal(rows, expected)
    fetched = s3.bytes_fetched()
    assert set(fetched) == {path.name for path in folder.glob("*.fits*")}
    for key, size in fetched.items():
        assert size < (folder / key).stat().st_size + 20 * 65536, "more than the file and some headers"


def test_plan__reads_headers_alone(folder, s3, tmp_path, capsys):
    big = fits.HDUList([fits.PrimaryHDU()])
    header = fits.getheader(folder / "g.fits")
    big += [fits.ImageHDU(np.zeros((1000, 1000), "f4"), header, name=name) for name in ("A", "B", "C")]
    big.writeto(tmp_path / "big.fits")
    s3.upload(tmp_path, "many/")
    images = [{"band": band, "path": f"s3://{BUCKET}/many/big.fits[{name}]"} for band, name in zip("gri", "ABC", strict=True)]
    assert main(["plan", str(config(folder, folder / "big", mosaics=[{"id": "m1", "images": images}]))]) == 0
    assert 0 < s3.bytes_fetched()["many/big.fits"] < 2_000_000 < (tmp_path / "big.fits").stat().st_size


def test_plan__public_bucket_by_the_configuration_of_fsspec(folder, s3):
    for band in BANDS[:3]:
        s3.client().upload_file(
            str(folder / f"{band}.fits{'.fz' * (band == 'r')}"), BUCKET, f"{band}.fits", {"ACL": "public-read"}
        )
    images = [{"band": band, "path": f"s3://{BUCKET}/{band}.fits"} for band in BANDS[:3]]
    path = config(folder, folder / "public", mosaics=[{"id": "m1", "images": images}])
    environment = {name: value for name, value in os.environ.items() if name not in (*KEYS, "AWS_ENDPOINT_URL")}
    environment |= {"FSSPEC_S3_ANON": "true", "FSSPEC_S3_ENDPOINT_URL": s3.endpoint}
    command = [sys.executable, "-m", "surveycnn", "plan", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


MESSAGES = {
    "missing key": (f"s3://{BUCKET}/none.fits", r"does not exist or cannot be reached: correct the path in the configuration"),
    "missing bucket": ("s3://none/g.fits", r"does not exist or cannot be reached \(there is no such bucket\): correct the path"),
    "denied": (f"s3://{BUCKET}/{DENIED}g.fits", r"cannot be fetched \(Forbidden\): set AWS_ACCESS_KEY_ID .* AWS_PROFILE"),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_plan__one_message(folder, capsys, case):
    url, message = MESSAGES[case]
    assert main(["plan", str(of_image(folder, url))]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and url in said and said.count("\n") <= 2


def test_plan__no_keys(folder, capsys, monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name)
    assert main(["plan", str(of_image(folder, f"s3://{BUCKET}/g.fits"))]) == 2
    said = capsys.readouterr().err
    assert "Unable to locate credentials" in said and "AWS_ACCESS_KEY_ID" in said and "AWS_ENDPOINT_URL" in said


@pytest.mark.parametrize(("url", "package"), [("s3://sky/g.fits", "surveycnn[s3]"), ("gs://sky/g.fits", "gcsfs")])
def test_plan__package_not_installed(folder, capsys, monkeypatch, url, package):
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    known = sys.modules["fsspec.registry"]._registry  # of protocols that were opened before
    for protocol in ("s3", "gs"):
        monkeypatch.delitem(known, protocol, raising=False)
    assert main(["plan", str(of_image(folder, url))]) == 2
    assert f"install {package}, or copy the file" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["output", "work_dir"])
def test_plan__results_go_to_a_file_system(folder, capsys, key):
    assert main(["plan", str(folder / "survey.yaml"), "--set", f"{key}=s3://{BUCKET}/runs/a"]) == 2
    assert f"'s3://{BUCKET}/runs/a' is a URL, but results go to a file system that all workers share" in capsys.readouterr().err


def test_open_catalog__url(s3):
    with pytest.raises(CatalogError, match="'s3://sky/runs/a' is a URL: copy its folder here; lsdb, xarray, astropy and DuckDB"):
        surveycnn.open_catalog("s3://sky/runs/a")


READERS = """
import duckdb
import fsspec
import lsdb
import xarray
from astropy.table import Table
from upath import UPath

where = "s3://sky/runs/small"
database = duckdb.connect()
database.register_filesystem(fsspec.filesystem("s3"))
found = [
    len(lsdb.open_catalog(UPath(f"{where}/hats", anon=False))),
    xarray.open_zarr(f"{where}/catalog.zarr").sizes["source"],
    len(Table.read(f"{where}/catalog.fits")),
    database.sql(f"SELECT count(*) FROM '{where}/hats/sources/dataset/Norder=*/Dir=*/Npix=*.parquet'").fetchall()[0][0],
]
print(*found)
"""


def test_catalog__read_in_the_bucket(local_run, s3):
    """As docs/cloud_storage.md has it."""
    for name in ("hats", "catalog.zarr"):
        s3.upload(local_run / name, f"runs/small/{name}/")
    s3.client().upload_file(str(local_run / "catalog.fits"), BUCKET, "runs/small/catalog.fits")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", READERS], capture_output=True, text=True)
    assert done.stdout.split() == [str(len(surveycnn.open_catalog(local_run)))] * 4, done.stderr
