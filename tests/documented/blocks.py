"""What a page of documentation holds for machines: blocks of commands, of Python, of YAML, and commands within the text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("console", "sh", "bash", "shell")


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    kind: str
    """``commands``, or the language of the fence; ``text`` where it has none."""
    text: str
    line: int
    """First line of the page that belongs to it, counted from 1."""


@dataclass(frozen=True)
class Command:
    """A command of a block."""

    text: str
    """As a shell would take it: continued lines joined, without the prompt."""
    line: int
    is_session: bool = False
    """Whether it stood behind a prompt, with its output below."""
    output: str = ""
    """What the page shows below it, where it stood behind a prompt."""

    @property
    def words(self) -> list[str]:
        try:
            return shlex.split(self.text, comments=True)
        except ValueError as error:
            raise ValueError(f"line {self.line} is no command ({error}), is it ```text? {self.text}") from None

    @property
    def shown(self) -> str:
        """Its words, without comments, behind ``$`` where the page has one: what scenarios and the table of others name it by."""
        return ("$ " if self.is_session else "") + shlex.join(self.words)


def pages() -> list[Path]:
    """Every page of the documentation, and those that a visitor of the repository reads."""
    others = [
        ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md", "benchmarks/README.md")
    ]
    return others + sorted((ROOT / "docs").rglob("*.md"))


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def blocks(text: str) -> Iterator[Block]:
    """Blocks of code in the order of the page. An indented block holds commands."""
    for token in parse(text):
        if token.type in ("code_block", "fence"):
            language = token.info.strip().split(" ")[0]
            is_commands = token.type == "code_block" or language in SHELLS
            assert token.map is not None
            yield Block("commands" if is_commands else language or "text", token.content, token.map[0] + 1)


def inline_code(text: str) -> Iterator[str]:
    """Code within paragraphs and tables."""
    for token in parse(text):
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content


def commands(block: Block) -> Iterator[Command]:
    """Commands of a block: the lines behind ``$``, or, where there is no such prompt, all lines."""
    lines = [(number, line) for number, line in enumerate(block.text.splitlines(), block.line) if line.strip()]
    is_session = any(line.startswith("$ ") for _, line in lines)
    while lines:
        number, line = lines.pop(0)
        if line.lstrip().startswith("#") or (is_session and not line.startswith("$ ")):
            continue
        while line.endswith("\\") and lines:
            line = line[:-1].rstrip() + " " + lines.pop(0)[1].strip()
        output = []
        while is_session and lines and not lines[0][1].startswith("$ "):
            output.append(lines.pop(0)[1])
        yield Command(line.removeprefix("$ ").strip(), number, is_session, "\n".join(output))
