"""The file of a card: YAML without anchors, bounded, and quoted in no message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from surveycnn.errors import ModelError
from surveycnn.models.package_files import read_bounded

CARD_FILE = "card.yaml"
MAX_CARD_BYTES = 1_000_000


def card_values(folder: str | Path) -> Any:
    """What the YAML of the card in `folder` holds.

    Raises
    ------
    ModelError
        Where it is missing, too large for a card, or not YAML without anchors: a page of them can stand for terabytes.
    """
    path = Path(folder) / CARD_FILE
    if not path.exists():
        raise ModelError(f"no model package at {str(folder)!r}: {CARD_FILE} is missing; expected a folder with {CARD_FILE}")
    try:
        return yaml.load(read_bounded(path, MAX_CARD_BYTES).decode("utf-8"), _CardLoader)
    except ModelError as error:
        raise ModelError(f"no model package at {str(folder)!r}: {error}") from None
    except yaml.MarkedYAMLError as error:  # its own text quotes the file, which may be a link to another
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ModelError(f"{str(path)!r} is not YAML: {error.problem or error.context}{line}") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{str(path)!r} is not YAML: {type(error).__name__}") from None


class _CardLoader(yaml.SafeLoader):
    """The safe loader, without anchors."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias of an anchor", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)


def write_card(folder: str | Path, card: BaseModel) -> None:
    """Write ``card.yaml`` into `folder`, keys in the order of the class, absent values left out."""
    values = card.model_dump(mode="json", exclude_none=True)
    text = yaml.dump(values, Dumper=_CardDumper, sort_keys=False, allow_unicode=True, width=120)
    (Path(folder) / CARD_FILE).write_text(text, encoding="utf-8")


class _CardDumper(yaml.SafeDumper):
    """The safe dumper, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
