"""Learned equivariance: SEMoLA and REMUL as one objective, methods as rows of one table.

Letters used throughout: B batch size, N number of items, d dimension of a vector, n size of a group matrix,
C number of generators (the basis cardinality), K augmentations per sample, M group samples of an error estimate.
"""

from importlib import import_module
from typing import Any

__all__ = ["GroupAugmenter", "LieAugmenter", "Objective", "actions", "equivariance_errors", "equivariance_report", "groups"]


def __getattr__(name: str) -> Any:
    """What is taken from here is imported when it is taken, so that no command imports more than it needs."""
    places = {"LieAugmenter": "augmenter", "GroupAugmenter": "augmenter", "Objective": "objective"}
    places |= {"equivariance_errors": "metrics", "equivariance_report": "robustness", "actions": "actions", "groups": "groups"}
    if name not in places:
        raise AttributeError(f"lib has no {name}: it has {', '.join(__all__)}, and its modules")
    module = import_module(f"lib.{places[name]}")
    return module if places[name] == name else getattr(module, name)
