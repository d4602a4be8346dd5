"""Bytes of plain and compressed FITS images, maps and header files, mutated, through planning, ingest and a tile."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from random import Random

from benchmarks.fuzz import fits_headers
from benchmarks.fuzz.fits_headers import KEYS, VALUES
from benchmarks.fuzz.images import SINGLE, survey, take_in, write_survey
from benchmarks.fuzz.mutate import mutated_bytes

TOKENS = (
    *(key.ljust(8).encode() + b"= " for key in KEYS),
    *(value.encode() for value in VALUES),
    b"END".ljust(80),
    b"\x1f\x8b",
    b"BZh9",
)
FILES = (*SINGLE, *SINGLE, "weight.fits", "mask.fits", "wcs.hdr", "cards.hdr")

prepare, valid_cases = fits_headers.prepare, fits_headers.valid_cases


def make_case(rng: Random, seeds: Path, folder: Path) -> Path:
    """A survey of an image of which one file, or what is packed in it, is mutated."""
    name = rng.choice(FILES)
    image = name if name in SINGLE else rng.choice(SINGLE)
    data = (seeds / name).read_bytes()
    others = [(seeds / rng.choice(FILES)).read_bytes()]
    changed = folder / name
    changed.write_bytes(_mutated(rng, name, data, others))
    tree = survey(rng, image, seeds, {name: changed})
    if name.endswith(".hdr"):
        tree["mosaics"][0]["wcs"] = str(changed)
        tree["mosaics"][0]["images"][0].pop("wcs", None)
    elif name in ("weight.fits", "mask.fits"):
        tree["mosaics"][0]["images"][0][name.partition(".")[0]] = str(changed)
        for kind in ("variance", "rms") if name == "weight.fits" else ():
            tree["mosaics"][0]["images"][0].pop(kind, None)
    return write_survey(folder, tree)


def _mutated(rng: Random, name: str, data: bytes, others: list[bytes]) -> bytes:
    """Mutated bytes: as they are stored, inside of what packs them, or packed so that little stands for much."""
    way = rng.random()
    if name.endswith((".gz", ".bz2")):
        module = gzip if name.endswith(".gz") else bz2
        if way < 0.02:  # far more than a case may write
            return module.compress(module.decompress(data)) + module.compress(bytes(4 << 20)) * 80
        if way < 0.5:
            return module.compress(mutated_bytes(rng, module.decompress(data), TOKENS, others))
    elif way < 0.05:
        return rng.choice((gzip.compress(data), bz2.compress(data), b"", b"\x00" * 5760, data[:2880], data[2880:]))
    if way > 0.7:  # behind the headers, where the pixels are
        start = min(len(data), data.find(b"END     ") + 2880)
        return data[:start] + mutated_bytes(rng, data[start:], (), others)
    return mutated_bytes(rng, data, TOKENS, others)


def run_case(case: Path) -> str:
    """What a survey does with its images."""
    return take_in(case)
