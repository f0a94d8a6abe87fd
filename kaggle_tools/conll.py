"""CoNLL files: a word and its tag a line, separated by blanks or a tab, an empty line between sentences.

    sentences = read_conll(Path("train.conll.gz"))
    to_table(sentences)                                  # columns id, text, tags: words and tags joined by blanks

Of lines with more columns the first is the word and the last the tag; with a single column there are no tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import polars as pl

from kaggle_tools.errors import UserError
from kaggle_tools.tables.streams import MAGIC, ByteStream

DOCSTART = "-DOCSTART-"
BLANK = "\u2423"  # stands for blanks in a word, and for a word of white space, since words are separated by blanks
COLUMNS = ("id", "text", "tags")


@dataclass(frozen=True)
class Sentence:
    """Words and, where known, as many tags; `line` is that of its first word in its file, from 1."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    line: int = 1


def read_conll(path: Path, *, encoding: str = "utf-8", word_position: bool = False) -> list[Sentence]:
    """Sentences of a file, also a compressed one.

    Args:
        path: The file.
        encoding: Its encoding.
        word_position: The last character of each word is a digit that says its place in the word, and is left out.

    Raises:
        UserError: No such file, no sentence, bytes outside the encoding, some lines with and some without a tag, a word
            that does not end in a digit.
    """
    found: list[Sentence] = []
    lines: list[list[str]] = []
    width = 0
    # Of all that `str.splitlines` takes for the end of a line some stand in texts as characters, such as U+2028.
    for number, line in enumerate([*StringIO(_text(path, encoding), newline=None).read().split("\n"), ""], start=1):
        fields = line.split("\t") if "\t" in line else line.rstrip(" ").split(" ")
        if not line.strip() or fields[0] == DOCSTART:
            if lines:
                found.append(_sentence(lines, number - len(lines)))
            lines = []
            continue
        width = width or min(len(fields), 2)
        if min(len(fields), 2) != width:
            raise UserError("some lines have a tag and some have none", where=f"{path}, line {number:,}", found=line)
        if word_position and not fields[0][-1:].isdigit():
            raise UserError("a word without its position", where=f"{path}, line {number:,}", found=line)
        word = fields[0][:-1] if word_position else fields[0]
        lines.append([word.replace(" ", BLANK) if word.strip() else BLANK, *(fields[-1:] if width > 1 else [])])
    if not found:
        raise UserError("no sentence in this file", where=path, expected="a word and a tag a line")
    return found


def to_table(sentences: Sequence[Sentence], prefix: str = "") -> pl.DataFrame:
    """One row a sentence: ``id`` (`prefix` and number), ``text`` and, where known, ``tags``, all String."""
    table = {
        "id": [f"{prefix}{i}" for i in range(len(sentences))],
        "text": [" ".join(sentence.words) for sentence in sentences],
    }
    if all(sentence.tags is not None for sentence in sentences):
        table["tags"] = [" ".join(sentence.tags or ()) for sentence in sentences]
    return pl.DataFrame(table, schema=dict.fromkeys(table, pl.String))


def _sentence(lines: list[list[str]], first: int) -> Sentence:
    words = tuple(line[0] for line in lines)
    return Sentence(words, tuple(line[1] for line in lines) if len(lines[0]) > 1 else None, first)


def _text(path: Path, encoding: str) -> str:
    if not path.is_file():
        raise UserError("no such file", where=path)
    with path.open("rb") as handle:
        head = handle.read(8)
    compression = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    with ByteStream(path, compression) as stream:
        pieces = []
        while piece := stream.read(1 << 20):
            pieces.append(piece)
    try:
        return b"".join(pieces).decode(encoding).removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError) as exc:
        raise UserError(f"cannot be read as {encoding}: {exc}", where=path, next="say --encoding") from exc
