"""Hostile tables written by hand: headers, encodings, sizes, wrong extensions, broken JSON, odd Parquet."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from datetime import date

import polars as pl

from benchmarks.faults.corpus import Case, to_csv, to_jsonl, to_parquet

_ROWS = [("r1", "a b"), ("r2", "c, d"), ("r3", 'e "f"')]
_PLAIN = to_csv(_ROWS)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _headers()
    yield from _lines()
    yield from _quotes()
    yield from _encodings()
    yield from _sizes()
    yield from _not_tables()
    yield from _json_lines()
    yield from _parquet()


def _csv(group: str, texts: dict[str, str | bytes]) -> Iterator[Case]:
    for name, text in texts.items():
        yield Case(f"{group}: {name}", "hand.csv", text.encode() if isinstance(text, str) else text)


def _headers() -> Iterator[Case]:
    yield from _csv(
        "header",
        {
            "only": "id,text\n",
            "only, without newline": "id,text",
            "twice the text": "id,text,text\nr1,a,b\n",
            "twice the id": "id,id,text\nr1,r1,a\n",
            "two without a name": "id,text,,\nr1,a,b,c\n",
            "one without a name": "id,text,\nr1,a,b\n",
            "spaces around": " id , text \nr1,a\n",
            "upper case": "ID,TEXT\nr1,a\n",
            "no text": "id,label\nr1,a\n",
            "no id": "text,x\na,1\nb,2\n",
            "text alone": "text\na\nb\n",
            "id alone": "id\nr1\n",
            "quoted": '"id","text"\nr1,a\n',
            "quoted newline": '"id","text","a\nb"\nr1,a,b\n',
            "quoted comma": 'id,text,"a,b"\nr1,a,b\n',
            "blank lines before": "\n\n\nid,text\nr1,a\n",
            "comment before": "# made by hand\nid,text\nr1,a\n",
            "sep= of a spreadsheet": "sep=,\nid,text\nr1,a\n",
            "two BOMs": b"\xef\xbb\xbf\xef\xbb\xbfid,text\nr1,a\n",
            "BOM and quote": b'\xef\xbb\xbf"id","text"\nr1,a\n',
            "BOM alone": b"\xef\xbb\xbf",
            "of emoji": "id,text,😀,שלום\nr1,a,b,c\n",
            "repeated as a row": "id,text\nr1,a\nid,text\nr2,b\n",
            "10,000 columns": ",".join(["id", "text", *(f"c{i}" for i in range(9_998))])
            + "\n"
            + ("r{},a{}" + ",1" * 9_998 + "\n").format(1, 1)
            + ("r{},a{}" + ",1" * 9_998 + "\n").format(2, 2),
            "a name of 100,000 characters": f"id,text,{'x' * 100_000}\nr1,a,b\n",
            "text with a run's name": "id,text,linear/prob_a\nr1,a,b\n",
        },
    )


def _lines() -> Iterator[Case]:
    yield from _csv(
        "lines",
        {
            "CR alone": "id,text\rr1,a\rr2,b\r",
            "LF and CRLF mixed": "id,text\nr1,a\r\nr2,b\nr3,c\r\n",
            "LF and CR mixed": "id,text\nr1,a\rr2,b\nr3,c\n",
            "CR CR LF": "id,text\r\r\nr1,a\r\r\nr2,b\r\r\n",
            "LF CR": "id,text\n\rr1,a\n\rr2,b\n",
            "blank between": "id,text\n\nr1,a\n\n\nr2,b\n\n",
            "blank of spaces": "id,text\nr1,a\n   \nr2,b\n",
            "blank CRLF": "id,text\r\n\r\nr1,a\r\n\r\n",
            "too few fields": "id,text,x\nr1,a,1\nr2,b\nr3,c,3\n",
            "too many fields": "id,text\nr1,a\nr2,b,c\nr3,d\n",
            "comma at the end of each": "id,text\nr1,a,\nr2,b,\n",
            "all ragged": "id,text\nr1\nr2\n",
            "only commas": "id,text\n,\n,\n",
            "empty ids": "id,text\n,a\nr2,b\n",
            "ids of spaces": "id,text\n  ,a\nr2,b\n",
            "duplicate ids": "id,text\nr1,a\nr1,b\n",
            "ids that are one once stripped": "id,text\nr1,a\n r1 ,b\n",
            "NUL in a text": "id,text\nr1,a\0b\n",
            "NUL in the header": "id\0,text\nr1,a\n",
            "NULs at the end": "id,text\nr1,a\n\0\0\0",
            "control-Z at the end": "id,text\nr1,a\n\x1a",
            "numbers as ids": "id,text\n1,a\n01,b\n1.0,c\n1e0,d\n",
            "formulas as ids": "id,text\n=1+1,a\n@x,b\n-1,c\n+2,d\n",
            "paths as ids": "id,text\n../../etc/passwd,a\n/tmp/x,b\n..,c\n",
        },
    )


def _quotes() -> Iterator[Case]:
    yield from _csv(
        "quotes",
        {
            "never closed": 'id,text\nr1,"a\nr2,b\n',
            "never closed in the last field": 'id,text\nr1,a\nr2,"',
            "never closed in the header": 'id,"text\nr1,a\n',
            "text after the closing one": 'id,text\nr1,"a"b\nr2,c\n',
            "inside an unquoted field": 'id,text\nr1,a"b\nr2,c\n',
            "inches": 'id,text\nr1,27" screen\nr2,a 5" one and a 6" one\n',
            "space before": 'id,text\nr1, "a, b"\nr2,c\n',
            "space after": 'id,text\nr1,"a" \nr2,c\n',
            "single ones": "id,text\nr1,'a, b'\n",
            "typographic": "id,text\nr1,“a”\nr2,„b“\n",
            "escaped by backslash": 'id,text\nr1,"a \\"b\\" c"\n',
            "three": 'id,text\nr1,"""a"""\nr2,""""\n',
            "empty": 'id,text\nr1,""\nr2,""""""\n',
            "around a whole row": 'id,text\n"r1,a"\n"r2,b"\n',
            "of 5 MB": 'id,text\nr1,"' + "a, \n" * 1_250_000 + '"\nr2,b\n',
        },
    )
    for name, text in {
        "stray in TSV": 'id\ttext\nr1\ta "b\nr2\tc\n',
        "leading stray in TSV": 'id\ttext\nr1\t"b\nr2\tc\n',
        "none but apostrophes in TSV": "id\ttext\nr1\tit's\n",
    }.items():
        yield Case(f"quotes: {name}", "hand.tsv", text.encode(), separator="\t", quoted=False)


