"""The files in deploy/, each checked as far as that goes without a cluster, a server or a network."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

import surveycnn.deploy
from surveycnn.deployment.cluster_files import check_cluster_file
from surveycnn.deployment.findings import Finding
from surveycnn.deployment.kubernetes_files import check_manifests
from surveycnn.deployment.machine import ask
from surveycnn.errors import UserError

DEPLOY = Path(surveycnn.deploy.__file__).resolve().parent
PREFECT_YAML = "prefect.yaml"
NOT_CHECKED = ("README.md", "__init__.py", "__pycache__/*", ".*")

_INSTRUCTIONS = "ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split()
_SECTIONS = "post files environment runscript labels help test arguments setup startscript".split()

Problems = Iterator[str]
"""What is wrong with a file, one line each."""


def check_files(folder: Path = DEPLOY) -> Iterator[tuple[str, Finding]]:
    """Name and finding of each file in `folder`; files of a kind that nobody knows how to check are wrong."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(fnmatch.fnmatch(name, pattern) for pattern in NOT_CHECKED):
            yield name, check_file(path, name)


def check_file(path: Path, name: str) -> Finding:
    """Finding about one file, by its name relative to deploy/."""
    check = next((check for pattern, check in CHECKS.items() if fnmatch.fnmatch(name, pattern)), None)
    if check is None:
        return Finding("wrong", name, f"no file of this kind is known; known are {', '.join(CHECKS)}")
    return finding_of(name, check, path)


def finding_of(name: str, check: Callable[[Path], Problems], path: Path) -> Finding:
    """What `check` says about a file, under the name that is shown; problems that begin with ``note: `` are none."""
    try:
        problems = list(check(path))
    except (yaml.YAMLError, ValueError, OSError, UserError) as error:  # JSON and Unicode errors are ValueErrors
        problems = [" ".join(str(error).split())]
    wrong = [problem for problem in problems if not problem.startswith("note: ")]
    if wrong:
        return Finding("wrong", name, "; ".join(wrong))
    return Finding("note" if problems else "ok", name, "; ".join(problem.removeprefix("note: ") for problem in problems))


def prefect_entries() -> list[dict[str, Any]]:
    """Entries of prefect.yaml."""
    return yaml.safe_load((DEPLOY / PREFECT_YAML).read_text(encoding="utf-8"))["deployments"]


def _check_prefect(path: Path) -> Problems:
    from prefect import Flow
    from prefect.flows import load_flow_from_entrypoint

    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]:
        where = f"deployment {entry.get('name')!r}"
        absent = {"name", "entrypoint", "work_pool"} - entry.keys()
        if absent:
            yield f"{where} has no {' and no '.join(sorted(absent))}"
            continue
        try:
            flow: Flow = load_flow_from_entrypoint(entry["entrypoint"])
        except Exception as error:  # whatever importing somebody's module raises
            yield f"{where}: entrypoint {entry['entrypoint']!r} cannot be loaded ({error})"
            continue
        unknown = entry.get("parameters", {}).keys() - flow.parameters.properties.keys()
        if unknown:
            yield f"{where}: the flow {flow.name} has no parameter {', '.join(sorted(unknown))}"


def _check_compose(path: Path) -> Problems:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    services = tree["services"]
    for name, service in services.items():
        if not service.keys() & {"image", "build"}:
            yield f"service {name} has neither image nor build"
        after = service.get("depends_on", [])
        yield from (f"service {name} depends on {other}, which there is not" for other in after if other not in services)
        mounts = [str(mount) for mount in service.get("volumes", []) if isinstance(mount, str)]
        named = [mount.partition(":")[0] for mount in mounts if mount[0] not in "./~$"]
        yield from (
            f"service {name} mounts volume {one}, which there is not" for one in named if one not in tree.get("volumes", {})
        )


def _check_dockerfile(path: Path) -> Problems:
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    stages = {words[-1] for words in map(str.split, lines) if words[0] == "FROM" and "AS" in words}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word not in _INSTRUCTIONS:
            yield f"{word!r} is no instruction"
        if word == "COPY":
            yield from _check_copied(rest.split(), stages)
    if not any(line.startswith("USER ") for line in lines):
        yield "it runs as root: end with USER"


def _check_copied(words: list[str], stages: set[str]) -> Problems:
    options = [word for word in words if word.startswith("--")]
    taken = next((option.partition("=")[2] for option in options if option.startswith("--from=")), None)
    if taken is not None:
        yield from () if taken in stages else (f"COPY from stage {taken!r}, which there is not",)
        return
    sources = [word for word in words if not word.startswith("--")][:-1]
    yield from _absent(sources)


def _absent(sources: list[str]) -> Problems:
    root = DEPLOY.parent
    if (root / "pyproject.toml").is_file():  # an installed package has no build context
        yield from (f"{source} is not in the checkout" for source in sources if not (root / source).exists())


def _check_apptainer(path: Path) -> Problems:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = dict(line.lower().split(":", 1) for line in lines if re.match(r"(?i)(bootstrap|from)\s*:", line))
    yield from (f"no {key} in its header" for key in ("bootstrap", "from") if key not in header)
    sections = [line[1:].split()[0] for line in lines if line.startswith("%")]
    yield from (f"%{section} is no section" for section in sections if section not in _SECTIONS)
    if "post" not in sections:
        yield "no %post"


def _check_script(path: Path) -> Problems:
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines[0].startswith("#!"):
        yield f"its first line is {lines[0]!r}, expected #!"
    first_command = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    late = [line for line in lines[first_command:] if line.startswith("#SBATCH")]
    yield from (f"Slurm does not read {line!r} after the first command" for line in late)
    if shutil.which("bash") is None:
        yield "note: read, but its syntax is not checked: bash is not on the PATH"
        return
    checked = ask("bash", "-n", str(path))
    if not checked.is_ok:
        yield checked.error
    if shutil.which("shellcheck") and not (linted := ask("shellcheck", "--format=gcc", str(path))).is_ok:
        yield from linted.output.splitlines()


def _check_unit(path: Path) -> Problems:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # keys of systemd have capitals
    unit.read_string(path.read_text(encoding="utf-8"))
    if not unit.has_option("Service", "ExecStart"):
        yield "no ExecStart in [Service]"


def _check_job_template(path: Path) -> Problems:
    tree = json.loads(path.read_text(encoding="utf-8"))
    yield from (f"no key {key}" for key in ("variables", "job_configuration") if key not in tree)
    used = set(re.findall(r"{{\s*(\w+)\s*}}", json.dumps(tree.get("job_configuration"))))
    unknown = used - tree.get("variables", {}).get("properties", {}).keys()
    yield from (f"variable {name} is not described" for name in sorted(unknown))


CHECKS: dict[str, Callable[[Path], Problems]] = {
    "clusters/*.yaml": check_cluster_file,
    PREFECT_YAML: _check_prefect,
    "compose.yaml": _check_compose,
    "docker/*.Dockerfile": _check_dockerfile,
    "apptainer/*.def": _check_apptainer,
    "slurm/*.sbatch": _check_script,
    "*/*.service": _check_unit,
    "k8s/prefect-job-template.json": _check_job_template,
    "k8s/*.yaml": check_manifests,
}
