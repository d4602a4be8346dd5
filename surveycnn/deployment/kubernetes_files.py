"""Kubernetes manifests, checked against the schemas of Kubernetes and of the Dask operator, which their packages bring along."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from surveycnn.sections import load_yaml

DASK_GROUP = "kubernetes.dask.org"
NO_SCHEMAS = "note: not checked: install surveycnn[kubernetes]"


def check_manifests(path: Path) -> Iterator[str]:
    """What is wrong with the resources in a file; ``note: ...`` where the schemas are not installed."""
    if not _has_schemas():
        yield NO_SCHEMAS
        return
    for number, resource in enumerate(yaml.safe_load_all(path.read_text(encoding="utf-8"))):
        if not isinstance(resource, dict) or not {"apiVersion", "kind"} <= resource.keys():
            yield f"document {number} is no resource: it has no apiVersion and kind"
            continue
        yield from check_resource(resource)


def check_resource(resource: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one resource."""
    if not _has_schemas():
        yield NO_SCHEMAS
    elif resource["apiVersion"].partition("/")[0] == DASK_GROUP:
        yield from _check_dask(resource)
    else:
        yield from _check_native(resource)


def _has_schemas() -> bool:
    return all(importlib.util.find_spec(name) for name in ("dask_kubernetes", "kubernetes_validate"))


def _check_native(resource: dict[str, Any]) -> Iterator[str]:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{resource['kind']}: {error.message} at {'.'.join(map(str, error.path)) or 'its top'}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"{resource['apiVersion']} has no {resource['kind']}"


def _check_dask(resource: dict[str, Any]) -> Iterator[str]:
    import jsonschema

    schema = _dask_schemas().get(resource["kind"])
    if schema is None:
        yield f"{resource['apiVersion']} has no {resource['kind']}"
        return
    for error in jsonschema.Draft7Validator(schema).iter_errors(resource):
        yield f"{resource['kind']}: {error.message} at {'.'.join(map(str, error.path)) or 'its top'}"
    # The operator's schema lets unknown keys of pods through, which Kubernetes would drop or refuse later.
    for role in ("worker", "scheduler"):
        spec = resource.get("spec", {}).get(role, {}).get("spec")
        if spec is not None:
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": role}, "spec": spec}
            yield from (f"{role}: {problem}" for problem in _check_native(pod))


@cache
def _dask_schemas() -> dict[str, Any]:
    """Schema of each kind of resource of the Dask operator."""
    import dask_kubernetes

    folder = Path(dask_kubernetes.__file__).parent / "operator" / "deployment" / "helm" / "dask-kubernetes-operator" / "crds"
    found = [load_yaml(path.read_text(encoding="utf-8"), str(path)) for path in sorted(folder.glob("*.yaml"))]
    return {crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in found}
