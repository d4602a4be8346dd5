"""Published catalogs of which files are mutated: opened, queried, verified, exported."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.fuzz.catalog_files import write_catalog
from benchmarks.fuzz.command import run_command
from benchmarks.fuzz.mutate import mutated_bytes, mutated_tree
from surveycnn.catalogs.publishing.publish import PROVENANCE
from surveycnn.catalogs.query import open_catalog

MEMORY_MB = 600

FORMATS = ("hats", "catalog.zarr", "catalog.fits")
ALWAYS = ("coverage.fits", PROVENANCE)
CODECS = (
    *(
        {"name": name, "configuration": {}}
        for name in ("numcodecs.pickle", "pickle", "numcodecs.json2", "numcodecs.vlen-utf8", "foo")
    ),
    *({"name": name} for name in ("gzip", "zstd", "blosc", "bytes", "crc32c", "vlen-bytes", "transpose", "numcodecs.msgpack2")),
    {"name": "sharding_indexed", "configuration": {"chunk_shape": [10**9], "codecs": [{"name": "bytes"}], "index_codecs": []}},
    {"name": "numcodecs.fixedscaleoffset", "configuration": {"offset": 0, "scale": 1e300, "dtype": "<f8"}},
)
PIECES = (
    *CODECS,
    *(
        "variable_length_bytes",
        "fixed_length_utf32",
        "numpy.datetime64",
        "object",
        "|O",
        "<U99999999",
        "complex128",
        "r8",
        "string",
        "bool",
    ),
    *([10**9], [0], [-1], [1, 1, 1], [2**62, 2**62], ["source"], {"name": "regular", "configuration": {"chunk_shape": [10**9]}}),
)
TOKENS = (
    *(
        b"PAR1",
        b"ARROW:schema",
        b"pandas",
        b"BINTABLE",
        b"TFORM1  = '999999999E'",
        b"NAXIS2  =           2000000000",
        b"TFORM2  = '1PE(9)'",
    ),
    *(
        b'"zarr_format":3',
        b'"shape":[60]',
        b'"data_type":"object"',
        b'"attributes":{',
        b"\x28\xb5\x2f\xfd",
        b"\xff\xff\xff\x7f",
        b"source_id",
    ),
)
OPERATIONS = ("rows", "query", "verify", "write", "coverage", "html", "qp", "xarray", "redshifts", "lenses", "origin")


@dataclass(frozen=True)
class Given:
    """A catalog and what is done with it."""

    folder: Path
    operation: str
    suffix: str = ".csv"


def prepare(seeds: Path) -> None:
    """A small catalog in every format."""
    write_catalog(seeds / "catalog")
    _write_old_store(seeds / "old.zarr")


def _write_old_store(path: Path) -> None:
    """A store of Zarr 2, whose metadata name codecs by words that some libraries take for code."""
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(path, mode="w", zarr_format=2)
        for name in ("source_id", "ra", "dec"):
            array = group.create_array(name, shape=(60,), chunks=(60,), dtype="f8", attributes={"_ARRAY_DIMENSIONS": ["source"]})
            array[:] = np.arange(60.0)


def valid_cases(seeds: Path, folder: Path) -> list[Given]:
    """All operations on all formats."""
    cases = []
    for name in FORMATS:
        _copy(seeds, folder / name, (name,))
        cases += [Given(folder / name, operation) for operation in OPERATIONS if operation != "verify"]
    _copy(seeds, folder / "all", FORMATS)
    suffixes = (".fits", ".parquet", ".csv", ".ecsv", ".vot", ".zarr")
    return [*cases, Given(folder / "all", "verify"), *(Given(folder / "all", "write", suffix) for suffix in suffixes)]


def _copy(seeds: Path, folder: Path, formats: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    for name in (*formats, *ALWAYS):
        source = seeds / "catalog" / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copyfile(source, folder / name)


def make_case(rng: Random, seeds: Path, folder: Path) -> Given:
    """A catalog of one format, or all for `verify`, with one to three files changed, exchanged or lost."""
    operation = rng.choice((*OPERATIONS, "rows", "query", "rows", "write"))
    formats = FORMATS if operation == "verify" else (rng.choice(FORMATS),)
    place = folder / "catalog"
    _copy(seeds, place, formats)
    if rng.random() < 0.08:
        formats = ("catalog.zarr",)
        shutil.rmtree(place)
        _copy(seeds, place, ())
        shutil.copytree(seeds / "old.zarr", place / "catalog.zarr")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        target = rng.choice((*formats, *formats, *formats, PROVENANCE if operation == "verify" else formats[0]))
        target = "coverage.fits" if operation in ("coverage", "lenses") and rng.random() < 0.8 else target
        target = PROVENANCE if operation in ("origin", "lenses") and rng.random() < 0.6 else target
        _change(rng, place / target, place)
    return Given(place, operation, rng.choice((".fits", ".parquet", ".csv", ".ecsv", ".vot", ".zarr")))


def _change(rng: Random, path: Path, place: Path) -> None:
    """Change one file of `path`, or in the metadata of a Zarr store one node."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    files = [file for file in files if file.is_file()]
    if not files:
        return
    weights = [4 if file.name.startswith((".z", "zarr", "_common", "_metadata")) else 1 for file in files]
    file = rng.choices(files, weights)[0]
    way = rng.random()
    if way < 0.05:
        file.unlink()
    elif way < 0.08:
        file.unlink()
        file.mkdir()
    elif way < 0.12:
        file.write_bytes(rng.choice(files).read_bytes())
    elif way < 0.7 and file.suffix in (".json", ".zarray", ".zgroup", ".zattrs", "") and file.read_bytes()[:1] == b"{":
        try:
            tree = _with_codec(rng, mutated_tree(rng, json.loads(file.read_text()), PIECES))
            text = json.dumps(tree, default=str, skipkeys=True)
        except ValueError:  # changed before, or a piece was put into itself
            text = "{}"
        file.write_text(text)
    else:
        file.write_bytes(mutated_bytes(rng, file.read_bytes(), TOKENS, [rng.choice(files).read_bytes()]))


