"""Changes of what is inside the files of a model package: configurations of networks, weights, golden arrays."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.fuzz.mutate import NUMBERS, mutated_bytes, mutated_text, mutated_tree, odd_value
from surveycnn.models.package_files import CONFIG_ENTRY, WEIGHTS_ENTRY, ZIP_ERRORS

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
    path = some_file(rng, package, ".keras")
    found = read_zip(path)
    if CONFIG_ENTRY in found:
        text = mutated_text(
            rng, found[CONFIG_ENTRY].decode("utf-8", "replace"), ("[" * 5000, '{"a":' * 2000, "NaN", "1e999", "\\ud800", "null")
        )
        write_zip(path, (found | {CONFIG_ENTRY: text.encode("utf-8", "surrogatepass")}).items())


def weight_bytes(rng: Random, package: Path) -> None:
    """Change bytes of the HDF5 file of weights."""
    path = some_file(rng, package, ".keras")
    found = read_zip(path)
    if WEIGHTS_ENTRY in found:
        tokens = (b"TREE", b"HEAP", b"SNOD", b"OHDR", b"\x89HDF\r\n\x1a\n", b"vars", b"layers", b"\xff" * 8)
        write_zip(path, (found | {WEIGHTS_ENTRY: mutated_bytes(rng, found[WEIGHTS_ENTRY], tokens)}).items())


def weight_arrays(rng: Random, package: Path) -> None:
    """Change arrays of weights: shapes, types, values, packing, and links in their places."""
    import h5py

    path = some_file(rng, package, ".keras")
    found = read_zip(path)
    stream = io.BytesIO(found.get(WEIGHTS_ENTRY, b""))
    try:
        with h5py.File(stream, "r+") as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            for name in rng.sample(names, min(len(names), rng.choice((1, 1, 3)))):
                _change_array(rng, file, name)
    except Exception:  # bytes that were changed before
        return
    write_zip(path, (found | {WEIGHTS_ENTRY: stream.getvalue()}).items())


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
    path = some_file(rng, package, ".npz")
    found = read_zip(path)
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
    write_zip(path, (found | {name: content}).items())


def some_file(rng: Random, package: Path, suffix: str) -> Path:
    return rng.choice(sorted(package.glob(f"*{suffix}")) or [package / f"model{suffix}"])


def _change_config(package: Path, rng: Random, change: Callable[[Any], Any]) -> None:
    path = some_file(rng, package, ".keras")
    found = read_zip(path)
    try:
        tree = json.loads(found[CONFIG_ENTRY])
        found[CONFIG_ENTRY] = json.dumps(change(tree)).encode()
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, RecursionError):  # changed before
        return
    write_zip(path, found.items())


def _nodes(tree: Any) -> list[dict[str, Any]]:
    """All dicts of a tree."""
    own = [tree] if isinstance(tree, dict) else []
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return own + [node for item in items for node in _nodes(item)]


def read_zip(path: Path) -> dict[str, bytes]:
    """Entries of a zip file, none where it was broken before."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (*ZIP_ERRORS, KeyError):
        return {}


def write_zip(path: Path, found: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in found:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content, compression)
