from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.tables import ShardReader, index_file, read_columns, read_sample, read_table, sniff_format
from kaggle_tools.tables.encodings import is_utf8
from kaggle_tools.tables.scanner import RecordScanner

from .helpers import by_csv_module, compress, read_all, to_csv, write

cells = st.text(st.sampled_from("ab \"\n,\t;|'字，é😀𝄞\u3000\x1a"), max_size=6)
any_cells = st.text(st.sampled_from('a"\n\r,字😀'), max_size=6)


def tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    widths = st.integers(1, 4)
    return widths.flatmap(lambda n: st.lists(st.lists(values, min_size=n, max_size=n), max_size=12))


@settings(max_examples=150)
@given(
    rows=tables(cells),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    last_end=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]),
    compression=st.sampled_from([None, "gzip", "zstd"]),
    separator=st.sampled_from([",", ";", "\t"]),
    shard_rows=st.integers(1, 5),
)
def test_the_shards_together_are_what_the_csv_module_reads(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    quoting: int,
    end: str,
    last_end: bool,
    encoding: str,
    compression: str | None,
    separator: str,
    shard_rows: int,
) -> None:
    header = [f"列{i}" for i in range(len(rows[0]) if rows else 2)]
    text = to_csv([header, *rows], quoting=quoting, end=end, separator=separator)
    text = text if last_end else text.removesuffix(end)
    path = write(tmp_path_factory.getbasetemp() / "table.csv", compress(text.encode(encoding), compression))
    fmt = sniff_format(path, encoding=encoding, separator=separator, quote_char='"')
    index = index_file(path, fmt, shard_rows=shard_rows)
    got, bad = read_all(index)
    assert index.columns == tuple(header)
    assert not bad
    assert got == by_csv_module(text, separator=separator) == [tuple(v or None for v in row) for row in rows]


@given(rows=tables(any_cells), shard_rows=st.integers(1, 5))
def test_carriage_returns_inside_quotes_are_kept(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], shard_rows: int
) -> None:
    header = [f"c{i}" for i in range(len(rows[0]) if rows else 2)]
    path = write(tmp_path_factory.getbasetemp() / "cr.csv", to_csv([header, *rows], quoting=csv.QUOTE_ALL))
    index = index_file(path, sniff_format(path), shard_rows=shard_rows)
    assert read_all(index)[0] == [tuple(value or None for value in row) for row in rows]


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from(["a", "字", '"', '""', ",", "\n", "\r\n", '",', ',"', '"\n']), max_size=60).map("".join)
)
def test_irregular_quotes_are_read_as_the_csv_module_reads_them(
    tmp_path_factory: pytest.TempPathFactory, soup: str
) -> None:
    text = "x,y\n" + soup
    path = write(tmp_path_factory.getbasetemp() / "soup.csv", text)
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row][1:]
    scanner = RecordScanner('"', ",")
    scanner.feed(text.encode())
    if scanner.open_quote_line is not None:
        with pytest.raises(UserError, match="never closed"):
            index_file(path, sniff_format(path), shard_rows=3)
        return
    index = index_file(path, sniff_format(path), shard_rows=3)
    good, bad = read_all(index)
    assert good == [tuple(value or None for value in row) for row in rows if len(row) == 2]
    assert len(bad) == sum(len(row) != 2 for row in rows)


def test_columns_come_in_the_order_asked_for_and_ids_lose_their_blanks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,text,label\n 1 ,"",x\n2\u3000, a ,\n')
    frame = read_table(path, columns=["text", "id"], id_column="id")
    assert frame.schema == {"text": pl.String, "id": pl.String}
    assert frame.rows() == [(None, "1"), (" a ", "2")]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_shards_may_be_read_in_any_order(tmp_path: Path, compression: str | None) -> None:
    text = to_csv([("id", "text"), *((str(i), "字" * i) for i in range(50))])
    path = write(tmp_path / "a.csv", compress(text.encode(), compression))
    index = index_file(path, sniff_format(path), shard_rows=7)
    with ShardReader(index.fmt, ["id"], id_column="id") as reader:
        for i in (3, 0, 7, 7, 2, 5):
            first = 7 * i
            assert reader.read(index.shards[i]).frame["id"].to_list() == [
                str(k) for k in range(first, min(first + 7, 50))
            ]


