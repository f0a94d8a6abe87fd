from __future__ import annotations

import pytest

from kaggle_tools.tables.encodings import decode_advice, hides, likely_encoding, normalise_encoding

CHINESE = "今天天气很好，我们去公园。" * 20


def test_names_become_python_codec_names() -> None:
    assert normalise_encoding("GB18030") == "gb18030"
    assert normalise_encoding("UTF-8-SIG") == normalise_encoding("utf8") == normalise_encoding("ascii") == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "gbk", "big5", "shift_jis", "euc_jp", "cp949", "cp1252"])
def test_structural_bytes_are_never_part_of_another_character(encoding: str) -> None:
    assert not any(hides(encoding, character) for character in '\n\r",\t;')


def test_a_bar_is_part_of_chinese_characters_in_gb18030() -> None:
    assert hides("gb18030", "|")
    assert not hides("utf-8", "|")


@pytest.mark.parametrize("encoding", ["gb18030", "shift_jis", "big5", "cp949", "euc_jp"])
def test_replacing_broken_bytes_never_swallows_a_separator(encoding: str) -> None:
    for structural in b'\n",\t;':
        for lead in range(0x80, 0x100):
            for trail in (b"", b"1", b"1\x81", b"\xb0", b"@"):
                broken = bytes([lead]) + trail + bytes([structural]) + b"\n\n\n"
                assert chr(structural) in broken.decode(encoding, "replace")[:-3]


@pytest.mark.parametrize(
    ("text", "encoding"), [(CHINESE, "gb18030"), ("naïve café, déjà vu: façade", "cp1252"), (CHINESE, "utf-8")]
)
def test_the_likely_encoding_is_the_one_it_was_written_in(text: str, encoding: str) -> None:
    tried = "gb18030" if encoding == "utf-8" else "utf-8"
    assert likely_encoding(text.encode(encoding), tried) == encoding


def test_one_broken_byte_in_the_right_encoding_is_not_blamed_on_the_encoding() -> None:
    data = CHINESE.encode("gb18030") + b"\xff" + CHINESE.encode("gb18030")
    assert decode_advice(data, "gb18030") == "mend the broken bytes"
    assert decode_advice(CHINESE.encode("gb18030"), "utf-8") == "it looks like gb18030: --encoding gb18030"
