"""Settings of the documentation site: `make docs` builds it from the Markdown of this folder into build/docs."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import is_dataclass
from pathlib import Path

from pydantic import BaseModel
from pygments.lexers.special import TextLexer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import surveycnn  # noqa: E402

project = "surveycnn"
author = "the authors of surveycnn"
copyright = author
version = release = surveycnn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
nitpicky = False
default_role = "literal"
highlight_language = "none"  # indented blocks are commands

myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests run the notebooks

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "model_config"}
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
viewcode_line_numbers = True

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"surveycnn {release}"
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["access.js"]
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

PAGES_ELSEWHERE = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "deploy_files": "deploy/README.md",
    "benchmarks": "benchmarks/README.md",
}
"""Pages of the site whose text stands elsewhere in the repository; the file of this folder only says where."""
_PAGE_OF = {path: f"{page}.md" for page, path in PAGES_ELSEWHERE.items()} | {
    "README.md": "index.md",
    "deploy": "deploy_files.md",
    "deploy/clusters": "deploy_files.md",
}
_FILE_NAME = re.compile(r"\[[\w/.]+\.md\]\((?=[\w/.#-]+\.md\b)")
"""A link whose text is the name of a page: on the site it is called by the title of that page."""
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def setup(app) -> None:
    app.connect("source-read", _read_page)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    app.connect("autodoc-process-docstring", _default, priority=900)
    app.add_lexer("csv", TextLexer)


def _signature(app, what: str, name: str, thing, options, signature, returned):
    """None for classes that are made of fields, which are listed below them."""
    return ("", "") if what == "class" and (is_dataclass(thing) or issubclass(thing, BaseModel)) else None


def _docstring(app, what: str, name: str, thing, options, lines: list[str]) -> None:
    """Napoleon, which comes next, takes what stands before the first colon of a field's docstring for a type."""
    if what in ("attribute", "property") and lines and not lines[0].startswith(".. "):
        lines[0] = f": {lines[0]}"


def _default(app, what: str, name: str, thing, options, lines: list[str]) -> None:
    """Say the default of a key of a configuration."""
    path, _, key = name.rpartition(".")
    module, _, section = path.rpartition(".")
    model = getattr(sys.modules.get(module), section, None)
    if isinstance(model, type) and issubclass(model, BaseModel) and key in model.model_fields:
        field = model.model_fields[key]
        if not field.is_required() and not isinstance(field.default, BaseModel) and field.default not in (None, "", ()):
            lines += ["", f"Default: ``{field.get_default(call_default_factory=True)!r}``"]


def _read_page(app, page: str, source: list[str]) -> None:
    """Take the text from where it stands, and let its links lead to pages of the site, or to files, which are copied."""
    path = ROOT / PAGES_ELSEWHERE[page] if page in PAGES_ELSEWHERE else Path(app.env.doc2path(page))
    if path.suffix != ".md":
        return
    app.env.note_dependency(str(path))
    folder = (HERE / page).parent

    def link(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(path.parent / match[1]))
        if not target.is_relative_to(ROOT) or not target.exists():
            return match[1]
        named = _PAGE_OF.get(target.relative_to(ROOT).as_posix())
        return os.path.relpath(HERE / named if named else target, folder)

    source[0] = _FILE_NAME.sub("[](", _LINK.sub(link, path.read_text(encoding="utf-8")))
