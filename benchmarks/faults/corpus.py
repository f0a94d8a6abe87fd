"""More than five hundred tables that want to be misread: by hand, by grids, and drawn with fixed seeds.

    cases()[0].name, cases()[0].filename, cases()[0].content

What each one holds is not said here: `readers` asks Python's csv and json modules and pyarrow.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import zstandard

Row = tuple[str, str]

ODD_TEXTS = {
    "comma": "a, b,,c",
    "semicolon and bar": "a;b|c",
    "tab": "a\tb",
    "quote": 'he said "no"',
    "only quotes": '""""',
    "one quote": '"',
    "apostrophe": "it's 'so'",
    "newline": "a\nb",
    "crlf": "a\r\nb",
    "cr": "a\rb",
    "many newlines": "\n\n\n",
    "ends with newline": "a\n",
    "begins with newline": "\na",
    "quote newline quote": '"\n"',
    "comma after quote": '",',
    "backslash": "a\\b\\",
    "backslash quote": 'a\\"b',
    "escaped newline": "a\\nb",
    "spaces": "  a  ",
    "only spaces": "   ",
    "empty": "",
    "no-break space": "a\u00a0b",
    "ideographic space": "\u3000a\u3000",
    "line separator": "a\u2028b\u2029c",
    "next line": "a\u0085b",
    "vertical tab": "a\x0bb\x0cc",
    "information separators": "a\x1cb\x1dc\x1ed\x1fe",
    "control characters": "a\x01\x02\x07\x08\x1b[31mb\x7f",
    "substitute": "a\x1ab",
    "emoji": "😀 👩‍👩‍👧‍👦 🇩🇪 ✊🏽",
    "right to left": "שלום مرحبا",
    "direction marks": "a\u202eb\u202cc\u200f\u200e",
    "zero width": "a\u200bb\u200cc\u200dd\ufeffe",
    "combining": "e\u0301 a\u0308\u0323 Z͑ͫ̓a̴l̸g̶o̵",
    "decomposed": "n\u0303 \u1100\u1161\u11a8",
    "ligature": "ﬁ ﬀ ß İ ı",
    "chinese": "今天天气很好，是吗？",
    "rare chinese": "𠮷野家 𪚥",
    "japanese": "テスト ﾃｽﾄ",
    "korean": "한국어 시험",
    "thai": "ภาษาไทย",
    "devanagari": "हिन्दी",
    "last code point": "\U0010ffff\U0010fffe",
    "private use": "\ue000\uf8ff",
    "replacement": "a\ufffdb",
    "noncharacter": "\ufdd0\uffff",
    "formula": "=1+1",
    "formula call": '=HYPERLINK("http://x/?"&A1,"y")',
    "formula plus": "+1+cmd|' /C calc'!A0",
    "formula minus": "-2+3",
    "formula at": "@SUM(A1:A9)",
    "formula tab": "\t=1",
    "number": "1",
    "leading zeros": "007",
    "scientific": "1e400",
    "nan": "nan",
    "null word": "NULL",
    "na": "N/A",
    "boolean": "true",
    "date": "2026-11-20",
    "html": "<script>alert(1)</script>&amp;",
    "sql": "'; DROP TABLE x; --",
    "braces": '{"id": "r1"}',
    "brackets": "[1, 2]",
    "percent": "%s %d %n ${HOME} $(id)",
    "hash": "# not a comment",
    "url": "https://x.y/z?a=1&b=2#c",
    "long": "w " * 40_000,
    "long word": "x" * 100_000,
    "long quoted": 'a"\n,' * 20_000,
}

ALPHABET = [
    *(
        '"',
        '""',
        ",",
        ";",
        "|",
        "\t",
        "\n",
        "\r\n",
        " ",
        "'",
        "\\",
        "a",
        "b",
        "=",
        "-",
        "0",
        "1",
        "é",
        "猫",
        "😀",
        "\u202e",
    ),
    *("\u200b", "\ufeff", "\u2028", "\x85", "\x1f", "{", "}", "[", ":", "<", "&", "e\u0301", "\U0010ffff", "word", "Ж"),
]


