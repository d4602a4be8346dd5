"""``surveycnn deploy check``: what this machine lacks for each target, and whether the files in deploy/ are right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from surveycnn.deployment.cluster_files import check_cluster_file
from surveycnn.deployment.files import check_files, finding_of
from surveycnn.deployment.findings import Finding, is_ready
from surveycnn.deployment.targets import TARGETS
from surveycnn.errors import ConfigError, did_you_mean, printable


def check(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 2 where a file is wrong, or a target that was asked for cannot be used here."""
    unknown = [name for name in arguments.targets if name not in TARGETS]
    if unknown:
        hint = did_you_mean(unknown[0], TARGETS)
        raise ConfigError(f"there is no target {', '.join(map(repr, unknown))}: {hint}the targets are {', '.join(TARGETS)}")
    targets = {name: list(TARGETS[name]()) for name in arguments.targets or TARGETS}
    files = [finding for _, finding in check_files()] + [_own_cluster(path) for path in arguments.cluster]
    if arguments.json:
        record = {
            name: {"ready": is_ready(found), "findings": [one.as_dict() for one in found]} for name, found in targets.items()
        }
        print(json.dumps({"targets": record, "files": [one.as_dict() for one in files]}, indent=1))
    else:
        print(printable(check_text(targets, files)))
    ready = [is_ready(targets[name]) for name in arguments.targets]
    return 0 if all(ready) and is_ready(files) else 2


def check_text(targets: dict[str, list[Finding]], files: list[Finding]) -> str:
    """The findings for people: ready targets first said, then what is missing."""
    lines = []
    for name, findings in targets.items():
        n_missing = sum(not is_ready([one]) for one in findings)
        lines.append(f"{name}: " + (f"not ready, {n_missing} missing" if n_missing else "ready"))
        lines += [f"  {one.line()}" for one in findings]
    n_right = sum(is_ready([one]) for one in files)
    lines.append(f"files of deploy/: {n_right} of {len(files)} right")
    lines += [f"  {one.line()}" for one in files if one.kind != "ok"]
    return "\n".join(lines)


def _own_cluster(name: str) -> Finding:
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"cluster file {name!r} does not exist: check the path")
    return finding_of(name, check_cluster_file, path)
