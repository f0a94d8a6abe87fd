"""A file on object storage, with as much of pathlib's manners as readers and writers of tables need.

It is no `os.PathLike`: whoever would open it as a local file by mistake gets a TypeError.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Literal, Self, TypeAlias, cast

from kaggle_tools.errors import UserError
from kaggle_tools.remote.bucket import SCHEMES, Bucket

if TYPE_CHECKING:
    from obstore import ObjectMeta

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class RemoteStat:
    """What is known of an object without reading it.

    Attributes:
        st_size: Bytes.
        st_mtime_ns: When it was written, by the clock of the service.
        etag: Differs between versions; None where the service tells none.
    """

    st_size: int
    st_mtime_ns: int
    etag: str | None


class RemoteFile:
    """An object, or the place of one: `s3://bucket/key`.

    Args:
        url: As a person writes it.

    Raises:
        UserError: A scheme that is not known, no bucket, credentials inside, or parts of the key that are empty.
    """

    __slots__ = ("bucket", "key")

    def __init__(self, url: str) -> None:
        self.bucket, self.key = _split(url)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The name's last suffix, with its dot."""
        return PurePosixPath(self.key).suffix

    @property
    def suffixes(self) -> list[str]:
        """The name's suffixes."""
        return PurePosixPath(self.key).suffixes

    @property
    def parent(self) -> Self:
        """What pathlib would call the folder."""
        return self._beside(self._prefix.rpartition("/")[0])

    def with_name(self, name: str) -> Self:
        """Another object beside this one."""
        return self.parent / name

    def __truediv__(self, name: str) -> Self:
        return self._beside(f"{self._prefix}/{name}".lstrip("/"))

    def resolve(self) -> Self:
        """Itself: an address is absolute."""
        return self

    def stat(self) -> RemoteStat:
        """Size, time and version.

        Raises:
            FileNotFoundError: No such object.
            UserError: No such bucket, no access, no connection.
        """
        if not self.key or self.key.endswith("/"):
            raise FileNotFoundError(str(self))
        return _stat(self.bucket.head(self.key))

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    exists = is_file

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        return next(self.bucket.below(self._prefix, chunk=1), None) is not None

    def iterdir(self) -> Iterator[Self]:
        """The objects right below it."""
        for entry in self.bucket.right_below(self._prefix):
            yield self._beside(entry["path"])

    def glob(self, pattern: str) -> Iterator[Self]:
        """Objects below it whose keys match, in the order of keys; ``**`` matches any number of folders."""
        matches, skipped = _matcher(pattern), len(self._prefix) + 1 if self._prefix else 0
        for entry in self.bucket.below(self._prefix):
            if matches.fullmatch(entry["path"][skipped:]):
                yield self._beside(entry["path"])

    def version(self) -> str:
        """32 hex digits that differ between versions: of its tag where the service gives one, else of size and time.

        Raises:
            FileNotFoundError: No such object.
            UserError: No such bucket, no access, no connection.
        """
        stat = self.stat()
        what = stat.etag or f"{stat.st_size} bytes at {stat.st_mtime_ns}"
        return hashlib.blake2b(what.encode(), digest_size=16).hexdigest()

    def open(self, mode: Literal["rb"] = "rb", *, ahead: bool = False) -> IO[bytes]:
        """Its bytes, of the version that is there now.

        Args:
            mode: Only reading.
            ahead: Fetch what comes next before it is asked for; else each read is one request for these bytes alone.

        Raises:
            FileNotFoundError: No such object.
            UserError: No such bucket, no access, no connection; later, when it is replaced while it is read.
        """
        from kaggle_tools.remote.reader import RangeReader

        if mode != "rb":
            raise ValueError(f"objects are opened for reading bytes, not '{mode}'")
        return cast(IO[bytes], RangeReader(self, ahead=ahead))

    def read_bytes(self) -> bytes:
        """All of it.

        Raises:
            FileNotFoundError: No such object.
            UserError: No such bucket, no access, no connection.
        """
        return self.bucket.get(self.key)

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of it as text; raises as `read_bytes`."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes | memoryview) -> None:
        """Put an object there, whole or not at all.

        Raises:
            UserError: No such bucket, no access, no connection.
        """
        self.bucket.put(self.key, data)

    def create(self, data: bytes) -> bool:
        """Put an object there if there is none, and say whether there was none; of several at once one succeeds."""
        return self.bucket.create(self.key, data)

    def upload(self, file: Path) -> None:
        """Put a file there, whole or not at all: its parts become an object when the last one has arrived.

        Raises:
            UserError: No such bucket, no access, no connection.
        """
        self.bucket.upload(self.key, file)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove it.

        Raises:
            FileNotFoundError: There is none, unless `missing_ok`; where the service tells.
            UserError: No such bucket, no access, no connection.
        """
        try:
            self.bucket.delete(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    @property
    def _prefix(self) -> str:
        return self.key.rstrip("/")

    def _beside(self, key: str) -> Self:
        return type(self)(f"{self.bucket.scheme}://{self.bucket.name}/{key}")

    def __str__(self) -> str:
        return f"{self.bucket.scheme}://{self.bucket.name}/{self.key}"

    def __repr__(self) -> str:
        return f"RemoteFile({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


Place: TypeAlias = Path | RemoteFile


def is_remote(text: object) -> bool:
    """Whether a name is an address, of whatever scheme."""
    return isinstance(text, RemoteFile) or (isinstance(text, str) and _URL.match(text) is not None)


def place(name: str | Path | RemoteFile) -> Place:
    """A name as a person types it: an address is a `RemoteFile`, anything else a local path.

    Raises:
        UserError: An address that cannot be used.
    """
    if isinstance(name, RemoteFile):
        return name
    return RemoteFile(name) if isinstance(name, str) and is_remote(name) else Path(name)


def shared_place(name: str) -> RemoteFile:
    """An address that stands in for a folder that several machines see.

    Raises:
        UserError: It is a local folder, or an address that cannot be used.
    """
    if not is_remote(name):
        raise UserError(
            f"--parts {name} is no address",
            expected="one on object storage, such as s3://bucket/jobs",
            next="a workspace on a disk that all machines see needs no --parts",
        )
    return RemoteFile(name)


def refuse_address(path: Path) -> None:
    """Refuse a path that was an address before somebody made it a path, which drops a slash.

    Raises:
        UserError: It was.
    """
    first = path.parts[0] if path.parts else ""
    if first.endswith(":") and first[:-1] in SCHEMES and not path.parent.exists():
        raise UserError(
            f"{first}//{'/'.join(path.parts[1:])} cannot be used here",
            expected="a file: of addresses only the tables of `cli score` are read, and only its output is written",
            next="copy the file",
        )


def open_bytes(path: Place, *, ahead: bool) -> IO[bytes]:
    """A file opened for reading; `ahead` as in `RemoteFile.open`, for files on disks the system sees to it.

    Raises:
        OSError: It cannot be opened.
        UserError: As `RemoteFile.open`.
    """
    return path.open("rb", ahead=ahead) if isinstance(path, RemoteFile) else path.open("rb")


def _split(url: str) -> tuple[Bucket, str]:
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if "@" in bucket:  # not shown: it may hold a password
        raise UserError(
            f"an address of {scheme}:// has credentials in it",
            next="leave them out; they are found in the environment or in a profile",
        )
    if scheme.lower() not in SCHEMES:
        raise UserError(
            f"{scheme}:// is no kind of address that we can read or write",
            expected=", ".join(f"{name}://" for name in SCHEMES) + " or a file",
        )
    if any(part in ("", ".", "..") for part in key.rstrip("/").split("/")) and key:
        raise UserError(f"the key of {url} has an empty part, or one of dots", expected="folder/name")
    if not bucket:
        raise UserError(f"the address {url} names no bucket", expected=f"{scheme}://BUCKET/KEY")
    return Bucket(scheme.lower(), bucket), key


def _stat(meta: ObjectMeta) -> RemoteStat:
    return RemoteStat(meta["size"], round(meta["last_modified"].timestamp() * 1e6) * 1000, meta["e_tag"])


def _matcher(pattern: str) -> re.Pattern[str]:
    """A glob over keys: ``*`` and ``?`` stay within a folder."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern)
    return re.compile("".join(words.get(w) or (_class(w) if w[:1] == "[" else re.escape(w)) for w in found), re.DOTALL)


def _class(word: str) -> str:
    inner = word[1:-1].replace("\\", r"\\")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
