"""``surveycnn photoz``: a table with redshifts to a model, a table to predictions, and what each refusal says."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table

from surveycnn.cli import main
from surveycnn.photoz.card import read_table_card
from surveycnn.photoz.tables import read_table, write_table

BANDS = "ugr"
RESULTS = ["z_phot", "z_phot_lo", "z_phot_hi", "z_mode", "pz_weight", "pz_mean", "pz_sigma"]
N_ROWS = 160


def galaxies(n: int, seed: int) -> pa.Table:
    """Toy galaxies that redden with redshift: id, redshift, fluxes (nJy) and their errors."""
    rng = np.random.default_rng(seed)
    redshift = rng.uniform(0.05, 1.0, n)
    columns = {"id": np.arange(n) * 7 + 1, "redshift": redshift}
    for place, band in enumerate(BANDS):
        flux = 10 ** (3.0 + rng.normal(0, 0.2, n) + 0.4 * (place - 1) * redshift)
        columns |= {f"flux_{band}": flux + rng.normal(0, 10.0, n), f"flux_err_{band}": np.full(n, 10.0)}
    return pa.table(columns)


def as_magnitudes(table: pa.Table, pattern: str = "{kind}_{band}") -> pa.Table:
    """The same galaxies as AB magnitudes, in columns of other names."""
    columns = {"id": table["id"], "redshift": table["redshift"]}
    for band in BANDS:
        flux, flux_err = (table[f"{kind}_{band}"].to_numpy() for kind in ("flux", "flux_err"))
        columns[pattern.format(kind="mag", band=band)] = 31.4 - 2.5 * np.log10(flux)
        columns[pattern.format(kind="mag_err", band=band)] = flux_err / flux * 2.5 / np.log(10)
    return pa.table(columns)


def with_column(table: pa.Table, name: str, values: object) -> pa.Table:
    """The table with a column replaced or added."""
    kept = table.drop_columns([name]) if name in table.column_names else table
    return kept.append_column(name, pa.array(values))


def fit_arguments(table: Path, output: Path, *more: str) -> list[str]:
    small = ["--members", "1", "--epochs", "2", "--seed", "3"]
    return ["photoz", "fit", str(table), "--bands", "u,g,r", "--redshift", "redshift", "-o", str(output), *small, *more]


def predicted(model: Path, table: pa.Table, output: Path, *more: str) -> pa.Table:
    """What predict writes for `table`."""
    source = write_table(table, output.with_name("source.parquet"))
    assert main(["photoz", "predict", str(model), str(source), "-o", str(output), *more]) == 0
    return read_table(output)


@dataclass(frozen=True)
class Fitted:
    """A small model that was fitted to fluxes, and what the command said."""

    folder: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("photoz")
    table = write_table(galaxies(N_ROWS, seed=1), folder / "train.fits")
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        assert main(fit_arguments(table, folder / "models/one", "--name", "toy")) == 0
    return Fitted(folder / "models/one", stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def model(fitted: Fitted) -> Path:
    """Folder of the small model."""
    return fitted.folder


@pytest.fixture
def errors(tmp_path, capsys):
    """Function that runs a command which must be refused, and gives its message; nothing may be written."""

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert main(list(arguments)) == 2
        captured = capsys.readouterr()
        assert sorted(tmp_path.rglob("*")) == before, "a refused command must write nothing"
        assert captured.out == ""
        return captured.err

    return run


def test_fit__prints_metrics_on_stdout_and_progress_on_stderr(fitted):
    first, *metrics = fitted.stdout.splitlines()
    assert first.endswith("models/one: toy, bands u g r, 144 rows to train on, 16 to validate")
    assert any(line.startswith("  sigma_nmad = ") and "(n = 16): " in line for line in metrics)
    assert "16 held out" in fitted.stderr and "sigma_nmad" not in fitted.stderr


@pytest.mark.slow
def test_fit__replaces_a_model_where_a_link_points_and_gives_the_same_again(fitted, tmp_path):
    table = write_table(galaxies(N_ROWS, seed=1), tmp_path / "train.csv")
    shutil.copytree(fitted.folder, tmp_path / "real")
    (tmp_path / "real/card.yaml").write_text((fitted.folder / "card.yaml").read_text().replace("toy", "older"))
    (tmp_path / "link").symlink_to("real")
    assert main(fit_arguments(table, tmp_path / "link", "--name", "toy")) == 0
    assert (tmp_path / "link").is_symlink()
    old, new = (read_table_card(folder).model_dump(exclude={"sha256"}) for folder in (fitted.folder, tmp_path / "real"))
    assert old == new


def test_predict__appends_to_all_columns_and_keeps_the_order(model, tmp_path, capsys):
    table = with_column(galaxies(50, seed=2), "note", [f"n{row}" for row in range(50)])
    found = predicted(model, table, tmp_path / "out.parquet")
    assert found.column_names == table.column_names + RESULTS
    assert found.select(table.column_names).equals(table)
    assert found.schema.field("pz_weight").type == pa.list_(pa.float32(), found.schema.field("pz_weight").type.list_size)
    assert capsys.readouterr().out == f"50 rows written to {tmp_path / 'out.parquet'}, 0 of them without a prediction\n"
    backwards = predicted(model, table.take(np.arange(50)[::-1]), tmp_path / "back.parquet")
    assert backwards.take(np.arange(50)[::-1]).equals(found)


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".csv", ".ecsv", ".hdf5", ".H5", ".FITS"])
def test_predict__reads_and_writes_every_format(model, tmp_path, suffix):
    table = galaxies(20, seed=2)
    expected = predicted(model, table, tmp_path / "expected.parquet")
    source = write_table(table, tmp_path / f"in{suffix}")
    assert main(["photoz", "predict", str(model), str(source), "-o", str(tmp_path / f"out{suffix}")]) == 0
    found = read_table(tmp_path / f"out{suffix}")
    assert found["id"].to_pylist() == expected["id"].to_pylist()
    np.testing.assert_allclose(found["z_phot"].to_numpy(), expected["z_phot"].to_numpy(), rtol=1e-6)
    weights = np.array(expected["pz_weight"].to_pylist())
    if suffix == ".csv":
        assert found.column_names[-1] == f"pz_sigma_{weights.shape[1] - 1}"
        split = np.stack([found[f"pz_weight_{place}"].to_numpy() for place in range(weights.shape[1])], axis=1)
    else:
        split = np.array(found["pz_weight"].to_pylist())
    np.testing.assert_allclose(split, weights, rtol=1e-6)


def test_predict__of_magnitudes_is_that_of_fluxes(model, tmp_path):
    table = galaxies(40, seed=4)
    flux = predicted(model, table, tmp_path / "flux.parquet")
    mag = predicted(model, as_magnitudes(table), tmp_path / "mag.parquet")
    np.testing.assert_allclose(flux["z_phot"].to_numpy(), mag["z_phot"].to_numpy(), rtol=1e-5)


def test_fit__keeps_the_names_of_columns_for_predictions(tmp_path):
    table = as_magnitudes(galaxies(N_ROWS, seed=1), "{kind}_{band}_lsst")
    source = write_table(table, tmp_path / "train.hdf5")
    mapping = ["--mag", "mag_{band}_lsst", "--mag-err", "mag_err_{band}_lsst"]
    assert main(fit_arguments(source, tmp_path / "model", *mapping)) == 0
    lsst = predicted(tmp_path / "model", table, tmp_path / "lsst.parquet")
    plain = predicted(tmp_path / "model", as_magnitudes(galaxies(N_ROWS, seed=1)), tmp_path / "plain.parquet")
    other = predicted(
        tmp_path / "model",
        table.rename_columns({"mag_u_lsst": "U"}),
        tmp_path / "other.parquet",
        *mapping,
        "--column",
        "mag_u=U",
    )
    for found in (plain, other):
        np.testing.assert_array_equal(found["z_phot"].to_numpy(), lsst["z_phot"].to_numpy())


def test_predict__of_rows_without_data_is_nan_and_counted(model, tmp_path, capsys):
    table = galaxies(5, seed=2)
    for band in BANDS:
        table = with_column(table, f"flux_{band}", [None, *table[f"flux_{band}"].to_pylist()[1:]])
    found = predicted(model, table, tmp_path / "out.fits")
    assert "5 rows written to" in (text := capsys.readouterr().out) and "1 of them without a prediction" in text
    assert np.isnan(found["z_phot"].to_numpy()).tolist() == [True, False, False, False, False]
    assert np.isnan(Table.read(tmp_path / "out.fits", mask_invalid=False)["pz_mean"][0]).all()


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".csv", ".ecsv", ".hdf5"])
def test_predict__of_no_rows_is_an_empty_table(model, tmp_path, capsys, suffix):
    found = predicted(model, galaxies(3, seed=2).slice(0, 0), tmp_path / f"out{suffix}")
    assert found.num_rows == 0
    assert [name for name in found.column_names if name.startswith("z_")] == RESULTS[:4]
    assert capsys.readouterr().out.startswith("0 rows written to ")


def test_predict__imports_no_framework(model, tmp_path):
    source = write_table(galaxies(3, seed=2), tmp_path / "in.parquet")
    code = (
        "import sys; from surveycnn.cli import main; main(sys.argv[1:]); "
        "print(sorted({'tensorflow', 'keras', 'openvino', 'prefect', 'dask'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "photoz", "predict", str(model), str(source), "-o", str(tmp_path / "out.csv")]
    assert subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("n", [0, 1, 10, 99])
def test_fit__refuses_a_table_of_few_rows(tmp_path, errors, n):
    table = write_table(galaxies(99, seed=1).slice(0, n), tmp_path / "t.csv")
    expected = f"the table has {n} rows, but a fit needs at least 100" if n else "has no rows: nothing can be fitted to it"
    assert expected in errors(*fit_arguments(table, tmp_path / "model"))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("redshift", [-1.0] * N_ROWS, "column 'redshift': 160 of 160 values are negative, the first in row 0"),
        (
            "redshift",
            [None] + [0.5] * (N_ROWS - 1),
            "column 'redshift': 1 of 160 values are missing or infinite, the first in",
        ),
        ("redshift", ["?"] * N_ROWS, "column 'redshift' holds text ('?' in row 0, counted from 0), expected numbers"),
        ("redshift", [0.5] * N_ROWS, "all 160 redshifts are 0.5"),
        ("flux_u", [None] * N_ROWS, "band 'u' has no measured flux in any of the 160 rows"),
        ("flux_err_u", [-1.0] * N_ROWS, "column 'flux_err_u': 160 of 160 values are 0 or negative"),
        ("flux_u", ["a"] * N_ROWS, "column 'flux_u' holds text ('a' in row 0, counted from 0), expected numbers"),
    ],
)
def test_fit__refuses_values_that_cannot_be(tmp_path, errors, column, values, message):
    table = write_table(with_column(galaxies(N_ROWS, seed=1), column, values), tmp_path / "t.parquet")
    assert message in errors(*fit_arguments(table, tmp_path / "model"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bands", "u,g,g"], "the bands 'u,g,g' name g twice: name each once"),
        (["--bands", "u,,g"], "the bands are 'u,,g', expected names with commas between them"),
        (["--bands", "u,K"], "the table has no photometry of the band 'K': expected flux_K and flux_err_K (nJy) or mag_K"),
        (["--redshift", "zs"], "the table has no column 'zs' for the redshifts: found id, redshift, flux_u"),
        (["--flux", "f_x"], "the pattern 'f_x' of flux columns has no {band} in it"),
        (["--flux", "f_{band}"], "the table has no column 'f_u' for flux_u: found id, redshift"),
        (["--column", "flux_u"], "cannot read the column 'flux_u': expected NAME=COLUMN"),
        (["--column", "u=U"], "cannot map 'u' to the column 'U': known are flux_u, flux_err_u, mag_u"),
        (["--members", "0"], "cannot fit with these options: members: Input should be greater than or equal to 1"),
        (["--seed", "-1"], "cannot fit with these options: seed: "),
        (["--epochs", "0"], "cannot fit with these options: epochs: "),
        (["--name", "../x"], "the name is '../x', expected at most 64 letters"),
    ],
)
def test_fit__refuses_options_that_cannot_be(tmp_path, errors, options, message):
    table = write_table(galaxies(N_ROWS, seed=1), tmp_path / "t.parquet")
    assert message in errors(*fit_arguments(table, tmp_path / "model", *options))


def test_fit__refuses_a_folder_of_others(tmp_path, errors):
    table = write_table(galaxies(N_ROWS, seed=1), tmp_path / "t.parquet")
    assert "it is a file, expected a folder" in errors(*fit_arguments(table, table))
    assert "holds other things: give a new one (no photo-z model at" in errors(*fit_arguments(table, tmp_path))
    (tmp_path / "lens").mkdir()
    (tmp_path / "lens/card.yaml").write_text("task: lens\n")
    assert "is the card of 'lens', expected 'photoz_table'" in errors(*fit_arguments(table, tmp_path / "lens"))
    assert "cannot write a model to '/proc/none/model'" in errors(*fit_arguments(table, Path("/proc/none/model")))
    assert (tmp_path / "lens/card.yaml").is_file()


def test_fit__of_a_table_that_cannot_be_read(tmp_path, errors):
    assert "there is no table" in errors(*fit_arguments(tmp_path / "no.fits", tmp_path / "model"))
    (tmp_path / "t.txt").write_text("u g r\n")
    assert "the suffix is '.txt', known are .parquet" in errors(*fit_arguments(tmp_path / "t.txt", tmp_path / "model"))
    (tmp_path / "t.fits").write_text("u g r\n")
    assert "cannot read the table" in errors(*fit_arguments(tmp_path / "t.fits", tmp_path / "model"))


def test_predict__refuses_what_it_cannot_do(model, tmp_path, errors):
    table = galaxies(5, seed=2)
    source = write_table(table, tmp_path / "t.fits")

    def refused(path: Path, output: str, *more: str) -> str:
        return errors("photoz", "predict", str(model), str(path), "-o", str(tmp_path / output), *more)

    assert "the suffix is '.txt', known are .parquet" in refused(source, "out.txt")
    assert "there is no folder" in refused(source, "none/out.fits")
    assert "is the table itself: give another file" in refused(source, "t.fits")
    assert "is the table itself: give another file" in refused(Path(f"{source}[1]"), "t.fits")
    assert "cannot map 'flux_K' to the column 'K'" in refused(source, "out.fits", "--column", "flux_K=K")
    without = write_table(table.drop_columns(["flux_g"]), tmp_path / "without.csv")
    assert "no photometry of the band 'g': expected flux_g and flux_err_g" in refused(without, "out.fits")
    taken = write_table(with_column(table, "Z_PHOT", [0.1] * 5), tmp_path / "taken.fits")
    assert "the table already has the columns Z_PHOT: rename or drop them" in refused(taken, "out.fits")
    parts = write_table(with_column(table, "pz_mean_0", [0.1] * 5), tmp_path / "parts.fits")
    assert "more than one column 'pz_mean_0'" in refused(parts, "out.csv")


def test_predict__refuses_a_folder_without_a_model(tmp_path, errors):
    source = write_table(galaxies(5, seed=2), tmp_path / "t.fits")
    message = errors("photoz", "predict", str(tmp_path), str(source), "-o", str(tmp_path / "out.fits"))
    assert "card.yaml is missing; fit one with 'surveycnn photoz fit'" in message
