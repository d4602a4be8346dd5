"""The view in a browser: markers where the pictures have sources, places, candidates, both themes, a phone, no other host."""

from __future__ import annotations

import shutil
import threading

import pytest

from surveycnn.catalogs.query import open_catalog
from surveycnn.commands.report import chunks_of
from surveycnn.view.answers import Answers
from surveycnn.view.server import ViewServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
IS_READY = """() => /here/.test(document.getElementById('count').textContent)
  && surveySky.viewer.world.getItemAt(0).getFullyLoaded()"""
MIDDLE = """(() => {
  const size = surveySky.viewer.viewport.getContainerSize();
  return surveySky.toPixel(size.x / 2, size.y / 2);
})()"""
AROUND = """([x, y]) => {
  const [px, py] = surveySky.toScreen(x, y), canvas = document.querySelector('.openseadragon-canvas canvas');
  const ratio = canvas.width / canvas.getBoundingClientRect().width;
  const { data } = canvas.getContext('2d').getImageData(px * ratio - 1, py * ratio - 1, 3, 3);
  return [data.reduce((a, b) => a + b, 0), surveySky.toPixel(px, py)];
}"""


@pytest.fixture(scope="module")
def server(small_run):
    with ViewServer(Answers(open_catalog(small_run), chunks_of(small_run), "'a run'")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser, server, **options):
    """A tab that notes messages and requests."""
    context = browser.new_context(**{"reduced_motion": "reduce"} | options)
    tab = context.new_page()
    tab.noted = []
    tab.on("console", lambda message: tab.noted.append(message.text))
    tab.on("pageerror", lambda error: tab.noted.append(str(error)))
    tab.on("request", lambda request: request.url.startswith((server.url, "data:")) or tab.noted.append(request.url))
    tab.goto(server.url)
    tab.wait_for_function(IS_READY)
    return tab


def test_view__markers_places_and_candidates(browser, server, small_run):
    tab = opened(browser, server, viewport={"width": 1280, "height": 850}, permissions=["clipboard-read", "clipboard-write"])
    rows = open_catalog(small_run).to_pandas()
    assert f"{len(rows):,} here" in tab.inner_text("#count")
    bright = rows[rows["flags"] == 0].nlargest(6, "flux_r")
    for row in bright.itertuples():
        light, pixel = tab.evaluate(AROUND, [row.x, row.y])
        assert light - 9 * 255 > 9 * 200 and pixel == pytest.approx([row.x, row.y], abs=1e-6)
    # north is up and east is left, and positions on the screen are those on the sky
    (north, east) = tab.evaluate("surveySky.compass()")
    assert north == pytest.approx([0, -1], abs=0.02) and east == pytest.approx([-1, 0], abs=0.02)
    tab.keyboard.press("n")
    best = rows[rows.is_primary & ((rows["flags"] & 256) == 0)].nlargest(2, "lens_logit")["source_id"].astype(str).tolist()
    tab.wait_for_selector(f"#panel h2:has-text('{best[0]}')")
    tab.keyboard.press("n")
    tab.wait_for_selector(f"#panel h2:has-text('{best[1]}')")
    row = rows[rows.source_id == int(best[1])].iloc[0]
    middle = tab.evaluate(MIDDLE)
    assert middle == pytest.approx([row.x, row.y], abs=0.1)
    tab.click("text=Copy query")
    tab.wait_for_selector("#said:has-text('Copied')")
    assert tab.evaluate("navigator.clipboard.readText()").startswith("surveycnn query 'a run' --cone 1")
    tab.keyboard.press("Escape")
    tab.fill("#where", "flux_r >")
    tab.press("#where", "Enter")
    tab.wait_for_selector("#where-error:has-text('cannot be read')")
    tab.fill("#where", "flux_r > 1e9")
    tab.press("#where", "Enter")
    tab.wait_for_selector("#count:has-text('0 here')")
    tab.fill("#to", "1 1")
    tab.press("#to", "Enter")
    tab.wait_for_selector("#message:has-text('is on none of the')")
    # getImageData is the test's own way to look at the pixels
    assert [one for one in tab.noted if "getImageData" not in one] == []
    tab.context.close()


def test_view__looks_change_in_place(browser, server):
    tab = opened(browser, server, viewport={"width": 1000, "height": 700})
    for selector, choice in [("#mode", "1"), ("#band-0", "z"), ("#scale", "deep")]:
        tab.select_option(selector, choice)
        tab.wait_for_function("() => surveySky.viewer.world.getItemCount() === 1")
    assert "bands=z&scale=deep" in tab.evaluate("surveySky.viewer.world.getItemAt(0).source.getTileUrl(0, 0, 0)")
    tab.fill("#brightness", "2")
    assert "brightness(2)" in tab.evaluate("document.getElementById('sky').style.filter")
    assert tab.noted == []
    tab.context.close()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 850, "light"), (360, 740, "dark")])
def test_view__access(browser, server, width, height, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    tab = opened(browser, server, viewport={"width": width, "height": height}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.keyboard.press("n")
    tab.wait_for_selector("#panel h2")
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.click("#theme")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != background
    assert tab.noted == []
    tab.context.close()
