"""Mutations that every kind uses: of bytes, of text, of trees of plain values, and numbers that nobody expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 64, 100, 255, 256, 65535, 65536, 2_000_000, 2**31 - 1, 2**31, -(2**31), 2_000_000_000, 2**32, 2**63 - 1),
    *(
        2**63,
        -(2**63),
        2**64,
        10**30,
        10**400,
        0.0,
        -0.0,
        0.5,
        1e-300,
        1e300,
        -1e300,
        1e39,
        5e-324,
        90.0,
        90.1,
        180.0,
        360.0,
        1e9,
    ),
)
WORDS = (
    *(
        "",
        " ",
        "'",
        '"',
        "\\",
        "/",
        "..",
        "../../x",
        "/etc/passwd",
        "~",
        "~root",
        "$HOME",
        "%s%n",
        "{0}",
        "{band}",
        "{id}",
        "*",
        "?",
    ),
    *(
        "a" * 300,
        "x" * 5000,
        "\x00",
        "\n",
        "\r\n",
        "\t",
        "\x1b[31m",
        "é",
        "星",
        "\u202e",
        "\ud800",
        "\uffff",
        "\U0001f52d",
        "ﬁ",
        "NaN",
    ),
    *(
        "nan",
        "inf",
        "-inf",
        "None",
        "null",
        "true",
        "yes",
        "1e5",
        "1_000",
        "0x10",
        "0o7",
        "1:30",
        "2020-01-01",
        "__class__",
        "id",
    ),
    *(
        "file.fits[1]",
        "a[",
        "]",
        "[]",
        "[0]",
        "[-1]",
        "[99999999999999999999]",
        "file:///",
        "memory://x",
        "://",
        "data:,x",
        "https://me:secret@localhost/x",
        "con",
        ".",
    ),
)
"""Texts that some parser takes for something."""


def mutated_bytes(rng: Random, data: bytes, tokens: Sequence[bytes] = (), others: Sequence[bytes] = ()) -> bytes:
    """`data` with one to six mutations: bits, bytes, cuts, copies, swaps, `tokens`, and pieces of `others`."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        place = rng.randrange(len(changed) + 1)
        size = min(len(changed) - place, rng.choice((1, 2, 4, 8, 80, 512, 2880, 100_000)))
        rng.choice(_BYTE_MUTATIONS)(rng, changed, place, size, tokens, others)
    return bytes(changed)


def _flip(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 4, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    size = min(size, 80)
    data[place : place + size] = rng.choice((rng.randbytes(size), b"\x00" * size, b"\xff" * size, b" " * size))


def _truncate(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    del data[place:]


def _delete(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    del data[place : place + size]


def _insert(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    data[place:place] = rng.randbytes(min(size, 2880))


def _repeat(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    data[place:place] = data[place : place + size]


def _swap(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    other = rng.randrange(len(data) + 1)
    piece = bytes(data[place : place + size])
    del data[place : place + size]
    data[other:other] = piece


def _token(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    if not tokens:
        return
    token = rng.choice(tokens)
    start = data.find(rng.choice(tokens), rng.randrange(len(data) + 1))
    place = start if start >= 0 else place
    data[place : place + rng.choice((0, len(token)))] = token


def _number(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice([number for number in NUMBERS if isinstance(number, int)]) % (1 << 8 * width)
    data[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _splice(rng: Random, data: bytearray, place: int, size: int, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
    other = rng.choice(others) if others else bytes(data)
    start = rng.randrange(len(other) + 1)
    data[place : place + size] = other[start : start + rng.choice((size, 2880, 1_000_000))]


_BYTE_MUTATIONS: tuple[Callable[..., None], ...] = (
    *(_flip, _flip, _overwrite, _overwrite, _truncate, _delete, _insert, _repeat, _swap, _token, _token, _number, _splice),
)


def mutated_text(rng: Random, text: str, tokens: Sequence[str] = ()) -> str:
    """`text` with one to four mutations of characters, words and lines."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(text) + 1)
        end = min(len(text), place + rng.choice((1, 1, 3, 10, 40)))
        piece = rng.choice(
            (
                "",
                rng.choice(WORDS),
                str(rng.choice(NUMBERS)) if rng.random() < 0.9 else chr(rng.randrange(0x110000)),
                text[place:end] * 2,
            )
            + ((rng.choice(tokens), rng.choice(tokens)) if tokens else ())
        )
        text = text[:place] + piece + text[rng.choice((place, end)) :]
    return text


def odd_value(rng: Random) -> Any:
    """A plain value that is often of another type than what stands there."""
    simple = rng.choice((rng.choice(NUMBERS), rng.choice(WORDS), None, True, False, float("nan"), float("inf")))
    wrapped = (simple, simple, simple, [], {}, [simple], {"a": simple}, {simple: simple}, [[simple]], [simple] * 50)
    return rng.choice(wrapped)


def mutated_tree(rng: Random, tree: Any, others: Sequence[Any] = ()) -> Any:
    """Copy of a tree of dicts, lists and plain values with one to four nodes changed, removed, doubled or exchanged."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        paths = list(_paths(tree))
        tree = _with(rng, tree, rng.choice(paths), others) if paths else odd_value(rng)
    return tree


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _with(rng: Random, tree: Any, path: tuple[Any, ...], others: Sequence[Any]) -> Any:
    key, *rest = path
    tree = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest:
        tree[key] = _with(rng, tree[key], tuple(rest), others)
        return tree
    way = rng.randrange(6)
    if way == 0:
        del tree[key]
    elif way == 1 and isinstance(tree, dict):
        name = rng.choice([*tree, rng.choice(WORDS), odd_value(rng)])
        tree[name if isinstance(name, str | int | float | bool | None) else str(name)] = tree.pop(key)
    elif way == 2 and isinstance(tree, list):
        tree += [tree[key]] * rng.choice((1, 3, 100))
    elif way == 3 and others:
        tree[key] = rng.choice(others)
    elif way == 4 and isinstance(tree[key], str):
        tree[key] = mutated_text(rng, tree[key])
    else:
        tree[key] = odd_value(rng)
    return tree
