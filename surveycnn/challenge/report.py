"""The tables of a challenge, on the screen and in ``challenge.md``, from the record that ``challenge.json`` holds."""

from __future__ import annotations

import math
from typing import Any

from surveycnn.evaluation.tables import MISSING, aligned_table, figure_text, markdown_table
from surveycnn.training.finder_metrics import CLEAR_ARC_SN, CLEAR_MAGNIFICATION

Record = dict[str, Any]

OURS = "surveycnn"
COLUMNS = (
    ("AUROC", "AUROC", "challenge", "auroc"),
    ("TPR at FPR 1e-3", "TPR@1e-3", "challenge", "tpr_fpr1e3"),
    ("TPR0", "TPR0", "challenge", "tpr0"),
    ("TPR10 (<10)", "TPR10<", "challenge", "tpr9"),
    ("TPR10 (=10)", "TPR10=", "challenge", "tpr10"),
    ("hard AUROC", "hard", "hard", "auroc"),
    ("hard clear AUROC", "clear", "hard", "auroc_clear"),
    ("ECE", "ECE", "challenge", "ece"),
)
"""Name, short name, set and metric of each column."""
CHANGES = (
    ("shifted: AUROC", "dAUROC", "challenge", "auroc"),
    ("shifted: TPR at FPR 1e-3", "dTPR@1e-3", "challenge", "tpr_fpr1e3"),
    ("shifted: hard AUROC", "dhard", "hard", "auroc"),
)
"""The same of what changes on the worse survey: the value there less that on the survey that everybody was trained for."""
SHORT_NAMES = (
    "TPR@1e-3: at FPR 1e-3; TPR10<, TPR10=: fewer than ten, ten false positives; hard, clear: AUROC against lenses' own light, "
    "all and clear arcs; d: change on the worse survey"
)
DATA_DIFFER = (
    "The published figures were measured on the data of the Bologna lens challenge (Metcalf et al. 2019, ground branch), the "
    "figures here on this package's own simulation: the data differ, and the two are no measure of each other. The methods of "
    "the literature were written anew from their papers and trained here, all on one set; surveycnn was trained on a larger one "
    "of its own, and their networks in fewer passes where `trained on` says so, which is not a fair race between architectures."
)


def finders_in_order(record: Record) -> list[str]:
    """Names, the highest true positive rate at a false positive rate of 1e-3 first, then the highest AUROC."""

    def merits(name: str) -> tuple[float, ...]:
        return tuple(_value(record, name, "challenge", key) or 0.0 for key in ("tpr_fpr1e3", "auroc"))

    return sorted(record["finders"], key=merits, reverse=True)


def summary(record: Record) -> str:
    """The main table, aligned for a terminal."""
    rows = [["finder", *(short for _, short, *_ in _columns(record))]]
    rows += [[name, *_cells(record, name, interval=False)] for name in finders_in_order(record)]
    return "\n".join([aligned_table(rows), "", SHORT_NAMES, sets_line(record), f"tables and pictures in {record['output']}"])


def markdown(record: Record) -> str:
    """``challenge.md``."""
    parts = [
        "# Lens finders on one simulated challenge",
        f"{sets_line(record)}. Brackets: 16 to 84 % of resampled sets. All definitions are in challenge.json.",
        _main_table(record),
        _definitions(record),
        "## Beside the published figures",
        DATA_DIFFER,
        _published_table(record),
        "## Purity in a survey",
        "Purity = TPR prior / (TPR prior + FPR (1 - prior)), at the threshold of at most ten false positives; in brackets the "
        "lower limit, from the 95 % upper limit of the false positive rate.",
        _purity_table(record),
        "## What is mistaken for a lens",
        "Negatives of each kind above the threshold of a false positive rate of 1e-3; how many there are stands beside the kind.",
        _kinds_table(record),
        "![ROC curves](roc.png)\n\n![completeness](completeness.png)\n\n![reliability](reliability.png)",
    ]
    return "\n\n".join(parts) + "\n"


def sets_line(record: Record) -> str:
    """The held-out sets and their sizes in one line."""
    texts = [
        f"{name.replace('_', ' ')}: {about['n_lenses']:,} lenses"
        + (f", {about['n_negatives']:,} negatives" if about["n_negatives"] else "")
        for name, about in record["sets"].items()
    ]
    return "; ".join(texts)


def _main_table(record: Record) -> str:
    rows = [["finder", "description", "trained on", *(name for name, *_ in _columns(record))]]
    for name in finders_in_order(record):
        shown = f"**{name}**" if name == OURS else name
        about = record["finders"][name]
        trained_on = "nothing" if about["n_train"] is None else f"{about['n_train']:,} stamps"
        trained_on += f" x {about['n_passes']}" if about["n_passes"] else ""
        rows.append([shown, about["title"], trained_on, *_cells(record, name, interval=True)])
    return markdown_table(rows)


