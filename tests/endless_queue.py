"""A cluster whose workers never come."""

from __future__ import annotations

from distributed import LocalCluster


class EndlessQueue(LocalCluster):
    """Starts a scheduler alone."""

    def __init__(self) -> None:
        super().__init__(n_workers=0, host="127.0.0.1", dashboard_address=None)
