"""Training on labels: their tables, the sources that they belong to, the stamps, the split, and the package that comes out."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import surveycnn
from surveycnn.catalogs.query import Catalog
from surveycnn.errors import CatalogError, ConfigError, InputError, ModelError
from surveycnn.inference.load import load_model
from surveycnn.labels.matching import part_of, sources_of
from surveycnn.labels.run import command_of, run_training
from surveycnn.labels.stamps import stamps_of
from surveycnn.labels.tables import read_labels
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card, Domain
from surveycnn.models.lens import build_lens
from surveycnn.models.package import find_card, package_folder, read_golden, save_package
from surveycnn.sections import apply_overrides, validate_section
from surveycnn.training.config import LabelFile, TrainConfig


@pytest.fixture(scope="module")
def catalog(small_run: Path) -> Catalog:
    return surveycnn.open_catalog(small_run)


@pytest.fixture(scope="module")
def tiny_lens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Package of a tiny lens finder that nobody has trained, without a distance."""
    shipped = find_card("lens")
    folder = tmp_path_factory.mktemp("models") / "tiny"
    domain = Domain(band="i", magnitude=(15.0, 24.0))
    card = shipped.model_copy(update={"name": "tiny", "domain": domain, "cascade": None, "metrics": {}, "notes": ""})
    import_keras().utils.set_random_seed(2)
    save_package(folder, build_lens(widths=(4, 8)), card, read_golden(package_folder("lens"), shipped))
    return folder


@pytest.fixture
def grades(catalog: Catalog, tmp_path: Path) -> Path:
    """Grades of all primary sources of the small run: the brighter half are lenses."""
    rows = catalog.where("is_primary").to_pandas()
    bright = rows["flux_i"] > rows["flux_i"].median()
    table = rows[["source_id", "ra", "dec"]].assign(model="lens", grade=np.where(bright, "A", "no"), label=bright.astype(int))
    table.to_csv(tmp_path / "grades.csv", index=False)
    return tmp_path / "grades.csv"


def config(grades: Path, small_run: Path, parent: Path | str, **changes: object) -> TrainConfig:
    folder = grades.parent
    values = {"task": "lens", "labels": str(grades), "catalog": str(small_run), "start_from": str(parent)}
    values |= {"output": str(folder / "out"), "work_dir": str(folder / "work"), "epochs": 2, "batch_size": 16}
    return validate_section(TrainConfig, values | changes, "test")


def test_stamps__are_those_that_the_tile_gave_its_model(catalog, small_run):
    """Whatever the tiles: the catalog's own logits come out of the stamps, bit by bit on the same engine."""
    card = find_card("lens")
    rows = catalog.where("is_primary").to_pandas()
    labels = read_labels_of(rows)
    sources, is_matched = sources_of(catalog, labels, 1.0)
    assert is_matched.all()
    logit = load_model("lens").predict(stamps_of(catalog, sources, card))["lens_logit"].values
    of_catalog = rows.set_index("source_id").loc[sources.source_id, "lens_logit"].to_numpy()
    np.testing.assert_allclose(logit, of_catalog, rtol=1e-5, atol=1e-5)


def read_labels_of(rows):
    from surveycnn.labels.tables import Labels

    n = len(rows)
    return Labels(np.arange(n) % 2 == 0, rows["ra"].to_numpy(), rows["dec"].to_numpy(), np.full(n, -1), "rows")


def test_training__zero_epochs_give_the_scores_of_the_parent(grades, small_run, tiny_lens, catalog):
    made = run_training(config(grades, small_run, tiny_lens, epochs=0))
    before, after = load_model(tiny_lens), load_model(made.model)
    stamps = read_golden(tiny_lens, before.card).stamps
    np.testing.assert_array_equal(before.predict(stamps)["lens_logit"], after.predict(stamps)["lens_logit"])
    assert after.card.name == "out" and after.card.digest != before.card.digest


def test_training__learns_what_the_labels_say(grades, small_run, tiny_lens):
    made = run_training(config(grades, small_run, tiny_lens, epochs=12, batch_size=4, layers="all"))
    gain, parent = made.metrics["labels_gain_auroc"], made.metrics["labels_parent_auroc"]
    assert made.metrics["labels_auroc"].value == pytest.approx(parent.value + gain.value, abs=1e-5)
    assert gain.value > 0 and gain.interval is not None
    card = find_card(made.model)
    assert "grades.csv (sha256 " in card.training.simulation and "--set task=lens" in card.training.command
    assert not list((grades.parent / "work").glob("fit-labels-*")), "the state of a finished fit is gone"


