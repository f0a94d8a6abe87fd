"""Which column of a table belongs to which class. Knows names only, never looks at values.

match_class_columns(["id", "lgb_EAP", "lgb_HPL"], ("EAP", "HPL"))   # {"EAP": "lgb_EAP", "HPL": "lgb_HPL"}
"""

from __future__ import annotations

from collections.abc import Sequence

from kaggle_tools.errors import UserError, did_you_mean

SEPARATORS = "_-.:/ "


def match_class_columns(columns: Sequence[str], classes: Sequence[str], *, prefix: str | None = None) -> dict[str, str]:
    """The column of every class, classes in the order given.

    The first rule that gives every class a column holds: the class's own name; the name in another case or with blanks
    around it; ``<prefix>_<class>`` with one prefix for all (``prob_EAP``, ``lgb-EAP``, also with ``. : /`` or a blank).

    Args:
        columns: Names that may be class columns.
        classes: Class names.
        prefix: Only columns with this prefix count, where a table holds several models side by side.

    Raises:
        UserError: No rule reaches every class (names the missing ones), or several prefixes do.
    """
    if prefix is None:
        for key in (str, _folded):
            own: dict[str, list[str]] = {}
            for column in columns:
                own.setdefault(key(column), []).append(column)
            keys = [key(name) for name in classes]
            # Of two columns, or two classes, that differ by case alone nobody knows which is meant.
            if len(set(keys)) == len(keys) and all(len(own.get(one, ())) == 1 for one in keys):
                return {name: own[one][0] for name, one in zip(classes, keys, strict=True)}
    found = _prefixed(columns, classes)
    complete = {p: names for p, names in found.items() if len(names) == len(classes)}
    if prefix is not None:
        complete = {p: names for p, names in complete.items() if p.rstrip(SEPARATORS) == prefix.rstrip(SEPARATORS)}
    if len(complete) == 1:
        (names,) = complete.values()
        return {name: names[name] for name in classes}
    if complete:
        several = [p.rstrip(SEPARATORS) for p in complete]
        raise UserError(
            f"{len(several)} sets of class columns: {', '.join(several)}",
            next=f"choose one, e.g. `--column {several[0]}`",
        )
    raise _missing(columns, classes, max(found.values(), key=len, default={}), prefix)


def is_of_first(column: str, classes: Sequence[str]) -> bool:
    """Whether a lone column, the second class's by default, is called like the first, not like the second."""
    return _is_called_like(column, classes[0]) and not _is_called_like(column, classes[1])


def _is_called_like(column: str, name: str) -> bool:
    try:
        match_class_columns([column], [name])
    except UserError:
        return False
    return True


def _folded(name: str) -> str:
    return name.strip().casefold()


def _prefixed(columns: Sequence[str], classes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Prefix (separator included) → class → column."""
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        for name in classes:
            prefix = column.removesuffix(name)
            if prefix and prefix != column and prefix[-1] in SEPARATORS:
                found.setdefault(prefix, {})[name] = column
    return found


def _missing(columns: Sequence[str], classes: Sequence[str], partly: dict[str, str], prefix: str | None) -> UserError:
    exact = {name for name in classes if name in columns}
    missing = [name for name in classes if name not in (exact or partly)]
    what = "class column" if len(missing) == 1 else "class columns"
    of = "" if prefix is None else f" with prefix '{prefix}'"
    return UserError(
        f"{what}{of} missing: {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}",
        found=", ".join(columns) or "no other columns",
        expected=f"one column for each of the {len(classes)} classes, named like it or <prefix>_<class>",
        next=did_you_mean(missing[0], list(columns)),
    )
