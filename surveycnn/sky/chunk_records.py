"""What a chunk store says of itself and of its bands, checked when it is read: anybody may have changed a file of JSON."""

from __future__ import annotations

import math
from typing import Any

_BAND: dict[type, tuple[str, ...]] = {
    float: ("seconds", "zeropoint", "saturation", "sky", "rms", "noise_ratio", "n_bad", "bytes"),
    bool: ("has_weight", "has_bits"),
    str: ("band", "path", "sha256", "empty"),
    dict: ("digests",),
}
"""Keys of a band's record by the type of their values, each of which may be missing or None."""

_STORE: dict[type, tuple[str, ...]] = {
    float: ("pixel_scale",),
    int: ("layout", "core_px", "mesh_px"),
    bool: ("has_weight",),
    str: ("mosaic", "wcs"),
    list: ("bands", "shape"),
    dict: ("attrs",),
}
"""Keys of the description of a store, all of which are there."""


def check_description(found: dict[str, Any]) -> None:
    """Raise TypeError where the description of a store is not of the kind that ours are."""
    for kind, keys in _STORE.items():
        for key in keys:
            if not _is_a(kind, found.get(key)):
                raise TypeError(f"{key} is {found.get(key)!r}")
    if len(found["shape"]) != 2 or not all(_is_a(int, length) and length > 0 for length in found["shape"]):
        raise TypeError(f"shape is {found['shape']!r}")
    if not all(isinstance(band, str) for band in found["bands"]):
        raise TypeError(f"bands are {found['bands']!r}")


def check_record(record: dict[str, Any]) -> None:
    """Raise TypeError where the record of a band is not of the kind that ours are; its values are shown and added up."""
    for kind, keys in _BAND.items():
        for key in keys:
            if record.get(key) is not None and not _is_a(kind, record[key]):
                raise TypeError(f"{key} is {record[key]!r}")
    if not all(isinstance(digest, str) for digest in (record.get("digests") or {}).values()):
        raise TypeError(f"digests are {record['digests']!r}")
    unknown = set(record).difference(*_BAND.values())
    if unknown:
        raise TypeError(f"keys {sorted(unknown)} are unknown")


def _is_a(kind: type, value: Any) -> bool:
    """Whether a value of JSON is of a kind; whole numbers are of float too, and NaN and infinity are of none."""
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind
