"""Where a study's trials are kept, and how several processes come to work on the same one.

    None                      in memory
    journal:FILE              a journal file, for processes that share a file system
    an SQLAlchemy URL         sqlite:///blend.db, postgresql+psycopg://user@host/db, …

The process that creates a study writes its attributes, ``problem`` last: a study that has it is complete. Others wait
for it and compare it with their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kaggle_tools.errors import UserError
from kaggle_tools.search.inputs import Arrays

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal:"

_LOCK_S = 10  # a journal's lock is broken when its holder has not written for so long
_CREATION_S = 10.0  # how long the attributes of a study that another process creates may take
_PAUSE_S = 0.05
_ATTEMPTS = 5  # at creating the tables of a database, which another process may be doing, too


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log lines and its warnings of experimental features."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


@contextmanager
def opened(storage: str | None) -> Iterator[optuna.storages.BaseStorage]:
    """The storage, closed at the end.

    Raises:
        UserError: Neither a journal nor a URL, no such folder, no driver for the database, no connection, or the
            connection broke.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import InMemoryStorage

    if storage is None:
        yield InMemoryStorage()
    elif storage.startswith(JOURNAL):
        yield _journal(storage.removeprefix(JOURNAL))
    else:
        database = _database(storage)
        try:
            yield database
        except StorageInternalError as exc:
            raise UserError(
                f"the storage failed: {exc.__cause__ or exc}",
                where=shown(storage),
                next="run it again: the study goes on where it was",
            ) from exc
        finally:
            database.remove_session()
            database.engine.dispose()


def shown(storage: str | None) -> str | None:
    """The storage as it may be shown and written: without a password."""
    from sqlalchemy.engine import make_url

    if storage is None or storage.startswith(JOURNAL):
        return storage
    return make_url(storage).render_as_string(hide_password=True)


def fingerprint(problem: Arrays, names: Sequence[str], classes: Sequence[str]) -> str:
    """Hexadecimal digest of everything that a trial's score depends on but its parameters."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((problem.metric.name, problem.task, tuple(names), tuple(classes), problem.stack.shape)).encode())
    digest.update(problem.codes.data)
    digest.update(problem.stack.data)
    return digest.hexdigest()


def create_or_join(
    storage: optuna.storages.BaseStorage,
    name: str,
    *,
    maximize: bool,
    attributes: Mapping[str, Any],
    starts: Sequence[Mapping[str, Any]],
) -> optuna.Study:
    """The study of this name, `starts` enqueued by whoever creates it, and by those who join with others.

    Args:
        storage: Where.
        name: Of the study.
        maximize: Its direction.
        attributes: Its user attributes; ``problem`` and ``space`` must be the same for all who work on it.
        starts: Parameters of trials to begin with.

    Raises:
        UserError: A study of another problem or space, or one that is none of ours.
    """
    study = _existing(storage, name)  # asked for first: a journal notes even an attempt to create
    if study is None:
        study = _created(storage, name, maximize)
        if study is not None:
            for params in starts:
                study.enqueue_trial(dict(params))
            for key, value in sorted(attributes.items(), key=lambda item: item[0] == "problem"):
                study.set_user_attr(key, value)
            return study
        study = _existing(storage, name)
        assert study is not None
    _check_same(study, attributes)
    for params in starts:
        study.enqueue_trial(dict(params), skip_if_exists=True)
    return study


def _existing(storage: optuna.storages.BaseStorage, name: str) -> optuna.Study | None:
    import optuna

    try:
        return optuna.load_study(storage=storage, study_name=name, sampler=optuna.samplers.RandomSampler(0))
    except KeyError:
        return None


def _created(storage: optuna.storages.BaseStorage, name: str, maximize: bool) -> optuna.Study | None:
    """A new study; None where another process was faster. Its sampler serves until the worker makes its own."""
    import optuna

    direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
    sampler = optuna.samplers.RandomSampler(0)
    try:
        return optuna.create_study(storage=storage, study_name=name, direction=direction, sampler=sampler)
    except optuna.exceptions.DuplicatedStudyError:
        return None


def _check_same(study: optuna.Study, attributes: Mapping[str, Any]) -> None:
    deadline = time.monotonic() + _CREATION_S
    while "problem" not in (found := study.user_attrs):
        if time.monotonic() > deadline:
            raise UserError(
                f"study '{study.study_name}' is not one of ours, or its creation was interrupted",
                next="choose another study name or storage",
            )
        time.sleep(_PAUSE_S)
    for key, what in (("problem", "another problem"), ("space", "another space")):
        if found[key] != attributes[key]:
            raise UserError(
                f"study '{study.study_name}' in this storage is of {what}",
                found=_told(found),
                expected=_told(attributes),
                next="choose another study name or storage",
            )


def _told(attributes: Mapping[str, Any]) -> str:
    """``macro_f1, 5 models, 19,579 rows (fingerprint 3f2a…), space …``."""
    about = attributes["about"]
    return (
        f"{about['metric']}, {len(about['models'])} models, {about['rows']:,} rows "
        f"(fingerprint {attributes['problem'][:8]}), space {attributes['space']}"
    )


def _journal(name: str) -> optuna.storages.JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    if not name:
        raise UserError("a journal needs a file", expected="journal:FILE, such as journal:blend.log")
    # The lock is a symbolic link to the journal beside it: it can be judged only by an absolute path.
    path = Path(name).expanduser().resolve()
    if not path.parent.is_dir():
        raise UserError("no such folder for the journal", where=path.parent, next="create the folder first")
    try:
        _check_first_line(path)
        lock = JournalFileSymlinkLock(str(path), grace_period=_LOCK_S)
        if _is_cut_off(path):  # or somebody is writing
            lock.acquire()
            try:
                _cut_back(path)
            finally:
                lock.release()
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except OSError as exc:
        raise UserError(f"the journal cannot be opened: {exc.strerror}", where=path) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise UserError("not a journal of Optuna, or damaged", where=path, next="choose another file") from exc


def _check_first_line(path: Path) -> None:
    """Raises `ValueError` or `TypeError` for another file: Optuna writes to one of a single line before it reads."""
    if path.is_file():
        with path.open("rb") as handle:
            first = handle.readline()
        if first.endswith(b"\n") and "op_code" not in json.loads(first):
            raise ValueError("no line of a journal")


def _is_cut_off(path: Path) -> bool:
    """Whether the last line lacks its end, as after a full disk; what is written behind it could not be read."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read() != b"\n"


def _cut_back(path: Path) -> None:
    """Remove a last line that lacks its end from a journal; another file is left alone."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content) and "op_code" in json.loads(content[:whole].partition(b"\n")[0]):
        os.truncate(path, whole)


def _database(url: str) -> optuna.storages.RDBStorage:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, DatabaseError

    failure = ""
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE_S * attempt**2)
        try:
            sqlite = make_url(url).get_backend_name() == "sqlite"
            return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else None)
        except ArgumentError as exc:
            expected = "journal:FILE, or an SQLAlchemy URL such as sqlite:///blend.db"
            raise UserError(f"'{url}' is no storage", expected=expected) from exc
        except ImportError as exc:
            driver = make_url(url).drivername
            hint = "install it; for PostgreSQL: pip install 'psycopg[binary]', then postgresql+psycopg://…"
            raise UserError(f"no driver for {driver} is installed", where=shown(url), next=hint) from exc
        except DatabaseError as exc:
            failure = str(exc.orig).strip().splitlines()[0]
    raise UserError(f"the storage cannot be opened: {failure}", where=shown(url))