def _published_table(record: Record) -> str:
    keys = ("AUROC", "TPR0", "TPR10")
    rows = [["finder", "reference", *(f"{key} here" for key in keys), "entry", *(f"{key} published" for key in keys)]]
    for name in finders_in_order(record):
        about = record["finders"][name]
        here = [figure_text(_value(record, name, "challenge", key)) for key in ("auroc", "tpr0", "tpr9")]
        published = about["published"] or {}
        entry = published.get("entry", MISSING)
        rows.append(
            [name, about["reference"], *here, entry, *(figure_text(published.get(key), 2) for key in ("auroc", "tpr0", "tpr10"))]
        )
    return markdown_table(rows)


def _purity_table(record: Record) -> str:
    rows: list[list[str]] = []
    for name in finders_in_order(record):
        point = next(
            point for point in record["finders"][name]["sets"]["challenge"]["operating_points"] if point["allowed"] == 10
        )
        if not rows:
            rows.append(
                ["finder", "TPR", "FPR", *(f"purity at 1 lens in {1 / entry['prior']:,.0f}" for entry in point["purity"])]
            )
        purities = [f"{figure_text(entry['purity'])} (> {figure_text(entry['purity_lower_95'])})" for entry in point["purity"]]
        rows.append([name, figure_text(point["tpr"]), f"{point['fpr']:.2g}", *purities])
    return markdown_table(rows)


def _kinds(record: Record) -> dict[str, int]:
    kinds = record["sets"]["challenge"]["kinds"]
    return {kind: n for kind, n in sorted(kinds.items(), key=lambda item: -item[1]) if kind != "lens"}


def _kinds_table(record: Record) -> str:
    kinds = _kinds(record)
    rows = [["finder", *(f"{kind.replace('_', ' ')} ({n:,})" for kind, n in kinds.items())]]
    for name in finders_in_order(record):
        entries = {entry["kind"]: entry for entry in record["finders"][name]["sets"]["challenge"]["false_positives_by_kind"]}
        rows.append([name, *(str(entries[kind]["n_selected"]) for kind in kinds)])
    return markdown_table(rows)


def _definitions(record: Record) -> str:
    negatives = {name: about["n_negatives"] for name, about in record["sets"].items()}
    lines = [
        "- TPR0, TPR10: true positive rate with no false positive, and with fewer than ten (Metcalf et al. 2019) or ten of them "
        f"(HOLISMOKES XI), among {negatives['challenge']:,} negatives; tied scores are accepted together or not at all.",
        f"- hard: lenses against {negatives['hard']:,} negatives made of the same light, re-arranged without lensing; clear: "
        f"only lenses magnified at least {CLEAR_MAGNIFICATION:g} times with arcs of a total S/N above {CLEAR_ARC_SN:g}.",
        "- ECE: expected calibration error of the score, classes weighted to the prior of the finder's training.",
    ]
    if "challenge_shifted" in record["sets"]:
        lines.append(
            "- shifted: the change on a survey that nobody was trained for; seeing, depth, pixels and crowding are worse."
        )
    return "\n".join(lines)


def _columns(record: Record) -> tuple[tuple[str, str, str, str], ...]:
    return COLUMNS + (CHANGES if "challenge_shifted" in record["sets"] else ())


def _cells(record: Record, name: str, *, interval: bool) -> list[str]:
    cells = []
    for column in _columns(record):
        _, _, place, key = column
        if column in CHANGES:
            cells.append(_change(record, name, place, key, error=interval))
            continue
        metric = record["finders"][name]["sets"][place]["metrics"].get(key)
        bounds = f" [{metric['interval'][0]:.3f}, {metric['interval'][1]:.3f}]" if interval and metric else ""
        cells.append(figure_text(_value(record, name, place, key)) + bounds)
    return cells


def _change(record: Record, name: str, place: str, key: str, *, error: bool) -> str:
    """What the shifted set changes, with its error: the two sets are independent."""
    metrics = [record["finders"][name]["sets"][where]["metrics"].get(key) for where in (place, f"{place}_shifted")]
    if None in metrics:
        return MISSING
    widths = [(metric["interval"][1] - metric["interval"][0]) / 2 for metric in metrics]
    return f"{metrics[1]['value'] - metrics[0]['value']:+.3f}" + (f" ± {math.hypot(*widths):.3f}" if error else "")


def _value(record: Record, name: str, place: str, key: str) -> float | None:
    metric = record["finders"][name]["sets"][place]["metrics"].get(key)
    return metric["value"] if metric else None
