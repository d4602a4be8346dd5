"""Metrics, tables and pictures of predictions that are known, for each task, with a method beside the model."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import qp
from scipy.special import expit

from surveycnn.evaluation import plots, report
from surveycnn.evaluation.measure import measure, shown, shown_question, shown_stage
from surveycnn.evaluation.redshift_tables import redshift_tables
from surveycnn.evaluation.redshifts import measure_redshifts, shown_redshifts, write_ensemble
from surveycnn.inference import mixture
from surveycnn.models.morphology import QUESTIONS
from surveycnn.training.data import LabelledStamps

N = 300
NO_STAMPS = np.zeros((N, 1, 1, 3), np.float32)


def morphology() -> tuple[LabelledStamps, dict, dict]:
    rng, labels, truth, model, method = np.random.default_rng(0), {}, {}, {}, []
    for question, answers in QUESTIONS.items():
        concentration = rng.uniform(0.2, 6, (N, len(answers)))
        shares = np.array([rng.dirichlet(row) for row in concentration])
        labels[question], truth[f"fraction_{question}"] = rng.multinomial(30, shares), shares
        mean = concentration / concentration.sum(axis=1, keepdims=True)
        for index, answer in enumerate(answers):
            model[f"morph_{question}_{answer}"] = mean[:, index]
            model[f"morph_{question}_{answer}_conc"] = concentration[:, index]
        method.append(mean if question != "bar" else np.full(mean.shape, np.nan))
    truth |= {"kind": rng.choice(["disk", "elliptical"], N), "mag_i": rng.uniform(17, 22, N), "redshift": rng.random(N)}
    data = LabelledStamps("morphology", ("g", "r", "i"), NO_STAMPS, labels, truth)
    return data, model, {"fractions": np.concatenate(method, axis=1)}


def classes(task: str) -> tuple[LabelledStamps, dict, dict]:
    rng = np.random.default_rng(1)
    y = rng.random(N) < 0.5
    logit = rng.normal(np.where(y, 1, -1), 1)
    time = np.where(y, rng.uniform(0, 400, N), np.nan)
    truth = {"kind": np.where(y, task, rng.choice(["projected", "early_type"], N))}
    data = LabelledStamps(task, ("g", "r", "i"), NO_STAMPS, {f"is_{task}": y, "time_myr": time}, truth)
    model = {f"{task}_logit": logit, f"{task}_score": expit(2 * logit)}
    if task == "merger":
        model |= {"merger_time": np.nan_to_num(time) + rng.normal(0, 30, N), "merger_time_err": np.full(N, 30.0)}
    return data, model, {"score": rng.random(N)}


def photoz() -> tuple[LabelledStamps, dict, dict]:
    rng, shape = np.random.default_rng(2), (N, 2)
    z = rng.uniform(0.1, 1.2, N)
    guess = z + rng.normal(0, 0.05, N)
    parts = {"pz_weight": np.full(shape, 0.5), "pz_mean": np.stack([guess, guess], axis=1), "pz_sigma": np.full(shape, 0.05)}
    truth = {"mag_i": rng.uniform(18, 22, N), "radius": rng.uniform(0.1, 0.9, N), "fwhm_i": np.full(N, 0.8)}
    data = LabelledStamps("photoz", ("g", "r", "i", "z"), NO_STAMPS, {"redshift": z}, truth)
    edges = np.linspace(0, 2, 41)
    centre = z + rng.normal(0, 0.1, N)
    probability = np.exp(-0.5 * ((edges[1:] + edges[:-1]) / 2 - centre[:, None]) ** 2 / 0.1**2)
    probability[7] = np.nan
    return data, {"z_phot": guess} | parts, {"pz_probability": probability, "pz_edges": edges}


def entry(task: str, name: str, *, is_model: bool) -> SimpleNamespace:
    questions = QUESTIONS if task == "morphology" else {}
    return SimpleNamespace(name=name, task=task, questions=questions, prior=0.5, card="card" if is_model else None)


def described(who: SimpleNamespace, data: LabelledStamps, predicted: dict) -> dict:
    """What the record says of an entry, the shifted set being the test set."""
    found = measure(who, data, predicted, "train")
    metrics = {"metrics": {name: metric.model_dump(mode="json") for name, metric in found.items()}}
    about = {"title": who.name, "reference": "nobody et al.", "prior": 0.5, "n_train": 10, "n_passes": 2, "n_weights": 1234}
    about |= {"questions": who.questions, "is_model": who.card is not None, "mix": "train"}
    return about | {"sets": {"test": metrics, "shifted": metrics}, "shown": shown(who, data, predicted)}


@pytest.fixture(scope="module")
def record() -> dict:
    """A record of all tasks; all but lenses have a method beside the model."""
    made = {"morphology": morphology(), "merger": classes("merger"), "photoz": photoz(), "lens": classes("lens")}
    tasks = {}
    for task, (data, model, method) in made.items():
        entries = {task: described(entry(task, task, is_model=True), data, model)}
        if task != "lens":
            entries["theirs"] = described(entry(task, "theirs", is_model=False), data, method)
        kinds = {"early_type": 4}
        sets = {"test_train": {"n": N, "mix": "train", "conditions": "wide", "seed": 9, "kinds": kinds}}
        tasks[task] = {"sets": sets, "entries": entries}
    return {"output": "here", "tasks": tasks}


def metrics_of(record: dict, task: str, name: str) -> dict:
    return record["tasks"][task]["entries"][name]["sets"]["test"]["metrics"]


def test_measure__each_task(record):
    assert metrics_of(record, "morphology", "morphology")["coverage90"]["value"] == pytest.approx(0.9, abs=0.03)
    assert "bar_fraction_error" not in metrics_of(record, "morphology", "theirs")
    assert (
        metrics_of(record, "merger", "merger")["auroc"]["value"] > 0.88 > metrics_of(record, "merger", "theirs")["auroc"]["value"]
    )
    assert metrics_of(record, "merger", "merger")["time_coverage68"]["value"] == pytest.approx(0.68, abs=0.1)
    assert "time_bias" not in metrics_of(record, "merger", "theirs")
    assert metrics_of(record, "photoz", "photoz")["pit_ks"]["value"] < 0.15 and metrics_of(record, "lens", "lens")["tpr0"]
    json.dumps(record, allow_nan=False)


def test_shown__counts_add_up(record):
    entries = record["tasks"]["merger"]["entries"]
    kinds = {kind["kind"]: kind for kind in entries["merger"]["shown"]["kinds"]}
    assert sum(kind["n"] for kind in kinds.values()) == N and kinds["merger"]["selected"] > kinds["projected"]["selected"]
    mine, theirs = (record["tasks"]["photoz"]["entries"][name]["shown"] for name in ("photoz", "theirs"))
    assert sum(mine["pit"]) == N and sum(theirs["pit"]) == N - 1, "one has no PDF"
    for shares in (mine["nz"], theirs["nz"]):
        assert sum(shares["true"]) == pytest.approx(1) and sum(shares["z_phot"]) == pytest.approx(1, abs=0.02)
        assert sum(shares["stacked"]) == pytest.approx(1, abs=0.06)
    assert [(row["low"], row["high"]) for row in mine["bins"]["mag_i"]] == [(16, 19), (19, 20), (20, 21), (21, 22)]
    assert sum(row["n"] for row in mine["bins"]["z_phot"]) > N - 40


def test_shown_question__bins_and_confusion():
    votes = np.array([[19, 1], [1, 19], [10, 10], [1, 0]])
    found = shown_question(np.array([[0.95, 0.05], [0.55, 0.45], [0.55, 0.45], [0.5, 0.5]]), votes)
    assert found["confusion"] == [[1, 0], [1, 0]]
    assert found["bins"]["n"] == [1, 2, 2, 1] and sum(found["bins"]["n"]) == 6
    assert found["bins"]["observed"][:2] == pytest.approx([0.05, (0.95 + 0.5) / 2])


def test_shown_stage__objects_without_a_time_and_none_at_all():
    time = np.array([1.0, np.nan, 3.0])
    assert shown_stage(time, np.ones(3), np.arange(3.0))["points"]["true"] == [0.0, 2.0]
    assert shown_stage(np.full(2, np.nan), np.ones(2), np.ones(2)) == {
        "points": {"true": [], "time": [], "error": []},
        "bins": [],
    }


def test_markdown__tables_definitions_and_pictures(record):
    text = report.markdown(record, list(plots.pictures(record)))
    assert "| **merger** | merger | 1,234 | 10 stamps x 2 | " in text and "| theirs | theirs (nobody et al.) |" in text
    for title in (
        "specificity early type",
        "projected alone",
        "stage coverage 68 %",
        "shifted: balanced accuracy",
        "bias of the far",
    ):
        assert f"- {title}: " in text
    assert "+0.000 ± " in text and "![merger stage](merger_stage.png)" in text and report.DATA_DIFFER in text
    assert "- test train: 300 stamps, mix train, conditions wide, seed 9: 4 early type" in text
    alone = {"output": "here", "tasks": {"lens": record["tasks"]["lens"]}}
    assert report.DATA_DIFFER not in report.markdown(alone, [])


def test_markdown__redshifts_in_bins_and_of_resolved_galaxies(record):
    photoz = record["tasks"]["photoz"]
    text = report.markdown({"output": "here", "tasks": {"photoz": photoz}}, list(plots.pictures(record)))
    assert "| mag_i | photoz | theirs |" in text and "| 20 to 21 | " in text and "| z_phot | photoz | theirs |" in text
    row = photoz["entries"]["photoz"]["shown"]["bins"]["mag_i"][0]
    assert f"| 16 to 19 | {row['n']}: {row['bias']:+.4f} / {row['sigma_nmad']:.4f} / {row['pit_ks']:.3f} | " in text
    assert "### Half-light radius above 0.5 FWHM of the i band" in text and "| resolved galaxies | objects | bias |" in text
    resolved = metrics_of(record, "photoz", "photoz")["resolved_sigma_nmad"]
    assert f"{resolved['value']:.4f} [" in text and resolved["n"] < 0.8 * N
    assert resolved["definition"].endswith("half-light radius above 0.5 FWHM of the i band")
    assert "resolved: " not in text and "resolved: sigma NMAD" in report.summary(record)
    assert "![photoz nz](photoz_nz.png)" in text and "- PIT CvM / AD: Cramer-von Mises distance" in text


def test_measure__redshifts_of_a_set_without_sizes_and_magnitudes():
    data, model, method = photoz()
    bare = LabelledStamps("photoz", data.bands, data.stamps, data.labels, {})
    for predicted in (model, method):
        found = measure_redshifts(bare, predicted)
        assert not any(name.startswith("resolved_") for name in found) and found["sigma_nmad"].n >= N - 1
        assert list(shown_redshifts(bare, predicted)["bins"]) == ["z_phot"]
    tables = redshift_tables({"photoz": {"sets": {"test": {"metrics": {}}}, "shown": {"bins": {}}}})
    assert len(tables) == 1 and "0.87 / sqrt(objects)" in tables[0]


def test_write_ensemble__quantities_of_the_mixtures(tmp_path):
    data, model, _ = photoz()
    model["pz_mean"][3] = np.nan
    write_ensemble(model, data.labels["redshift"], tmp_path / "pdf.hdf5")
    ensemble = qp.read(str(tmp_path / "pdf.hdf5"))
    assert ensemble.npdf == N - 1 and 3 not in ensemble.ancil["object"]
    np.testing.assert_allclose(ensemble.ancil["z_phot"], np.delete(model["z_phot"], 3))
    z = ensemble.ancil["z_true"]
    parts = [np.delete(model[name], 3, axis=0) for name in ("pz_weight", "pz_mean", "pz_sigma")]
    np.testing.assert_allclose(ensemble.cdf(z[:, None])[:, 0], mixture.cdf(z, *parts), atol=1e-9)


def test_summary__a_line_per_figure(record):
    lines = report.summary(record).splitlines()
    assert lines[0].split() == ["morphology", "morphology", "theirs"]
    assert next(line for line in lines if line.startswith("bar")).split()[-1] == "-", "no answer to that question"
    assert lines[-1] == "tables and pictures in here"


def test_pictures__one_of_each_name(record, tmp_path):
    drawn = plots.pictures(record)
    assert set(drawn) == set(plots.NAMES)
    for name, draw in drawn.items():
        draw(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
