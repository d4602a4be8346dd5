"""Tables of users in every format, mutated: sources to measure, photometry with redshifts, matched, and written again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa

from benchmarks.fuzz.images import NX, NY, header
from benchmarks.fuzz.mutate import NUMBERS, WORDS, mutated_bytes, mutated_text
from surveycnn.catalogs.query import Catalog
from surveycnn.catalogs.source import TableSource
from surveycnn.photoz.tables import photometry_of, redshifts_of
from surveycnn.sky.wcs import read_wcs, wcs_text
from surveycnn.sources.catalog import count_sources, read_sources
from surveycnn.tables.files import read_table, write_table

NAMES = ("sources.parquet", "sources.fits", "sources.fits.gz", "sources.csv", "sources.ecsv", "sources.hdf5", "sources.vot")
ALLOWED = ("subprocess.Popen",)  # HDF5 is read in a process of its own
SECONDS = 60.0
"""Of a case: that process has half of them."""
TOKENS = {
    "fits": tuple(
        text.encode()
        for text in (
            *(
                "TFORM1  = '9999999E'",
                "TFORM1  = '1PE(9)'",
                "TFORM2  = 'X'",
                "TDIM1   = '(1,1,1,99)'",
                "NAXIS2  =           2000000000",
            ),
            *(
                "PCOUNT  =                    8",
                "TTYPE2  = 'ra'",
                "TNULL1  =                 -1",
                "TSCAL1  =  0.0",
                "TZERO1  = 'x'",
            ),
            *(
                "TFIELDS =                  999",
                "TUNIT1  = 'furlong'",
                "TFORM1  = '1QA'",
                "NAXIS1  =                    1",
                "THEAP   = -5",
            ),
        )
    ),
    "csv": (b",", b'"', b"\n", b"#", b"nan", b"1e999", b"\xff", b"-0", b"'", b"ra", b"id"),
    "ecsv": (
        *(
            b"# - {name: ra, datatype: object}",
            b"# - {name: x, datatype: float64, unit: foo}",
            b"datatype: string, subtype: 'json'",
        ),
        *(
            b"# meta: !!omap",
            b"!!python/object/apply:os.system ['x']",
            b"# schema: astropy-2.0",
            b"delimiter: ','",
            b"&a [*a]",
            b"float128",
        ),
        *(
            b"# - __serialized_columns__: {ra: {__class__: os.system, value: 1}}",
            b"# - __serialized_columns__: {ra: {__class__: astropy.time.Time}}",
        ),
    ),
    "hdf5": (b"\x89HDF\r\n\x1a\n", b"TREE", b"HEAP", b"SNOD", b"OHDR", b"OCHK", b"FRHP", b"\xff" * 8, b"\x00" * 8),
    "parquet": (b"PAR1", b"\x15\x04", b"\xff\xff\xff\x7f", b"pandas", b"ARROW:schema"),
    "vot": (
        *(
            b'datatype="double"',
            b'datatype="char" arraysize="*"',
            b'arraysize="99999999"',
            b"<BINARY2>",
            b"<TABLEDATA>",
            b"</TABLE>",
        ),
        *(
            b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
            b"&b;",
            b"&#0;",
            b"<![CDATA[",
            b"<FIELD ",
        ),
        *(
            b'encoding="utf-16"',
            b'<!ENTITY x SYSTEM "file:///etc/passwd">',
            b'href="http://localhost/x"',
            b'<STREAM href="file:///etc/passwd"/>',
        ),
    ),
}


@dataclass(frozen=True)
class Given:
    """A table and what is done with it."""

    path: str
    ra: str = "ra"
    dec: str = "dec"
    id: str | None = None
    redshift: str = "z"
    output: str = ""


def _table(rng: np.random.Generator, n: int = 20) -> pa.Table:
    return pa.table(
        {
            "ra": rng.uniform(149.998, 150.002, n),
            "dec": rng.uniform(1.998, 2.002, n),
            "id": np.arange(n),
            "name": [f"s{number}" for number in range(n)],
            "z": rng.uniform(0, 2, n),
            "flux_r": rng.uniform(1, 100, n).astype("f4"),
            "flux_err_r": np.ones(n, "f4"),
            "mag_i": rng.uniform(18, 25, n),
            "mag_err_i": np.full(n, 0.1),
        }
    )


def prepare(seeds: Path) -> None:
    """The same table in every format."""
    from surveycnn.tables.arrays import astropy_of_arrow

    table = _table(np.random.default_rng(2))
    for name in NAMES:
        if name.endswith((".gz", ".vot")):
            options = {"format": "votable"} if name.endswith(".vot") else {"format": "fits"}
            astropy_of_arrow(table).write(seeds / name, **options)
        else:
            write_table(table, seeds / name)


def valid_cases(seeds: Path, folder: Path) -> list[Given]:
    """Each table as it is, written again."""
    outputs = ("x.parquet", "x.fits", "x.csv", "x.ecsv", "x.hdf5", "y.csv", "y.fits")
    return [Given(str(seeds / name), output=str(folder / output)) for name, output in zip(NAMES, outputs, strict=True)]


def make_case(rng: Random, seeds: Path, folder: Path) -> Given:
    """A table of which bytes are mutated, or which holds odd columns; sometimes the names that are asked for are odd."""
    name = rng.choice(NAMES)
    path = folder / name
    if rng.random() < 0.25 and name.endswith((".parquet", ".csv", ".fits", ".hdf5")):
        _write_odd(rng, path)
    else:
        data = (seeds / name).read_bytes()
        tokens = TOKENS[Path(name.removesuffix(".gz")).suffix[1:]]
        others = [(seeds / rng.choice(NAMES)).read_bytes()]
        path.write_bytes(mutated_bytes(rng, data, tokens, others))
    part = rng.choice((*[""] * 40, "[1]", "[0]", "[99]", "[name]", "[/]", "[sources]"))
    names = [rng.choice((*[name] * 30, rng.choice(WORDS).replace("\x00", ""))) for name in ("ra", "dec", "z")]
    output = rng.choice(("", "out.parquet", "out.fits", "out.csv", "out.ecsv", "out.hdf5"))
    return Given(str(path) + part, names[0], names[1], rng.choice((None, None, "id", "name", "z")), names[2], output)


def _write_odd(rng: Random, path: Path) -> None:
    """Columns of odd values and types, as the format can hold them."""
    n = rng.choice((0, 1, 2, 20))
    columns: dict[str, pa.Array] = {}
    for name in (
        "ra",
        "dec",
        "id",
        "z",
        "flux_r",
        "flux_err_r",
        mutated_text(rng, "x").encode("utf-8", "replace").decode(),
        "pos",
    ):
        values = [rng.choice(NUMBERS[:-15]) if rng.random() < 0.3 else rng.uniform(-100, 400) for _ in range(n)]
        kind = rng.choice(
            ("f8", "f8", "f4", "f2", "i8", "text", "null", "list", "time", "bool", "u8", "binary", "struct", "dictionary")
        )
        columns[name] = _column(kind, values)
    table = pa.table(columns)
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        try:
            pq.write_table(table, path, compression=rng.choice(("zstd", "snappy", "none")))
        except pa.ArrowException:  # times that Parquet has not
            pq.write_table(pa.table({"id": [1.0]}), path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_table(table, path)  # a UserError ends the case


def _column(kind: str, values: list[float]) -> pa.Array:
    numbers = np.array([float(value) if abs(value) < 1e308 else np.inf for value in values])
    with np.errstate(all="ignore"):
        whole = np.nan_to_num(numbers, posinf=2**62, neginf=-(2**62)).clip(-(2**62), 2**62).astype("i8")
        if kind in ("f8", "f4", "f2"):
            return pa.array(numbers.astype(kind))
    if kind == "text":
        return pa.array([str(value) for value in values], pa.string())
    if kind == "null":
        return pa.nulls(len(values))
    if kind == "list":
        return pa.array([[value] * (place % 3) for place, value in enumerate(numbers.tolist())], pa.list_(pa.float64()))
    if kind == "time":
        return pa.array(whole, pa.timestamp("s"))
    if kind == "struct":
        return pa.array([{"a": value} for value in numbers.tolist()], pa.struct({"a": pa.float64()}))
    if kind == "dictionary":
        return pa.array([str(value) for value in values], pa.string()).dictionary_encode()
    if kind == "binary":
        return pa.array([str(value).encode() + b"\xff" for value in values], pa.binary())
    return pa.array(whole > 0) if kind == "bool" else pa.array(np.abs(whole).astype(kind))


def run_case(case: Given) -> str:
    """Read the table as sources and as photometry; one of both must work for a result, and the reading itself always."""
    done = ["read"]
    table = read_table(case.path)
    errors = []
    for what in (_sources, _photometry, _matched, _written):
        try:
            done += what(case, table)
        except Exception as error:
            from surveycnn.errors import UserError

            if not isinstance(error, UserError):
                raise
            errors.append(error)
    if len(done) == 1 and errors:
        raise errors[0]
    return " ".join(done)


def _sources(case: Given, table: pa.Table) -> list[str]:
    sources = read_sources(case.path, case.ra, case.dec, case.id)
    count_sources(sources, [(wcs_text(read_wcs(header())), NY, NX)])
    return ["sources"]


def _matched(case: Given, table: pa.Table) -> list[str]:
    rows = pa.table({"source_id": [1, 2], "ra": [150.0, 150.001], "dec": [2.0, 2.001]})
    catalog = Catalog(TableSource(rows), "sources")
    match = catalog.crossmatch(case.path, 3.0, how="left", n_neighbors=2, ra=case.ra, dec=case.dec)
    match.to_arrow(), match.to_table()
    catalog.crossmatch(table, 3.0)["separation"]
    return ["matched"]


def _photometry(case: Given, table: pa.Table) -> list[str]:
    photometry_of(table, ["r", "i"])
    redshifts_of(table, case.redshift)
    return ["photometry"]


def _written(case: Given, table: pa.Table) -> list[str]:
    if not case.output:
        return []
    write_table(table, case.output)
    return ["written"]
