"""Writes into the cards of the shipped finders how reliable their scores are, as measured: `python docs/card_reliability.py`.

The figures are those of `surveycnn run-flow challenge` (lenses) and `surveycnn run-flow evaluate` (mergers), which have written
docs/lens_challenge/challenge.json and docs/evaluation/evaluation.json. A training writes those of its own model by itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from surveycnn.models.card import Reliability, write_card  # noqa: E402
from surveycnn.models.package import find_card, package_folder  # noqa: E402


def measured() -> dict[str, Reliability]:
    """Reliability of the shipped lens and merger models, by task.

    Raises
    ------
    ValueError
        Where the records are of another version than the model.
    """
    lens = _read("lens_challenge/challenge.json")
    finder, drawn = lens["finders"]["surveycnn"], lens["sets"]["challenge"]
    merger = _read("evaluation/evaluation.json")["tasks"]["merger"]
    entry, test = merger["entries"]["merger"], merger["sets"]["test_train"]
    return {
        "lens": _curve("lens", finder["title"], finder["sets"]["challenge"]["reliability"], drawn, "challenge"),
        "merger": _curve("merger", entry["title"], entry["shown"]["reliability"], test, "evaluate"),
    }


def _read(name: str) -> Any:
    return json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))


def _curve(task: str, title: str, found: dict[str, list[float]], drawn: dict[str, Any], flow: str) -> Reliability:
    version = find_card(task).version
    if f"{task} {version}" not in title:
        raise ValueError(
            f"docs has the reliability of {title!r}, the shipped model is {version}: run `surveycnn run-flow {flow}`"
        )
    text = f"{drawn['n']} simulated stamps, conditions {drawn.get('conditions')}, seed {drawn['seed']}: surveycnn run-flow {flow}"
    values = {name: [round(value, 6) for value in found[name]] for name in ("score", "fraction", "error")}
    return Reliability(**values, n=drawn["n"], definition=text)


def main() -> None:
    for task, curve in measured().items():
        folder = package_folder(task)
        write_card(folder, find_card(task).model_copy(update={"reliability": curve}))


if __name__ == "__main__":
    main()
