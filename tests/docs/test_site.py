"""The site builds without a warning, is whole, asks no other host for anything, and can be read by everybody."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from documented.blocks import ROOT, pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ASSETS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data", "link": "href"}
"""Elements that a browser fetches something for without being asked, and where they name it."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Folder of the site, and how its build ended."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-d", str(folder / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, "docs", str(folder / "html")]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    return folder / "html", ended


@pytest.fixture(scope="module")
def site(built) -> Path:
    return built[0]


def test_site__builds_without_a_warning(built):
    ended = built[1]
    assert ended.returncode == 0 and "WARNING" not in ended.stdout + ended.stderr, ended.stdout + ended.stderr


class Assets(HTMLParser):
    """Addresses of what a page fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(ASSETS.get(tag, ""))
        if address:
            self.found.append(address)


def test_site__has_every_page_and_a_search_index(site):
    wanted = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in pages() if path.is_relative_to(ROOT / "docs")]
    assert wanted and [name for name in wanted if not (site / name).is_file()] == []
    assert "Search.setIndex(" in (site / "searchindex.js").read_text(encoding="utf-8")[:100]


def test_site__fetches_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        for address in Assets(path.read_text(encoding="utf-8")).found:
            assert not re.match(r"[a-z]+:(?!image/)|//", address), f"{path.name}: {address}"
            if not address.startswith(("#", "data:")):
                assert (path.parent / address.split("?")[0].split("#")[0]).exists(), f"{path.name}: {address}"
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", text), path.name


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("page", ["index", "architecture", "api/running"])
def test_page__can_be_read(site, browser, page, width, scheme):
    """No request leaves the site, no fault on the console, no sideways scroll, no serious fault of access."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab, requests, messages = context.new_page(), [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto((site / f"{page}.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    assert [url for url in requests if not url.startswith((site.as_uri(), "data:"))] == []
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    context.close()


def test_search__finds_a_page(site, browser):
    tab = browser.new_page()
    tab.goto((site / "search.html").as_uri() + "?q=quarantined")
    tab.wait_for_selector("#search-results li a")
    assert any("faults" in link for link in tab.eval_on_selector_all("#search-results li a", "all => all.map((a) => a.href)"))
    tab.close()
