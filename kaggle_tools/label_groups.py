"""Several linked label groups: every row has one class in each, such as one of 4 sentiments and one of 28 emotions.

    classes = flat_classes({"group": ("negative", "positive"), "emotion": ("joy", "fear")})
    classes                               # ("group:negative", "group:positive", "emotion:joy", "emotion:fear")
    encode_groups(labels, classes)        # (N, G) int64, from labels such as "group:negative|emotion:fear"
    split_probs(probs, classes)           # for each group (N, C_g)

In Predictions a class of a group is called ``<group>:<class>``, classes of one group stand side by side, and a row's
labels are joined by ``|`` in the order of the groups. So one table of probabilities holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError

GROUP_SEPARATOR = ":"
_LABELS = "|"


def flat_classes(groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """``<group>:<class>`` of all groups, in order.

    Raises:
        UserError: Fewer than two groups, a group of fewer than two classes, a class that occurs twice in its group, or
            a name with ``:`` (groups) or ``|`` in it.
    """
    if len(groups) < 2:
        raise UserError(f"{len(groups)} label group", expected="two or more; one is a single_label task")
    for group, classes in groups.items():
        if len(set(classes)) < max(2, len(classes)):
            raise UserError(f"label group '{group}' needs two different classes or more", found=", ".join(classes))
        if not group or GROUP_SEPARATOR in group or any(_LABELS in name or not name for name in (group, *classes)):
            raise UserError(f"label group '{group}' has a name that is empty, or holds '|' or (the group's) ':'")
    return tuple(f"{group}{GROUP_SEPARATOR}{name}" for group, classes in groups.items() for name in classes)


def group_slices(classes: Sequence[str]) -> dict[str, slice]:
    """Where each group's columns are, groups in order.

    Raises:
        UserError: A class without group, or a group whose classes do not stand side by side.
    """
    owners = [name.partition(GROUP_SEPARATOR) for name in classes]
    bare = [name for name, (_, colon, _) in zip(classes, owners, strict=True) if not colon]
    if bare:
        raise UserError("classes of label groups are called <group>:<class>", found=", ".join(bare[:5]))
    names = [group for group, _, _ in owners]
    order = list(dict.fromkeys(names))
    if names != sorted(names, key=order.index):
        raise UserError("classes of one label group must stand side by side", found=", ".join(classes[:10]))
    starts = {group: names.index(group) for group in order}
    return {group: slice(start, start + names.count(group)) for group, start in starts.items()}


def class_name(flat: str) -> str:
    """``joy`` of ``emotion:joy``."""
    return flat.partition(GROUP_SEPARATOR)[2]


def split_probs(probs: NDArray[np.float32], classes: Sequence[str]) -> list[NDArray[np.float32]]:
    """For each group (N, C_g), of (N, C) side by side. Raises as `group_slices`."""
    return [probs[:, place] for place in group_slices(classes).values()]


def encode_groups(labels: pl.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """(N, G) int64: each row's class in each group, counted within the group.

    Args:
        labels: (N,) String, one ``<group>:<class>`` of each group joined by ``|``, in the order of the groups.
        classes: C names as `flat_classes` gives them.

    Raises:
        UserError: A row without label, with a label that is no class, or with none or several of a group.
    """
    parts = labels.cast(pl.String).str.split(_LABELS)
    codes = []
    for number, (group, place) in enumerate(group_slices(classes).items()):
        own = parts.list.eval(pl.element().filter(pl.element().str.starts_with(group + GROUP_SEPARATOR)))
        wrong = (own.list.len() != 1).fill_null(True)
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise UserError(
                f"{int(wrong.sum()):,} of {len(labels):,} rows do not have one label of group '{group}'",
                first=f"row {row + 1:,}: {labels[row]!r}",
                next="rows with several labels of a group are a multi_label task; or keep one of them",
            )
        known = pl.Series(classes[place], dtype=pl.String)
        found = own.list.first().replace_strict(known, pl.Series(range(len(known)), dtype=pl.Int64), default=None)
        if found.null_count():
            row = int(found.is_null().arg_max() or 0)
            raise UserError(
                f"{found.null_count():,} labels are not among the classes of group '{group}'",
                first=f"{class_name(own[row][0])!r} in row {row + 1:,}",
                expected=", ".join(map(class_name, known)),
            )
        codes.append(found.to_numpy())
        if number == 0:
            _check_no_stranger(parts, classes)
    return np.stack(codes, axis=1)


def likeliest_of_each(probs: NDArray[np.float32], classes: Sequence[str]) -> pl.Series:
    """(N,) String ``label``: the most probable class of each group, the first of equals, joined by ``|``."""
    return decode_groups(
        np.stack([part.argmax(axis=1) for part in split_probs(probs, classes)], axis=1).astype(np.int64), classes
    )


def decode_groups(codes: NDArray[np.int64], classes: Sequence[str]) -> pl.Series:
    """The inverse of `encode_groups`."""
    starts = np.array([place.start for place in group_slices(classes).values()])
    names = pl.Series(classes, dtype=pl.String)
    columns = {str(i): names.gather(codes[:, i] + start) for i, start in enumerate(starts)}
    joined = pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=_LABELS)).to_series()
    return joined.alias("label")


def join_columns(table: pl.DataFrame, groups: Sequence[str]) -> pl.Series:
    """(N,) String labels of a table with one column for each group; null where any is null.

    Raises:
        UserError: Cells that hold several labels joined by ``|``.
    """
    several = table.select(pl.any_horizontal(pl.col(g).str.contains(_LABELS, literal=True) for g in groups))
    bad = several.to_series().fill_null(False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise UserError(
            f"{int(bad.sum()):,} of {len(table):,} rows have several labels in a group",
            first=f"row {row + 1:,}: {', '.join(str(table[g][row]) for g in groups)}",
            next="multi_group takes one class of each group: leave such rows out, or use multi_label",
        )
    tagged = [pl.lit(g + GROUP_SEPARATOR) + pl.col(g) for g in groups]
    return table.select(pl.concat_str(tagged, separator=_LABELS)).to_series().alias("label")


def _check_no_stranger(parts: pl.Series, classes: Sequence[str]) -> None:
    n_groups = len(group_slices(classes))
    other = parts.list.len() != n_groups
    if other.any():
        row = int(other.arg_max() or 0)
        raise UserError(
            f"{int(other.sum()):,} of {len(parts):,} rows do not have {n_groups} labels",
            first=f"row {row + 1:,}: {'|'.join(parts[row])!r}",
        )
