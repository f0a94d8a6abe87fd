"""`cli run --watch DIR`: files that arrive in a folder are scored, each content once.

    cli run --watch incoming --score-options '--model roberta --text body' --into scored

A file is taken once its size and time have stood still for a while. What was scored is kept in a ledger by content, so
the same bytes under another name, or after a restart, are not scored again. A killed watch goes on where it was: the
ledger names file and output before the work begins, and the scoring job itself resumes.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jobs.batch.children import Child, Stop, stopping
from jobs.batch.commands import check, process_environment, process_words
from jobs.batch.fingerprints import UNREADABLE, Digests, Stat, relative
from jobs.batch.matrix import Task
from jobs.batch.state import BatchStore
from jobs.errors import Interrupted
from jobs.notify import Notice, Notify, send
from jobs.runner.clock import now
from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest, table_stem, write_atomically

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_PACKED = (".gz", ".zst", ".zip")
_POLL_S = 0.05


@dataclass(frozen=True)
class WatchOptions:
    """What `cli run --watch` was asked for.

    Attributes:
        folder: Where files arrive; files in folders below it are not looked at.
        into: Where the tables with scores go.
        score_options: Of `cli score`, as a person types them.
        settle_s: So long a file must stand still.
        every_s: Between two looks.
        once: End when nothing is left to do.
        notify: Who is told of each file.
        tell: Takes each entry when its work begins and when it has ended.
    """

    folder: Path
    into: Path = Path("scored")
    score_options: str = ""
    settle_s: float = 5.0
    every_s: float = 2.0
    once: bool = False
    notify: Notify = field(default_factory=Notify)
    tell: Callable[[Entry], None] = lambda _entry: None


@dataclass(frozen=True)
class Entry:
    """A content that arrived.

    Attributes:
        digest: Of the bytes.
        file: Under which name it came first.
        output: Its scores.
        state: ``scoring`` is what a killed watch leaves behind.
        exit_code: Of `cli score`.
        time: Of the last change, UTC.
        log: What `cli score` said.
        complaints: Notifications that could not be sent.
    """

    digest: str
    file: str
    output: str
    state: Literal["scoring", "done", "failed"]
    exit_code: int | None = None
    time: str = ""
    log: str = ""
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True)
class WatchResult:
    """What a watch did before it ended (`--once`)."""

    folder: Path
    entries: tuple[Entry, ...]

    @property
    def exit_code(self) -> int:
        """1 where a file could not be scored."""
        return int(any(entry.state == "failed" for entry in self.entries))


class Ledger:
    """`ledger.json` in the watch's folder below `.jobs/batches/`: every content that was taken."""

    def __init__(self, store: BatchStore) -> None:
        self.path = store.folder / "ledger.json"
        self.entries: dict[str, Entry] = {}
        try:
            raw: list[dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))["entries"]
            self.entries = {str(e["digest"]): Entry(**{**e, "complaints": ()}) for e in raw}
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError) as exc:
            raise UserError(
                f"damaged: {exc!r}", where=self.path, next="mend it; without it every file would be scored again"
            ) from exc

    def put(self, entry: Entry) -> None:
        """Add or replace an entry; on disk when this returns."""
        self.entries[entry.digest] = entry
        with write_atomically(self.path) as temporary:
            content = {"version": 1, "entries": [asdict(e) for e in self.entries.values()]}
            temporary.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def run(options: WatchOptions) -> WatchResult:
    """Score what arrives, until a signal comes or, with `once`, until nothing is left.

    Raises:
        UserError: No such folder, options that `cli score` does not know, another watch of the same folder.
        Interrupted: After SIGINT or SIGTERM; the file that was being scored goes on the next time.
    """
    folder, into = options.folder.resolve(), options.into.resolve()
    if not folder.is_dir():
        raise UserError("the folder to watch is not there", where=folder)
    if into == folder:
        raise UserError("scores would go into the folder that is watched", where=folder, next="another --into")
    check([_task(options, folder / "example.csv", into / "example.parquet")], Path.cwd())
    store = BatchStore.of(folder)
    with store.lock(folder):
        ledger = Ledger(store)
        touched: set[str] = set()
        with stopping() as stop:
            _watch(options, folder, into, store, ledger, touched, stop)
        if stop.signal_number is not None:
            raise Interrupted(stop.signal_number)
        return WatchResult(folder, tuple(e for e in ledger.entries.values() if e.digest in touched))


def _watch(
    options: WatchOptions, folder: Path, into: Path, store: BatchStore, ledger: Ledger, touched: set[str], stop: Stop
) -> None:
    digests = Digests(store.files)
    known: dict[Path, Stat] = {}  # files whose content was dealt with by this process
    seen: dict[Path, tuple[Stat, float]] = {}
    while not stop.is_asked():
        restless = scored = False
        for path in _arrived(folder):
            stat = _stat(path)
            if stat is None or known.get(path) == stat:
                continue
            if seen.get(path, (None, 0.0))[0] != stat:
                seen[path] = (stat, time.monotonic())
            if time.monotonic() - seen[path][1] < options.settle_s:
                restless = True
                continue
            if not _is_utf8(path.name):
                known[path] = stat
                refused = _refused(path, store)
                touched.add(refused.digest)
                _end(options, refused, 0.0, store, ledger)
                continue
            content = digests.of(path)
            if content is None or _stat(path) != stat:
                restless = True
                continue
            unread = f"{UNREADABLE} {path.name}"  # what is in it is unknown: it is like no other file
            if content == UNREADABLE:
                content = unread
            else:
                ledger.entries.pop(unread, None)
            known[path] = stat
            store.files |= digests.remembered
            store.save()
            entry = ledger.entries.get(content)
            # What failed is tried again under another name: it was perhaps renamed while it was scored.
            if entry is None or (
                entry.state != "done" and (content not in touched or not _holds(Path(entry.file), content))
            ):
                touched.add(content)
                _score(options, path, content, stat, into, store, ledger, stop)
                scored = True
            if stop.is_asked():
                return
        if scored:  # which took its time: who knows what came meanwhile
            continue
        if options.once and not restless:
            return
        _sleep(min(options.every_s, options.settle_s or options.every_s), stop)


