"""Logits of several label groups side by side: a softmax for each. Classes are called ``<group>:<class>``.

`group_sizes` is all that this room knows of how `kaggle_tools.label_groups` names classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor


def group_sizes(classes: Sequence[str]) -> tuple[int, ...]:
    """(G,) how many classes each group has; classes of a group stand side by side."""
    return tuple(len(list(members)) for _, members in groupby(classes, key=lambda name: name.partition(":")[0]))


def split_groups(logits: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """For each group (N, C_g), of (N, C) side by side."""
    return list(torch.split(logits, list(sizes), dim=-1))


def to_probabilities(logits: Tensor, task: str, classes: Sequence[str]) -> Tensor:
    """(N, C) probabilities of (N, C) float32 logits; of a ``regression`` the outputs as they are.

    Softmax over the classes for ``single_label``, over those of each group for ``multi_group``; each class's sigmoid
    for ``multi_label``.
    """
    if task == "regression":
        return logits
    if task == "multi_label":
        return logits.sigmoid()
    if task == "multi_group":
        return torch.cat([part.softmax(-1) for part in split_groups(logits, group_sizes(classes))], -1)
    return logits.softmax(-1)
