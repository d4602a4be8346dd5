"""What is killed at each step by :mod:`kill_points`: publishing, the ingest of a band, the file of a tile, starting over."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy.io import fits
from kill_points import Scenario, contents
from small_sky import small_wcs

from surveycnn.catalogs.columns import source_schema
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publishing import swap
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.tables import dataset_to_arrow
from surveycnn.catalogs.verify import verify_catalog
from surveycnn.config import ImageConfig
from surveycnn.durable import read_json, write_json
from surveycnn.report.page import write
from surveycnn.run.store import FOLDERS, TileRecord, WorkStore
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.ingest import ingest_band
from surveycnn.sky.tiling import TileGrid
from surveycnn.sky.wcs import wcs_text

assert Scenario  # the protocol of the classes below
for name in ("cdshealpix", "dask.array", "fsspec", "jinja2", "scipy.sparse", "zarr"):
    importlib.import_module(name)  # once, and not in every fork


class Entries:
    """Files and folders are replaced: the old ones or the new ones, whoever looks next, and what is not managed stays."""

    old = {"a": "old", "b/file": "old", "c": "old", "notes.txt": "keep"}
    new = {"a": "new", "b/file": "new", "notes.txt": "keep"}

    def __init__(self, kept: Path):
        pass

    def prepare(self, folder: Path) -> None:
        for name, text in self.old.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def act(self, folder: Path) -> None:
        with swap.replace_entries(folder, ("a", "b", "c")) as staging:
            (staging / "b").mkdir()
            for name in ("a", "b/file"):
                (staging / name).write_text("new")

    def check(self, folder: Path) -> None:
        swap.finish(folder)
        texts = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
        found = {name: text for name, text in texts.items() if not name.startswith((swap.STAGING, swap.OLD))}
        assert found in (self.old, self.new), found
        self.act(folder)
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == self.new.keys()
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


class Publishing:
    """A catalog with a report is replaced by one without: old or new, whole and verified, whoever looks when."""

    n_old, n_new = 5, 8

    def __init__(self, kept: Path):
        pass

    def prepare(self, folder: Path) -> None:
        publish(_rows(self.n_old), folder, formats=["fits"])
        (folder / "report.html").write_text("of the old catalog")
        (folder / "notes.txt").write_text("keep")

    def act(self, folder: Path) -> None:
        publish(_rows(self.n_new), folder, formats=["fits"])

    def check(self, folder: Path) -> None:
        catalog = open_catalog(folder)
        assert len(catalog) == (self.n_old if (folder / "report.html").exists() else self.n_new)
        assert verify_catalog(folder) == []
        self.act(folder)
        assert len(open_catalog(folder)) == self.n_new and verify_catalog(folder) == []
        assert sorted(path.name for path in folder.iterdir()) == ["catalog.fits", "notes.txt", "provenance.json"]


def _rows(n_rows: int) -> pa.Table:
    schema = source_schema(["r"])
    values = {name: variable.empty(n_rows) for name, variable in schema.items()}
    numbers = np.arange(n_rows)
    values |= {"ra": 10 + 0.1 * numbers, "dec": numbers / 7, "source_id": numbers.astype("i8")}
    values["mosaic"] = np.full(n_rows, "m1", dtype=object)
    order = np.lexsort((values["source_id"], healpix_index(values["ra"], values["dec"])))
    return dataset_to_arrow(schema.dataset({name: column[order] for name, column in values.items()}))


class Report:
    """A page is the old one or the new one, and whole."""

    old, new = "<p>old</p>" * 5000, "<p>new</p>" * 5000

    def __init__(self, kept: Path):
        pass

    def prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        write(self.old, folder / "report.html")

    def act(self, folder: Path) -> None:
        write(self.new, folder / "report.html")

    def check(self, folder: Path) -> None:
        assert (folder / "report.html").read_text() in (self.old, self.new)
        self.act(folder)
        assert (folder / "report.html").read_text() == self.new


class Ingest:
    """A band is complete with all its pixels, or not there for any reader; the same ingest again makes the same files."""

    ny, nx, core_px = 128, 64, 64

    def __init__(self, kept: Path):
        self.kept = kept

    def prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        if not self.kept.exists():
            self.kept.mkdir()
            header = small_wcs(self.ny, self.nx).to_header()
            header["MAGZP"] = 27.0
            pixels = np.random.default_rng(1).normal(30, 1, (self.ny, self.nx))
            fits.writeto(self.kept / "r.fits", pixels.astype("f4"), header)
            self.act(self.kept)

    def act(self, folder: Path) -> None:
        image = ImageConfig(band="r", path=str(self.kept / "r.fits"))
        header = wcs_text(small_wcs(self.ny, self.nx))
        shape = {"ny": self.ny, "nx": self.nx, "core_px": self.core_px}
        store = ChunkStore.create(
            folder / "m1.zarr", mosaic="m1", bands=["r"], wcs_header=header, pixel_scale=0.2, has_weight=False, **shape
        )
        if "r" not in store.finished_bands():
            ingest_band(store.path, image, 0, self.core_px)

    def check(self, folder: Path) -> None:
        try:
            finished = ChunkStore.open(folder / "m1.zarr").finished_bands()
        except Exception as error:
            assert "run the ingest" in str(error)
            finished = ()
        there = {name: digest for name, digest in self._pixels(folder).items() if not name.endswith(".partial")}
        assert not finished or there == self._pixels(self.kept), "a complete band has other files"
        self.act(folder)
        assert self._pixels(folder) == self._pixels(self.kept)

    @staticmethod
    def _pixels(folder: Path) -> dict[str, str]:
        """All files but the record, which says how long it took."""
        return {name: digest for name, digest in contents(folder / "m1.zarr").items() if not name.startswith("bands/")}


class TileFile:
    """The file of a tile is that of the old unit or that of the new one, and nothing else stays."""

    def __init__(self, kept: Path):
        self.tile = TileGrid("m1", 64, 64, 64, 64).tile(0, 0)

    def prepare(self, folder: Path) -> None:
        store = WorkStore(folder)
        write_json(store.plan_path, {"digest": "old"})
        store.write_tile(self.tile, "old", pa.table({"a": [1]}), TileRecord(1, {}, []))

    def act(self, folder: Path) -> None:
        store = WorkStore(folder)
        write_json(store.plan_path, {"digest": "new"})
        store.write_failure(self.tile, "failed", "bad memory", "")
        store.write_tile(self.tile, "new", pa.table({"a": [1, 2]}), TileRecord(2, {}, []))

    def check(self, folder: Path) -> None:
        store = WorkStore(folder)
        records = [store.tile_record(self.tile, unit) for unit in ("old", "new")]
        assert [record is None for record in records].count(True) == 1
        assert (read_json(store.plan_path) or {})["digest"] in ("old", "new")
        self.act(folder)
        record = store.tile_record(self.tile, "new")
        assert record is not None and record.n_rows == 2 and store.read_failure(self.tile) is None
        store.sweep()
        assert sorted(contents(folder)) == ["plan.json", "tiles/m1/r0000_c0000.parquet"]


class StartOver:
    """Of a work directory that is cleared each folder is whole or gone, and as long as one is there, so is the plan."""

    files = (
        "mosaics/m1.zarr/zarr.json",
        "mosaics/m1.zarr/image/c/0/0/0",
        "mosaics/m1.zarr/bands/0/zarr.json",
        "tiles/m1/a.parquet",
    )

    def __init__(self, kept: Path):
        pass

    def prepare(self, folder: Path) -> None:
        for name in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        write_json(folder / "plan.json", {})

    def act(self, folder: Path) -> None:
        WorkStore(folder).clear()
        write_json(folder / "plan.json", {})

    def check(self, folder: Path) -> None:
        there = contents(folder)
        for name in FOLDERS:
            found = {file for file in there if file.startswith(f"{name}/")}
            assert found in (set(), {file for file in self.files if file.startswith(f"{name}/")}), f"a part of {name} is left"
            assert not found or "plan.json" in there
        self.act(folder)
        WorkStore(folder).sweep()
        assert set(contents(folder)) == {"plan.json"}


SCENARIOS = {
    "entries": Entries,
    "publishing": Publishing,
    "report": Report,
    "ingest": Ingest,
    "tile": TileFile,
    "start over": StartOver,
}