def _score(
    options: WatchOptions,
    path: Path,
    content: str,
    stat: Stat,
    into: Path,
    store: BatchStore,
    ledger: Ledger,
    stop: Stop,
) -> None:
    before = ledger.entries.get(content)
    output = Path(before.output) if before else _output(path, content, into, ledger)
    log = store.log(f"{path.name}-{content[:8]}")
    # The name under which it came first: the job that resumes is that of the same path, if it is still there.
    if before is not None and _holds(Path(before.file), content):
        path = Path(before.file)
        stat = _stat(path) or stat
    entry = Entry(content, str(path), str(output), "scoring", time=now(), log=str(log))
    ledger.put(entry)
    options.tell(entry)
    task = _task(options, path, output)
    began = time.monotonic()
    child = Child(process_words(task), Path.cwd(), process_environment({}), log)
    stop.children["score"] = child
    if stop.signal_number is not None:  # it came while the child was made
        child.send(stop.signal_number)
    while (code := child.poll()) is None:
        time.sleep(_POLL_S)
    del stop.children["score"]
    if stop.is_asked() and code != 0:
        return
    if code == 0 and _stat(path) not in (None, stat) and not _holds(path, content):
        code = 1
        with log.open("a", encoding="utf-8") as handle:
            handle.write(f"{path.name} was replaced while it was scored: {output} may hold the scores of either\n")
    state: Literal["done", "failed"] = "done" if code == 0 else "failed"
    entry = Entry(content, str(path), str(output), state, code, now(), str(log))
    _end(options, entry, time.monotonic() - began, store, ledger)


def _refused(path: Path, store: BatchStore) -> Entry:
    """Of a file whose name no command line, table or JSON file can hold."""
    name = path.name.encode(errors="surrogateescape").decode(errors="replace")
    log = store.log(name)
    with write_atomically(log) as temporary:
        temporary.write_text(f"the name of {name} is not UTF-8: rename it\n", encoding="utf-8")
    return Entry(f"name {name}", str(path.with_name(name)), "", "failed", 2, now(), str(log))


def _end(options: WatchOptions, entry: Entry, seconds: float, store: BatchStore, ledger: Ledger) -> None:
    """Keep how it ended, and tell."""
    ledger.put(entry)
    done = entry.state == "done"
    store.event(entry.state, file=entry.file, digest=entry.digest, output=entry.output, exit_code=entry.exit_code)
    words = f"scores in {entry.output}" if done else f"exit code {entry.exit_code}, log {entry.log}"
    notice = Notice("finished" if done else "failed", Path(entry.file).name, words, round(seconds, 3))
    options.tell(replace(entry, complaints=send(options.notify, notice)))


def _task(options: WatchOptions, path: Path, output: Path) -> Task:
    try:
        more = shlex.split(options.score_options)
    except ValueError as exc:
        raise UserError(f"--score-options: {exc}".lower(), found=options.score_options) from exc
    if own := [word for word in more if word.split("=")[0] in ("--input", "-i", "--output", "-o", "--dry-run")]:
        raise UserError(f"--score-options cannot hold {own[0]}: the watch says what is read and written")
    here = Path.cwd()
    words = ("score", "--input", relative(path, here), "--output", relative(output, here), "--no-submission", *more)
    return Task("--score-options", "watch", words, True, (), (), {}, {})


def _output(path: Path, content: str, into: Path, ledger: Ledger) -> Path:
    """A name that nothing has yet: `test.parquet`, and `test-3fa9c1d2.parquet` for another content of that name."""
    stem = table_stem(path.name) or "table"
    plain = into / f"{stem}.parquet"
    taken = {entry.output for entry in ledger.entries.values()}
    return plain if str(plain) not in taken and not plain.exists() else into / f"{stem}-{content[:8]}.parquet"


def _arrived(folder: Path) -> list[Path]:
    """Tables in the folder, the oldest first; names that begin with a dot are still being written."""
    try:
        paths = list(folder.iterdir())
    except OSError as exc:
        raise UserError(
            f"the folder to watch cannot be read any more: {exc.strerror}",
            where=folder,
            next="run the same command again when it is back: what was scored is known",
        ) from exc
    found: list[tuple[int, str, Path]] = []
    for path in paths:
        suffixes = [suffix.lower() for suffix in path.suffixes]
        while suffixes and suffixes[-1] in _PACKED:
            suffixes.pop()
        stat = _stat(path)
        if stat and suffixes and suffixes[-1] in SUFFIXES and not path.name.startswith(".") and path.is_file():
            found.append((stat[1], path.name, path))
    return [path for _, _, path in sorted(found)]


def _stat(path: Path) -> Stat | None:
    try:
        stat = path.stat()
    except OSError:  # gone, or a link that leads nowhere
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds(path: Path, content: str) -> bool:
    try:
        return path.is_file() and file_digest(path) == content
    except OSError:
        return False


def _sleep(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while not stop.is_asked() and time.monotonic() < until:
        time.sleep(min(_POLL_S, seconds))