def test_one_reader_goes_through_files_with_other_column_orders(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.csv", "id,text\n1,a\n"), write(tmp_path / "b.csv", "text,more,id\nb,,2\n")
    shards = [index_file(path, sniff_format(path), shard_rows=3).shards[0] for path in (a, b)]
    with ShardReader(sniff_format(a), ["id", "text"], id_column="id") as reader:
        assert [reader.read(shard).frame.row(0) for shard in shards] == [("1", "a"), ("2", "b")]


def test_bad_rows_are_set_aside_with_line_reason_and_text(tmp_path: Path) -> None:
    content = b'id,text\n1,"a\nb"\n2,b,c\n3\n\n  ,no id\n5,\xff\xfe\n6,f\n'
    path = write(tmp_path / "a.csv", content)
    index = index_file(path, sniff_format(path), shard_rows=10)
    good, bad = read_all(index, ["id", "text"], id_column="id")
    assert good == [("1", "a\nb"), ("6", "f")]
    assert [(row.line, row.reason, row.raw) for row in bad] == [
        (4, "3 fields, the header has 2", "2,b,c"),
        (5, "1 fields, the header has 2", "3"),
        (7, "no id in column 'id'", "  ,no id"),
        (8, f"not utf-8 at byte {content.index(0xFF)} of the file", "5,\ufffd\ufffd"),
    ]
    with ShardReader(index.fmt, ["id"], id_column="id", on_bad_row="set-aside") as reader:
        assert reader.read(index.shards[0]).positions.tolist() == [0, 5]
    assert len(read_table(path, id_column="id", on_bad_row="set-aside")) == 2
    with pytest.raises(UserError, match=r"a.csv line 4: 3 fields, the header has 2(.|\n)*--on-bad-row set-aside"):
        read_all(index, ["id", "text"], on_bad_row="fail")


@pytest.mark.parametrize(
    ("row", "mend", "instead"),
    [
        (b"2,b,c", "mend the line", "leave such rows out with --on-bad-row set-aside"),
        (b",b", "give the row an id", "leave such rows out with --on-bad-row set-aside"),
        (
            b"2," + "é".encode() * 30 + b"\xff",
            "mend the broken bytes",
            "accept them with --encoding-errors replace, or leave such rows out",
        ),
    ],
)
def test_options_are_advised_to_those_who_have_them(tmp_path: Path, row: bytes, mend: str, instead: str) -> None:
    """Whole tables are read by commands without `--on-bad-row`, shards by `cli score`."""
    path = write(tmp_path / "a.csv", b"id,text\n1,a\n" + row + b"\n")
    with pytest.raises(UserError) as whole:
        read_table(path, id_column="id")
    assert whole.value.details["next"] == mend
    index = index_file(path, sniff_format(path), shard_rows=10)
    with pytest.raises(UserError) as shard:
        read_all(index, ["id", "text"], id_column="id", on_bad_row="fail")
    assert shard.value.details["next"].startswith(f"{mend}, or {instead}")


def test_the_raw_text_of_a_bad_row_is_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,2," + "字" * 5000 + "\n")
    _, bad = read_all(index_file(path, sniff_format(path), shard_rows=10))
    assert bad[0].raw == "1,2," + "字" * 1996


def test_a_wrong_encoding_is_located_and_the_right_one_suggested(tmp_path: Path) -> None:
    content = "id,text\n1,a\n2,今天天气很好\n".encode("gb18030")
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(UserError, match=r"line 3: not utf-8 at byte 14 of the file(.|\n)*it looks like gb18030"):
        read_table(path)
    assert read_table(path, fmt=sniff_format(path, encoding="gb18030"))["text"].to_list() == ["a", "今天天气很好"]


@pytest.mark.parametrize("content", ["id,text\n1,今天天气很好\n", "id,今天天气很好\n1,a\n"], ids=["row", "header"])
def test_an_encoding_is_an_option_for_those_who_have_it_and_a_conversion_for_others(
    tmp_path: Path, content: str
) -> None:
    path = write(tmp_path / "a.csv", content.encode("gb18030"))
    with pytest.raises(UserError) as shard:
        read_all(index_file(path, sniff_format(path), shard_rows=10), on_bad_row="fail")
    assert shard.value.details["next"] == "it looks like gb18030: --encoding gb18030"
    with pytest.raises(UserError) as whole:
        read_table(path)
    advice, command = whole.value.details["next"].split(": ")
    assert advice == "it looks like gb18030, so convert it"
    *convert, to, name = shlex.split(command)
    converted = subprocess.run(convert, check=True, cwd=tmp_path, capture_output=True).stdout
    assert converted.decode() == content
    assert (to, name) == (">", "utf8_a.csv")


@pytest.mark.parametrize(
    ("encoding", "broken"), [("utf-8", b"\xff"), ("gb18030", b"\xff"), ("gb18030", b"\x811"), ("euc_jp", b"\x8f")]
)
def test_replaced_bytes_are_counted_and_leave_the_row_whole(tmp_path: Path, encoding: str, broken: bytes) -> None:
    text = "id,字\n1,日本\n2,X\n3,日本"
    path = write(tmp_path / "a.csv", text.encode(encoding).replace(b"X", b"X" + broken))
    index = index_file(path, sniff_format(path, encoding=encoding, encoding_errors="replace"), shard_rows=2)
    with ShardReader(index.fmt, ["id", "字"], id_column="id") as reader:
        first, last = (reader.read(shard) for shard in index.shards)
    assert (first.n_replaced, last.n_replaced) == (1, 0)
    assert first.frame["字"].to_list() == ["日本", "X\ufffd" + broken[1:].decode()]


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("change", ["shorter", "other bytes", "gone"])
def test_a_file_that_changed_is_noticed(tmp_path: Path, change: str, compression: str | None) -> None:
    text = "id,text\n1,a\n2,b\n3,c\n"
    path = write(tmp_path / "a.csv", compress(text.encode(), compression))
    index = index_file(path, sniff_format(path), shard_rows=2)
    if change == "gone":
        path.unlink()
    else:
        new = text[:-2] if change == "shorter" else text.replace("c", "x")
        write(path, compress(new.encode(), compression))
    with ShardReader(index.fmt, ["id"], id_column="id") as reader, pytest.raises(UserError, match=r"changed|no file"):
        reader.read(index.shards[1])


def test_a_missing_column_is_an_error_of_the_reader_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,a\n")
    with pytest.raises(UserError, match="did you mean 'text'"):
        read_table(path, columns=["txet"])
    index = index_file(path, sniff_format(path), shard_rows=2)
    with ShardReader(index.fmt, ["txet"], id_column=None) as reader, pytest.raises(UserError, match="no column 'txet'"):
        reader.read(index.shards[0])
    with pytest.raises(ValueError, match="id column"):
        ShardReader(index.fmt, ["text"], id_column="id")


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    assert read_table(write(tmp_path / "a.csv", "id,text\n")).schema == {"id": pl.String, "text": pl.String}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_columns_and_a_sample_are_read_from_any_kind_of_file(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"id": ["1", "2"], "text": ["a", None]})
    path = tmp_path / name
    write_frame = {"a.csv": frame.write_csv, "a.jsonl": frame.write_ndjson, "a.parquet": frame.write_parquet}[name]
    write_frame(path)
    fmt = sniff_format(path)
    assert read_columns(path, fmt) == ("id", "text")
    shard = index_file(path, fmt, shard_rows=5).shards[0]
    assert read_sample(shard, fmt, ["text"])["text"].to_list() == ["a", None]


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=3)