def _with_codec(rng: Random, tree: Any) -> Any:
    """The metadata with a codec, filter or type of objects put where one can stand."""
    nodes = [node for node in _nodes(tree) if {"codecs", "filters", "data_type", "dtype"} & set(node)]
    if not nodes or rng.random() < 0.4:
        return tree
    node = rng.choice(nodes)
    if "zarr_format" in node and node.get("zarr_format") == 2:
        node[rng.choice(("filters", "compressor", "dtype"))] = rng.choice(
            ([{"id": "pickle"}], {"id": "pickle"}, "|O", [{"id": "json2"}])
        )
        node["dtype"] = rng.choice(("|O", node.get("dtype")))
    elif isinstance(node.get("codecs"), list):
        node["codecs"].insert(rng.randrange(len(node["codecs"]) + 1), rng.choice(CODECS))
    return tree


def _nodes(tree: Any) -> Any:
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(value)


def run_case(case: Given) -> str:
    """One operation on the catalog."""
    if case.operation == "verify":
        return run_command(["verify", str(case.folder)])
    if case.operation == "write":
        return run_command(
            ["query", str(case.folder), "--where=z_phot > 0.5", "-o", str(case.folder.parent / f"out{case.suffix}")]
        )
    catalog = open_catalog(case.folder)
    if case.operation == "query":
        found = catalog.cone(150.0, 2.0, 900).where("lens_prob > 0.1 or mosaic == 'm1'").top(5, by="z_phot")
        found.to_pandas()
    elif case.operation == "coverage":
        n_inside = len(catalog.moc(case.folder / "coverage.fits"))
        return f"coverage {catalog.coverage.max_order >= 0 and n_inside >= 0}"
    elif case.operation == "match":
        catalog.crossmatch(case.folder, 2.0, how="left").to_arrow()
    elif case.operation == "html":
        repr(catalog), catalog._repr_html_(), catalog.provenance
    elif case.operation == "qp":
        catalog.to_qp()
    elif case.operation == "xarray":
        catalog.to_xarray()
    elif case.operation == "redshifts":
        (
            catalog.where("lens_prob >= 0").n_of_z([0, 1, 2], weights="lens_prob"),
            catalog.draw_redshifts(2),
            catalog.redshift_quantiles(0.5),
        )
    elif case.operation == "lenses":
        len(catalog.cone(150, 2, 3000).lens_candidates(10.0).rows)
    elif case.operation == "origin":
        return run_command(["query", str(case.folder), "--origin", str(catalog["source_id"][0]), "--json"])
    else:
        len(catalog), catalog.to_table()
    return case.operation
