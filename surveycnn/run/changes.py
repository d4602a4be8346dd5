"""What differs between the plan that a work directory holds and another one, and which input files have changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from surveycnn.paths import split_path
from surveycnn.run.inputs import MosaicInputs
from surveycnn.run.plan import Plan
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.files import file_sha256, file_stamp, is_remote
from surveycnn.sky.strips import MAP_KINDS

_SHOWN = 5
_NAMED = {"models": "model", "mosaics": "mosaic"}


def all_changes(record: Mapping[str, Any], plan: Plan) -> list[str]:
    """What of a plan differs from the one that ``plan.json`` holds, one text each."""
    return list(_differences(record["fingerprint"], plan.fingerprint))


def changes_since(record: Mapping[str, Any], plan: Plan) -> str:
    """The first few of :func:`all_changes`."""
    return first_few(all_changes(record, plan))


def first_few(texts: Sequence[str]) -> str:
    """Texts in a line, those after the fifth as their number.

    >>> first_few("abcdefg")
    'a; b; c; d; e and 2 more'
    """
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """One text for each leaf in which two trees of plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if path in _NAMED and not (key in old and key in new):
                yield f"{_NAMED[path]} {key} {'removed' if key in old else 'added'}"
            elif path == "models" and old[key] != new[key]:
                yield f"model {key} has other weights or another card"
            elif path == "mosaics":
                yield from _mosaic_differences(key, old[key], new[key])
            else:
                yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, f"{path}[{index}]")
    elif old != new:
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _mosaic_differences(mosaic: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """The same of a mosaic: bands that are new or gone by their names, as all that is said by image shifts with them."""
    before, now = ({image["band"]: image for image in one.get("images", ())} for one in (old, new))
    if list(before) == list(now):
        yield from _differences(old, new, f"mosaics.{mosaic}")
        return
    yield from (f"band {band} added to mosaic {mosaic}" for band in now if band not in before)
    yield from (f"band {band} removed from mosaic {mosaic}" for band in before if band not in now)
    if set(before) == set(now):
        yield f"bands of mosaic {mosaic}: {', '.join(before)} -> {', '.join(now)}"
    by_image = {"images", "grids", "n_bytes"}
    for band in before.keys() & now.keys():
        yield from _differences(before[band], now[band], f"mosaics.{mosaic}.images.{band}")
    rest, rest_now = ({key: value for key, value in one.items() if key not in by_image} for one in (old, new))
    yield from _differences(rest, rest_now, f"mosaics.{mosaic}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def file_stamps(plan: Plan) -> dict[str, list[int] | None]:
    """Size and time of every local input file, by path."""
    return {path: file_stamp(path) for mosaic in plan.mosaics for path in _local_inputs(mosaic.inputs)}


def changed_files(
    stamps: Mapping[str, list[int] | None], inputs: MosaicInputs, chunks: ChunkStore, *, is_read: bool = True
) -> Iterator[tuple[str, str]]:
    """Band and path of every local file of a mosaic that is in its chunk store with other bytes than it has now.

    Parameters
    ----------
    stamps
        Of :func:`file_stamps`, when the run was planned: files of that size and time are believed.
    is_read
        Read the others and compare digests; if not, they count as changed.
    """
    suspects = touched_files(stamps, inputs)
    finished = chunks.finished_bands() if suspects else ()
    for image in inputs.images:
        digests = (chunks.band_record(image.band) or {}).get("digests", {}) if image.band in finished else {}
        for name, digest in digests.items():
            file = _local_file(image.path if name == "image" else getattr(image, name))
            if file in suspects and not (is_read and file_sha256(file) == digest):
                yield image.band, file


def touched_files(stamps: Mapping[str, list[int] | None], inputs: MosaicInputs) -> set[str]:
    """Local files of a mosaic whose size or time is not that of :func:`file_stamps`."""
    return {path for path in _local_inputs(inputs) if file_stamp(path) != stamps.get(path)}


def _local_inputs(inputs: MosaicInputs) -> Iterator[str]:
    """Local files that the images of a mosaic are read from."""
    for image in inputs.images:
        for path in (image.path, *(getattr(image, kind) for kind in MAP_KINDS)):
            if path is not None and not is_remote(path):
                yield _local_file(path)


def _local_file(path: str) -> str:
    return split_path(path)[0].removeprefix("file://")
