"""Links of all pages to files of the repository and to headings lead somewhere, also where the pages are read as plain files."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from documented.blocks import ROOT, pages, parse


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a page that are no addresses."""
    tokens = [child for token in parse(path.read_text(encoding="utf-8")) for child in token.children or ()]
    found = [
        str(token.attrs.get("href") or token.attrs.get("src") or "") for token in tokens if token.type in ("link_open", "image")
    ]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@cache
def anchors(path: Path) -> set[str]:
    """Names of the headings, as code hosts and the site make them."""
    tokens = parse(path.read_text(encoding="utf-8"))
    titles = [after.content for token, after in zip(tokens, tokens[1:], strict=False) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links__lead_somewhere(path):
    for target in links(path):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists() and linked.is_relative_to(ROOT), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{target}: headings are {sorted(anchors(linked))}"
