"""Model packages: cards, zip files, configurations of networks, weights and golden arrays, most of them signed again."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml

from benchmarks.fuzz.command import run_command
from benchmarks.fuzz.mutate import WORDS, mutated_bytes, mutated_text, mutated_tree
from benchmarks.fuzz.package_contents import (
    config_classes,
    config_graph,
    config_numbers,
    config_text,
    config_tree,
    golden_arrays,
    read_zip,
    some_file,
    weight_arrays,
    weight_bytes,
    write_zip,
)
from surveycnn.models.package_files import file_sha256

SECONDS, MEMORY_MB = 60.0, 2048.0
SIGNED_SHARE = 0.8
CHECK_SHARE = 0.8
"""Of cases that go to ``surveycnn models check``; the others to the Python function that loads a model."""

_COUNT = itertools.count(1)


@dataclass(frozen=True)
class Case:
    """A package and what looks at it."""

    folder: Path
    way: str
    mutations: tuple[str, ...]


def prepare(seeds: Path) -> None:
    """Packages of tiny networks: plain layers, a committee with a first stage, operations beside fluxes, one for tables."""
    from benchmarks.fuzz.tiny_packages import write_tiny_packages

    write_tiny_packages(seeds)


def valid_cases(seeds: Path, folder: Path) -> Iterable[Case]:
    """Every package, looked at in every way."""
    for seed in sorted(seeds.iterdir()):
        package = shutil.copytree(seed, folder / seed.name)
        for way in ("check", "tensorflow", "openvino"):
            yield Case(package, _way(seed.name, way), ())


def make_case(rng: Random, seeds: Path, folder: Path) -> Case:
    """A package with one or a few of its files changed."""
    seed = rng.choice(sorted(seeds.iterdir()))
    package = shutil.copytree(seed, folder / "package")
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = rng.choice(_MUTATIONS)
        with contextlib.suppress(Exception):  # what one has broken, the next cannot change
            mutation(rng, package)
            done.append(mutation.__name__)
    if rng.random() < SIGNED_SHARE:
        sign(package)
        done.append("sign")
    if rng.random() < 0.05:
        file_kind(rng, package)  # the last: to read from a pipe would take for ever
    way = "check" if rng.random() < CHECK_SHARE else rng.choice(("tensorflow", "tensorflow", "tensorflow", "openvino"))
    return Case(package, _way(seed.name, way), tuple(done))


def _way(name: str, way: str) -> str:
    return "photoz" if name == "table" and way != "check" else way


def run_case(case: Case) -> str:
    """Check the package by the command line, or load it."""
    os.environ["SURVEYCNN_CACHE"] = str(case.folder.parent / "cache")
    try:
        if case.way == "check":
            return run_command(["models", "check", str(case.folder)])
        if case.way == "photoz":
            from surveycnn.photoz.package import load_photoz

            return repr(load_photoz(case.folder))[:11]
        from surveycnn.inference.load import load_model

        return repr(load_model(case.folder, engine=case.way, batch_size=4, n_threads=1))[:9]
    finally:
        if next(_COUNT) % 100 == 0:
            import keras

            keras.backend.clear_session()  # Keras remembers the names of all layers; half a second


def sign(package: Path) -> None:
    """Write the digests of the files as they now are into the card, as a careful forger would."""
    try:
        card = yaml.safe_load((package / "card.yaml").read_text(encoding="utf-8"))
        for name in card["sha256"]:
            card["sha256"][name] = file_sha256(package / name) if (package / name).is_file() else "0" * 64
        text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True)
        (package / "card.yaml").write_text(text, encoding="utf-8")
    except Exception:  # the card is beyond signing
        return


def card_tree(rng: Random, package: Path) -> None:
    """Change keys and values of the card."""
    path = package / "card.yaml"
    tree = mutated_tree(rng, yaml.safe_load(path.read_text(encoding="utf-8")))
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=rng.random() < 0.5)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


def card_text(rng: Random, package: Path) -> None:
    """Change the text of the card."""
    tokens = (
        "&a",
        "*a",
        "<<: *a",
        "!!python/object/apply:os.system [x]",
        "!!binary ZZ",
        "!!timestamp x",
        "!!int x",
        "? ",
        "- " * 500,
        "---",
    )
    path = package / "card.yaml"
    path.write_text(mutated_text(rng, path.read_text(encoding="utf-8"), tokens), encoding="utf-8", errors="surrogatepass")


def card_bytes(rng: Random, package: Path) -> None:
    """Change bytes of the card."""
    path = package / "card.yaml"
    path.write_bytes(mutated_bytes(rng, path.read_bytes()))


def file_bytes(rng: Random, package: Path) -> None:
    """Change bytes of a zip file, with its structure."""
    path = some_file(rng, package, rng.choice((".keras", ".npz")))
    if path.is_file():
        tokens = (
            b"PK\x01\x02",
            b"PK\x03\x04",
            b"PK\x05\x06",
            b"PK\x06\x06",
            b"PK\x06\x07",
            b"config.json",
            b"raw.npy",
            b"../",
            b"\x09\x00",
        )
        path.write_bytes(mutated_bytes(rng, path.read_bytes(), tokens))


def file_kind(rng: Random, package: Path) -> None:
    """Put something else in the place of a file."""
    path = rng.choice(sorted(package.iterdir()))
    path.unlink()
    way = rng.randrange(7)
    if way == 0:
        path.mkdir()
    elif way == 1:
        os.mkfifo(path)
    elif way in (2, 3):
        path.symlink_to(("/etc/passwd", "/dev/zero")[way - 2])
    elif way == 4:
        path.symlink_to(path)
    elif way == 5:
        path.write_bytes(b"")


def entries(rng: Random, package: Path) -> None:
    """Change names, number and packing of zip entries."""
    path = some_file(rng, package, rng.choice((".keras", ".npz")))
    found = list(read_zip(path).items())
    if not found:
        return
    number = rng.randrange(len(found))
    name, content = found[number]
    odd = (f"../{name}", f"/tmp/{name}", name.upper(), f"{name}/", f"assets/{name}", rng.choice(WORDS), f"{name}\x00.py")
    change = rng.randrange(5)
    if change == 0:
        found[number] = (rng.choice(odd), content)
    elif change == 1:
        found.append((rng.choice((name, *odd)), rng.choice((content, b"", b"x"))))
    elif change == 2:
        del found[number]
    elif change == 3:
        found[number] = (name, content + b" " * rng.choice((1, 1000, 10_000_000)))
    write_zip(path, found, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


_MUTATIONS: tuple[Callable[[Random, Path], None], ...] = (
    *(card_tree, card_tree, card_text, card_bytes, file_bytes, file_bytes, entries, entries, config_tree, config_tree),
    *(config_classes, config_classes, config_numbers, config_numbers, config_graph, config_text, weight_bytes, weight_arrays),
    *(weight_arrays, golden_arrays),
)
