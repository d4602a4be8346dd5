"""Mosaics from the files on disk: an entry with ``{name}`` in its paths stands for one mosaic per value that is found.

Used by :mod:`surveycnn.mosaic_lists`, for local paths; what is in a bucket is listed in a manifest.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from surveycnn.errors import ConfigError
from surveycnn.paths import is_url, split_path

IMAGE_PATHS = ("path", "weight", "variance", "rms", "mask", "wcs")
"""Keys of an image that are paths."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_FIRST = ("images", 0, "path")
_SHOWN = 5

Values = tuple[str, ...]
Place = tuple[Any, ...]


def absolute_path(path: str, folder: Path) -> str:
    """The path relative to `folder`, absolute; a URL as it is."""
    return path if is_url(path) else str(folder.absolute() / Path(path).expanduser())


def expand_entry(entry: Any, folder: Path, where: str) -> Iterator[Any]:
    """The mosaics that one entry of the list stands for, sorted by the values of its placeholders; itself, if it has none.

    Every placeholder stands in the path of the first image, whose files give the values; id and other paths take them.
    ``*`` and ``?`` stand for what is of no interest: one file per mosaic must match.

    Parameters
    ----------
    where
        What messages call the entry.

    Raises
    ------
    ConfigError
        Where files are missing or match twice, an id is not unique, or a placeholder is not in the first path.
    """
    paths = _paths(entry)
    name = entry.get("id") if paths else None
    if not any(_is_pattern(text, folder) for text in (*paths.values(), name)):
        yield entry
        return
    if not isinstance(name, str):  # which the validation refuses
        yield entry
        return
    first = paths.pop(_FIRST, "")
    names = list(dict.fromkeys(_PLACEHOLDER.findall(first)))
    _check_placeholders([*paths.values(), name], first, names, where)
    matches = _matches(first, folder, names, where)
    _check_ids(name, names, list(matches), where)
    found = {place: _filled(path, folder, names, list(matches), where) for place, path in paths.items()}
    for number, (values, file) in enumerate(matches.items()):
        mosaic = {**entry, "id": _substitute(name, names, values), "images": [dict(image) for image in entry["images"]]}
        for place, path in [(_FIRST, file), *((place, files[number]) for place, files in found.items())]:
            parent = mosaic if len(place) == 1 else mosaic["images"][place[1]]
            parent[place[-1]] = path
        yield mosaic


def _paths(entry: Any) -> dict[Place, str]:
    """Every path of an entry by its place; none where the entry has another form, which the validation refuses."""
    images = entry.get("images") if isinstance(entry, Mapping) else None
    if not isinstance(images, list | tuple) or not all(isinstance(image, Mapping) for image in images):
        return {}
    places: dict[Place, Any] = {
        ("images", number, key): image.get(key) for number, image in enumerate(images) for key in IMAGE_PATHS
    }
    places[("wcs",)] = entry.get("wcs")
    paths = {place: path for place, path in places.items() if isinstance(path, str)}
    return paths if _FIRST in paths else {}


def _is_pattern(text: Any, folder: Path) -> bool:
    """Whether a text has placeholders, or is a local path with wildcards; a file of exactly that name is itself."""
    if not isinstance(text, str) or not (_PLACEHOLDER.search(text) or (not is_url(text) and re.search(r"[*?]", text))):
        return False
    return is_url(text) or not os.path.exists(folder / Path(split_path(text)[0]).expanduser())


def _check_placeholders(texts: Sequence[Any], first: str, names: Sequence[str], where: str) -> None:
    if is_url(first) and names:
        raise ConfigError(
            f"{where}: {first!r} is a URL, in which no files are looked for: list the images in a manifest, a table with the "
            "columns mosaic, band and path (`mosaics: FILE.csv`)"
        )
    for text in texts:
        unknown = [name for name in _PLACEHOLDER.findall(text) if name not in names] if isinstance(text, str) else []
        if unknown:
            known = f"has only {', '.join(f'{{{name}}}' for name in names)}" if names else "has none"
            raise ConfigError(
                f"{where}: {text!r} has the placeholder {{{unknown[0]}}}, but the path of the first image, {first!r}, {known}: "
                "its files give the values, so put it there"
            )


