"""What the provenance of a catalog tells the page; of a stranger's, what is not as it should be is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surveycnn.catalogs.query import Catalog
from surveycnn.errors import CatalogError, ModelError, printable
from surveycnn.models.card import Card
from surveycnn.models.package import find_card

STATES = ("done", "no_work", "failed", "quarantined", "todo")
STATE_TEXTS = {
    "done": "computed and published",
    "no_work": "nothing to detect",
    "failed": "failed, not in the catalog",
    "quarantined": "stopped their worker, set aside, not in the catalog",
    "todo": "not run",
}
DIGEST_LETTERS = 12


@dataclass(frozen=True)
class Record:
    """provenance.json, or nothing."""

    tree: Mapping[str, Any]

    @classmethod
    def of(cls, catalog: Catalog) -> tuple[Record, str]:
        """Record of a catalog, and what is wrong with it."""
        try:
            tree = catalog.provenance
        except CatalogError as error:
            return cls({}), str(error)
        return cls(tree if isinstance(tree, dict) else {}), ""

    def part(self, *keys: str) -> dict[str, Any]:
        """A mapping inside; empty where there is none."""
        found: Any = self.tree
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def number(self, *keys: str) -> float | None:
        """A finite number inside."""
        found = self.part(*keys[:-1]).get(keys[-1])
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            return None
        return float(found)

    def text(self, *keys: str) -> str | None:
        """A text inside, without what steers a terminal or hides in a page."""
        found = self.part(*keys[:-1]).get(keys[-1])
        return printable(found) if isinstance(found, str) else None

    def texts(self, *keys: str) -> dict[str, str]:
        """The texts and numbers of a mapping inside."""
        return {
            printable(str(key)): printable(str(value))
            for key, value in self.part(*keys).items()
            if isinstance(value, str | int | float)
        }

    @property
    def tiles(self) -> list[tuple[str, int, str]]:
        """Number of tiles in each state that has any, and what the state is."""
        counts = [(state, self.number("status", "tiles", state)) for state in STATES]
        return [(state, int(n), STATE_TEXTS[state]) for state, n in counts if n]

    @property
    def problems(self) -> list[dict[str, str]]:
        """Tiles that are not in the catalog, with the reason of each."""
        found = self.part("status").get("problems")
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        return [{key: printable(str(row.get(key, "")))[:2000] for key in ("mosaic", "tile", "state", "reason")} for row in rows]

    @property
    def inputs(self) -> list[dict[str, str]]:
        """Images, one row for each band of a mosaic."""
        rows = []
        for mosaic, bands in self.part("inputs").items():
            for band in bands if isinstance(bands, dict) else ():
                one = Record(self.part("inputs", mosaic, band))
                rows.append(
                    {"mosaic": printable(mosaic), "band": printable(band), "path": one.text("path") or ""}
                    | {"digest": (one.text("sha256") or "")[:DIGEST_LETTERS]}
                    | {key: _shown(one.number(key)) for key in ("zeropoint", "rms", "n_bad")}
                )
        return rows

    @property
    def models(self) -> list[dict[str, str]]:
        """Models that have run."""
        rows = []
        for name in self.part("models"):
            one = Record(self.part("models", name))
            row = {key: one.text(key) or "" for key in ("task", "version", "reference", "digest")}
            rows.append(
                {"name": printable(name), "prior": _shown(one.number("prior"))} | row | {"digest": row["digest"][:DIGEST_LETTERS]}
            )
        return rows

    @property
    def skipped(self) -> list[str]:
        """Models that were not asked about a mosaic."""
        rows = self.part("skipped_models")
        found = []
        for mosaic, why in rows.items():
            reasons = why.items() if isinstance(why, dict) else enumerate(why) if isinstance(why, list) else []
            found += [
                printable(f"{mosaic}: {f'{model}: ' if isinstance(model, str) else ''}{reason}") for model, reason in reasons
            ]
        return found

    def cards(self) -> dict[str, Card]:
        """Cards of the models that have run, by task, where they can be found and are still the same."""
        found = {}
        for row in self.part("models"):
            one = Record(self.part("models", row))
            reference = one.text("reference")
            try:
                card = find_card(reference) if reference else None
            except ModelError:
                continue
            if card is not None and card.digest == one.text("digest"):
                found[card.task] = card
        return {str(task): card for task, card in found.items()}


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
