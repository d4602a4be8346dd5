"""The page in a browser: gallery, filters, keys, export, both themes, a phone, no network and no faults of access.

Each test is of a small run, in the slow suite of the demo too, and of the catalogs whose folders SURVEYCNN_CATALOGS names.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shlex
import shutil

import pytest

from surveycnn.cli import main
from surveycnn.commands.report import chunks_of
from surveycnn.report.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
FIRST = ".cards > li:first-child"


OWN = [path for path in os.environ.get("SURVEYCNN_CATALOGS", "").split(os.pathsep) if path]


@pytest.fixture(scope="module", params=["small run", pytest.param("demo", marks=pytest.mark.slow), *OWN])
def page_file(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "a catalog's folder"
    if request.param == "demo":
        with contextlib.chdir(folder.parent):
            assert main(["run-flow", "demo", "--no-prefect", "--set", f"output={folder.name}"]) == 0
        return folder / "report.html"
    shutil.copytree(request.getfixturevalue("small_run") if request.param == "small run" else request.param, folder)
    return write_report(folder, n_top=30, open_chunks=chunks_of(folder))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A tab that notes every request and every message of the console."""

    def __init__(self, browser, page_file, **options):
        self.context = browser.new_context(accept_downloads=True, **options)
        self.tab = self.context.new_page()
        self.requests, self.messages = [], []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.messages.append(message.text))
        self.tab.on("pageerror", lambda error: self.messages.append(str(error)))
        self.tab.goto(page_file.as_uri())
        self.tab.wait_for_selector(FIRST)

    def ids(self):
        return self.tab.eval_on_selector_all(".cards > li", "items => items.map((item) => item.dataset.id)")

    def grades(self):
        return self.tab.eval_on_selector_all(".cards > li", "items => items.map((item) => item.dataset.grade || '')")

    def data(self):
        return self.tab.evaluate("JSON.parse(document.getElementById('data').textContent)")


@pytest.fixture
def watched(browser, page_file):
    opened = Watched(browser, page_file, viewport={"width": 1280, "height": 900})
    yield opened
    assert opened.messages == []
    assert [url for url in opened.requests if not url.startswith(("file://", "data:", "blob:"))] == []
    opened.context.close()


def test_gallery__is_shown_and_sorted(watched):
    data = watched.data()
    sources = {source["id"]: source for source in data["sources"]}
    shown = [sources[one]["lens_logit"] for one in watched.ids()]
    assert shown == sorted(shown, reverse=True) and len(shown) > 3
    widths = watched.tab.eval_on_selector_all(".cards img", "pictures => pictures.map((one) => one.naturalWidth)")
    assert len(widths) == len(shown) and min(widths) >= 64
    watched.tab.select_option("#sort", "mag")
    magnitudes = [sources[one]["mag"] for one in watched.ids()]
    assert magnitudes == sorted(magnitudes)
    watched.tab.click("button[data-ranking=merger]")
    watched.tab.select_option("#sort", "low")
    logits = [sources[one]["merger_logit"] for one in watched.ids()]
    assert logits == sorted(logits)


