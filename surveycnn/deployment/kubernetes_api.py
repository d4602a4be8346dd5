"""What running on Kubernetes needs: the Dask operator, and the right to make its resources."""

from __future__ import annotations

from collections.abc import Iterator

from surveycnn.deployment.findings import Finding
from surveycnn.deployment.machine import ANSWER_SECONDS, Answer, ask, command, package

RESOURCES = ("daskclusters", "daskworkergroups", "daskautoscalers")
GROUP = "kubernetes.dask.org"


def kubernetes() -> Iterator[Finding]:
    """Pods of a Kubernetes cluster as workers, by the Dask operator."""
    yield package("dask-kubernetes", "kubernetes")
    found = command("kubectl", "install it, or check from a pod or machine that has it")
    yield found
    if found.kind == "missing":
        return
    version = _kubectl("get", "--raw", "/version")
    if not version.is_ok:
        yield Finding("missing", f"no Kubernetes API answers ({version.error})", "set KUBECONFIG, or choose a context of kubectl")
        return
    yield Finding("ok", "the Kubernetes API answers")
    known = _kubectl("api-resources", f"--api-group={GROUP}", "--output=name")
    names = {line.partition(".")[0] for line in known.output.splitlines()}
    if not set(RESOURCES) <= names:
        yield Finding("missing", "the Dask operator is not installed", "see docs/kubernetes.md for its Helm chart")
        return
    yield Finding("ok", "the Dask operator's resources are there")
    for resource in RESOURCES[::2]:
        asked = _kubectl("auth", "can-i", "create", f"{resource}.{GROUP}")
        advice = "apply deploy/k8s, or ask for the role that is in it"
        yield Finding("ok", f"may create {resource}") if asked.is_ok else Finding("missing", f"may not create {resource}", advice)


def _kubectl(*words: str) -> Answer:
    return ask("kubectl", f"--request-timeout={ANSWER_SECONDS / 2:g}s", *words)
