"""What a task reads and writes, by content. Times serve only to skip reading a file again that nobody touched.

What one of our own commands reads is known (`_READS`), what it writes it tells (`kaggle_tools.files.tell_written`). Any
program's files are those in its command line; those that changed while it ran are what it wrote.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.batch.matrix import Task
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest, file_digest
from kaggle_tools.remote import RemoteFile, is_remote
from kaggle_tools.remote.find import find_objects

if TYPE_CHECKING:
    from kaggle_tools.competition import Competition

COMPETITION = "competition.toml"
_RUNS = ("runs/*/run.json", "runs/*/oof.parquet", "runs/*/predictions/*.parquet")
_VERSIONS = ("submissions/*/submission.csv",)
_BOARD = (*_VERSIONS, "submissions/*/manifest.json")  # with the scores that became known
_RECIPES = ("blends/*.json",)

# Files of the workspace that a command reads without their being named.
_READS: Mapping[str, tuple[str, ...]] = {
    "score": ("runs/*/run.json",),
    "blend": _RUNS,
    "vote": _RUNS,
    "rescale": _RUNS,
    "similarity": (*_RUNS, *_VERSIONS),
    "apply": (*_RUNS, *_RECIPES),
    "explain": (*_RUNS, *_RECIPES),
    "validate": _VERSIONS,
    "diff": (*_RUNS, *_VERSIONS),
    "leaderboard": (*_RUNS, *_BOARD),
    "pick": (*_RUNS, *_BOARD),
    "submit": _VERSIONS,
    "report": (*_RUNS, *_BOARD, *_RECIPES),
}

# Tables that competition.toml names, by its keys, and a command reads without their being named.
_TABLES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "pretrain": ("train", "test"),
    "lengths": ("train",),
    "import": ("train", "test"),
    "diff": ("test",),
    "report": ("train", "test"),
    **dict.fromkeys(("score", "blend", "vote", "rescale", "decode", "apply", "validate"), ("sample_submission",)),
}

# Commands that read a recipe, and the keys by which it names files: relative to the working directory, relative to
# competition.toml, or as a run or a blend that teaches.
_READ_RECIPES = ("train", "pretrain", "lengths")
_NAMED_FILES = ("encoder.path", "augmentation.synonyms", "words.file", "masking.words")
_NAMED_TABLES = ("augmentation.table", "pseudo_labels.table", "distill.teacher")
_TEACHERS = ("pseudo_labels.run", "distill.teacher")

# Written by one step and edited by a person or another step ever after: it counts that they are there.
_EDITED = (COMPETITION, "manifest.json", "attempts.json")

UNREADABLE = "unreadable"

Stat = tuple[int, int, int, int]


class Digests:
    """Digests of files, kept with size, times and inode: a file is read again only when it was touched."""

    def __init__(self, remembered: Mapping[str, tuple[Stat, str]] | None = None) -> None:
        self._remembered = dict(remembered or {})
        self._used: set[str] = set()

    @property
    def remembered(self) -> dict[str, tuple[Stat, str]]:
        """What to give to the next one: path → (stat, digest) of the files that were asked about."""
        return {path: self._remembered[path] for path in sorted(self._used)}

    def of(self, path: Path) -> str | None:
        """Digest of a file or, over all its files, of a folder; None where there is nothing."""
        try:
            if path.is_dir():
                return digest([(str(file.relative_to(path)), self._file(file)) for file in _files_of(path)])
            return self._file(path)
        except FileNotFoundError:
            return None
        except PermissionError:
            return UNREADABLE

    def of_all(self, paths: Iterable[str], folder: Path) -> dict[str, str]:
        """Path or address → digest of those that exist."""
        found = {path: _of_object(path) if is_remote(path) else self.of(folder / path) for path in paths}
        return {path: value for path, value in found.items() if value is not None}

    def _file(self, path: Path) -> str:
        stat = path.stat()
        now = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        key = str(path)
        before = self._remembered.get(key)
        if before is None or tuple(before[0]) != now:
            self._remembered[key] = (now, file_digest(path))
        self._used.add(key)
        return self._remembered[key][1]


def inputs_of(task: Task, folder: Path) -> list[str]:
    """Files and folders that a task reads, as far as they exist: declared, named in its command line, known."""
    found = matching(task.inputs, folder)
    found += named_in(task, folder)
    if task.is_cli:
        recipes = [path for path in found if path.endswith(".toml")] if task.words[0] in _READ_RECIPES else []
        found += _known(task, folder, some_named=any(path.endswith("/run.json") for path in found))
        found += [path for recipe in recipes for path in _named_by_recipe(folder / recipe, folder)]
    return list(dict.fromkeys(found))


def named_in(task: Task, folder: Path) -> list[str]:
    """Files and folders that occur in a command line: as a word, behind ``=``, as a glob, as the name of a run."""
    found: list[str] = []
    is_script = not task.is_cli and "/" in task.words[0]
    for word in task.words[0 if is_script else 1 :]:
        text = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        if is_remote(text) and not task.is_cli:  # what another program does with it is unknown, and asking costs
            continue
        # Other programs get a glob as it stands: there is no shell.
        if text and not text.startswith("-") and (task.is_cli or not _is_glob(text)):
            found += [path for path in matching((text,), folder) if is_remote(path) or _is_meant(folder / path, folder)]
        if task.is_cli and "/" not in text:
            found += matching((pattern.replace("*", text, 1) for pattern in _RUNS), folder)
    return found


def edited(path: str) -> bool:
    """Whether others may change this file after the step that wrote it."""
    return Path(path).name in _EDITED


def matching(patterns: Iterable[str], folder: Path) -> list[str]:
    """Files and folders below `folder` that exist, for names and globs; for the folder of a run its `run.json`.

    A folder that holds the whole workspace is none that anybody reads as a whole. Addresses stand for objects.

    Raises:
        UserError: Object storage cannot be asked.
    """
    found: list[str] = []
    for pattern in patterns:
        if is_remote(pattern):
            found += _objects(pattern)
            continue
        try:
            for match in _existing(pattern, folder):
                if match.is_dir() and (match / "run.json").is_file():
                    found.append(relative(match / "run.json", folder))
                elif match.is_file() or (match.is_dir() and not folder.is_relative_to(match.resolve())):
                    found.append(relative(match, folder))
        except (OSError, ValueError, RuntimeError):  # no path: too long, a NUL, `a**b`, the home of nobody
            continue
    return found


def _objects(pattern: str) -> list[str]:
    try:
        address = RemoteFile(pattern)
    except UserError:  # of a web page, perhaps
        return []
    return [str(file) for file in find_objects(address)]


def _of_object(url: str) -> str | None:
    try:
        return RemoteFile(url).version()
    except FileNotFoundError:
        return None


def _existing(pattern: str, folder: Path) -> list[Path]:
    path = Path(pattern).expanduser()
    if not _is_glob(pattern):
        return [folder / path]
    root = Path(path.anchor) if path.is_absolute() else folder
    return sorted(root.glob(str(path.relative_to(root) if path.is_absolute() else path)))


def _is_glob(text: str) -> bool:
    return "*" in text or "?" in text


def relative(path: Path, folder: Path) -> str:
    """As it is kept: relative where it lies below the folder."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _is_meant(path: Path, folder: Path) -> bool:
    """Not a folder elsewhere, such as `/mnt/backup`, which may hold anything; a checkpoint elsewhere is meant."""
    return path.is_file() or path.resolve().is_relative_to(folder) or (path / "config.json").is_file()


