"""The tables of an evaluation, on the screen and in ``evaluation.md``, from the record that ``evaluation.json`` holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from surveycnn.evaluation.redshift_tables import redshift_tables
from surveycnn.evaluation.redshifts import RESOLVED
from surveycnn.evaluation.tables import MISSING, aligned_table, figure_text, markdown_table

Record = dict[str, Any]

DEFINITIONS = {
    "metrics": "each with its own definition; intervals: 16 to 84 % of resampled sets",
    "sets": "test: the conditions of the configuration; shifted: a worse survey that nobody was trained on; names end in the mix",
    "shown": "what the pictures show, of the test set: bins of expected and observed vote fractions and confusion (true, "
    "predicted) of confident labels per question; reliability at the prior of the score and the fraction of each kind that is "
    "selected; times of some mergers, and median, 16 and 84 % of all in bins of the true time; PIT histogram; counts (z_phot, "
    "z); shares in bins of redshift: true, stacked PDFs, z_phot; quality in bins of the magnitude and of z_phot",
}
"""What the parts of ``evaluation.json`` are."""
DATA_DIFFER = (
    "Methods of the literature were written anew from their papers and trained here, on the simulation that all are measured on; "
    "the models were trained on larger sets of the same simulation, in more passes. That is no fair race between architectures, "
    "and no figure here is one of a paper."
)


@dataclass(frozen=True)
class Column:
    """A column of a table: the metrics that it shows, one after the other."""

    title: str
    keys: tuple[str, ...]
    is_change: bool = False
    """Whether it shows what changes on the shifted set."""
    digits: int = 3


_COLUMNS = {
    "lens": (
        Column("AUROC", ("auroc",)),
        Column("TPR at FPR 1e-3", ("tpr_fpr1e3",)),
        Column("TPR0", ("tpr0",)),
        Column("TPR10", ("tpr10",)),
        Column("clear AUROC", ("auroc_clear",)),
        Column("ECE", ("ece",)),
    ),
    "merger": (
        Column("AUROC", ("auroc",)),
        Column("balanced accuracy", ("balanced_accuracy",)),
        Column("projected alone", ("balanced_accuracy_projected",)),
        Column("completeness", ("completeness_2pc",)),
        Column("purity at 2 %", ("purity_2pc",)),
        Column("at completeness 0.5", ("purity_2pc_half",)),
        Column("ECE", ("ece",)),
        Column("stage error (Myr)", ("time_median_error",), digits=1),
        Column("stage coverage 68 %", ("time_coverage68",)),
        Column("90 %", ("time_coverage90",)),
    ),
    "photoz": (
        Column("bias, mean / median", ("bias", "bias_median"), digits=4),
        Column("sigma NMAD", ("sigma_nmad",), digits=4),
        Column("sigma IQR", ("sigma_iqr",), digits=4),
        Column("eta 0.05 / 0.15 / 3 sigma", ("eta_0.05", "eta_0.15", "eta_3sigma")),
        Column("CRPS", ("crps",), digits=4),
        Column("CDE loss", ("cde_loss",)),
        Column("PIT KS", ("pit_ks",)),
        Column("PIT CvM / AD", ("pit_cvm", "pit_ad")),
        Column("PIT outside", ("pit_outside",), digits=4),
        Column("coverage 68 / 90 %", ("coverage_68", "coverage_90")),
        Column("resolved: sigma NMAD", (f"{RESOLVED}sigma_nmad",), digits=4),
        Column("resolved: eta 0.15", (f"{RESOLVED}eta_0.15",)),
        Column("resolved: CRPS", (f"{RESOLVED}crps",), digits=4),
    ),
}
_CHANGES = {
    "lens": ("auroc", "tpr_fpr1e3"),
    "morphology": ("fraction_error", "coverage90"),
    "merger": ("auroc", "balanced_accuracy", "balanced_accuracy_projected"),
    "photoz": ("sigma_nmad", "eta_0.15", "pit_ks"),
}


def summary(record: Record) -> str:
    """The tables of all tasks, aligned for a terminal: a row per figure, as names of methods are short."""
    parts = []
    for task, about in record["tasks"].items():
        columns = columns_of(task, about)
        rows = [[task, *about["entries"]]]
        rows += [[column.title, *(_cell(entry, column) for entry in about["entries"].values())] for column in columns]
        parts.append(aligned_table(rows))
    return "\n\n".join([*parts, f"tables and pictures in {record['output']}"])


def markdown(record: Record, pictures: list[str]) -> str:
    """``evaluation.md``; `pictures` are the files that lie beside it."""
    parts = ["# Evaluation on simulated stamps"]
    parts.append("Brackets: 16 to 84 % of resampled sets. All metrics and their definitions are in evaluation.json.")
    has_methods = any(not entry["is_model"] for about in record["tasks"].values() for entry in about["entries"].values())
    parts += [DATA_DIFFER] if has_methods else []
    for task, about in record["tasks"].items():
        columns = [column for column in columns_of(task, about) if not column.keys[0].startswith(RESOLVED)]
        parts += [f"## {task}", _sets_text(about), _main_table(about, columns), _definitions_text(about, columns)]
        parts += redshift_tables(about["entries"]) if task == "photoz" else []
        own = [name for name in pictures if name.startswith(f"{task}_")]
        parts += ["\n\n".join(f"![{name[:-4].replace('_', ' ')}]({name})" for name in own)]
    return "\n\n".join(part for part in parts if part) + "\n"


def columns_of(task: str, about: dict[str, Any]) -> list[Column]:
    """Columns of which any entry has a figure."""
    found = list(_morphology_columns(about) if task == "morphology" else _COLUMNS[task])
    if task == "merger":
        kinds = sorted({key for metrics in _all_metrics(about) for key in metrics if key.startswith("specificity_")})
        found[3:3] = [Column(key.replace("_", " "), (key,)) for key in kinds]
    found += [Column(f"shifted: {key.replace('_', ' ')}", (key,), is_change=True) for key in _CHANGES[task]]
    return [column for column in found if any(_cell(entry, column) != MISSING for entry in about["entries"].values())]


def _morphology_columns(about: dict[str, Any]) -> list[Column]:
    questions = list(dict.fromkeys(name for entry in about["entries"].values() for name in entry["questions"]))
    found = [Column(name.replace("_", " "), (f"{name}_accuracy", f"{name}_fraction_error")) for name in questions]
    return [
        *found,
        Column("fraction error", ("fraction_error",)),
        Column("coverage 90 %", ("coverage90",)),
        Column("bias of the faint", ("smooth_or_featured_bias_faint",)),
        Column("bias of the far", ("smooth_or_featured_bias_far",)),
    ]


def _main_table(about: dict[str, Any], columns: list[Column]) -> str:
    rows = [["", "description", "weights", "trained on", *(column.title for column in columns)]]
    for name, entry in about["entries"].items():
        trained_on = MISSING if entry["n_train"] is None else f"{entry['n_train']:,} stamps"
        trained_on += f" x {entry['n_passes']}" if entry["n_passes"] else ""
        weights = f"{entry['n_weights']:,}" if entry["n_weights"] else MISSING
        title = entry["title"] if entry["is_model"] else f"{entry['title']} ({entry['reference']})"
        title += f"; mix {entry['mix']}" if entry["mix"] != _main_mix(about) else ""
        shown = f"**{name}**" if entry["is_model"] else name
        rows.append([shown, title, weights, trained_on, *(_cell(entry, column, interval=True) for column in columns)])
    return markdown_table(rows)


def _definitions_text(about: dict[str, Any], columns: list[Column]) -> str:
    """What each column is: the definitions of its metrics, of the first entry that has them."""
    lines = []
    for column in columns:
        texts = [
            next((metrics[key]["definition"] for metrics in _all_metrics(about) if key in metrics), "") for key in column.keys
        ]
        text = " / ".join(text for text in texts if text)
        lines.append(f"- {column.title}: {'the change on the shifted set, of: ' if column.is_change else ''}{text}")
    return "\n".join(lines)


def _sets_text(about: dict[str, Any]) -> str:
    lines = []
    for name, spec in about["sets"].items():
        kinds = ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in spec["kinds"].items())
        about_set = f"{spec['n']:,} stamps, mix {spec['mix']}, conditions {spec['conditions']}, seed {spec['seed']}"
        lines.append(f"- {name.replace('_', ' ')}: {about_set}{': ' + kinds if kinds else ''}")
    return "\n".join(lines)


def _cell(entry: dict[str, Any], column: Column, *, interval: bool = False) -> str:
    if column.is_change:
        return _change(entry, column, error=interval)
    metrics = [entry["sets"]["test"]["metrics"].get(key) for key in column.keys]
    if not any(metrics):
        return MISSING
    texts = [figure_text(metric["value"] if metric else None, column.digits) for metric in metrics]
    if len(texts) == 1 and interval and metrics[0] and metrics[0]["interval"]:
        texts[0] += " [{}, {}]".format(*(figure_text(bound, column.digits) for bound in metrics[0]["interval"]))
    return " / ".join(texts)


def _change(entry: dict[str, Any], column: Column, *, error: bool) -> str:
    """The value on the shifted set less that on the test set, with its error: the two sets are independent."""
    sets = [entry["sets"][role]["metrics"] for role in ("test", "shifted") if role in entry["sets"]]
    metrics = [found[column.keys[0]] for found in sets if column.keys[0] in found]
    if len(metrics) < 2:
        return MISSING
    widths = [(metric["interval"][1] - metric["interval"][0]) / 2 for metric in metrics]
    return f"{metrics[1]['value'] - metrics[0]['value']:+.3f}" + (f" ± {math.hypot(*widths):.3f}" if error else "")


def _all_metrics(about: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["sets"]["test"]["metrics"] for entry in about["entries"].values()]


def _main_mix(about: dict[str, Any]) -> str:
    """The mix that the first entry, a model, is measured on."""
    return next(iter(about["entries"].values()))["mix"]
