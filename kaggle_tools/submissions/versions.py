"""`submissions/v0007-blend/`: every submission with its manifest, numbered, never overwritten.

A version is written into `.v0007.tmp` and renamed at the end, so a folder with a version's name is always whole. Making
`.v0007.tmp` claims the number: whoever comes second finds it taken and tries the next. No lock is held, so a killed
process blocks nobody; what it leaves is ignored, and swept away by the next version that this machine writes (after a
day where the process was another machine's).
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from kaggle_tools.errors import UserError
from kaggle_tools.files import (
    check_name,
    file_digest,
    mark_owner,
    owner_is_gone,
    remove_marks_of_nothing,
    sync_folder,
    tell_written,
    unmark_owner,
    write_atomically,
)
from kaggle_tools.submissions.manifest import Manifest, ManifestDraft

SUBMISSION_FILE = "submission.csv"
STALE_AFTER_S = 24 * 3600

_FOLDER = re.compile(r"v(\d{4,})-.+")
_TEMPORARY = re.compile(r"\.v(\d{4,})\.tmp")
_NUMBER = re.compile(r"v?0*(\d+)")
_LATEST = re.compile(r"latest(?:~(\d+))?")


@dataclass(frozen=True)
class Version:
    """One submission version on disk."""

    folder: Path
    manifest: Manifest

    @property
    def number(self) -> int:
        """The version's number."""
        return self.manifest.version

    @property
    def title(self) -> str:
        """Number and name as the folder has them: ``v0007-blend``."""
        return self.folder.name

    @property
    def submission(self) -> Path:
        """The file to submit."""
        return self.folder / SUBMISSION_FILE


@dataclass(frozen=True)
class Damaged:
    """A folder with a version's name that cannot be read as one."""

    folder: Path
    problem: UserError


@dataclass(frozen=True)
class Listing:
    """All versions by number, and apart from them what could not be read.

    Attributes:
        versions: Whole ones, lowest number first.
        damaged: Folders with a version's name that cannot be read as one.
        unfinished: Folders in which a version is being written, or was when its process was killed.
    """

    versions: tuple[Version, ...]
    damaged: tuple[Damaged, ...]
    unfinished: tuple[Path, ...] = ()


def write_version(
    folder: Path, name: str, table: pl.DataFrame, draft: ManifestDraft, *, separator: str = ","
) -> Version:
    """Write the next version; several processes may do so at the same time.

    Numbers in `table` are written with the fewest digits that read back to the same float, so float32 probabilities
    have up to nine significant ones. Line ends are LF, the encoding is UTF-8 without a mark.

    Args:
        folder: The `submissions/` folder; made where it is missing.
        name: What to call the version beside its number.
        table: The submission as `build_submission` gives it.
        draft: What is known about it.
        separator: Between fields; see `separator_of`.

    Raises:
        UserError: A name that cannot be a folder's, an input that cannot be read, a folder that cannot be written to.
    """

    def write(path: Path) -> None:
        table.write_csv(path, separator=separator)

    return _commit(folder, name, draft, len(table), write)


def write_version_bytes(folder: Path, name: str, content: bytes, n_rows: int, draft: ManifestDraft) -> Version:
    """Like `write_version`, for a file that must stay as it is, byte for byte.

    Args:
        folder: The `submissions/` folder.
        name: What to call the version.
        content: Of `submission.csv`.
        n_rows: Rows in it.
        draft: What is known about it.

    Raises:
        UserError: As `write_version`.
    """

    def write(path: Path) -> None:
        path.write_bytes(content)

    return _commit(folder, name, draft, n_rows, write)


def _commit(folder: Path, name: str, draft: ManifestDraft, n_rows: int, write: Callable[[Path], None]) -> Version:
    check_name(name, "version name")
    inputs = {_relative(path, folder.parent): _digest(path) for path in draft.inputs}
    number, temporary = _claim(folder)
    final = folder / f"v{number:04d}-{name}"
    try:
        with write_atomically(temporary / SUBMISSION_FILE) as path:
            write(path)
        manifest = Manifest(
            version=number,
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            n_rows=n_rows,
            submission_digest=file_digest(temporary / SUBMISSION_FILE),
            code_version=_code_version(),
            recipe=draft.recipe,
            inputs=inputs,
            competition=draft.competition,
            metric=draft.metric,
            oof_score=draft.oof_score,
            honest_score=draft.honest_score,
            honest_interval=draft.honest_interval,
            public_score=None,
            private_score=None,
            class_counts=draft.class_counts,
            parents=draft.parents,
            note=draft.note,
        )
        manifest.save(temporary)
        temporary.rename(final)
        tell_written(final / SUBMISSION_FILE)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        unmark_owner(temporary)
    sync_folder(folder)
    _sweep(folder, number)
    return Version(final, manifest)


def list_versions(folder: Path) -> Listing:
    """Every version below `folder`, lowest number first. A damaged one never hides the others."""
    versions: list[Version] = []
    damaged: list[Damaged] = []
    for path in _version_folders(folder):
        try:
            versions.append(_load(path))
        except UserError as exc:
            damaged.append(Damaged(path, exc))
    temporary = [p for p in folder.iterdir() if _TEMPORARY.fullmatch(p.name)] if folder.is_dir() else []
    return Listing(tuple(versions), tuple(damaged), tuple(sorted(temporary)))


