"""Headers of FITS images and header files, mutated card by card, through planning, ingest and the opening of tiles."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.fuzz.images import SINGLE, survey, take_in, write_images, write_survey
from benchmarks.fuzz.mutate import NUMBERS, WORDS, mutated_bytes

CARD = 80
PROJECTIONS = (
    "TAN",
    "SIN",
    "ZEA",
    "AIT",
    "CAR",
    "TPV",
    "TAN-SIP",
    "TAB",
    "HPX",
    "TSC",
    "COP",
    "STG",
    "ZPN",
    "AZP",
    "MOL",
    "XPH",
    "FOO",
)
VALUES = (
    *(f"'{axis}-{projection}'" for axis in ("RA--", "DEC-", "GLON", "ELAT", "HPLN", "FREQ") for projection in PROJECTIONS),
    *(
        "T",
        "F",
        "'RICE_1'",
        "'GZIP_1'",
        "'HCOMPRESS_1'",
        "'PLIO_1'",
        "'NOCOMPRESS'",
        "'FOO'",
        "'nJy'",
        "'MJy/sr'",
        "'10**(400) Jy'",
    ),
    *(
        "'nanomaggies'",
        "'Jy/beam'",
        "'((((((('",
        "'deg'",
        "'arcsec'",
        "'km/s'",
        "'FK4'",
        "'ICRS'",
        "'FK5'",
        "'SUBTRACTIVE_DITHER_1'",
    ),
    *("8", "16", "32", "64", "-32", "-64", "-8", "''", "'", "(1, 2)", "1.5D3", "1E400", "NAN", "INF", "+", "-", "0x10", "1 2"),
    *(
        "'1QB(99999999)'",
        "'1PE(0)'",
        "'99999999999E'",
        "'0J'",
        "'XX'",
        "'IMAGE'",
        "'BINTABLE'",
        "'TABLE'",
        "'XTENSION'",
        "'VEGA'",
    ),
)
KEYS = (
    *(
        "SIMPLE",
        "BITPIX",
        "NAXIS",
        "NAXIS1",
        "NAXIS2",
        "NAXIS3",
        "NAXIS4",
        "EXTEND",
        "XTENSION",
        "PCOUNT",
        "GCOUNT",
        "TFIELDS",
        "END",
    ),
    *(
        "BSCALE",
        "BZERO",
        "BLANK",
        "BUNIT",
        "MAGZP",
        "MAGZERO",
        "ZP",
        "MAGSYS",
        "BSOFTEN",
        "SATURATE",
        "EXTNAME",
        "EXTVER",
        "GROUPS",
    ),
    *("CTYPE1", "CTYPE2", "CTYPE3", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "CUNIT1", "CUNIT2", "WCSAXES"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC2_2", "CROTA2", "PV1_1", "PV2_1", "PV2_39", "PV1_99", "LONPOLE", "LATPOLE"),
    *(
        "RADESYS",
        "EQUINOX",
        "A_ORDER",
        "B_ORDER",
        "A_2_0",
        "B_0_2",
        "AP_ORDER",
        "BP_ORDER",
        "A_99_99",
        "CPDIS1",
        "DP1",
        "CTYPE1A",
    ),
    *("ZIMAGE", "ZCMPTYPE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZNAME1", "ZVAL1", "ZNAME2", "ZVAL2"),
    *("ZQUANTIZ", "ZDITHER0", "ZSCALE", "ZZERO", "ZBLANK", "ZSIMPLE", "ZEXTEND", "TTYPE1", "TFORM1", "TFORM2", "TDIM1", "THEAP"),
    *("DATE-OBS", "MJD-OBS", "OBSGEO-X", "VELREF", "RESTFRQ", "COMMENT", "HISTORY", "CONTINUE", "HIERARCH", "LTV1", "WCSNAME"),
)


def prepare(seeds: Path) -> None:
    """Valid images."""
    write_images(seeds)


def valid_cases(seeds: Path, folder: Path) -> list[Path]:
    """A survey of each image."""
    cases = []
    for number, name in enumerate(SINGLE):
        inside = folder / str(number)
        inside.mkdir()
        tree = survey(None, name, seeds, {})
        if name == "plain.fits":
            tree["mosaics"][0] |= {"wcs": str(seeds / "cards.hdr")}
            tree["mosaics"][0]["images"][0] |= {"weight": str(seeds / "weight.fits"), "mask": str(seeds / "mask.fits")}
        cases.append(write_survey(inside, tree))
    return cases


def make_case(rng: Random, seeds: Path, folder: Path) -> Path:
    """A survey of an image, of which a header, that of a map, or a header file is mutated."""
    image = rng.choice(SINGLE)
    name = rng.choice((image, image, image, image, "weight.fits", "mask.fits", "wcs.hdr", "cards.hdr"))
    changed = folder / name
    data = _unpacked(seeds / name)
    if name == "wcs.hdr":
        lines = [line.encode() for line in data.decode().split("\n")]
        changed.write_bytes(b"\n".join(_mutated_cards(rng, lines)))
    else:
        changed.write_bytes(_packed(name, _mutated_headers(rng, data)))
    tree = survey(rng, image, seeds, {name: changed})
    if name.endswith(".hdr"):
        tree["mosaics"][0]["wcs"] = str(changed)
        tree["mosaics"][0]["images"][0].pop("wcs", None)
    return write_survey(folder, tree)


def run_case(case: Path) -> str:
    """What a survey does with its images."""
    return take_in(case)


def _unpacked(path: Path) -> bytes:
    opener: Callable[[bytes], bytes] = {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)
    return opener(path.read_bytes())


def _packed(name: str, data: bytes) -> bytes:
    packer: Callable[[bytes], bytes] = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(name).suffix, bytes)
    return packer(data)


def _mutated_headers(rng: Random, data: bytes) -> bytes:
    """`data` with the cards of one of its headers mutated; the header keeps its length in most cases."""
    starts = [0] + [place for place in range(0, len(data), 2880) if data[place : place + 8] == b"XTENSION"]
    start = rng.choice(starts)
    end = start
    while end < len(data) and data[end : end + 8] != b"END     ":
        end += CARD
    cards = [data[place : place + CARD] for place in range(start, end, CARD)]
    header = b"".join(_mutated_cards(rng, cards)) + (b"END".ljust(CARD) if rng.random() < 0.97 else b"")
    length = -(-(end + CARD - start) // 2880) * 2880
    if rng.random() < 0.95:
        header = header.ljust(-(-len(header) // 2880) * 2880)
    return data[:start] + header + data[start + length :]


def _mutated_cards(rng: Random, cards: list[bytes]) -> list[bytes]:
    """Cards with one to five changed, added, removed, doubled, or moved."""
    cards = list(cards)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        place = rng.randrange(len(cards) + 1)
        way = rng.randrange(10)
        if way < 5 and place < len(cards):
            cards[place] = _card(cards[place][:8].decode("latin1").strip(), _value(rng))
        elif way < 8:
            cards.insert(place, _card(rng.choice(KEYS), _value(rng)))
        elif way == 8 and place < len(cards):
            other = cards.pop(place)
            cards[rng.randrange(len(cards) + 1) :][:0] = [other]
            if rng.random() < 0.5:
                cards.insert(rng.randrange(len(cards) + 1), other)
        elif place < len(cards):
            cards[place] = mutated_bytes(rng, cards[place])[:CARD].ljust(CARD)
    return cards


def _value(rng: Random) -> str:
    way = rng.randrange(4)
    if way == 0:
        return str(rng.choice(NUMBERS))
    if way == 1:
        return "'" + rng.choice(WORDS) + "'"
    if way == 2:
        return repr(rng.uniform(-400, 400))
    return rng.choice(VALUES)


def _card(key: str, value: str) -> bytes:
    text = f"{key:<8}= {value:>20}" if key not in ("COMMENT", "HISTORY", "END") else f"{key:<8}{value}"
    return text.encode("utf-8", "replace")[:CARD].ljust(CARD)
