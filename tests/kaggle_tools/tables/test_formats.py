from __future__ import annotations

import gzip
import io
import random
import zipfile
from pathlib import Path

import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.tables import TableFormat, read_table, sniff_format

from .helpers import compress, write, zipped


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "id,text\n", TableFormat()),
        ("a.csv", "id;a text, with comma;label\n", TableFormat(separator=";")),
        ("a.csv", "text\nhello; you\n", TableFormat()),
        ("a.csv", '"a;b;c;d",e\n', TableFormat()),
        ("a.txt", "id|text\n", TableFormat(separator="|")),
        ("a.tsv", "id\ta, b, c\n", TableFormat(separator="\t", quote_char=None)),
        ("a.jsonl", '{"id": 1}\n', TableFormat("jsonl")),
        ("a.ndjson", '{"id": 1}\n', TableFormat("jsonl")),
        ("a.json-lines", '{"id": 1}\n', TableFormat("jsonl")),
        ("unnamed", '{"id": 1}\n', TableFormat("jsonl")),
        ("unnamed", "id,text\n", TableFormat()),
    ],
)
def test_kind_and_separator_come_from_name_and_header(
    tmp_path: Path, name: str, content: str, expected: TableFormat
) -> None:
    assert sniff_format(write(tmp_path / name, content)) == expected


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compression_is_told_by_magic_bytes_whatever_the_name(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "a.csv", compress(b"id,text\n1,a\n", compression))
    assert sniff_format(path).compression == compression
    assert sniff_format(write(tmp_path / "b.csv.gz", "id,text\n")).compression is None


def test_what_pzstd_writes_is_zstd(tmp_path: Path) -> None:
    """A frame without content before each, with the next one's size."""
    frames = [compress(part, "zstd") for part in (b"id,text\n1,a", b"\n2,b\n")]
    sizes = [b"\x50\x2a\x4d\x18\x04\x00\x00\x00" + len(frame).to_bytes(4, "little") for frame in frames]
    path = write(tmp_path / "a.csv.zst", b"".join(size + frame for size, frame in zip(sizes, frames, strict=True)))
    assert read_table(path).rows() == [("1", "a"), ("2", "b")]


@pytest.mark.parametrize(
    ("body", "quote"),
    [
        ("1\tno quotes\n2\tat all\n", None),
        ('1\tthe 5" disk\n2\tsaid "so"\n', None),
        ('1\t"Hello," she said.\n2\tx\n', None),
        ('1\t"a stray one\n2\tx\n', None),
        ('1\t"with a\ttab"\n2\tx\n', '"'),
        ('1\t"with a\nnewline"\n2\tx\n', '"'),
        ('1\t"all ""quoted"""\n2\t"x"\n', '"'),
        ('1\t"a stray one\n2\tand another"\n', None),
        ('1\tnot quoted\n2\t"quoted, in a line that nothing ends"', '"'),
        ('1\t"quoted"\n2\t"Hello," she said', None),
    ],
)
def test_quoting_of_tsv_is_what_the_file_really_uses(tmp_path: Path, body: str, quote: str | None) -> None:
    path = write(tmp_path / "a.tsv", "id\ttext\n" + body)
    assert sniff_format(path).quote_char == quote
    assert read_table(path).height == 2
    assert sniff_format(path, quote_char='"').quote_char == '"'


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("ends", ['she said "bye"', 'she said bye"'])
def test_stray_quotes_far_apart_in_a_tsv_swallow_no_rows(tmp_path: Path, compression, ends: str) -> None:
    lines = [f"{i}\tsome words that make the file longer than what is looked at first" for i in range(30_000)]
    lines[5] = '5\t"all of it in quotes"'
    lines[28_000], lines[28_050] = '28000\t"the start of it', f"28050\t{ends}"
    path = write(tmp_path / "a.tsv", compress("\n".join(["id\ttext", *lines]).encode(), compression))
    table = read_table(path)
    assert table.row(28_000) == ("28000", '"the start of it')
    assert table["id"].to_list() == [str(i) for i in range(30_000)]


def test_a_long_tsv_that_uses_quotes_keeps_its_lines_together(tmp_path: Path) -> None:
    lines = [f'{i}\t"some words that make the file longer, ""quoted""\nand on two lines"' for i in range(20_000)]
    table = read_table(write(tmp_path / "a.tsv", "\n".join(["id\ttext", *lines])))
    assert (len(table), table["text"][19_999]) == (
        20_000,
        'some words that make the file longer, "quoted"\nand on two lines',
    )


def test_a_byte_order_mark_is_skipped_and_decides_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,文\n1,字\n".encode("utf-8-sig"))
    assert sniff_format(path, encoding="gb18030").encoding == "utf-8"
    assert read_table(path).rows(named=True) == [{"id": "1", "文": "字"}]
    chinese = write(tmp_path / "b.csv", "\ufeffid,文\n1,字\n".encode("gb18030"))
    assert read_table(chinese, fmt=sniff_format(chinese, encoding="GB18030")).columns == ["id", "文"]


CHINESE = "武汉加油今天天气很好我们的猫不想出门买菜了"


