"""The wheel holds exactly what the checkout holds: a forgotten sub-package would be dropped from it in silence."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the files that git knows, so that nothing else can slip in."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def in_tree() -> set[str]:
    """Files of the package as a wheel would name them."""
    found = set()
    places = {"surveycnn": "surveycnn"} | {name: f"surveycnn/{name}" for name in ("flows", "catalogs", "deploy")}
    for folder, package in places.items():
        listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, check=True, text=True).stdout
        found |= {f"{package}/{Path(name).relative_to(folder).as_posix()}" for name in listed.split()}
    return found


def test_wheel__has_the_files_of_the_tree(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == in_tree()


def test_wheel__checks_its_own_deployments(wheel, tmp_path):
    """Far from any checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [sys.executable, "-m", "surveycnn", "deploy", "check", "local", "--json"]
    checked = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    files = [finding["text"] for finding in json.loads(checked.stdout)["files"]]
    assert {"clusters/local.yaml", "prefect.yaml"} <= set(files)


def test_checkout__finds_flows_and_catalogs_in_the_package():
    assert Path(importlib.import_module("surveycnn.catalogs.columns").__file__) == ROOT / "catalogs" / "columns.py"
    assert Path(importlib.import_module("surveycnn.flows.survey").__file__) == ROOT / "flows" / "survey.py"


def test_lock__satisfies_the_bounds_of_the_project():
    """Every direct dependency is in the lock, once for each Python that needs its own version."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(text) for text in (*project["dependencies"], *extras["simulation"], *extras["test"])]
    locked = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0].isalnum()]
    for requirement in wanted:
        versions = [str(lock.specifier).removeprefix("==") for lock in locked if lock.name.lower() == requirement.name.lower()]
        assert versions, f"{requirement.name} is not in requirements.lock: run `make lock`"
        assert all(requirement.specifier.contains(v) for v in versions), f"{requirement}: locked {versions}: run `make lock`"