def _check_ids(name: Any, names: Sequence[str], matches: Sequence[Values], where: str) -> None:
    ids: dict[Any, Values] = {}
    for values in matches:
        other = ids.setdefault(_substitute(name, names, values), values)
        if other is not values:
            raise ConfigError(
                f"{where}: the id {name!r} is the same for {_named(names, other)} and {_named(names, values)}: put a placeholder "
                f"into it that tells them apart ({', '.join(f'{{{placeholder}}}' for placeholder in names)})"
            )


def _matches(path: str, folder: Path, names: Sequence[str], where: str) -> dict[Values, str]:
    """Absolute paths of the files that the first image's path stands for, by the values of its placeholders."""
    if is_url(path):
        return {(): path}
    file, hdu = _file_and_rest(path)
    expression = re.compile(_regex(file), re.DOTALL)
    found: dict[Values, list[str]] = {}
    for name in _files(file, folder):
        if match := expression.fullmatch(name):
            found.setdefault(tuple(match[key] for key in names), []).append(name)
    if not found:
        raise ConfigError(f"{where}: no file in {str(folder.absolute())!r} is like {file!r}: correct the path")
    for values, files in found.items():
        if len(files) > 1:
            raise ConfigError(_too_many(files, path, names, values, where))
    return {values: absolute_path(found[values][0] + hdu, folder) for values in sorted(found)}


def _filled(path: str, folder: Path, names: Sequence[str], matches: Sequence[Values], where: str) -> list[str]:
    """Absolute path of another file of each mosaic."""
    results, missing = [], []
    for values in matches:
        wanted = _substitute(path, names, values)
        if is_url(wanted):
            results.append(wanted)
            continue
        file, hdu = _file_and_rest(wanted)
        files = [file] if os.path.exists(folder / file) else _files(file, folder)
        if len(files) > 1:
            raise ConfigError(_too_many(files, path, names, values, where))
        if not files:
            missing.append(_named(names, values) or wanted)
            continue
        results.append(absolute_path(files[0] + hdu, folder))
    if missing:
        raise ConfigError(
            f"{where}: no file is like {path!r} for {_some(missing)} ({len(missing)} of {len(matches)} mosaics): add the files, "
            "or list what there is in a manifest (`mosaics: FILE.csv`)"
        )
    return results


def _file_and_rest(path: str) -> tuple[str, str]:
    """File of a path, with ~ replaced, and its brackets with the HDU."""
    file = split_path(path)[0]
    return os.path.expanduser(file), path[len(file) :]


def _files(file: str, folder: Path) -> list[str]:
    """Files that a pattern stands for, sorted; brackets are themselves, as names of files may have them."""
    return sorted(glob.glob(_PLACEHOLDER.sub("*", file).replace("[", "[[]"), root_dir=folder))


def _regex(file: str) -> str:
    """The pattern as a regular expression with a group for each placeholder, which is the same wherever it stands."""
    parts, seen = [], set[str]()
    for piece in re.split(r"(\{[A-Za-z_]\w*\}|[*?])", file):
        match = _PLACEHOLDER.fullmatch(piece)
        if match is None:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece)))
            continue
        parts.append(f"(?P={match[1]})" if match[1] in seen else f"(?P<{match[1]}>[^/]+)")
        seen.add(match[1])
    return "".join(parts)


def _substitute(text: Any, names: Sequence[str], values: Values) -> Any:
    """The text with the values in place of the placeholders; anything else as it is."""
    value_of = dict(zip(names, values, strict=True))
    return _PLACEHOLDER.sub(lambda match: value_of[match[1]], text) if isinstance(text, str) else text


def _too_many(files: Sequence[str], pattern: str, names: Sequence[str], values: Values, where: str) -> str:
    of_which = f" for {_named(names, values)}" if names else ""
    return f"{where}: {len(files)} files are like {pattern!r}{of_which}, expected one: {_some(files)}: make the path narrower"


def _named(names: Sequence[str], values: Values) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")
