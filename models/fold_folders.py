"""What the checkpoints of a run are called: `fold3`, or `fold3-seed7` where each fold is trained with several seeds."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"fold(\d+)(?:-seed(\d+))?")


def folder_name(fold: int, seed: int | None = None) -> str:
    """Name of a checkpoint's folder; `seed` is None where the run has one."""
    return f"fold{fold}" if seed is None else f"fold{fold}-seed{seed}"


def fold_and_seed(folder: Path) -> tuple[int, int | None]:
    """The fold and seed that a checkpoint's folder is named for. Raises `ValueError` for other names."""
    match = _NAME.fullmatch(folder.name)
    if match is None:
        raise ValueError(f"'{folder.name}' is no name of a fold's folder")
    fold, seed = match.groups()
    return int(fold), None if seed is None else int(seed)


def fold_folders(run: Path) -> list[Path]:
    """The checkpoints in the folder of a run, by fold and seed."""
    found = [path for path in run.glob("fold*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: tuple(-1 if n is None else n for n in fold_and_seed(path)))
