"""Tables and pictures from a record."""

import numpy as np
import pytest

from surveycnn.challenge import plots, report
from surveycnn.challenge.assess import assess, assess_population
from surveycnn.challenge.config import ChallengeConfig
from surveycnn.challenge.finders import Scores
from surveycnn.challenge.run import describe
from surveycnn.challenge.sets import held_out_sets

KINDS = ("spiral", "ring", "field")


@pytest.fixture(scope="module")
def record(make_set):
    """A good finder, a poor one and one without scores, on known sets."""
    config = ChallengeConfig(output="runs/x", n_challenge=3000, n_hard=400)
    specs = held_out_sets(config)
    priors = {"survey": 1 / 11, "hard": 0.5, "lenses": 1.0}
    sets = {spec.name: make_set(spec.n, spec.seed, priors[spec.mix]) for spec in specs}
    found = describe(config, specs, sets)
    rng = np.random.default_rng(0)
    for name, signal in {"poor": 1.0, "surveycnn": 3.0, "blind": np.nan}.items():
        about = {
            "title": f"{name} finder",
            "reference": "somebody",
            "prior": 0.5,
            "n_train": None if name == "poor" else 1000,
            "n_passes": 3 if name == "surveycnn" else None,
        }
        about["published"] = {"entry": "CAST", "auroc": 0.98, "tpr0": 0.09, "tpr10": None} if name == "poor" else None
        found["finders"][name] = about | {"sets": {}}
        for spec in specs:
            y = sets[spec.name].labels["is_lens"]
            logit = rng.normal(0, 1, len(y)) + signal * y * (0.5 if "shifted" in spec.name else 1)
            scores = Scores(logit, 1 / (1 + np.exp(-logit)))
            measured = found["finders"][name]["sets"]
            if spec.is_population:
                measured[spec.name] = assess_population(scores, sets[spec.name], measured["challenge"]["threshold"] or -np.inf)
            else:
                measured[spec.name] = assess(scores, sets[spec.name], spec, 0.5)
    return found


def rows(text: str, start: str) -> list[list[str]]:
    """Cells of the Markdown table whose head begins with `start`."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"| {start}"))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return [table[0], *table[2:]]


def test_summary__ranks_finders_and_names_the_negatives(record):
    lines = report.summary(record).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["surveycnn", "poor", "blind"]
    n_negative = record["sets"]["challenge"]["n_negatives"]
    assert f"{n_negative:,} negatives" in report.summary(record)
    assert "tables and pictures in runs/x" in lines[-1]


def test_markdown__main_table_holds_the_metrics_and_what_is_lost(record):
    head, best, *_ = rows(report.markdown(record), "finder | description")
    cells = dict(zip(head, best, strict=True))
    values = {name: entry.get("metrics") for name, entry in record["finders"]["surveycnn"]["sets"].items()}
    assert cells["finder"] == "**surveycnn**" and cells["description"] == "surveycnn finder"
    assert cells["AUROC"].startswith(f"{values['challenge']['auroc']['value']:.3f} [")
    assert cells["trained on"] == "1,000 stamps x 3"
    drop = values["challenge_shifted"]["tpr_fpr1e3"]["value"] - values["challenge"]["tpr_fpr1e3"]["value"]
    change, error = cells["shifted: TPR at FPR 1e-3"].split(" ± ")
    assert change == f"{drop:+.3f}" and drop < 0 < float(error)
    assert cells["hard clear AUROC"].startswith(f"{values['hard']['auroc_clear']['value']:.3f}")


def test_markdown__says_that_the_published_data_differ(record):
    text = report.markdown(record)
    assert "the data differ" in text
    published = {row[0]: row for row in rows(text, "finder | reference")}
    assert published["poor"][-4:] == ["CAST", "0.98", "0.09", "-"]
    assert published["surveycnn"][-3:] == ["-", "-", "-"]


def test_markdown__counts_false_positives_of_every_kind(record):
    text = report.markdown(record)
    commonest = max(KINDS, key=lambda kind: record["sets"]["challenge"]["kinds"][kind])
    _, *body = rows(text, f"finder | {commonest}")
    allowed = record["sets"]["challenge"]["n_negatives"] // 1000
    assert all(sum(map(int, row[1:])) <= allowed for row in body)
    assert sum(map(int, body[0][1:])) == allowed


def test_markdown__without_the_shifted_survey(record):
    short = record | {"sets": {name: about for name, about in record["sets"].items() if "shifted" not in name}}
    assert "shifted" not in report.markdown(short)
    assert "dAUROC" in report.summary(record) and "dAUROC" not in report.summary(short)


@pytest.mark.parametrize("name", plots.PICTURES)
def test_pictures__are_drawn_also_for_a_finder_without_scores(record, name, tmp_path):
    plots.PICTURES[name](record, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_pictures__leave_no_global_figure(record, tmp_path):
    import sys

    plots.draw_roc(record, tmp_path / "roc.png")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
