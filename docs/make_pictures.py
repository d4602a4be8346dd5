"""Takes the pictures of the README and the documentation: `python docs/make_pictures.py CATALOG`, of a finished run of the demo.

It needs Chromium and the package playwright.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).resolve().parent / "_static"
SIZE = {"width": 1200, "height": 1000}
QUALITY = 82


def main(catalog: Path) -> None:
    """Pictures of the report in both themes."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            tab = browser.new_context(viewport=SIZE, color_scheme=scheme, device_scale_factor=1.5).new_page()  # type: ignore[arg-type]
            tab.goto((catalog / "report.html").resolve().as_uri())
            tab.wait_for_selector(".cards img")
            take(tab, PICTURES / f"report_{scheme}.webp")
        browser.close()


def take(tab: Page, path: Path) -> None:
    """What a tab shows."""
    with Image.open(io.BytesIO(tab.screenshot())) as picture:
        picture.convert("RGB").save(path, quality=QUALITY, method=6)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_pictures.py CATALOG")
    main(Path(sys.argv[1]))
