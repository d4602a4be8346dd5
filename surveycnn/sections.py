"""Sections of configurations: YAML to immutable, validated trees, changes of single values, and one message for all findings.

What the sections mean stands in :mod:`surveycnn.config` and beside the flows.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from surveycnn.errors import ConfigError, did_you_mean

T = TypeVar("T", bound="Strict")

MAX_DEPTH, MAX_VALUES = 100, 10_000_000
"""Of the collections in a YAML file, and of the values in all of them."""
_SHOWN = 200
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # plain values alone; the one in C is ten times as fast


class Strict(BaseModel):
    """Base of all configuration sections: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"configuration {str(path)!r} does not exist: check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {str(path)!r} cannot be read: {error}") from None
    tree = load_yaml(text, f"configuration {str(path)!r} is not valid YAML")
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration {str(path)!r} holds {type(tree).__name__}, expected keys such as name and mosaics")
    return tree


def load_yaml(text: str, what: str) -> Any:
    """Plain values of a YAML text; a ConfigError beginning with `what` where it is none, or larger than what people write.

    Aliases cost nothing when they are read, but whoever walks through a tree of them walks through all that they stand for.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        tree = yaml.load(text, Loader=_LOADER)
        if _n_values(tree, {}) > MAX_VALUES:
            raise ValueError(f"its aliases stand for more than {MAX_VALUES} values")
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{what}: {error}") from None
    return tree


def _n_values(tree: Any, known: dict[int, int]) -> int:
    """Number of values in a tree, those behind aliases as often as they are named."""
    if not isinstance(tree, dict | list | tuple | set):
        return 1
    if id(tree) not in known:
        known[id(tree)] = MAX_VALUES + 1  # of one that contains itself
        inside = [*tree, *tree.values()] if isinstance(tree, dict) else tree
        known[id(tree)] = 1 + sum(_n_values(value, known) for value in inside)
    return known[id(tree)]


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Copy of `tree` with the ``a.b=value`` strings applied.

    >>> apply_overrides({"tiling": {"core_px": 2048}}, ["tiling.core_px=512"])
    {'tiling': {'core_px': 512}}
    """
    changed: dict[str, Any] = copy.deepcopy(dict(tree))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not re.fullmatch(r"\w[\w-]*(\.\w[\w-]*)*", key):
            raise ConfigError(f"--set {override!r} is not of the form key=value or section.key=value")
        value = load_yaml(text, f"--set {override!r}: the value is not valid YAML")
        _set(changed, key.split("."), value, override)
    return changed


def _set(node: Any, keys: list[str], value: Any, override: str) -> None:
    *parents, last = keys
    for key in parents:
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = _child(node, key, override)
    if isinstance(node, list):
        _child(node, last, override)
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"--set {override!r}: {last!r} lies inside a single value, not inside a section")


def _child(node: Any, key: str, override: str) -> Any:
    try:
        return node[int(key)] if isinstance(node, list) else node[key]
    except (ValueError, IndexError):
        raise ConfigError(f"--set {override!r}: {key!r} is not the number of one of {len(node)} list items") from None
    except TypeError:
        raise ConfigError(f"--set {override!r}: {key!r} lies inside a single value, not inside a section") from None


def validate_section(section: type[T], tree: Mapping[str, Any], where: str, folder: Path | None = None) -> T:
    """Instance of `section` from plain values; ConfigError with every finding, each naming its key.

    Manifests and placeholders are looked up in `folder`, by default the current one.
    """
    try:
        return section.model_validate(tree, context={"folder": folder})
    except ValidationError as error:
        items = error.errors()
        # A list whose items are all wrong is also reported as too short, which would only confuse.
        findings = [_finding(section, item) for item in items if item["type"] != "too_short" or len(items) == 1]
        raise ConfigError(f"{where}: " + "; ".join(dict.fromkeys(findings))) from None


def _finding(section: type[Strict], item: Any) -> str:
    """One sentence about one finding of pydantic: key, what is wrong, what was found."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
    if item["type"] == "extra_forbidden":
        allowed = list(_section_at(section, item["loc"][:-1]).model_fields)
        return f"unknown key {key!r}: {did_you_mean(item['loc'][-1], allowed)}allowed keys are {', '.join(allowed)}"
    if item["type"] == "missing":
        return f"key {key!r} is missing"
    found = item["input"]
    if item["type"] in ("tuple_type", "list_type"):
        return f"key {key!r}: expected a list such as [a, b], found {_shown(found)}"
    if item["type"] == "too_short":
        return f"key {key!r}: the list is empty, expected at least one item"
    shown = "" if isinstance(found, Mapping | BaseModel | list | tuple) else f" (found {_shown(found)})"
    return f"key {key!r}: {item['msg'].removeprefix('Value error, ')}{shown}"


def _shown(value: Any) -> str:
    """A value for a message, which has not room for all that is given."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of very many digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _section_at(section: type[Strict], loc: tuple[str | int, ...]) -> type[Strict]:
    """The section class that the location `loc` inside `section` belongs to."""
    for part in loc:
        if isinstance(part, str) and part in section.model_fields:
            section = next(iter(_sections_in(section.model_fields[part].annotation)), section)
    return section


def _sections_in(annotation: Any) -> list[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _sections_in(argument)]
