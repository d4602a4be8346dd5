"""Files that are damaged, or made to harm: each ends in one message, and nothing of them runs."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import NoneType

import h5py
import numpy as np
import pyarrow as pa
import pytest
import zarr
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sky import small_wcs

from benchmarks.fuzz.catalog_files import write_catalog
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.selection.expression import MAX_LENGTH, parse_condition
from surveycnn.catalogs.tables import field_attrs
from surveycnn.catalogs.verify import verify_catalog
from surveycnn.cli import main
from surveycnn.config import ImageConfig, MosaicConfig, load_config
from surveycnn.errors import CatalogError, ConfigError, InputError, ResumeError
from surveycnn.run.inputs import inspect_mosaic
from surveycnn.run.resume import planned_config
from surveycnn.run.store import WorkStore
from surveycnn.sections import load_yaml
from surveycnn.sky import files, hdus
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.images import open_image
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.wcs import read_wcs, wcs_from_text, wcs_text
from surveycnn.tables.files import read_table, write_table

SHAPE = (40, 50)


def write_image(path: Path, *cards: tuple[str, str], compressed: bool = False) -> Path:
    """An image whose cards are replaced by text, as it is, or with cards added before END."""
    header = small_wcs(*SHAPE).to_header()
    data = np.zeros(SHAPE, "f4")
    hdu = fits.CompImageHDU(data, header) if compressed else fits.PrimaryHDU(data, header)
    fits.HDUList([fits.PrimaryHDU(), hdu] if compressed else [hdu]).writeto(path)
    raw = bytearray(path.read_bytes())
    for key, value in cards:
        card = f"{key:<8}= {value:>20}".ljust(80).encode()
        place = raw.find(key.ljust(8).encode() + b"=")
        place = place if place >= 0 else raw.find(b"COMMENT") if b"COMMENT" in raw else raw.find(b"LATPOLE")
        raw[place : place + 80] = card
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (("NAXIS1", "50.5"), "cannot be read|no FITS file|expected lengths of 1 or more"),
        (("NAXIS2", "'x'"), "cannot be read|no FITS file|holds no two-dimensional image"),
        (("NAXIS", "'x'"), "cannot be read|no FITS file"),
        (("NAXIS1", "2000000000"), "cut short: HDU 0 ends at byte"),
        (("NAXIS1", "0"), "expected lengths of 1 or more"),
        (("NAXIS", "2147483647"), "NAXIS = 2147483647 in the header at byte 0, expected at most 999"),
    ],
)
def test_open_image__odd_header(card: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        open_image(str(write_image(tmp_path / "a.fits", card)))


CARDS = "SIMPLE BITPIX NAXIS NAXIS1 NAXIS2 CRPIX1 CDELT1 CTYPE1 CUNIT2 BSCALE BLANK MAGZP END".split()
PLAIN = (dict, list, set, str, bytes, int, float, bool, datetime.date, NoneType)
VALUES = st.text("0123456789+-.eE'T =/", max_size=20) | (st.integers() | st.floats()).map(str)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CARDS), VALUES), min_size=1, max_size=3), st.booleans())
def test_inspect_mosaic__any_cards(cards: list[tuple[str, str]], compressed: bool) -> None:
    """A header with cards of any value describes a mosaic, or is refused with a message."""
    with tempfile.TemporaryDirectory() as folder:
        image = write_image(Path(folder) / "a.fits", *((key, value[:20]) for key, value in cards), compressed=compressed)
        with contextlib.suppress(InputError):
            found = inspect_mosaic(MosaicConfig(id="m", images=[ImageConfig(band="r", path=str(image), zeropoint=27.0)]))
            assert found.ny > 0 and found.nx > 0 and found.pixel_scale > 0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("[]{}:,-&*!#|>'\"? \nab1.e", max_size=80))
def test_load_yaml__any_text(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(load_yaml(text, "x"), PLAIN)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (("ZNAXIS1", "2000000000"), "tiles of .* its table 40"),
        (("ZTILE1", "'x'"), "cannot be read|holds no two-dimensional image"),
        (("ZTILE2", "0"), "cannot be read|holds no two-dimensional image"),
    ],
)
def test_open_image__odd_tiles(card: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        open_image(str(write_image(tmp_path / "a.fits", card, compressed=True)))


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (("WCSAXES", "65536"), "WCSAXES = 65536, expected at most 9"),
        (("A_ORDER", "99999"), "A_ORDER = 99999, expected at most 9"),
    ],
)
def test_read_wcs__more_axes_or_terms_than_there_can_be(card: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_wcs(str(write_image(tmp_path / "a.fits", card)))


def test_read_wcs__card_that_cannot_be_parsed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="WCS in .* cannot be read .*CTYPE2"):
        read_wcs(str(write_image(tmp_path / "a.fits", ("CTYPE2", "'DEC--TAN"))))


def test_open_image__compressed_file_in_which_no_header_ends(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(image + bytes(hdus.MAX_HEADER_BYTES + 2 * hdus.BLOCK), 1))
    for header_only in (True, False):
        with pytest.raises(InputError, match=f"no end of a header in 11 MiB from byte {len(image)}"):
            open_image(str(tmp_path / "a.fits.gz"), header_only=header_only)


@pytest.mark.parametrize("wanted", ["", "[1]", "[SCI]", "[SCI,2]"])
def test_open_image__compressed_file_whose_header_is_damaged(wanted: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.fits", ("SIMPLE", "=")).read_bytes()
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(image))
    with pytest.raises(InputError, match="it has no HDU that can be read"):
        open_image(str(tmp_path / "a.fits.gz") + wanted, header_only=True)


def test_open_image__more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(write_image(tmp_path / "a.fits").read_bytes()))
    monkeypatch.setattr(files, "RESERVE_BYTES", 1 << 62)
    with pytest.raises(InputError, match=r"too large once unpacked: no space is left .*set TMPDIR"):
        open_image(str(tmp_path / "a.fits.gz"))


def test_parse_condition__too_long() -> None:
    with pytest.raises(CatalogError, match=f"expected at most {MAX_LENGTH}"):
        parse_condition("1 == 1" + " " * MAX_LENGTH, pa.schema([("ra", pa.float64())]))


def test_parse_condition__beyond_64_bits() -> None:
    with pytest.raises(CatalogError, match="leave 64 bits"):
        parse_condition("source_id > 0 and source_id + 9223372036854775807 * 2 > 0", pa.schema([("source_id", pa.int64())]))


def _laughs(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 5000, "nested more than 100 deep"),
        ("- " * 5000 + "x", "nested more than 100 deep"),
        (_laughs(9), "aliases stand for more than"),
        ("a: &a [*a]", "aliases stand for more than"),
        ("a: " + "9" * 5000, "x: .*integer string conversion"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: !!timestamp 2020-99-99", "x: "),
        ("? {a: b}\n: c", "x: "),
    ],
)
def test_load_yaml__refuses(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_yaml(text, "x")


def test_load_config__number_of_many_digits(tmp_path: Path) -> None:
    path = tmp_path / "survey.yaml"
    path.write_text(f"name: 0x{'f' * 5000}\nmosaics: []")
    with pytest.raises(ConfigError, match="a number of very many digits"):
        load_config(path)


def test_load_config__id_of_a_pattern_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "survey.yaml"
    path.write_text("name: x\nmosaics: [{id: {a: b}, images: [{band: r, path: '{t}.fits'}]}]")
    with pytest.raises(ConfigError, match=r"mosaics\[0\].id"):
        load_config(path)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("damaged") / "catalog")


@pytest.fixture
def catalog(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "catalog"))


@pytest.mark.parametrize("name", ["hats/sources/dataset/_common_metadata", "catalog.zarr/zarr.json", "catalog.fits"])
def test_open_catalog__damaged_file(name: str, catalog: Path) -> None:
    for other in {"hats", "catalog.zarr", "catalog.fits"} - {Path(name).parts[0]}:
        shutil.rmtree(catalog / other) if (catalog / other).is_dir() else (catalog / other).unlink()
    (catalog / name).write_bytes(b"{" + (catalog / name).read_bytes()[1:200])
    with pytest.raises(CatalogError, match=f"{Path(name).parts[0]}.* cannot be read .*publish the catalog again"):
        open_catalog(catalog)


def test_scan__damaged_partition(catalog: Path) -> None:
    path = next((catalog / "hats/sources/dataset").glob("Norder=*/Dir=*/*.parquet"))
    raw = bytearray(path.read_bytes())
    raw[100:2000] = bytes(1900)
    path.write_bytes(raw)
    with pytest.raises(CatalogError, match=f"{path.name}.* cannot be read"):
        open_catalog(catalog).to_arrow()


@pytest.mark.parametrize(("name", "key"), [("coverage.fits", "coverage"), ("provenance.json", "provenance")])
def test_catalog__damaged_record(name: str, key: str, catalog: Path) -> None:
    (catalog / name).write_bytes(b"\x00\xff")
    with pytest.raises(CatalogError, match=f"{name}.* cannot be read"):
        getattr(open_catalog(catalog), key)


@pytest.mark.parametrize(
    "change",
    [
        {"catalog": {"files": 1.5, "rows": 3}},
        {"config": {"work_dir": False}, "run_digest": "x"},
        {"models": {"m": {"reference": "lens", "sha256": 3}}},
    ],
)
def test_verify__provenance_of_other_types(change: dict[str, object], catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = catalog / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert main(["verify", str(catalog)]) == 2
    assert "provenance.json" in capsys.readouterr().err


def test_field_attrs__damaged_text() -> None:
    assert field_attrs(pa.field("a", pa.int8(), metadata={b"unit": b"\xe5"})) == {"unit": "\ufffd"}


def _only_zarr(catalog: Path) -> Path:
    shutil.rmtree(catalog / "hats")
    (catalog / "catalog.fits").unlink()
    return catalog / "catalog.zarr"


class _Exploit:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("was_run",)


def test_open_catalog__zarr_2_with_pickles_is_not_opened(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    monkeypatch.chdir(catalog)
    store = _only_zarr(catalog)
    shutil.rmtree(store)
    group = zarr.open_group(store, mode="w", zarr_format=2)
    array = group.create_array("ra", shape=(1,), chunks=(1,), dtype="f8", attributes={"_ARRAY_DIMENSIONS": ["source"]})
    array[:] = 1.0
    metadata = json.loads((store / "ra" / ".zarray").read_text())
    (store / "ra" / ".zarray").write_text(
        json.dumps(metadata | {"dtype": "|O", "filters": [{"id": "pickle"}], "compressor": None})
    )
    (store / "ra" / "0").write_bytes(numcodecs.Pickle().encode(np.array([_Exploit()], dtype=object)))
    with pytest.raises(CatalogError, match="is no Zarr 3 store"):
        open_catalog(catalog).to_arrow()
    assert not (catalog / "was_run").exists()


@pytest.mark.parametrize("is_inside", [False, True])
def test_open_catalog__codec_that_is_not_known_is_not_opened(is_inside: bool, catalog: Path) -> None:
    path = _only_zarr(catalog) / "ra" / "zarr.json"
    tree = json.loads(path.read_text())
    bad = {"name": "numcodecs.pickle", "configuration": {}}
    shards = {"name": "sharding_indexed", "configuration": {"chunk_shape": [1], "codecs": [bad], "index_codecs": []}}
    path.write_text(json.dumps(tree | {"codecs": [shards if is_inside else bad]}))
    with pytest.raises(CatalogError, match="asks for the codec 'numcodecs.pickle', not opened"):
        open_catalog(catalog)
    assert any("numcodecs.pickle" in finding for finding in _findings(catalog))


def _findings(catalog: Path) -> list[str]:
    try:
        return list(verify_catalog(catalog))
    except CatalogError as error:
        return [str(error)]


@pytest.mark.parametrize("shape", [[10**12], [-1], ["x"], None])
def test_open_catalog__shape_that_cannot_be(shape: object, catalog: Path) -> None:
    path = _only_zarr(catalog) / "ra" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": shape}))
    with pytest.raises(CatalogError, match="declares .*it is damaged"):
        open_catalog(catalog)


def test_write_table__of_a_type_that_the_format_has_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*write \.parquet"):
        write_table(pa.table({"a": pa.array([b"\xff"])}), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_read_table__of_damaged_hdf5(tmp_path: Path) -> None:
    path = write_table(pa.table({"a": [1.0, 2.0]}), tmp_path / "a.hdf5")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="the library of HDF5 ended with .*is it complete"):
        read_table(path)


def test_read_table__of_hdf5_keeps_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 8)
    with h5py.File(tmp_path / "other.hdf5", "w") as root:
        root["b"] = [1.0]
    with h5py.File(tmp_path / "a.hdf5", "w") as root:
        root.create_dataset("a", shape=(1,), dtype="f8", external=[(str(tmp_path / "secret"), 0, 8)])
        root["b"] = h5py.ExternalLink("other.hdf5", "/b")
    with pytest.raises(InputError, match="column '/a' of .* is stored in other files"):
        read_table(tmp_path / "a.hdf5")


@pytest.fixture
def chunks(tmp_path: Path) -> ChunkStore:
    wcs = wcs_text(small_wcs(*SHAPE))
    size = {"ny": SHAPE[0], "nx": SHAPE[1], "core_px": 64, "pixel_scale": 0.2}
    store = ChunkStore.create(tmp_path / "m.zarr", mosaic="m", bands=["r"], wcs_header=wcs, has_weight=False, **size)
    store.write_record("r", {"seconds": 1.0, "digests": {}})
    return store


@pytest.mark.parametrize("name", ["zarr.json", "bands/0/zarr.json", "image/zarr.json"])
def test_chunk_store__damaged_metadata(name: str, chunks: ChunkStore) -> None:
    path = Path(chunks.path, name)
    path.write_text(path.read_text().replace('"surveycnn"', '"x"').replace('"node_type"', '"node"')[:-9])
    with pytest.raises(InputError, match="chunk store .* is damaged|there is no chunk store"):
        store = ChunkStore.open(chunks.path)
        store.band_record("r")
        store.array("image")


@pytest.mark.parametrize(
    "change",
    [{"seconds": {}}, {"sky": float("nan")}, {"digests": 1}, {"digests": {"image": 1}}, {"has_bits": [[1]]}, {"other": 1}],
)
def test_band_record__of_other_types(change: dict[str, object], chunks: ChunkStore) -> None:
    chunks.write_record("r", {"seconds": 1.0, "digests": {}} | change)
    with pytest.raises(InputError, match="is damaged"):
        chunks.band_record("r")


def test_planned_config__damaged(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"digest": "x", "fingerprint": {}, "config": {"name": 1}}')
    with pytest.raises(ResumeError, match="plan.json' is damaged"):
        planned_config(WorkStore(tmp_path))


def test_read_failure__damaged_counts_as_none(tmp_path: Path) -> None:
    store, tile = WorkStore(tmp_path), next(iter(TileGrid("m", 64, 64, 64, 96)))
    store.write_failure(tile, "failed", "why", "details")
    assert store.read_failure(tile) == {"state": "failed", "reason": "why", "details": "details"}
    for text in ('{"state": "done", "reason": "x"}', '{"state": "failed"}', "[]"):
        store.failure_path(tile).write_text(text)
        assert store.read_failure(tile) is None


def test_table__in_a_compressed_file_with_flipped_bits(tmp_path):
    """astropy's own reading of such a stream does not end."""
    path = tmp_path / "sources.fits.gz"
    fits.BinTableHDU.from_columns([fits.Column("ra", "D", array=np.arange(9.0))]).writeto(path)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"cannot read the table '.*sources.fits.gz' \(BadGzipFile: CRC check failed"):
        read_table(path)


def test_table__whose_names_are_no_text(tmp_path):
    (tmp_path / "sources.csv").write_bytes(b"ra,dec,\xe9\n1,2,3\n")
    with pytest.raises(InputError, match=r"cannot read the table '.*sources.csv' \(UnicodeDecodeError: .*is it complete"):
        read_table(tmp_path / "sources.csv")


def test_table__that_the_library_of_hdf5_does_not_finish(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "sources.hdf5", "w") as file:
        file["ra"] = np.arange(3.0)
    monkeypatch.setattr("surveycnn.tables.hdf5.PATIENCE_SECONDS", 0.001)
    with pytest.raises(InputError, match=r"cannot read the table .* \(the library of HDF5 had not read it after 0 s\)"):
        read_table(tmp_path / "sources.hdf5")


def test_wcs_text__that_has_no_positions_any_more():
    text = wcs_text(small_wcs(*SHAPE))
    with pytest.raises(ValueError, match="its WCS has no positions on the sky"):
        wcs_from_text(text.replace("RA---TAN", "LINEAR  ").replace("DEC--TAN", "LINEAR  "))