@pytest.mark.parametrize("encoding", ["gb18030", "cp1252", "latin-1", "cp1251", "big5"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_utf8_is_not_read_in_another_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    body = {"a.csv": f"id,text\n1,{CHINESE}\n", "a.jsonl": f'{{"id": 1, "text": "{CHINESE}"}}\n'}[name]
    path = write(tmp_path / name, body * (60_000 if name == "a.csv" else 1))  # the first MiB ends within a character
    with pytest.raises(UserError, match=rf"{name} is UTF-8, not [\s\S]*--encoding utf-8"):
        sniff_format(path, encoding=encoding, encoding_errors="replace")
    assert sniff_format(path).encoding == "utf-8"
    if encoding == "gb18030":
        assert sniff_format(write(tmp_path / name, body.encode(encoding)), encoding=encoding).encoding == encoding


def test_a_few_quotes_and_accents_tell_utf8_from_western_encodings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,It’s a “café”\n")
    with pytest.raises(UserError, match="UTF-8, not cp1252"):
        sniff_format(path, encoding="cp1252")


@pytest.mark.parametrize("text", ["联通" * 100, "Ã©tÃ© " * 100, "ascii"])
def test_the_few_characters_that_pass_for_utf8_are_read_as_said(tmp_path: Path, text: str) -> None:
    encoding = "gb18030" if text[0] == "联" else "cp1252"
    path = write(tmp_path / "a.csv", f"id,text\n1,{text}\n".encode(encoding))
    assert read_table(path, fmt=sniff_format(path, encoding=encoding))["text"].to_list() == [text]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_text_is_refused_with_the_command_that_converts_it(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", "id,text\n".encode(encoding))
    with pytest.raises(UserError, match=f"is {encoding.upper()} text(.|\\n)*iconv -f {encoding.upper()}"):
        sniff_format(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"PK\x03\x04", "damaged zip archive"),
        (
            "a.zip",
            zipped({"train.csv": b"id\n1\n", "test.csv": b"id\n2\n"}),
            "holds 2 files(.|\\n)*train.csv, test.csv",
        ),
        ("a.zip", zipped({}), "holds 0 files"),
        ("a.xlsx", zipped({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}), "an Excel workbook"),
        ("a.zip", zipped({"a.zip": zipped({"a.csv": b"id\n1\n"})}), "an archive in an archive"),
        ("a.csv", b"BZh9", "bzip2"),
        ("a.jsonl", b'[{"id": 1}]', "one JSON value, not JSON Lines"),
        ("a.json", b'{\n  "id": 1\n}', "one JSON value, not JSON Lines"),
        ("a.parquet", b"id,text\n", "not a Parquet file"),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), "compressed Parquet"),
        ("a.csv", b"\n<!DOCTYPE HTML>\n<html>404</html>", "web page"),
        ("a.csv.gz", gzip.compress(b"<html>log in</html>", mtime=0), "web page"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.csv", b"\x89PNG\r\n\x1a\n", "a picture"),
        ("a.csv", b"%PDF-1.7\n", "PDF"),
        ("a.csv", b"\x93NUMPY\x01\x00", "NumPy array"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sniff_format(write(tmp_path / name, content))


def test_options_that_cannot_work_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id|text\n")
    with pytest.raises(UserError, match="did you mean 'gb18030'"):
        sniff_format(path, encoding="gb1803")
    for encoding in ("utf-16", "utf-7", "iso2022_jp", "cp037", "hex"):
        with pytest.raises(UserError, match=f"{encoding}"):
            sniff_format(path, encoding=encoding)
    with pytest.raises(UserError, match="cannot be separated by"):
        sniff_format(path, encoding="gb18030")
    with pytest.raises(UserError, match="separator ':' is not known"):
        sniff_format(path, separator=":")
    for quote in ("XX", "", "\u201c", "\n", "\t"):
        with pytest.raises(UserError, match="cannot be the quote"):
            sniff_format(path, quote_char=quote)
    with pytest.raises(UserError, match=r"quote and separator are both '\|'"):
        sniff_format(path, quote_char="|")
    with pytest.raises(UserError, match="cannot be quoted by"):
        sniff_format(write(tmp_path / "b.csv", "id,text\n"), encoding="gb18030", quote_char="`")
    assert sniff_format(path, quote_char="'").quote_char == "'"


def test_lines_that_end_in_cr_alone_are_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="end in CR alone") as caught:
        read_table(write(tmp_path / "old.csv", "id,text\rr1,a\rr2,b\r"))
    assert "tr '\\r' '\\n'" in caught.value.details["next"]


def test_a_table_is_read_out_of_the_archive_that_kaggle_packs_it_in(tmp_path: Path) -> None:
    content = 'id;text\n1;"one; two"\n'.encode("gb18030")
    path = write(tmp_path / "test.csv.zip", zipped({"test.csv": content, "__MACOSX/._test.csv": b"\0\1"}))
    fmt = sniff_format(path, encoding="gb18030")
    assert (fmt.kind, fmt.separator, fmt.compression) == ("csv", ";", "zip")
    assert read_table(path, fmt=fmt).rows() == [("1", "one; two")]
    damaged = bytearray(zipped({"test.csv": b"id,text\n" + random.Random(0).randbytes(5000).hex().encode()}))
    damaged[200:300] = bytes(100)
    with pytest.raises(UserError, match="damaged"):
        read_table(write(tmp_path / "damaged.zip", bytes(damaged)))


@pytest.mark.parametrize(
    ("method", "at", "wrong"),
    [
        pytest.param(zipfile.ZIP_BZIP2, 60, bytes(20), id="a bzip2 stream that is none"),
        pytest.param(zipfile.ZIP_LZMA, 60, bytes(20), id="an LZMA stream that is none"),
        pytest.param(zipfile.ZIP_STORED, -6, b"\xff\xff\xff\x7f", id="a directory before the first byte"),
    ],
)
def test_an_archive_that_says_nonsense_is_told_as_damaged(tmp_path: Path, method: int, at: int, wrong: bytes) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("test.csv", "id,text\n" + random.Random(0).randbytes(3000).hex())
    damaged = bytearray(out.getvalue())
    damaged[at : at + len(wrong) or None] = wrong
    with pytest.raises(UserError, match="damaged"):
        read_table(write(tmp_path / "test.csv.zip", bytes(damaged)))
