"""Bytes of a file from front to back, unpacked, with bounded memory; `seek` is cheap only in plain files.

with ByteStream(path, "gzip") as stream:
    stream.seek(1_000_000)          # of the decompressed bytes
    block = stream.read(65_536)
"""

from __future__ import annotations

import errno
import lzma
import struct
import zipfile
import zlib
from types import TracebackType
from typing import IO, Literal, Protocol, Self

from kaggle_tools.errors import UserError
from kaggle_tools.remote import Place, open_bytes

Compression = Literal["gzip", "zstd", "zip"]

MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty one
    b"\x50\x2a\x4d\x18": "zstd",  # pzstd puts a frame without content before each of its own
}

# Small, because a block of zeros comes out of gzip a thousand times larger.
_INPUT_BYTES = 64 * 1024

# What zipfile makes of an archive that says nonsense, beside its own error: places before the file's first byte, names
# without a letter, headers cut short, a bzip2 stream that is none.
_DAMAGED = (zipfile.BadZipFile, OSError, ValueError, IndexError, struct.error)


class ByteStream:
    """An open file whose decompressed bytes are read forward. A context manager.

    Attributes:
        position: Offset of the next byte, in the decompressed stream.

    Args:
        path: The file.
        compression: How it is compressed.
        ahead: Much of it will be read, so fetch from object storage what comes next before it is asked for.
    """

    def __init__(self, path: Place, compression: Compression | None, *, ahead: bool = False) -> None:
        self._path = path
        self._compression = compression
        self._ahead = ahead
        self._open()

    def read(self, n_bytes: int) -> bytes:
        """The next `n_bytes`; fewer only at the end of the file.

        Raises:
            UserError: The compressed file is truncated or damaged.
        """
        if self._compression is None:
            data = self._file.read(n_bytes)
        elif self._compression == "zip":
            data = self._read_member(n_bytes)
        else:
            data = self._read_inflated(n_bytes)
        self.position += len(data)
        return data

    def seek(self, offset: int) -> None:
        """Go to `offset`. In a compressed file the way there is decompressed and dropped; going back starts anew."""
        if self._compression is None:
            self._file.seek(offset)
            self.position = offset
            return
        if offset < self.position:
            self.close()
            self._open()
        while self.position < offset and self.read(min(offset - self.position, 1 << 20)):
            pass

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self) -> None:
        self._file: IO[bytes] = open_bytes(self._path, ahead=self._ahead)
        self.position = 0
        self._inflated = bytearray()
        self._inflater: _Inflater | None = None
        try:
            self._member = _only_member(self._path, self._file) if self._compression == "zip" else None
        except BaseException:
            self._file.close()
            raise

    def _read_member(self, n_bytes: int) -> bytes:
        assert self._member is not None
        try:
            return self._member.read(n_bytes)
        except (*_DAMAGED, zlib.error, lzma.LZMAError, EOFError) as exc:
            if _is_of_the_disk(exc):
                raise
            raise self._damaged("damaged", str(exc) or "the archive ends too early") from exc

    def _read_inflated(self, n_bytes: int) -> bytes:
        while len(self._inflated) < n_bytes and (chunk := self._file.read(_INPUT_BYTES)):
            self._inflate(chunk)
        if len(self._inflated) < n_bytes and self._inflater is not None:
            raise self._damaged("truncated", "the compressed stream ends too early")
        data = bytes(self._inflated[:n_bytes])
        del self._inflated[:n_bytes]
        return data

    def _inflate(self, chunk: bytes) -> None:
        """Decompress `chunk`, which may hold the end of one member (or frame) and the start of the next."""
        while chunk:
            if self._inflater is None:
                chunk = chunk.lstrip(b"\0")  # gzip files on tape are padded with zeros
                if not chunk:
                    return
                self._inflater = _new_inflater(self._compression)
            try:
                self._inflated += self._inflater.decompress(chunk)
            except Exception as exc:
                if type(exc).__name__ not in ("error", "ZstdError"):
                    raise
                raise self._damaged("damaged", str(exc)) from exc
            if not self._inflater.eof:
                return
            chunk = self._inflater.unused_data
            self._inflater = None

    def _damaged(self, how: str, why: str) -> UserError:
        return UserError(
            f"{self._path.name} is {how}",
            where=f"{self._path}, after {self.position + len(self._inflated):,} decompressed bytes",
            found=why,
            next="copy or download the file again",
        )


def _only_member(path: Place, file: IO[bytes]) -> IO[bytes]:
    """The one file of a zip archive, as Kaggle packs a table, opened."""
    try:
        archive = zipfile.ZipFile(file)
        inside = [entry for entry in archive.infolist() if not entry.is_dir()]
        names = [entry.filename for entry in inside if not entry.filename.startswith("__MACOSX/")]
        if "[Content_Types].xml" in names:
            raise UserError(f"{path.name} is an Excel workbook", where=path, next="save the sheet as CSV")
        if len(names) != 1:
            raise UserError(
                f"{path.name} holds {len(names):,} files",
                where=path,
                found=", ".join(names[:5]) or "an empty archive",
                expected="one table",
                next="unzip it and name the table itself",
            )
        return archive.open(names[0])
    except _DAMAGED as exc:
        if _is_of_the_disk(exc):
            raise
        raise UserError(
            f"{path.name} is a damaged zip archive", where=path, found=exc, next="copy or download the file again"
        ) from exc
    except RuntimeError as exc:  # a password; a method of compression that Python lacks
        raise UserError(f"{path.name} cannot be unpacked here", where=path, found=exc, next="unzip it first") from exc


def _is_of_the_disk(exc: Exception) -> bool:
    """Whether an error says that a file cannot be read, not what is in it."""
    return isinstance(exc, OSError) and exc.errno not in (None, errno.EINVAL)


class _Inflater(Protocol):
    """What zlib's and zstandard's decompression objects share."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _new_inflater(compression: Compression | None) -> _Inflater:
    if compression == "gzip":
        return zlib.decompressobj(wbits=31)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()
