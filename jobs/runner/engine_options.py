"""Which engine is asked for. Plain data: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EngineOptions:
    """What was asked for.

    Attributes:
        engine: ``local`` or ``ray``.
        workers: How many, at most; None: one, or one a named device, or what the cluster holds.
        ray_address: Of a running cluster, ``auto`` for the one of this machine; None starts one for this job.
    """

    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    ray_address: str | None = None