@dataclass(frozen=True)
class Case:
    """A hostile table.

    Attributes:
        name: What is odd about it; begins with its group.
        filename: With the extension that it claims.
        content: Its bytes.
        options: What the user said of it: ``encoding``, ``separator``, ``id_column`` …
        kind: How an independent reader must take it: ``csv``, ``jsonl``, ``parquet``, or ``none`` where it is no table.
        separator: For ``csv``.
        quoted: Whether quotes are quotes in it.
        compression: ``gzip``, ``zstd`` or None.
    """

    name: str
    filename: str
    content: bytes
    options: Mapping[str, str] = field(default_factory=dict)
    kind: str = "csv"
    separator: str = ","
    quoted: bool = True
    compression: str | None = None

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.split(":")[0]


def cases() -> list[Case]:
    """All of them, always the same, in the same order."""
    from benchmarks.faults import corpus_by_hand

    found = [*_grid(), *_odd_texts(), *_random_tables(), *_mutated(), *_compressed(), *corpus_by_hand.cases()]
    assert len({case.name for case in found}) == len(found), "two cases have one name"
    return found


def to_csv(rows: Sequence[Row], **dialect: object) -> str:
    """CSV by Python's own writer; LF unless told otherwise."""
    out = io.StringIO()
    csv.writer(out, **{"lineterminator": "\n", **dialect}).writerows([("id", "text"), *rows])  # type: ignore[arg-type]
    return out.getvalue()


def to_jsonl(rows: Sequence[Row], *, ascii_only: bool = False) -> str:
    """JSON Lines."""
    return "".join(json.dumps({"id": i, "text": t}, ensure_ascii=ascii_only) + "\n" for i, t in rows)