def test_training__keeps_a_calibration_that_few_labels_cannot_make(grades, small_run, tiny_lens):
    lines = grades.read_text().splitlines()
    grades.write_text("\n".join([lines[0], *few(lines[1:], 12)]) + "\n")
    made = run_training(config(grades, small_run, tiny_lens, epochs=0))
    assert find_card(made.model).calibration == find_card(tiny_lens).calibration
    assert "The calibration is that of the parent" in find_card(made.model).notes
    assert "too few to measure anything" in made.summary()


def few(lines: list[str], n: int) -> list[str]:
    return [line for label in ("1", "0") for line in [line for line in lines if line.endswith(f",{label}")][:n]]


def test_training__goes_on_where_it_was_killed(grades, small_run, tiny_lens, monkeypatch):
    from surveycnn.training import optimise

    whole = run_training(config(grades, small_run, tiny_lens, epochs=2, layers="head", output=str(grades.parent / "whole")))
    keep, kept = optimise._keep, []

    def killed(model, state, losses):
        keep(model, state, losses)
        kept.append(len(losses))
        if len(losses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(optimise, "_keep", killed)
    with pytest.raises(KeyboardInterrupt):
        run_training(config(grades, small_run, tiny_lens, epochs=2, layers="head"))
    monkeypatch.setattr(optimise, "_keep", keep)
    again = run_training(config(grades, small_run, tiny_lens, epochs=2, layers="head"))
    stamps = read_golden(tiny_lens, find_card(tiny_lens)).stamps
    np.testing.assert_array_equal(*(load_model(made.model).predict(stamps)["lens_logit"] for made in (whole, again)))


def test_labels__ids_that_contradict_or_are_no_numbers(catalog, tmp_path):
    ids = [int(one) for one in catalog["source_id"][:5]]
    path = tmp_path / "ids.csv"

    def found(rows):
        path.write_text("source_id,label\n" + "".join(f"{source},{label}\n" for source, label in rows))
        return sources_of(catalog, read_labels([LabelFile(path=str(path))], "lens"), 1.0)

    sources, is_matched = found([(one, n % 2) for n, one in enumerate(ids)] + [(17, 1)])
    assert sorted(sources.source_id) == sorted(ids) and is_matched.tolist() == [True] * 5 + [False]
    with pytest.raises(InputError, match="5 sources have labels of both kinds"):
        found([(one, label) for label in (1, 0) for one in ids])
    with pytest.raises(InputError, match="'source_id' should hold a whole number of 64 bits in each row, it is"):
        found([(f"J{one}", 1) for one in ids])
    with pytest.raises(InputError, match="'source_id' should hold a whole number of 64 bits in each row, it is float64"):
        found([(f"{one}.0", 1) for one in ids])


def test_command__texts_that_look_like_numbers():
    config = TrainConfig(task="lens", labels="grades.csv", catalog="runs/a", start_from="2024")
    words = shlex.split(command_of(config))
    assert apply_overrides({}, [word for word in words if word.startswith("start_from=")]) == {"start_from": "2024"}


def test_parts__depend_on_the_position_alone(rng):
    ra, dec = rng.uniform(10, 11, 3000), rng.uniform(-1, 1, 3000)
    part = part_of(ra, dec)
    assert {0, 1, 2} == set(part) and 0.5 < (part == 0).mean() < 0.6 and 0.22 < (part == 2).mean() < 0.28
    np.testing.assert_array_equal(part_of(ra[50:], dec[50:]), part[50:])
    south = part_of(np.append(ra, ra), np.append(dec, dec - 0.5 / 3600))
    np.testing.assert_array_equal(south[:3000], part)


def test_parts__hold_where_a_centroid_moves_a_little(rng):
    ra, dec = rng.uniform(10, 11, 3000), rng.uniform(-1, 1, 3000)
    moved = dec + rng.choice([-0.02, 0.02], 3000) / 3600
    assert (part_of(ra, dec) != part_of(ra, moved)).mean() < 0.005


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def written(folder: Path, text: str) -> list[LabelFile]:
    (folder / "labels.csv").write_text(text)
    return [LabelFile(path=str(folder / "labels.csv"))]


def test_read_labels__leaves_out_what_has_no_label_and_other_tasks(tmp_path):
    text = "source_id,ra,dec,model,grade,label\n1,10,1,lens,A,1\n2,11,1,lens,C,\n3,12,1,lens,no,0\n4,13,1,merger,A,1\n"
    labels = read_labels(written(tmp_path, text), "lens")
    assert labels.value.tolist() == [True, False] and labels.ra.tolist() == [10, 12]


def test_read_labels__takes_ids_where_there_are_no_positions(tmp_path):
    labels = read_labels(written(tmp_path, "source_id,label\n7,yes\n8,no\n"), "lens")
    assert labels.source_id.tolist() == [7, 8] and labels.value.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ra,dec,model,label\n1,1,merger,1\n", "no labels of the task 'lens', its rows are 1 of merger"),
        ("ra,dec,label\n1,1,1\n2,2,1\n", "2 positives and nothing else: both classes"),
        ("ra,dec,label\n1,1,\n", "1 rows and no label in column 'label'"),
        ("ra,dec,label\n1,1,3\n", "1 values that are no labels, such as 3"),
        ("ra,dec,lens\n1,1,1\n", "has no column 'label'"),
        ("label\n1\n", "no columns of positions"),
    ],
)
def test_read_labels__says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_labels(written(tmp_path, text), "lens")


