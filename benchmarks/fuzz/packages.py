"""Model packages: cards, zip files, configurations of networks, weights and golden arrays, most of them signed again."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from benchmarks.fuzz.command import run_command
from benchmarks.fuzz.mutate import NUMBERS, WORDS, mutated_bytes, mutated_text, mutated_tree, odd_value
from surveycnn.models.package_files import CONFIG_ENTRY, WEIGHTS_ENTRY, file_sha256

SECONDS, MEMORY_MB = 60.0, 2048.0
SIGNED_SHARE = 0.8
CHECK_SHARE = 0.8
"""Of cases that go to ``surveycnn models check``; the others to the Python function that loads a model."""

_COUNT = itertools.count(1)

_EVIL = (
    *("keras.layers.Lambda", "keras.layers.TFSMLayer", "keras.layers.TorchModuleWrapper", "keras.layers.JaxLayer"),
    *("keras.layers.StringLookup", "keras.layers.TextVectorization", "keras.layers.IntegerLookup", "keras.layers.Pipeline"),
    *("keras.layers.TimeDistributed", "keras.layers.RNN", "keras.models.load_model", "keras.utils.get_file", "keras.Model"),
    *("keras.src.ops.core.Map", "keras.src.ops.core.WhileLoop", "keras.src.models.cloning.clone_model", "keras.metrics.Mean"),
    *("keras.optimizers.Adam", "keras.src.saving.saving_lib.load_model", "builtins.eval", "builtins.function", "os.system"),
    *("None.Conv2D", "None.__lambda__", "None.__typespec__", "None.__bytes__", "keras.layers.Layer", "keras.layers.InputSpec"),
)
_GOOD = (
    *("keras.layers.Dense", "keras.layers.Conv2D", "keras.layers.Embedding", "keras.layers.UpSampling2D", "keras.layers.Flatten"),
    *("keras.layers.MultiHeadAttention", "keras.layers.Resizing", "keras.layers.RandomRotation", "keras.layers.Reshape"),
    *(
        "keras.layers.ZeroPadding2D",
        "keras.layers.PReLU",
        "keras.layers.RepeatVector",
        "keras.layers.EinsumDense",
        "keras.Sequential",
    ),
    *("keras.src.ops.numpy.Tile", "keras.src.ops.numpy.Repeat", "keras.src.ops.numpy.Pad", "keras.src.ops.numpy.BroadcastTo"),
    *(
        "keras.src.ops.nn.OneHot",
        "keras.src.ops.image.Resize",
        "keras.src.ops.numpy.Einsum",
        "keras.src.models.functional.Functional",
    ),
)
_FIELDS = (
    "units",
    "filters",
    "kernel_size",
    "batch_shape",
    "shape",
    "target_shape",
    "strides",
    "dtype",
    "activation",
    "name",
    "axis",
)


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


def _some_file(rng: Random, package: Path, suffix: str) -> Path:
    return rng.choice(sorted(package.glob(f"*{suffix}")) or [package / f"model{suffix}"])


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
    path = _some_file(rng, package, rng.choice((".keras", ".npz")))
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
    path = _some_file(rng, package, rng.choice((".keras", ".npz")))
    found = list(_read_zip(path).items())
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
    _write_zip(path, found, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


def config_tree(rng: Random, package: Path) -> None:
    """Change any nodes of a configuration."""
    _change_config(package, rng, lambda tree: mutated_tree(rng, tree, _nodes(tree)))


def config_classes(rng: Random, package: Path) -> None:
    """Name other classes."""

    def change(tree: Any) -> Any:
        nodes = [node for node in _nodes(tree) if "class_name" in node]
        for _ in range(rng.choice((1, 1, 2, 5))):
            node = rng.choice(nodes)
            module, _, name = rng.choice(_EVIL + _GOOD if rng.random() < 0.7 else _GOOD).rpartition(".")
            node |= {"module": None if module == "None" else module, "class_name": name}
            if rng.random() < 0.5:
                node["registered_name"] = rng.choice((None, name, "os>system", "function"))
            if rng.random() < 0.5 and isinstance(node.get("config"), dict):
                node["config"] |= {rng.choice(_FIELDS): odd_value(rng)}
        return tree

    _change_config(package, rng, change)


def config_numbers(rng: Random, package: Path) -> None:
    """Ask for sizes, shapes and types that nobody has."""

    def change(tree: Any) -> Any:
        nodes = [node for node in _nodes(tree) if set(node) & set(_FIELDS)]
        for _ in range(rng.choice((1, 1, 2, 8))):
            node = rng.choice(nodes)
            field = rng.choice(sorted(set(node) & set(_FIELDS)))
            old, number = node[field], rng.choice(NUMBERS)
            if isinstance(old, list) and old:
                place = rng.randrange(len(old))
                node[field] = [*old[:place], number, *old[place + 1 :]]
            else:
                node[field] = number if isinstance(old, int) else odd_value(rng)
        return tree

    _change_config(package, rng, change)


def config_graph(rng: Random, package: Path) -> None:
    """Change how layers are called, how often, and how deep they lie."""

    def change(tree: Any) -> Any:
        networks = [
            node["config"] for node in _nodes(tree) if isinstance(node.get("config"), dict) and "layers" in node["config"]
        ]
        layers = rng.choice(networks)["layers"]
        layer = rng.choice(layers)
        way = rng.randrange(5)
        if way == 0:
            layer["inbound_nodes"] = layer.get("inbound_nodes", []) * rng.choice((0, 2, 10, 30_000))
        elif way == 1:
            layers += [layer] * rng.choice((1, 5))
        elif way == 2:
            rng.shuffle(layers)
        elif way == 3:
            for _ in range(rng.choice((1, 3, 25, 2000))):
                layer = {"class_name": "Functional", "module": "keras.src.models.functional", "config": {"layers": [layer]}}
            layers.append(layer | {"name": "deep", "inbound_nodes": []})
        else:
            layers.append(json.loads(json.dumps(tree)) | {"name": "itself", "inbound_nodes": layer.get("inbound_nodes", [])})
        return tree

    _change_config(package, rng, change)


def config_text(rng: Random, package: Path) -> None:
    """Change the text of a configuration."""
    path = _some_file(rng, package, ".keras")
    found = _read_zip(path)
    if CONFIG_ENTRY in found:
        text = mutated_text(
            rng, found[CONFIG_ENTRY].decode("utf-8", "replace"), ("[" * 5000, '{"a":' * 2000, "NaN", "1e999", "\\ud800", "null")
        )
        _write_zip(path, (found | {CONFIG_ENTRY: text.encode("utf-8", "surrogatepass")}).items())


def weight_bytes(rng: Random, package: Path) -> None:
    """Change bytes of the HDF5 file of weights."""
    path = _some_file(rng, package, ".keras")
    found = _read_zip(path)
    if WEIGHTS_ENTRY in found:
        tokens = (b"TREE", b"HEAP", b"SNOD", b"OHDR", b"\x89HDF\r\n\x1a\n", b"vars", b"layers", b"\xff" * 8)
        _write_zip(path, (found | {WEIGHTS_ENTRY: mutated_bytes(rng, found[WEIGHTS_ENTRY], tokens)}).items())


def weight_arrays(rng: Random, package: Path) -> None:
    """Change arrays of weights: shapes, types, values, packing, and links in their places."""
    import h5py

    path = _some_file(rng, package, ".keras")
    found = _read_zip(path)
    stream = io.BytesIO(found.get(WEIGHTS_ENTRY, b""))
    try:
        with h5py.File(stream, "r+") as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            for name in rng.sample(names, min(len(names), rng.choice((1, 1, 3)))):
                _change_array(rng, file, name)
    except Exception:  # bytes that were changed before
        return
    _write_zip(path, (found | {WEIGHTS_ENTRY: stream.getvalue()}).items())


def _change_array(rng: Random, file: Any, name: str) -> None:
    import h5py

    values = file[name][()]
    del file[name]
    way = rng.randrange(9)
    if way == 0:
        file[name] = h5py.ExternalLink("/etc/passwd", "/x")
    elif way == 1:
        file[name] = h5py.SoftLink("/")
    elif way == 2:
        file.create_dataset(name, shape=(1000,), dtype="u1", external=[("/etc/passwd", 0, 1000)])
    elif way == 3:
        file.create_dataset(name, shape=(10**6, 10**6), dtype="f4", chunks=(100, 100), compression="gzip")
    elif way == 4:
        layout = h5py.VirtualLayout(shape=(1000,), dtype="f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(1000,))
        file.create_virtual_dataset(name, layout)
    elif way == 5:
        file[name] = values * rng.choice((float("nan"), float("inf"), 1e30, 0.0))
    elif way == 6:
        file[name] = np.zeros(
            rng.choice(((), (0,), (1,), (3, 3), (*values.shape, 2))), rng.choice(("f4", "f8", "S5", "i8", "?", "c8"))
        )
    elif way == 7:
        file[name] = file["/"]


def golden_arrays(rng: Random, package: Path) -> None:
    """Change the arrays of a golden file, or the headers before them."""
    path = _some_file(rng, package, ".npz")
    found = _read_zip(path)
    if not found:
        return
    name = rng.choice(sorted(found))
    content, header = found[name], rng.random() < 0.5
    if header:
        shape = rng.choice(
            (str(rng.choice(NUMBERS)), "(10**9,)", "(9999999999, 9999999)", "(-1,)", "()", "((1,),)", "'x'", "(True, 2)")
        )
        dtype = rng.choice(("'|O'", "'<f4'", "'>f8'", "'<U99999999'", "[('a', '<f4')]", "'<M8[s]'", "None", "'V9999999999'"))
        text = f"{{'descr': {dtype}, 'fortran_order': {rng.choice(('True', 'False', '1'))}, 'shape': {shape}, }}\n".encode()
        content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content[-256:]
    else:
        stream = io.BytesIO()
        values: Any = rng.choice(
            (np.zeros(3), np.full((4, 1), np.nan, np.float32), np.array([{}, []], object), np.zeros((5000, 2), "f4"))
        )
        np.save(stream, values, allow_pickle=True)
        content = stream.getvalue()
    _write_zip(path, (found | {name: content}).items())


_MUTATIONS: tuple[Callable[[Random, Path], None], ...] = (
    *(card_tree, card_tree, card_text, card_bytes, file_bytes, file_bytes, entries, entries, config_tree, config_tree),
    *(config_classes, config_classes, config_numbers, config_numbers, config_graph, config_text, weight_bytes, weight_arrays),
    *(weight_arrays, golden_arrays),
)


def _change_config(package: Path, rng: Random, change: Callable[[Any], Any]) -> None:
    path = _some_file(rng, package, ".keras")
    found = _read_zip(path)
    try:
        tree = json.loads(found[CONFIG_ENTRY])
        found[CONFIG_ENTRY] = json.dumps(change(tree)).encode()
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, RecursionError):  # changed before
        return
    _write_zip(path, found.items())


def _nodes(tree: Any) -> list[dict[str, Any]]:
    """All dicts of a tree."""
    own = [tree] if isinstance(tree, dict) else []
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return own + [node for item in items for node in _nodes(item)]


def _read_zip(path: Path) -> dict[str, bytes]:
    """Entries of a zip file, none where it was broken before."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return {}


def _write_zip(path: Path, found: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in found:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content, compression)
