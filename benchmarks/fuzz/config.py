"""Configurations of surveys and of the other flows, their overrides, manifests and patterns: mutated as trees and as text."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from benchmarks.fuzz.command import run_command
from benchmarks.fuzz.images import survey, write_images
from benchmarks.fuzz.mutate import NUMBERS, WORDS, mutated_bytes, mutated_text, mutated_tree, odd_value
from surveycnn.commands.flow import FLOWS, flow_config

SECTIONS: dict[str, dict[str, Any]] = {
    "simulate": {"output": "sim", "ny": 1000, "nx": 1000, "seed": 3},
    "demo": {"output": "demo"},
    "train": {"task": "lens", "output": "trained", "seed": 4},
    "evaluate": {"models": ["lens"], "output": "evaluated", "n": 1000},
    "challenge": {"output": "challenge", "n_challenge": 100, "methods": ["ringfinder"], "seed": 3000},
}
MANIFEST = (
    ("mosaic", "band", "path", "zeropoint", "weight", "plane", "image_wcs", "ebv"),
    ("m1", "r", "plain.fits", "27.0", "weight.fits", "", "", "0.1"),
    ("m1", "i", "sip.fits", "", "", "", "wcs.hdr", ""),
    ("m2", "r", "cube.fits", "25", "", "1", "", ""),
)
BOMBS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)),
    "name: " + "[" * 500 + "]" * 500,
    "name: " + "[" * 100_000,
    "name: " + "{a: " * 2000 + "}" * 2000,
    "&a [*a]",
    "name: &a {x: *a}\nmosaics: *a",
    "name: &a [*a]\noutput: x",
    "name: x\nmosaics: &m [{id: a, images: &i [*m, *m]}, *m]",
    "name: " + "9" * 5000,
    "seed: 0x" + "f" * 100_000,
    "name: !!python/object/apply:os.system ['touch /tmp/x']",
    "name: !!python/name:os.system",
    "name: !!binary aGVsbG8=\noutput: !!set {a, b}",
    "name: !!timestamp 2020-99-99",
    "name: 2020-01-01\noutput: 12:30:45\n",
    "name: !!float abc",
    "name: !!int x",
    "? [a, b]\n: c",
    "? {a: b}\n: c",
    "<<: [1, 2]\nname: x",
    "<<: &a {name: x}\n<<: *a",
    "name: x\nname: y\n",
    "--- a\n--- b\n",
    "%YAML 9.9\n---\nname: x",
    "name: .inf\nmosaics: .nan",
    "\ufeffname: x",
    "name: \x85\u2028",
    "mosaics:\n" + "- {id: m, images: [{band: r, path: x}]}\n" * 3_000,
    "name: " + "x" * 3_000_000,
    "{" + ", ".join(f"k{n}: {n}" for n in range(20_000)) + "}",
    "null",
    "",
    "[]",
)


@dataclass(frozen=True)
class Given:
    """What a command is called with."""

    flow: str
    path: Path
    overrides: tuple[str, ...] = ()
    is_plan: bool = False
    """Whether the command ``plan`` is to be run, which looks at the images, too."""


def prepare(seeds: Path) -> None:
    """Images, and one valid survey of each way to list mosaics."""
    write_images(seeds)
    for number, tree in enumerate(_surveys(seeds)):
        (seeds / f"survey-{number}.yaml").write_text(yaml.safe_dump(tree))
    (seeds / "manifest.csv").write_text("\n".join(",".join(row) for row in MANIFEST) + "\n")


def _surveys(seeds: Path) -> list[dict[str, Any]]:
    plain = survey(None, "plain.fits", seeds, {})
    plain["tiling"]["core_px"] = 256
    plain["mosaics"][0]["images"] += [{"band": band, "path": str(seeds / "plain.fits")} for band in ("g", "z")]
    plain |= {"output": "out", "models": ["photoz"], "cluster": "serial", "formats": ["fits"], "bands": {"i": "i"}}
    plain |= {
        "detection": {"bands": ["r"], "threshold_sigma": 3.0},
        "photometry": {"aperture_arcsec": 2.0},
        "engine": {"kind": "auto"},
    }
    pattern = {"id": "{kind}", "images": [{"band": "r", "path": str(seeds / "{kind}.fits"), "zeropoint": 27.0}]}
    only = {
        "id": "m",
        "images": [{"band": "r", "path": str(seeds / "pl?in.fits")}, {"band": "i", "path": str(seeds / "s*p.fits")}],
    }
    return [plain, plain | {"mosaics": [pattern]}, plain | {"mosaics": str(seeds / "manifest.csv")}, plain | {"mosaics": [only]}]


def valid_cases(seeds: Path, folder: Path) -> list[Given]:
    """Every configuration as it is; the first is planned."""
    cases = [Given("survey", seeds / f"survey-{number}.yaml") for number in (0, 2, 3)]
    for flow, tree in SECTIONS.items():
        (folder / f"{flow}.yaml").write_text(yaml.safe_dump({key: tree[key] for key in tree if key in _keys(flow)}))
        cases.append(Given(flow, folder / f"{flow}.yaml"))
    return cases


def _keys(flow: str) -> list[str]:
    import importlib

    module, _, name = FLOWS[flow].config.partition(":")
    return list(getattr(importlib.import_module(module), name).model_fields)


def make_case(rng: Random, seeds: Path, folder: Path) -> Given:
    """A configuration of which the tree, the text, an override or the manifest is mutated."""
    way = rng.random()
    is_plan = rng.random() < 0.15
    if way < 0.12:
        return _with_manifest(rng, seeds, folder, is_plan)
    if way < 0.35:
        flow = rng.choice(list(SECTIONS))
        tree = SECTIONS[flow] | {key: odd_value(rng) for key in rng.sample(_keys(flow), rng.choice((0, 1, 2)))}
        return Given(flow, _written(rng, folder, mutated_tree(rng, tree, [10**6, "lens"])), _overrides(rng, _keys(flow)))
    if way < 0.42:
        path = folder / "survey.yaml"
        path.write_text(rng.choice(BOMBS), encoding="utf-8")
        return Given(rng.choice(("survey", "survey", *SECTIONS)), path, _overrides(rng, ["name"]), is_plan)
    trees = _surveys(seeds)
    tree = rng.choice(trees)
    keys = [".".join(map(str, path)) for path in _places(tree)]
    if rng.random() < 0.75:
        tree = mutated_tree(rng, tree, [other["mosaics"] for other in trees])
    return Given("survey", _written(rng, folder, tree), _overrides(rng, keys), is_plan)


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


def _written(rng: Random, folder: Path, tree: Any) -> Path:
    """The tree as YAML, whose text is mutated in one of five cases."""
    try:
        text = yaml.dump(tree, allow_unicode=rng.random() < 0.5)
    except (ValueError, TypeError, yaml.YAMLError):  # numbers of too many digits
        text = json.dumps(tree, default=str, skipkeys=True)
    if rng.random() < 0.2:
        text = mutated_text(rng, text, ("- ", ": ", "&a ", "*a", "!!str ", "|\n", "? ", "{", "[", "}", "]", "# ", "--- ", "\t"))
    data = text.encode("utf-8", "surrogatepass")
    path = folder / "survey.yaml"
    path.write_bytes(mutated_bytes(rng, data) if rng.random() < 0.05 else data)
    return path


def _overrides(rng: Random, keys: list[str]) -> tuple[str, ...]:
    if rng.random() < 0.6:
        return ()
    found = []
    for _ in range(rng.choice((1, 1, 3))):
        key = rng.choice((*keys, "a.b.c", "mosaics.0.id", "mosaics.-1", "mosaics.99.id", "name.x", rng.choice(WORDS)))
        value = rng.choice(
            (json.dumps(odd_value(rng), default=str, skipkeys=True), rng.choice(WORDS), "&a [*a]", "[[", "{a: 1}", "*x")
        )
        override = f"{key}={value}" if rng.random() < 0.95 else mutated_text(rng, f"{key}={value}")
        found.append(override.replace("\x00", ""))
    return tuple(found)


def _with_manifest(rng: Random, seeds: Path, folder: Path, is_plan: bool) -> Given:
    rows = [[str(seeds / cell) if cell.endswith((".fits", ".hdr")) else cell for cell in row] for row in MANIFEST]
    for _ in range(rng.choice((1, 2, 4))):
        row = rng.randrange(len(rows))
        column = rng.randrange(len(rows[row]))
        rows[row][column] = rng.choice((rng.choice(WORDS), str(rng.choice(NUMBERS[:-20])), mutated_text(rng, rows[row][column])))
        if rng.random() < 0.2:
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows))[: rng.randrange(1, 9)])
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    data = stream.getvalue().encode("utf-8", "surrogatepass")
    (folder / "manifest.csv").write_bytes(mutated_bytes(rng, data, [b",", b'"', b"\n"]) if rng.random() < 0.5 else data)
    tree = _surveys(seeds)[0] | {"mosaics": "manifest.csv"}
    (folder / "survey.yaml").write_text(yaml.safe_dump(tree))
    return Given("survey", folder / "survey.yaml", (), is_plan)


def run_case(case: Given) -> str:
    """Load the configuration as a flow does, or plan the survey by the command."""
    if case.is_plan and case.flow == "survey":
        return run_command(["plan", str(case.path), *(f"--set={override}" for override in case.overrides)])
    config = flow_config(case.flow, str(case.path), list(case.overrides))
    config.model_dump(mode="json")
    return "loaded"
