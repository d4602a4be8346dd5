"""Images without Docker: their files name what is there, install what is locked, and run as nobody in particular."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = {name: ROOT / "deploy" / "docker" / f"{name}.Dockerfile" for name in ("cpu", "cuda")}
LOCKS = {"cpu": "requirements.lock", "cuda": "requirements-cuda.lock"}

Instructions = list[tuple[str, str]]


def instructions(name: str) -> Instructions:
    """Instructions of a Dockerfile with their arguments, continued lines joined."""
    text = "\n".join(line for line in FILES[name].read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in lines if line.strip())]


def stages(name: str) -> list[Instructions]:
    found: list[Instructions] = []
    for one in instructions(name):
        if one[0] == "FROM":
            found.append([])
        found[-1].append(one)
    return found


def environment(stage: Instructions) -> dict[str, str]:
    return {
        key: value for word, rest in stage if word == "ENV" for key, _, value in (pair.partition("=") for pair in rest.split())
    }


def sources(name: str) -> list[str]:
    """What is copied from the folder of the build."""
    copies = [rest.split() for word, rest in instructions(name) if word == "COPY" and not rest.startswith("--from")]
    return [source for words in copies for source in words[:-1]]


def locked(name: str) -> dict[str, set[str]]:
    """Versions by package; several where they depend on the version of Python."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        package, _, version = line.partition(";")[0].strip().partition("==")
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("name", FILES)
def test_dockerfile__instructions_and_sources(name):
    known = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions(name)} <= known
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in sources(name):
        assert (ROOT / source).exists() and source in let_through
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    package_folders = {folder.partition("/")[0] for folder in project["tool"]["setuptools"]["package-dir"].values()}
    assert package_folders | {LOCKS[name], project["project"]["readme"]} | set(project["project"]["license-files"]) <= set(
        sources(name)
    )


@pytest.mark.parametrize("name", FILES)
def test_dockerfile__last_stage_has_no_tools_and_no_root(name):
    build, final = stages(name)
    assert build[0][1].endswith("AS build")
    (base,) = {stage[0][1].split()[0] for stage in (build, final)}
    assert re.fullmatch(r"python:3\.1[12]-slim-\w+", base), "the same Python in both stages, by a tag that names the release"
    assert not any("pip" in rest or "apt" in rest for word, rest in final if word == "RUN")
    steps = dict(final)
    assert json.loads(steps["ENTRYPOINT"]) == ["surveycnn"], "exec form: a shell would keep SIGTERM to itself"
    assert int(steps["USER"].partition(":")[0]) >= 1000
    env = environment(final)
    assert (env["PYTHONUNBUFFERED"], env["DO_NOT_TRACK"], env["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "1", "false")
    assert env["USER"], "dask-kubernetes asks for a name, which not every number has"
    assert "NVIDIA_VISIBLE_DEVICES" not in env, "a pod that asks for no GPU would see all of them"


def test_dockerfile__cpu_takes_known_extras():
    run = next(rest for word, rest in instructions("cpu") if word == "RUN" and "tomllib" in rest)
    extras = re.search(r"for extra in \(([^)]*)\)", run)[1]
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"\w+", extras)) == {"simulation", "kubernetes", "s3"} <= set(known)
    assert "--constraint requirements.lock" in run


def test_locks__agree():
    """Dask of the CPU image schedules for workers of the CUDA image."""
    cpu, cuda = locked("requirements.lock"), locked("requirements-cuda.lock")
    shared = cpu.keys() & cuda.keys()
    assert {"dask", "distributed", "tensorflow", "keras", "numpy", "zarr"} <= shared
    assert {name: cpu[name] for name in shared} == {name: cuda[name] for name in shared}
    assert {"dask-cuda", "nvidia-cudnn-cu12", "dask-kubernetes", "dask-jobqueue", "s3fs", "lenstronomy"} <= cuda.keys()
    assert not {"pytest", "moto", "ruff"} & cuda.keys()
    assert not [name for name in cuda if name.endswith("-cu13")], "two CUDA majors in one process"
