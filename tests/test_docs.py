"""Documentation that is made from the code is that of the code, and the README's promises hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from surveycnn.commands.flow import FLOWS

ROOT = Path(__file__).resolve().parent.parent


def test_pages__are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run `python docs/make_pages.py`"


def test_readme__names_every_flow():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in FLOWS)