def test_gallery__filters(watched):
    tab, sources = watched.tab, {source["id"]: source for source in watched.data()["sources"]}
    everything = watched.ids()
    limit = sorted(sources[one]["mag"] for one in everything)[len(everything) // 2]
    tab.fill("#faint", str(limit))
    assert all(sources[one]["mag"] <= limit for one in watched.ids()) and watched.ids() != everything
    tab.fill("#faint", "")
    tab.select_option("#domain", "outside")
    assert all(sources[one]["flags"] & 256 for one in watched.ids())
    tab.select_option("#domain", "")
    tab.click("#filters summary")
    tab.select_option("#flag-choices select[data-flag='2']", "0")
    assert watched.ids() and not any(sources[one]["flags"] & 2 for one in watched.ids())
    tab.fill("#least", "1.1")
    assert watched.ids() == [] and tab.is_visible("#empty")
    tab.click("text=Clear filters")
    tab.wait_for_selector(FIRST)
    assert watched.ids() == everything


def test_grading__by_keys_is_kept_and_exported(watched, tmp_path):
    tab = watched.tab
    tab.focus(f"{FIRST} .open")
    tab.keyboard.press("a")
    tab.keyboard.press("n")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("c")
    tab.keyboard.press("b")
    tab.keyboard.press("u")
    assert watched.grades()[:6] == ["A", "no", "", "C", "", ""]
    ids = watched.ids()
    tab.click("button[data-ranking=merger]")
    tab.click(f"{FIRST} .grades button[data-grade=B]")
    merger = watched.ids()[0]
    tab.reload()
    tab.wait_for_selector(FIRST)
    assert watched.grades()[:6] == ["A", "no", "", "C", "", ""]
    assert "3 of" in tab.inner_text("#progress")
    with tab.expect_download() as download:
        tab.click("#export")
    download.value.save_as(tmp_path / "grades.csv")
    with open(tmp_path / "grades.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["source_id"], row["model"], row["grade"], row["label"]) for row in rows] == [
        (ids[0], "lens", "A", "1"),
        (ids[1], "lens", "no", "0"),
        (ids[3], "lens", "C", ""),
        (merger, "merger", "B", "1"),
    ]
    source = next(one for one in watched.data()["sources"] if one["id"] == ids[0])
    assert (float(rows[0]["ra"]), float(rows[0]["dec"])) == (source["ra"], source["dec"])


def test_detail__opens_copies_and_grades(watched, page_file):
    tab = watched.tab
    watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.focus(f"{FIRST} .open")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("dialog[open] .big img")
    source = next(one for one in watched.data()["sources"] if one["id"] == watched.ids()[0])
    copied = {}
    for button in ("Copy degrees", "Copy sexagesimal", "Copy query", "Copy source_id"):
        tab.click(f"text={button}")
        tab.wait_for_selector("#said:has-text('Copied')")
        copied[button] = tab.evaluate("navigator.clipboard.readText()")
        tab.evaluate("document.getElementById('said').textContent = ''")
    assert copied["Copy degrees"] == f"{source['ra']} {source['dec']}"
    assert copied["Copy sexagesimal"] == source["hms"]
    assert copied["Copy source_id"] == source["id"]
    command = ["surveycnn", "query", str(page_file.parent), "--cone", str(source["ra"]), str(source["dec"]), "2"]
    assert shlex.split(copied["Copy query"]) == command
    tab.keyboard.press("b")
    assert "2 of" in tab.inner_text("#detail-title")
    tab.keyboard.press("ArrowLeft")
    assert tab.get_attribute("dialog .grades button[data-grade=B]", "aria-pressed") == "true"
    tab.keyboard.press("Escape")
    assert watched.grades()[0] == "B"


def test_grading__where_the_browser_keeps_nothing(browser, page_file):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }});")
    tab = context.new_page()
    tab.goto(page_file.as_uri())
    tab.focus(f"{FIRST} .open")
    assert tab.is_visible("#memory")
    tab.keyboard.press("a")
    assert tab.get_attribute(FIRST, "data-grade") == "A"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 740)])
def test_access__no_violation_and_no_sideways_scroll(browser, page_file, scheme, width, height):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    opened = Watched(browser, page_file, viewport={"width": width, "height": height}, color_scheme=scheme)
    assert opened.tab.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(opened.tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    background = opened.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    opened.tab.click("#theme")
    assert opened.tab.evaluate("getComputedStyle(document.body).backgroundColor") != background
    assert opened.messages == []
    opened.context.close()


def test_print__has_figures_and_candidates(watched):
    watched.tab.emulate_media(media="print")
    assert watched.tab.is_visible(f"{FIRST} img") and watched.tab.is_visible("svg.figure")
    assert not watched.tab.is_visible("#filters")