def find_version(folder: Path, wanted: str) -> Version:
    """The version that a person means by `wanted`.

    Args:
        folder: The `submissions/` folder.
        wanted: A number (``7``, ``v7``, ``v0007``), a title (``v0007-blend``), a name that one version alone has
            (``blend``), ``latest``, ``latest~1`` (the one before), or the path of a version's folder or of its
            `submission.csv`.

    Raises:
        UserError: No such version (names the nearest), several with the number or name, or the version is damaged.
    """
    folders = _version_folders(folder)
    latest = _LATEST.fullmatch(wanted)
    number = _NUMBER.fullmatch(wanted)
    named = [path for path in folders if path.name.split("-", 1)[1] == wanted]
    if latest:
        # Damaged versions count: the one below must not be sent in place of a newer one that cannot be read.
        numbers = sorted({_number(path) for path in folders}, reverse=True)[int(latest[1] or 0) :]
        found = [path for path in folders if numbers and _number(path) == numbers[0]]
    elif number:
        found = [path for path in folders if _number(path) == int(number[1])]
    else:
        found = [path for path in folders if path.name == wanted] or _by_path(Path(wanted)) or named
    if latest or number:  # another may be called so, after a file 7.csv: which one is meant is not for us to say
        found += [path for path in named if path not in found]
    if len(found) > 1:
        what = f"are called '{wanted}'" if named else "have this number"
        raise UserError(f"{len(found)} versions {what}", found=_names(found[-8:]), next=f"say which: {found[-1].name}")
    if not found:
        raise _unknown(wanted, folder, folders)
    return _load(found[0])


def is_intact(version: Version) -> bool:
    """Whether `submission.csv` is still what was written with the manifest."""
    return file_digest(version.submission) == version.manifest.submission_digest


def _version_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if _FOLDER.fullmatch(p.name) and p.is_dir()), key=_order)


def _order(path: Path) -> tuple[int, str]:
    return _number(path), path.name


def _number(path: Path) -> int:
    match = _FOLDER.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name)
    return int(match[1]) if match else 0


def _load(folder: Path) -> Version:
    manifest = Manifest.load(folder)
    if _FOLDER.fullmatch(folder.name) and manifest.version != _number(folder):
        raise UserError(
            f"the manifest says version {manifest.version}", where=folder, next="rename the folder to match"
        )
    if not (folder / SUBMISSION_FILE).is_file():
        raise UserError(f"{folder.name} has no {SUBMISSION_FILE}", where=folder)
    return Version(folder, manifest)


def _by_path(path: Path) -> list[Path]:
    folder = path.parent if path.name == SUBMISSION_FILE else path
    return [folder.resolve()] if folder.is_dir() and _FOLDER.fullmatch(folder.resolve().name) else []


def _unknown(wanted: str, folder: Path, folders: list[Path]) -> UserError:
    if not folders:
        return UserError(
            "no submission versions yet", where=folder, next="make one with `cli score --input data/test.csv`"
        )
    titles = {path.name.split("-", 1)[1]: path.name for path in folders} | {path.name: path.name for path in folders}
    near = [titles[close] for close in get_close_matches(wanted, titles, n=3)]
    names = ", ".join(f"'{name}'" for name in dict.fromkeys(near))
    hint = f"did you mean {names}?" if near else f"the last ones: {_names(folders[-5:])}"
    return UserError(f"no submission version '{wanted}'", where=folder, found=f"{len(folders)} versions", next=hint)


def _names(folders: Iterable[Path]) -> str:
    return ", ".join(path.name for path in folders)


def _claim(folder: Path) -> tuple[int, Path]:
    """A number that nobody else has, and the temporary folder that says so."""
    number = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            number = max([number, *(_number(path) for path in folder.iterdir())]) + 1
            temporary = folder / f".v{number:04d}.tmp"
            mark_owner(temporary)
            try:
                temporary.mkdir()
            except FileExistsError:
                unmark_owner(temporary)
                continue
            # Between looking and claiming, a quicker process may have claimed the number and renamed its folder.
            if number not in (_number(path) for path in _version_folders(folder)):
                return number, temporary
            shutil.rmtree(temporary)
            unmark_owner(temporary)
    except OSError as exc:
        raise UserError(f"cannot write into {folder.name}: {exc.strerror}", where=exc.filename or folder) from exc


def _sweep(folder: Path, number: int) -> None:
    """Remove old temporaries below `number`: such a number is never claimed again, so nobody else can be there."""
    for path in folder.iterdir():
        if not _TEMPORARY.fullmatch(path.name) or _number(path) >= number:
            continue
        if owner_is_gone(path) or _age_s(path) > STALE_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)
    remove_marks_of_nothing(folder)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _relative(path: Path, base: Path) -> str:
    absolute = path.resolve()
    return str(absolute.relative_to(base.resolve())) if absolute.is_relative_to(base.resolve()) else str(absolute)


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as exc:
        raise UserError(f"an input of the submission cannot be read: {exc.strerror}", where=path) from exc


def _code_version() -> str:
    try:
        return importlib.metadata.version("kaggle-jobs")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