def test_training__says_how_many_labels_have_a_source(small_run, tiny_lens, tmp_path):
    (tmp_path / "grades.csv").write_text("ra,dec,label\n10,10,1\n11,10,0\n")
    with pytest.raises(InputError, match="0 of 2 labels have a source within 1 arcsec"):
        run_training(config(tmp_path / "grades.csv", small_run, tiny_lens))


def test_training__wants_ten_labels_of_each_class(grades, small_run, tiny_lens):
    lines = grades.read_text().splitlines()
    grades.write_text("\n".join([lines[0], *few(lines[1:], 9)]) + "\n")
    with pytest.raises(InputError, match="9 positives and 9 negatives: expected at least 10 of each"):
        run_training(config(grades, small_run, tiny_lens))


def test_training__refuses_labels_that_contradict_each_other(grades, small_run, tiny_lens):
    with grades.open("a") as file:
        for line in grades.read_text().splitlines()[1:3]:
            file.write(line[:-1] + ("0" if line.endswith("1") else "1") + "\n")
    with pytest.raises(InputError, match="2 sources have labels of both kinds"):
        run_training(config(grades, small_run, tiny_lens))


def test_training__refuses_a_catalog_without_its_pixels(grades, small_run, tiny_lens, tmp_path):
    copy = shutil.copytree(small_run, tmp_path / "copy", ignore=shutil.ignore_patterns("work"))
    record = json.loads((copy / "provenance.json").read_text())
    record["config"]["work_dir"] = str(tmp_path / "gone")
    (copy / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(CatalogError, match="which holds the pixels, is gone|belongs to another run"):
        run_training(config(grades, copy, tiny_lens))


def test_training__refuses_bands_that_are_not_there(grades, small_run, tiny_lens, tmp_path):
    card = find_card(tiny_lens)
    values = card.model_dump() | {"bands": ["u", "r", "i"], "scaling": {"softening": {"u": 1.0, "r": 1.0, "i": 1.0}}}
    labels = read_labels([LabelFile(path=str(grades))], "lens")
    catalog = surveycnn.open_catalog(small_run)
    with pytest.raises(InputError, match="has no u: it has g, r, i, z"):
        stamps_of(catalog, sources_of(catalog, labels, 1.0)[0], Card.model_validate(values))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"start_from": "merger"}, ConfigError, "start_from is 'merger', a merger model, and the task is 'lens'"),
        ({"task": "photoz"}, ConfigError, "labels train models of the tasks lens and merger so far"),
        ({"catalog": []}, ConfigError, "without the catalog from whose pixels"),
        ({"members": 2}, ConfigError, "members is for a training on a simulation alone"),
        ({"labels": []}, ConfigError, "catalog is for a training on labels"),
        ({"start_from": "nowhere"}, ModelError, "no model 'nowhere'"),
    ],
)
def test_training__refuses_settings_that_do_not_fit(grades, small_run, changes, error, message):
    with pytest.raises(error, match=message):
        run_training(config(grades, small_run, "lens", **changes))


def test_training__does_not_write_over_its_parent(grades, small_run, tiny_lens):
    with pytest.raises(ConfigError, match="output is the model itself that it starts from"):
        run_training(config(grades, small_run, tiny_lens, output=str(tiny_lens)))


def test_training__simulation_alone_wants_stamps_and_epochs():
    with pytest.raises(ConfigError, match="n_train is 3, expected at least 16"):
        validate_section(TrainConfig, {"task": "lens", "n_train": 3}, "test")
