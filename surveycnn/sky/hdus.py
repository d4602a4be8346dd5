"""Bounds of the headers of a FITS file, found by its bytes alone, before a library searches through all of them.

Below :mod:`surveycnn.sky.images`. A compressed file of kilobytes may hold gigabytes in which no header ends.
"""

from __future__ import annotations

import re
from typing import IO

from surveycnn.errors import InputError

BLOCK = 2880
CARD = 80
MAX_HEADER_BYTES = 4096 * BLOCK
"""Of one header: 147,000 cards."""
MAX_AXES = 999
"""That the FITS standard allows."""

_INTEGER = re.compile(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= *([+-]?\d+) *(/|$)")
_END = re.compile(rb"END(?![A-Z0-9_-])")


def check_headers(file: str, stream: IO[bytes], n_hdus: int | None = None) -> None:
    """Raise InputError where the first `n_hdus` headers of a stream, or all, do not end within :data:`MAX_HEADER_BYTES`.

    What is behind the last one may be rubbish as long as it is short; whether a header is good is not looked at.
    """
    position, number = 0, 0
    while n_hdus is None or number < n_hdus:
        stream.seek(position)
        cards = _cards(stream)
        if len(cards) * CARD > MAX_HEADER_BYTES:
            raise InputError(
                f"file {file!r} has no end of a header in {MAX_HEADER_BYTES >> 20} MiB from byte {position}: what is there is no "
                "HDU: fetch the file again, or cut it off there"
            )
        n_axes = _integers(cards).get("NAXIS", 0)
        if n_axes > MAX_AXES:  # astropy would look for each of them
            raise InputError(
                f"file {file!r} has NAXIS = {n_axes} in the header at byte {position}, expected at most {MAX_AXES}: correct it, "
                "or fetch the file again"
            )
        size = _data_bytes(_integers(cards))
        if size is None:
            break
        position += -(-len(cards) * CARD // BLOCK) * BLOCK + -(-size // BLOCK) * BLOCK
        number += 1
    stream.seek(0)


def _cards(stream: IO[bytes]) -> list[bytes]:
    """Cards up to END, the last of them; more than a header has where there is none, nothing where the file ends before."""
    cards: list[bytes] = []
    while len(cards) * CARD <= MAX_HEADER_BYTES:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            return []
        for place in range(0, BLOCK, CARD):
            cards.append(block[place : place + CARD])
            if _END.match(cards[-1]):
                return cards
    return cards


def _integers(cards: list[bytes]) -> dict[str, int]:
    """Those cards that say how large the data are."""
    return {match[1].decode(): int(match[2]) for card in cards if (match := _INTEGER.match(card))}


def _data_bytes(found: dict[str, int]) -> int | None:
    """Bytes of the data that a header announces; None where it does not say."""
    if "BITPIX" not in found or not 0 <= found.get("NAXIS", -1) <= MAX_AXES:
        return None
    if not found["NAXIS"]:
        return 0
    values = 1
    for axis in range(1, found["NAXIS"] + 1):
        values *= max(0, found.get(f"NAXIS{axis}", 0))
    size = abs(found["BITPIX"]) // 8 * max(1, found.get("GCOUNT", 1)) * (max(0, found.get("PCOUNT", 0)) + values)
    return size if size < 1 << 62 else None