def _files_of(path: Path) -> list[Path]:
    files = (file for file in path.rglob("*") if file.is_file())
    return sorted(f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts))


def _named_by_recipe(recipe: Path, folder: Path) -> list[str]:
    """What a recipe names and is there: files, folders, the runs that teach, and the test table where it serves."""
    try:
        raw = tomllib.loads(recipe.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):  # the step itself will say what is wrong with it
        return []

    def named(keys: Iterable[str]) -> list[str]:
        return [value for key in keys if isinstance(value := _at(raw, key), str) and value]

    competition = _competition(folder)
    root = competition.root if competition else folder
    tables = named(_NAMED_TABLES)
    if competition is not None and competition.test is not None and _reads_test(raw):
        tables.append(competition.test)
    for teacher in named(_TEACHERS):
        blends = [teacher] if "/" in teacher else [f"blends/{'' if teacher == 'latest' else teacher}*.json"]
        runs = [teacher] if "/" not in teacher else []
        runs += [name for path in matching(blends, root) for name in _members(root / path)]
        tables += [*blends, *(pattern.replace("*", run, 1) for run in runs for pattern in _RUNS)]
    found = matching(named(_NAMED_FILES), folder)
    return found + [relative(root / path, folder) for path in matching(tables, root)]


def _members(blend: Path) -> list[str]:
    """Runs of a recipe in `blends/`; none where it is something else."""
    try:
        models = json.loads(blend.read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    return [name for name in models if isinstance(name, str) and "/" not in name] if isinstance(models, list) else []


def _reads_test(raw: Mapping[str, Any]) -> bool:
    """Whether a run is trained with texts of the test table, too."""
    if _at(raw, "pseudo_labels.run") and not _at(raw, "pseudo_labels.table"):
        return True
    if _at(raw, "distill.test") or _at(raw, "encoder.vocabulary") == "used":
        return True
    vectors = (_at(raw, "encoder.vectors.name"), _at(raw, "words.name"))
    learnt = (_at(raw, "encoder.scratch.new_words"), _at(raw, "encoder.scratch.topics"))
    return any(learnt) or any(name not in (None, "none") for name in vectors)


def _at(raw: Any, key: str) -> Any:
    """A value of a TOML table by its dotted key; None where there is none."""
    for part in key.split("."):
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def _competition(folder: Path) -> Competition | None:
    from kaggle_tools.competition import Competition

    try:
        return Competition.find_or_none(folder)
    except UserError:  # the step itself will say what is wrong with it
        return None


def _known(task: Task, folder: Path, *, some_named: bool) -> list[str]:
    """What one of our own commands reads unnamed: `competition.toml`, and all runs where it names none."""
    competition = _competition(folder)
    root, name = competition.root if competition else folder, task.words[0]
    reads = [pattern for pattern in _READS.get(name, ()) if not (some_named and pattern in _RUNS)]
    if name == "score" and any(word.split("=")[0] in ("--model", "-m") for word in task.words):
        reads = []
    tables = [getattr(competition, key) for key in _TABLES.get(name, ())] if competition else []
    reads += [table for table in tables if table is not None]
    if name != "init":
        reads.append(COMPETITION)
    return [relative(root / path, folder) for path in matching(reads, root)]