def to_parquet(rows: Sequence[Row], **options: object) -> bytes:
    """Parquet by polars."""
    out = io.BytesIO()
    pl.DataFrame(rows, schema=["id", "text"], orient="row").write_parquet(out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def _grid() -> Iterator[Case]:
    rows = [("r1", 'a, "b"'), ("r2", "c\nd"), ("r3", ""), ("r4", "e;f|g\th"), ("r5", "最后")]
    for separator, word in ((",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "bar")):
        for end, called in (("\n", "LF"), ("\r\n", "CRLF")):
            for quoting, how in ((csv.QUOTE_MINIMAL, "few quotes"), (csv.QUOTE_ALL, "all quoted")):
                for bom in (b"", b"\xef\xbb\xbf"):
                    for whole in (True, False):
                        text = to_csv(rows, delimiter=separator, lineterminator=end, quoting=quoting)
                        text = text if whole else text.removesuffix(end)
                        marks = f"{'BOM' if bom else 'no BOM'}, {'' if whole else 'no '}last newline"
                        extension = "tsv" if separator == "\t" else "csv"
                        yield Case(
                            f"grid: {word}, {called}, {how}, {marks}",
                            f"grid.{extension}",
                            bom + text.encode(),
                            separator=separator,
                        )


def _odd_texts() -> Iterator[Case]:
    for name, text in ODD_TEXTS.items():
        rows = [("r1", "plain"), ("r2", text), ("r3", f"x{text}y"), (f"r4{text[:20].strip()}", "odd id")]
        yield Case(f"odd text: {name} in CSV", "odd.csv", to_csv(rows).encode())
        yield Case(f"odd text: {name} in JSON Lines", "odd.jsonl", to_jsonl(rows).encode(), kind="jsonl")
        yield Case(f"odd text: {name} in Parquet", "odd.parquet", to_parquet(rows), kind="parquet")


def _draw_rows(draw: random.Random) -> list[Row]:
    def word(most: int) -> str:
        return "".join(draw.choice(ALPHABET) for _ in range(draw.randrange(most)))

    return [(f"i{i}{word(3)}", word(12)) for i in range(draw.randrange(1, 30))]


def _random_tables() -> Iterator[Case]:
    for seed in range(100):
        draw = random.Random(seed)
        rows = _draw_rows(draw)
        separator, end = draw.choice(",;\t|"), draw.choice(("\n", "\r\n"))
        text = to_csv(rows, delimiter=separator, lineterminator=end, quoting=draw.choice((0, 1)))
        extension = "tsv" if separator == "\t" else "csv"
        yield Case(
            f"drawn: CSV {seed}", f"drawn.{extension}", text.encode(), {"separator": separator}, separator=separator
        )
    for seed in range(40):
        draw = random.Random(1_000 + seed)
        text = to_jsonl(_draw_rows(draw), ascii_only=draw.random() < 0.5)
        yield Case(f"drawn: JSON Lines {seed}", "drawn.jsonl", text.encode(), kind="jsonl")
    for seed in range(20):
        draw = random.Random(2_000 + seed)
        content = to_parquet(_draw_rows(draw), row_group_size=draw.randrange(1, 9))
        yield Case(f"drawn: Parquet {seed}", "drawn.parquet", content, kind="parquet")


def _mutated() -> Iterator[Case]:
    """Valid tables with a few bytes put in, taken out or changed."""
    pieces = [
        b'"',
        b'""',
        b",",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"a",
        b" ",
        b"\\",
        b"\t",
    ]
    makers: tuple[tuple[str, str, Callable[[list[Row]], str], int], ...] = (
        ("csv", "CSV", to_csv, 120),
        ("jsonl", "JSON Lines", to_jsonl, 50),
    )
    for kind, called, make, count in makers:
        for seed in range(count):
            draw = random.Random(3_000 + seed)
            content = make(_draw_rows(draw)).encode()
            for _ in range(draw.randrange(1, 4)):
                at = draw.randrange(len(content))
                gone = draw.choice((0, 0, 1, 3))
                content = content[:at] + draw.choice((b"", *pieces)) + content[at + gone :]
            yield Case(f"mutated: {called} {seed}", f"mutated.{kind}", content, kind=kind)


def _compressed() -> Iterator[Case]:
    text = to_csv([(f"r{i}", f"text {i * 7919 % 1000} 猫") for i in range(3_000)]).encode()
    packers: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
        ("gzip", "gz", lambda data: gzip.compress(data, mtime=0)),
        ("zstd", "zst", zstandard.ZstdCompressor(write_checksum=True).compress),
    )
    for kind, extension, pack in packers:
        whole = pack(text)
        half = len(text) // 2
        made = {"whole": whole, "two members": pack(text[:half]) + pack(text[half:]), "empty member": pack(b"") + whole}
        made["rubbish after"] = whole + b"rubbish"
        made["zeros after"] = whole + b"\0" * 512
        made["nothing inside"] = pack(b"")
        made |= {f"cut at {p} %": whole[: len(whole) * p // 100] for p in (1, 5, 10, 25, 50, 75, 90, 99)}
        for p in (2, 10, 30, 50, 70, 90, 98):
            at = len(whole) * p // 100
            made[f"bit flipped at {p} %"] = whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :]
        for how, content in made.items():
            yield Case(f"compressed: {kind} {how}", f"packed.csv.{extension}", content, compression=kind)
        yield Case(f"compressed: {kind} without its extension", "packed.csv", whole, compression=kind)
        yield Case(f"compressed: {kind} twice", f"packed.csv.{extension}", pack(whole), compression=kind, kind="none")
    yield Case("compressed: gzip called zst", "packed.csv.zst", gzip.compress(text, mtime=0), compression="gzip")
    yield Case("compressed: plain called gz", "packed.csv.gz", text)