@given(st.lists(st.tuples(json_values, json_values), min_size=1, max_size=10), st.integers(1, 4), st.booleans())
def test_json_lines_are_read_as_the_json_module_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, object]], shard_rows: int, ascii_only: bool
) -> None:
    lines = [json.dumps({"a": a, "b": b}, ensure_ascii=ascii_only) for a, b in rows]
    path = write(tmp_path_factory.getbasetemp() / "a.jsonl", "\n\n".join(lines).encode("utf-8", "surrogatepass"))
    index = index_file(path, sniff_format(path), shard_rows=shard_rows)
    expected = [tuple(v if isinstance(v, str | None) else json.dumps(v) for v in row) for row in rows]
    assert index.columns == ("a", "b")
    assert read_all(index)[0] == expected


def test_bad_json_lines_are_set_aside(tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "a"}', "{", "[1]", '{"id": 4}', '{"id": 5, "text": "\\ud83d"}', '{"text": "", "id": 6}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    index = index_file(path, sniff_format(path), shard_rows=10)
    good, bad = read_all(index, ["id", "text"], id_column="id")
    assert good == [("1", "a"), ("6", "")]
    assert [row.line for row in bad] == [2, 3, 4, 5]
    assert [row.reason.split(":")[0] for row in bad] == [
        "not JSON",
        "not a JSON object",
        "no column 'text'",
        "half a surrogate pair in column 'text'",
    ]
    lenient = index_file(path, sniff_format(path, encoding_errors="replace"), shard_rows=10)
    assert ("5", "\ufffd") in read_all(lenient, ["id", "text"])[0]


def test_a_first_json_line_that_is_no_object_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "nonsense\n")
    with pytest.raises(UserError, match="line 1 is not JSON"):
        index_file(path, sniff_format(path), shard_rows=10)


def test_an_unreadable_file_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.csv", "id,text\n")

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        sniff_format(path)


# Whole characters, half of a pair, an overlong form, beyond the last character, a stray byte, a broken one.
pieces = st.sampled_from(
    [b"a", "字".encode(), "😀".encode(), b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\xe5"]
)


@given(st.lists(pieces, max_size=6).map(b"".join))
def test_bytes_are_utf8_where_python_says_so(data: bytes) -> None:
    try:
        data.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert is_utf8(data) is expected
