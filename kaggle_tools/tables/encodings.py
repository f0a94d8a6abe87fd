"""Text encodings: which of them a byte scanner may trust, and which one a file is likely to be in.

The scanner looks for newlines, quotes and separators in bytes that are not decoded yet. That is right exactly where
those bytes never are part of another character, which holds for UTF-8 and for the encodings of East Asia (GB18030,
Big5, Shift-JIS, EUC), with one exception: ``|`` may be the second byte of a Chinese or Japanese character.
"""

from __future__ import annotations

import codecs
from encodings.aliases import aliases
from functools import cache
from itertools import pairwise

from kaggle_tools.errors import UserError, did_you_mean

MEND_BYTES = "mend the broken bytes"
_OPTION = ": --encoding "

BOMS = {"utf-8": codecs.BOM_UTF8, "gb18030": "\ufeff".encode("gb18030")}
"""Byte order marks that are skipped at the start of a file."""

WIDE_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark is the first half of this one
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

# Supersets that replace an encoding: EUC-KR's own eight-byte characters would swallow a separator where one is broken.
_WIDER = {"utf-8-sig": "utf-8", "ascii": "utf-8", "euc_kr": "cp949"}
_CANDIDATES = ("utf-8", "gb18030", "big5", "shift_jis", "cp949", "cp1252")
_STATEFUL = ("iso2022", "hz", "utf-7", "utf_7")


def normalise_encoding(name: str) -> str:
    """Python's own name of an encoding; ``utf-8-sig`` is ``utf-8``, as a byte order mark is skipped anyway.

    Raises:
        UserError: No such encoding, or one in which newlines and quotes cannot be found without decoding.
    """
    try:
        found = codecs.lookup(name).name
        found = _WIDER.get(found, found)
        ascii_alike = '\n\r",\t;|'.encode(found) == b'\n\r",\t;|'
    except LookupError as exc:
        known = sorted({*aliases, *aliases.values()})
        raise UserError(f"unknown encoding '{name}'", next=did_you_mean(name.lower(), known)) from exc
    if not ascii_alike or found.startswith(_STATEFUL):
        raise UserError(
            f"tables in {name} cannot be read in pieces",
            expected="an encoding that holds ASCII, such as utf-8, gb18030, big5, shift_jis or cp1252",
            next=f"convert the file: iconv -f {name} -t UTF-8 FILE > NEW_FILE",
        )
    return found


@cache  # asked of each of thousands of files
def hides(encoding: str, character: str) -> bool:
    """Whether the byte of an ASCII `character` may also be the second byte of another character."""
    for lead in range(0x80, 0x100):
        try:
            if len(bytes([lead, ord(character)]).decode(encoding)) == 1:
                return True
        except UnicodeDecodeError:
            continue
    return False


def likely_encoding(data: bytes, tried: str) -> str | None:
    """An encoding in which all of `data` decodes and looks like text, other than `tried`; None where there is none.

    East Asian text has its high bytes in rows, Western text has them one by one: this tells cp1252 from the rest, which
    would otherwise decode a good deal of it.
    """
    in_rows = _high_bytes_in_rows(data)
    for name in _CANDIDATES:
        if name == tried or (name not in ("utf-8", "cp1252") and not in_rows) or (name == "cp1252" and in_rows):
            continue
        try:
            data.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return None


def is_utf8(data: bytes | memoryview) -> bool:
    """Whether all of it is UTF-8; Arrow knows that nine times as fast as Python, and makes no text of it."""
    import numpy as np
    import pyarrow as pa

    offsets = np.array([0, len(data)], dtype=np.int64)
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def is_surely_utf8(data: bytes, *, whole: bool, named: str) -> bool:
    """Whether the beginning of a file, or the `whole` of it, is UTF-8 beyond doubt, not what is `named`.

    A Chinese character in GB18030 passes for UTF-8 one time in five, ten different ones by luck one time in millions.
    Where each byte is a character, a letter passes only with a symbol behind it.
    """
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        return False
    high = bytes(range(0x80, 0x100))
    a_byte_each = len(high.decode(named, errors="replace")) == len(high)
    return sum(character > "\x7f" for character in set(text)) >= (3 if a_byte_each else 10)


def decode_advice(data: bytes, encoding: str) -> str:
    """What to do about `data` that does not decode as `encoding`: take another encoding, or mend a broken byte."""
    text = data.decode(encoding, errors="replace")
    n_foreign = sum(character > "\x7f" for character in text)
    n_broken = text.count("\ufffd")
    # Text in the wrong encoding breaks everywhere; a broken byte in the right one is alone among good characters.
    if n_broken * 20 > n_foreign and (other := likely_encoding(data, encoding)):
        return f"it looks like {other}{_OPTION}{other}"
    return MEND_BYTES


def without_option(advice: str, name: str, tried: str) -> str:
    """The advice for a command that has no `--encoding`: converts the file `name`, which was read as `tried`."""
    seems, option, other = advice.partition(_OPTION)
    if not option:
        return advice
    return f"{seems}, so convert it: iconv -f {other} -t {tried} {name} > {tried.replace('-', '')}_{name}"


def _high_bytes_in_rows(data: bytes) -> bool:
    high = [byte >= 0x80 for byte in data[:100_000]]
    in_rows = sum(a and b for a, b in pairwise(high))
    return in_rows * 2 > sum(high)