def _encodings() -> Iterator[Case]:
    texts = {"gb18030": "天气𠮷", "gbk": "天气，很好", "big5": "天氣很好", "shift_jis": "表示ソ十", "euc_jp": "日本語"}
    texts |= {
        "cp949": "한국어 시험",
        "cp1252": "café “x” €",
        "latin-1": "naïve é",
        "cp1251": "Привет",
        "koi8-r": "Привет",
    }
    texts |= {"iso8859-15": "€uro", "mac-roman": "café"}
    for encoding, text in texts.items():
        content = to_csv([("r1", text), ("r2", f'"{text}", {text}\n{text}')]).encode(encoding)
        yield Case(f"encoding: {encoding}", "coded.csv", content, {"encoding": encoding})
        yield Case(f"encoding: {encoding} taken for UTF-8", "coded.csv", content)
    seven_bits = ("utf-7", "iso2022_jp", "hz")  # ASCII to whoever is not told
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "iso2022_jp", "hz", "cp037"):
        content = to_csv([("r1", "ab"), ("r2", "cd 日本" if encoding != "cp037" else "cd")]).encode(encoding)
        yield Case(
            f"encoding: {encoding} as it is", "coded.csv", content, kind="csv" if encoding in seven_bits else "none"
        )
        yield Case(f"encoding: {encoding} by name", "coded.csv", content, {"encoding": encoding}, kind="none")
    yield Case("encoding: no such", "coded.csv", _PLAIN.encode(), {"encoding": "utf-9"}, kind="none")
    yield Case("encoding: rot13", "coded.csv", _PLAIN.encode(), {"encoding": "rot13"}, kind="none")
    yield Case("encoding: base64", "coded.csv", _PLAIN.encode(), {"encoding": "base64"}, kind="none")
    yield Case("encoding: UTF-8 cut in a character", "coded.csv", "id,text\nr1,猫".encode()[:-1])
    yield Case("encoding: overlong UTF-8", "coded.csv", b"id,text\nr1,\xc0\xaf\n")
    yield Case("encoding: surrogate in UTF-8", "coded.csv", b"id,text\nr1,\xed\xa0\xbd\n")
    yield Case("encoding: beyond Unicode", "coded.csv", b"id,text\nr1,\xf4\x90\x80\x80\n")
    yield Case("encoding: UTF-8 and cp1252 mixed", "coded.csv", "id,text\nr1,é\n".encode() + b"r2,\xe9\n")
    replace = {"encoding_errors": "replace"}
    yield Case("encoding: broken bytes replaced", "coded.csv", b"id,text\nr1,a\xffb\nr2,\xc3\n", replace)
    yield Case("encoding: broken byte before a separator", "coded.csv", b"id,text\nr1\xc3,a\nr2,b\xe2\x82\n", replace)


