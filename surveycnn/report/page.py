"""The page: what was gathered, as HTML with everything inside, and the file that holds it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from surveycnn.durable import atomic_path
from surveycnn.errors import CatalogError

TEMPLATE, STYLE, SCRIPT = "report.html", "report.css", "report.js"
_FOLDER = "page"


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


def render(data: Mapping[str, Any], **context: Any) -> str:
    """The page; `data` is what its script gets."""
    style, script = _part(STYLE), _part(SCRIPT)
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(TEMPLATE)
    return page.render(policy=policy, style=Markup(style), script=Markup(script), data=embedded(data), **context)


def embedded(data: Mapping[str, Any]) -> Markup:
    """JSON that stays data inside of a page: nothing in it can end the element that it stands in.

    >>> str(embedded({"name": "</script>"}))
    '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def write(page: str, path: Path) -> Path:
    """Write the page; it appears whole or not at all.

    Raises
    ------
    CatalogError
        Where it cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CatalogError(f"cannot write {str(path)!r} ({error}): give another path with -o FILE") from None
    return path


def _part(name: str) -> str:
    return (files("surveycnn.report") / _FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
