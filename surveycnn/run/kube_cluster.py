"""Dask clusters on Kubernetes: the class behind ``deploy/clusters/k8s-*.yaml``; needs dask-kubernetes, and the Dask operator."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dask_kubernetes.operator import KubeCluster

from surveycnn.errors import ClusterError

START_SECONDS = 600
"""How long a driver waits for its scheduler; KubeCluster would wait for an image that cannot be pulled for ever."""
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
        resource = owned_by_driver(custom_cluster_spec, os.environ)
        try:
            super().__init__(custom_cluster_spec=resource, quiet=True, shutdown_on_close=True, **arguments)
        except TypeError:  # arguments that it does not know
            raise
        except BaseException as error:  # kr8s, httpx and dask-kubernetes have errors of their own; or the user has enough
            self._instances.discard(self)  # else it is closed once more at exit, with a traceback
            with suppress(Exception):
                super().close(CLOSE_SECONDS)
            if not isinstance(error, Exception):
                raise
            found = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(
                f"no Dask cluster can be had on Kubernetes ({found}): `surveycnn deploy check` says what is missing"
            ) from error

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS) as limit:
                await super()._start()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(
                f"no scheduler within {START_SECONDS} s, see `kubectl get pods` for its image and its node"
            ) from error

    async def _close(self, timeout: float = CLOSE_SECONDS) -> None:
        async with asyncio.timeout(timeout + 5):  # an API that does not answer counts too
            await super()._close(timeout)

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
    try:
        metadata, service = resource["metadata"], resource["spec"]["scheduler"]["service"]
        metadata["name"] = f"{metadata['name']}-{uuid.uuid4().hex[:8]}"
    except KeyError as error:
        raise ValueError(f"custom_cluster_spec has no {error}: start from deploy/clusters/k8s-cpu.yaml") from None
    service["selector"] = {CLUSTER_LABEL: metadata["name"], "dask.org/component": "scheduler"}
    name, uid = environment.get("POD_NAME"), environment.get("POD_UID")
    if name and uid:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]
    return resource