def _sizes() -> Iterator[Case]:
    yield from _csv(
        "size",
        {
            "one field of 20 MB": "id,text\nr1," + "word " * 4_000_000 + "\nr2,b\n",
            "20,000 rows": "id,text\n" + "".join(f"r{i},a{i}\n" for i in range(20_000)),
            "one row, one byte": "text\na",
            "empty file": b"",
            "one newline": "\n",
            "spaces": "   ",
            "one letter": "a",
        },
    )


def _not_tables() -> Iterator[Case]:
    parquet = to_parquet(_ROWS)
    for name, filename, content in (
        ("a zip called csv", "x.csv", b"PK\x03\x04" + b"\0" * 60),
        ("a workbook", "x.xlsx", b"PK\x03\x04" + b"\0" * 60),
        ("bzip2", "x.csv.bz2", b"BZh91AY&SY" + b"\x01" * 40),
        ("xz", "x.csv.xz", b"\xfd7zXZ\x00" + b"\x01" * 40),
        ("a picture", "x.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
        ("a PDF", "x.csv", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\n"),
        ("a program", "x.csv", b"\x7fELF\x02\x01\x01" + b"\0" * 90),
        ("random bytes", "x.csv", bytes((i * 7919 + i // 7) % 256 for i in range(5_000))),
        ("a pickle", "x.pkl", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins."),
        ("a NumPy array", "x.csv", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}" + b"\0" * 40),
        ("HTML", "x.csv", b"<!DOCTYPE html>\n<html><body>404</body></html>\n"),
        ("a Git LFS pointer", "x.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("gzipped Parquet", "x.parquet.gz", gzip.compress(parquet, mtime=0)),
        ("CSV called Parquet", "x.parquet", _PLAIN.encode()),
        ("half a Parquet file", "x.parquet", parquet[: len(parquet) // 2]),
        ("Parquet without its last byte", "x.parquet", parquet[:-1]),
        ("Parquet's magic alone", "x.parquet", b"PAR1"),
        ("Parquet's magic twice", "x.parquet", b"PAR1\x00\x00\x00\x00PAR1"),
        ("Parquet with a huge footer", "x.parquet", b"PAR1" + b"\xff\xff\xff\x7fPAR1"),
        ("JSON array", "x.json", json.dumps([{"id": "r1", "text": "a"}]).encode()),
        ("JSON array called jsonl", "x.jsonl", json.dumps([{"id": "r1", "text": "a"}]).encode()),
        ("CSV called jsonl", "x.jsonl", _PLAIN.encode()),
    ):
        yield Case(f"no table: {name}", filename, content, kind="none")
    yield Case("extension: Parquet called csv", "x.csv", parquet, kind="parquet")
    yield Case("extension: CSV without one", "table", _PLAIN.encode())
    yield Case("extension: CSV called data", "x.data", _PLAIN.encode())
    yield Case("extension: JSON Lines called txt", "x", to_jsonl(_ROWS).encode(), kind="jsonl")
    yield Case("extension: TSV called csv", "x.csv", to_csv(_ROWS, delimiter="\t").encode(), separator="\t")
    yield Case("extension: semicolons called csv", "x.csv", to_csv(_ROWS, delimiter=";").encode(), separator=";")
    yield Case("extension: CSV called tsv", "x.tsv", _PLAIN.encode())
    yield Case("extension: upper case", "X.CSV", _PLAIN.encode())
    yield Case("extension: a name of spaces and brackets", "a [1] b*.csv", _PLAIN.encode())
    yield Case("extension: a name of emoji", "😀 שלום.csv", _PLAIN.encode())
    yield Case("extension: a name of a formula", "=1+1.csv", _PLAIN.encode())
    yield Case("extension: a name that begins with a dash", "-rf.csv", _PLAIN.encode())
    yield Case("extension: a name with a newline", "a\nb.csv", _PLAIN.encode())


def _json_lines() -> Iterator[Case]:
    good = '{"id": "r1", "text": "a"}\n'
    deep = '{"id": "r2", "text": ' + "[" * 5_000 + "]" * 5_000 + "}\n"
    for name, text in {
        "numbers": '{"id": 1, "text": 2.50}\n{"id": 2, "text": true}\n',
        "null text": good + '{"id": "r2", "text": null}\n',
        "null id": good + '{"id": null, "text": "b"}\n',
        "nested text": good + '{"id": "r2", "text": {"a": [1, "é"]}}\n',
        "keys in another order": good + '{"text": "b", "id": "r2"}\n',
        "more keys later": good + '{"id": "r2", "text": "b", "x": 1}\n',
        "a key is missing": good + '{"id": "r2"}\n',
        "a key twice": good + '{"id": "r2", "text": "b", "text": "c"}\n',
        "an array line": good + '["r2", "b"]\n',
        "a bare value": good + "3\n",
        "half a line": good + '{"id": "r2", "te',
        "no last newline": good + '{"id": "r2", "text": "b"}',
        "blank lines": good + "\n\n" + '{"id": "r2", "text": "b"}\n\n',
        "lines of spaces": good + "   \n" + '{"id": "r2", "text": "b"}\n',
        "CRLF": good.replace("\n", "\r\n") + '{"id": "r2", "text": "b"}\r\n',
        "NaN": good + '{"id": "r2", "text": NaN}\n',
        "single quotes": good + "{'id': 'r2', 'text': 'b'}\n",
        "comma at the end": good + '{"id": "r2", "text": "b"},\n',
        "half a surrogate pair": good + '{"id": "r2", "text": "\\ud83d"}\n',
        "surrogate pair": good + '{"id": "r2", "text": "\\ud83d\\ude00"}\n',
        "escaped NUL": good + '{"id": "r2", "text": "a\\u0000b"}\n',
        "raw tab in a string": good + '{"id": "r2", "text": "a\tb"}\n',
        "5,000 brackets": good + deep,
        "a huge number": good + '{"id": "r2", "text": ' + "9" * 5_000 + "}\n",
        "first line broken": "{nope}\n" + good,
        "BOM": "\ufeff" + good,
        "duplicate ids of two kinds": '{"id": 1, "text": "a"}\n{"id": "1", "text": "b"}\n',
        "pretty-printed": json.dumps({"id": "r1", "text": "a"}, indent=2) + "\n",
    }.items():
        yield Case(f"JSON Lines: {name}", "hand.jsonl", text.encode(), kind="jsonl")


def _parquet() -> Iterator[Case]:
    for name, frame in {
        "numbers": pl.DataFrame({"id": [1, 2], "text": [1.5, 2.25]}),
        "booleans": pl.DataFrame({"id": [1, 2], "text": [True, False]}),
        "null text": pl.DataFrame({"id": ["a", "b"], "text": ["x", None]}),
        "only null texts": pl.DataFrame({"id": ["a", "b"], "text": pl.Series([None, None], dtype=pl.String)}),
        "null id": pl.DataFrame({"id": ["a", None], "text": ["x", "y"]}),
        "no rows": pl.DataFrame({"id": [], "text": []}, schema={"id": pl.String, "text": pl.String}),
        "NUL in a text": pl.DataFrame({"id": ["a"], "text": ["x\0y"]}),
        "categories": pl.DataFrame({"id": ["a", "b"], "text": ["x", "x"]}, schema_overrides={"text": pl.Categorical}),
        "lists": pl.DataFrame({"id": ["a", "b"], "text": [["x", "y"], []]}),
        "structs": pl.DataFrame({"id": ["a"], "text": [{"x": 1, "y": "z"}]}),
        "dates": pl.DataFrame({"id": ["a"], "text": [date(2026, 11, 20)]}),
        "bytes": pl.DataFrame({"id": ["a"], "text": [b"\xff\xfe"]}),
        "bytes that are UTF-8": pl.DataFrame({"id": ["a"], "text": ["猫".encode()]}),
        "duplicate ids": pl.DataFrame({"id": ["a", "a"], "text": ["x", "y"]}),
        "no text column": pl.DataFrame({"id": ["a"], "x": ["x"], "y": ["z"]}),
        "10,000 columns": pl.DataFrame({"id": ["a"], "text": ["x"], **{f"c{i}": [i] for i in range(9_998)}}),
    }.items():
        out = io.BytesIO()
        frame.write_parquet(out)
        yield Case(f"Parquet: {name}", "hand.parquet", out.getvalue(), kind="parquet")
