"""Messages to users have one voice: no capital at the start, no full stop at the end, folders are no directories."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from surveycnn import errors

ROOT = Path(__file__).resolve().parent.parent
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.UserError)}
NAMES = re.compile(r"[A-Z][A-Z_]{2,}\b|[A-Z]\w*[0-9]|Dask|Prefect|Slurm|Kubernetes|Zarr")
"""Words that have their capitals wherever they stand."""


def words_of(node: ast.expr) -> str | None:
    """Text of a message with its values as {}; None where it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def messages() -> Iterator[tuple[str, str]]:
    """Place and text of every message of an error that users meet."""
    for folder in ("surveycnn", "flows", "catalogs", "deploy"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
                    text = words_of(node.args[0])
                    if text:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


ALL = dict(messages())


def test_messages__are_found():
    assert len(ALL) > 300


@pytest.mark.parametrize(
    ("is_right", "rule"),
    [
        (lambda text: not text[0].isupper() or NAMES.match(text), "begins with a small letter"),
        (lambda text: not text.endswith((".", "!")) or text.endswith("..."), "has no full stop at its end"),
        (lambda text: text == text.strip() and "  " not in text, "has no spaces too many"),
        (lambda text: not re.search(r"\bplease\b|\bsorry\b|\bfailed to\b|\bdirectories\b|!\s", text, re.IGNORECASE), "is plain"),
        (lambda text: not re.search(r"(?<!work )\bdirectory\b", text), "calls a folder a folder"),
        (lambda text: not re.search(r"[\"“”‘’]\{\}|'\{\}'", text), "quotes values by their repr"),
    ],
)
def test_messages__of_users_errors(is_right, rule):
    wrong = [f"{place}: {text}" for place, text in ALL.items() if not is_right(text)]
    assert not wrong, f"a message {rule}:\n" + "\n".join(wrong)
