"""Dask clusters on Kubernetes: the class behind ``deploy/clusters/k8s-*.yaml``; needs dask-kubernetes, and the Dask operator."""

from __future__ import annotations

import copy
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dask_kubernetes.operator import KubeCluster

from surveycnn.errors import ClusterError

CLOSE_SECONDS = 15
"""How long a driver waits until its cluster is gone; the operator goes on without it."""
CLUSTER_LABEL = "dask.org/cluster-name"

logger = logging.getLogger(__name__)


class KubeWorkers(KubeCluster):
    """Pods as workers, made by the Dask operator from a resource; other arguments as for KubeCluster.

    Parameters
    ----------
    custom_cluster_spec
        The DaskCluster resource, as in a manifest. Its name is made unique: KubeCluster joins a cluster of the same name, and
        would end it under another driver. It belongs to the driver's pod where POD_NAME and POD_UID say which that is.

    Raises
    ------
    ClusterError
        Where no Kubernetes API answers, the operator does not, or the driver may not make the resource.
    """

    def __init__(self, custom_cluster_spec: dict[str, Any], **arguments: Any):
        try:
            resource = owned_by_driver(custom_cluster_spec, os.environ)
            super().__init__(custom_cluster_spec=resource, quiet=True, shutdown_on_close=True, **arguments)
        except (TypeError, KeyError):
            raise
        except Exception as error:  # kr8s, httpx and dask-kubernetes have errors of their own
            self._instances.discard(self)  # else it is closed once more at exit, with a traceback
            with suppress(Exception):
                super().close(CLOSE_SECONDS)
            found = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(
                f"no Dask cluster can be had on Kubernetes ({found}): `surveycnn deploy check` says what is missing"
            ) from error

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Delete the cluster; what is not gone in time, or cannot be reached any more, is left to the operator."""
        try:
            super().close(timeout)
        except Exception as error:
            found = " ".join(str(error).split()) or type(error).__name__
            logger.warning("the Dask cluster is not gone yet (%s): look at `kubectl get daskclusters`, %s", found, self.name)


def owned_by_driver(spec: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The resource `spec` with a name of its own, and with the driver's pod as its owner where the environment names that."""
    resource = copy.deepcopy(dict(spec))
    metadata = resource["metadata"]
    metadata["name"] = f"{metadata['name']}-{uuid.uuid4().hex[:8]}"
    resource["spec"]["scheduler"]["service"]["selector"] = {
        CLUSTER_LABEL: metadata["name"],
        "dask.org/component": "scheduler",
    }
    name, uid = environment.get("POD_NAME"), environment.get("POD_UID")
    if name and uid:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]
    return resource
