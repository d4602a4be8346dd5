"""Documentation that is made from the code is that of the code, and the README's promises hold."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

from surveycnn.catalogs.query import open_catalog
from surveycnn.cli import FLOWS, main
from surveycnn.config import load_config

ROOT = Path(__file__).resolve().parent.parent


def test_pages__are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run `python docs/make_pages.py`"


def test_readme__configurations_are_valid(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        path = tmp_path / "survey.yaml"
        path.write_text(block)
        assert load_config(path).mosaics


def test_readme__names_every_flow():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in FLOWS)


def test_catalog_page__examples_run(small_run, tmp_path, monkeypatch, capsys):
    """On a small run, with one of its sources in the place of the demo's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(small_run)
    page = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
    page = re.sub(r"\b\d{19}\b", str(open_catalog(small_run)["source_id"][0]), page)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    for block in blocks:
        exec(compile(block, "docs/catalog.md", "exec"), names)  # our own page
    commands = [line.strip() for line in page.splitlines() if line.startswith("    surveycnn ")]
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    assert len(blocks) > 3 and len(commands) > 5 and (tmp_path / "bright.fits").is_file()
    capsys.readouterr()
