"""The command line: what each command prints, writes and returns."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table

from surveycnn import __version__
from surveycnn.cli import main
from surveycnn.models.package import find_card, shipped_models


def out(capsys, *arguments: str, code: int = 0) -> str:
    """Standard output of a command that ends with `code`."""
    assert main(list(arguments)) == code
    return capsys.readouterr().out


def test_help__is_prompt_and_imports_no_library():
    code = (
        "import sys; from surveycnn.cli import main; main([]); "
        "print(sorted({'numpy', 'dask', 'keras', 'pydantic', 'rich', 'shtab'} & set(sys.modules)), file=sys.stderr)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == "[]\n"


def test_module__runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "surveycnn", "--version"], capture_output=True, text=True)
    assert done.stdout == f"surveycnn {__version__}\n"


def test_main__of_an_unknown_flow_is_a_users_mistake(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run-flow", "surevy"])
    assert ended.value.code == 2
    assert "there is no flow 'surevy': did you mean 'survey'?" in capsys.readouterr().err


def test_main__of_a_survey_without_configuration_says_what_is_missing(capsys):
    assert main(["run-flow", "survey"]) == 2
    assert "the flow 'survey' needs a configuration: surveycnn run-flow survey CONFIG.yaml" in capsys.readouterr().err


def test_run_flow__that_draws_galaxies_without_what_draws_them(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["run-flow", "demo", "--no-prefect"]) == 2
    assert "draws galaxies with galsim and lenstronomy, which cannot be found: pip install" in capsys.readouterr().err


def test_main__interrupted_ends_with_130(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("surveycnn.commands.models.show", interrupted)
    assert main(["models"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_plan__says_what_would_run(sky, tmp_path, capsys):
    text = out(capsys, "plan", str(sky / "survey.yaml"), "--set", f"output={tmp_path / 'out'}")
    assert "mosaic m1: 448 x 512 px of 0.2 arcsec, 4 tiles, bands g r i z, zero points 27 27 27 27, detection in g r i" in text
    assert "tiles: 4, to do 4; sources: not known yet" in text
    assert list(tmp_path.iterdir()) == [], "planning must write nothing"


def test_plan__as_json_is_alone_on_stdout(sky, small_run, capsys):
    record = json.loads(out(capsys, "plan", str(sky / "survey.yaml"), "--set", f"output={small_run}", "--json"))
    assert record["tiles"] == 4
    assert record["tiles_todo"] == 0
    assert record["sources"] == len(Table.read(small_run / "catalog.fits"))
    assert record["bytes_stored"] == 448 * 512 * 4 * 5
    assert record["worker_memory_bytes"] > 448 * 512 * 4 * 8, "window, noise and detection of one tile alone"
    cards = [find_card(name) for name in shipped_models()]
    batch = 512 * max(card.activation_bytes for card in cards)
    assert record["worker_device_memory_bytes"] == batch + 4 * sum(card.n_weights for card in cards)


def test_plan__of_given_sources_and_a_manifest(sky, tmp_path, capsys):
    lines = ["mosaic,band,path", *(f"east,{band},{sky / band}.fits" for band in "gri")]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    Table({"ra": [150.0, 150.001, 10.0], "dec": [2.0, 2.001, 10.0]}).write(tmp_path / "s.csv")
    changes = [f"output={tmp_path / 'out'}", f"mosaics={tmp_path / 'm.csv'}", f"detection.catalog={tmp_path / 's.csv'}"]
    arguments = ["plan", str(sky / "survey.yaml"), *(part for change in changes for part in ("--set", change))]
    text = out(capsys, *arguments)
    assert (
        f"mosaic east: 448 x 512 px of 0.2 arcsec, 4 tiles, bands g r i, zero points 27 27 27, 2 sources of {tmp_path / 's.csv'}"
        in text
    )
    assert "tiles: 4, to do 4; sources: 2\n" in text
    assert f"1 of 3 sources of {tmp_path / 's.csv'} lie on no mosaic and are left out" in text
    record = json.loads(out(capsys, *arguments, "--json"))
    assert (record["sources"], record["mosaics"][0]["sources"]) == (2, 2)


@pytest.mark.parametrize("where", ["", "work"])
def test_status__counts_tiles_by_state(small_run, capsys, where):
    record = json.loads(out(capsys, "status", str(small_run / where), "--json"))
    assert record["tiles"] == {"done": 4, "todo": 0, "failed": 0, "quarantined": 0, "no_work": 0}
    assert "done 4, todo 0, failed 0, quarantined 0, no_work 0" in out(capsys, "status", str(small_run / where))


def test_status__of_nothing_is_a_users_mistake(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "is no configuration file and no work directory of a run" in capsys.readouterr().err


def test_query__prints_the_top(small_run, capsys):
    rows = Table.read(small_run / "catalog.fits")
    text = out(capsys, "query", str(small_run), "--top", "3", "--by", "flux_r", "--columns", "source_id,flux_r")
    brightest = rows["source_id"][np.argsort(-rows["flux_r"])[:3]]
    assert [int(line.split()[0]) for line in text.splitlines()[1:]] == list(brightest)


def test_query__with_cone_and_filter_writes_a_file(small_run, tmp_path, capsys):
    rows = Table.read(small_run / "catalog.fits")
    path = tmp_path / "hot.fits"
    ra, dec = str(rows["ra"][0]), str(rows["dec"][0])
    text = out(capsys, "query", str(small_run), "--cone", ra, dec, "20", "--where", "flux_r > 1000", "-o", str(path))
    found = Table.read(path)
    distance = np.hypot((rows["ra"] - rows["ra"][0]) * np.cos(np.radians(rows["dec"])), rows["dec"] - rows["dec"][0]) * 3600
    expected = rows[(distance < 20) & (rows["flux_r"] > 1000)]
    assert set(found["source_id"]) == set(expected["source_id"])
    assert text == f"{len(expected)} rows written to {path}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "3"], "--top N and --by COLUMN go together"),
        (["--columns", "flux_q"], "flux_q"),
        (["--where", "__import__('os')"], "__import__"),
        (["-o", "rows.xls"], "rows.xls"),
        (["-o", "/proc/rows.fits"], "cannot write '/proc/rows.fits'"),
    ],
)
def test_query__says_what_is_wrong(small_run, capsys, options, message):
    assert main(["query", str(small_run), *options]) == 2
    assert message in capsys.readouterr().err


def test_query__of_no_catalog_is_a_users_mistake(tmp_path, capsys):
    assert main(["query", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_verify__agrees_with_a_good_catalog_and_its_tiles(small_run, capsys):
    assert "digests agree; 2 tiles computed again" in out(capsys, "verify", str(small_run), "--sample", "2")


def test_verify__finds_a_damaged_file(small_run, tmp_path, capsys):
    copy = shutil.copytree(small_run, tmp_path / "copy", ignore=shutil.ignore_patterns("work"))
    damaged = bytearray((copy / "catalog.fits").read_bytes())
    damaged[-4000] ^= 1
    (copy / "catalog.fits").write_bytes(damaged)
    assert main(["verify", str(copy)]) == 2
    assert "catalog.fits" in capsys.readouterr().err


def test_models__shows_the_cards(capsys):
    text = out(capsys, "models")
    cards = json.loads(out(capsys, "models", "--json"))
    assert set(cards) == set(shipped_models()) == {"lens", "morphology", "merger", "photoz"}
    for name, card in cards.items():
        assert f"{name} {card['version']} ({card['task']})" in text


def test_models_check__agrees_with_a_good_package_and_refuses_a_changed_one(tmp_path, capsys):
    copy = shutil.copytree(shipped_models()["photoz"], tmp_path / "copy")
    assert "card, digests and golden outputs agree" in out(capsys, "models", "check", str(copy))
    (copy / "model.keras").write_bytes((copy / "model.keras").read_bytes() + b"x")
    assert main(["models", "check", str(copy)]) == 2
    assert "model.keras has sha256" in capsys.readouterr().err


def test_run_flow__takes_the_configuration_before_and_after_the_options(capsys):
    for order in (["survey", "none.yaml", "--no-prefect"], ["survey", "--no-prefect", "--fresh", "none.yaml"]):
        assert main(["run-flow", *order]) == 2
        assert "configuration 'none.yaml' does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["run-flow", "survey", "--no-prefect", "none.yaml", "another.yaml"])
    assert stop.value.code == 2 and "nothing takes 'another.yaml': leave it out" in capsys.readouterr().err
