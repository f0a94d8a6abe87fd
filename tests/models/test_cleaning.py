"""Each cleaning step alone, and what `clean` promises for any text."""

import html
import string
import sys
import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.text import cleaning
from models.text.cleaning import STEPS, clean


def step(name, text):
    return clean(pl.Series("t", [text]), [name])[0]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("strip", "\u3000 a b\n", "a b"),
        ("collapse_whitespace", "a \n\t b\u3000c", "a b c"),
        ("drop_invisible", "a\u200bb\ufeff\x00c\tд", "abc\tд"),
        ("drop_invisible", "👨\u200d👩", "👨\u200d👩"),
        ("half_width", "ＡＢｃ，！。“好”…", 'ABc,!."好"...'),
        ("mentions", "//@用户:#微博辟谣# 真的", "@ #微博辟谣# 真的"),
        ("mentions", "回复@甲：谢谢@乙 @丙", "@ 谢谢@ "),
        ("mentions", "write to bob@example.com", "write to bob@example.com"),
        ("urls", "看http://t.cn/A673fgda。自2012年", "看 。自2012年"),
        ("urls", "see https://x.org/z?a=b#c or www.y.de", "see   or  "),
        ("drop_boilerplate", "好展开全文c O网页链接 转发微博", "好  "),
        ("html_unescape", "&lt;b&gt; &amp;amp; &#39;x&#39;&nbsp;&quot;", "<b> &amp; 'x' \""),
        ("simplify", "轉發微博：臺灣的頭髮，乾淨", "转发微博：台湾的头发，干净"),
        ("simplify", "薴", "苎"),
        ("simplify", "已经简化 and English", "已经简化 and English"),
        ("drop_latin", "A股跌了3.5%!Really?好", "股跌了35好"),
        ("lowercase", "ÀÉ Straße ΣΑ", "àé straße σα"),
        ("empty_placeholder", " \n", "[empty]"),
        ("empty_placeholder", "a", "a"),
    ],
)
def test_each_step_does_what_its_name_says(name, before, after):
    assert step(name, before) == after


def test_html_unescape_agrees_with_the_standard_library_on_its_entities():
    for entity in ("&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&apos;"):
        assert step("html_unescape", f"a{entity}b") == html.unescape(f"a{entity}b")


def test_dropping_latin_leaves_no_printable_ascii_but_digits_and_the_blank():
    assert step("drop_latin", "".join(map(chr, range(128))))[-12:] == " 0123456789\x7f"
    assert not any(
        c.isascii() and c.isprintable() for c in step("drop_latin", string.ascii_letters + string.punctuation)
    )


def test_without_opencc_it_is_told_how_to_get_it(monkeypatch):
    cleaning._opencc.cache_clear()
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(ModelError, match="needs the package opencc"):
        step("simplify", "臺")
    cleaning._opencc.cache_clear()


def test_half_width_agrees_with_unicode_on_full_width_ascii():
    wide = "".join(map(chr, range(0xFF01, 0xFF5E)))
    assert step("half_width", wide) == unicodedata.normalize("NFKC", wide)


def test_steps_run_in_the_order_given():
    assert step("strip", " A ") == "A"
    text = pl.Series(["　ＡＢ　http://a.b "])
    assert clean(text, ["half_width", "urls", "strip", "lowercase"]).to_list() == ["ab"]
    assert clean(pl.Series(["转发微博"]), ["empty_placeholder", "drop_boilerplate"]).to_list() == [""]
    assert clean(pl.Series(["转发微博"]), ["drop_boilerplate", "empty_placeholder"]).to_list() == ["[empty]"]


def test_null_is_an_empty_text_and_name_and_length_stay():
    cleaned = clean(pl.Series("content", [None, "a"], dtype=pl.String), [])
    assert cleaned.name == "content"
    assert cleaned.to_list() == ["", "a"]
    assert clean(pl.Series("x", [None, None]), ["empty_placeholder"]).to_list() == ["[empty]", "[empty]"]
    assert clean(pl.Series("x", [], dtype=pl.String), list(STEPS)).to_list() == []


def test_unknown_step_gets_a_suggestion():
    with pytest.raises(ModelError, match="unknown cleaning step 'mention'") as error:
        clean(pl.Series(["a"]), ["mention"])
    assert error.value.details["next"] == "did you mean 'mentions'?"


@settings(deadline=None)  # OpenCC reads its dictionaries with the first text
@given(st.lists(st.text(), max_size=5))
def test_every_step_keeps_the_number_of_rows_and_is_stable_when_repeated(texts):
    series = pl.Series("t", texts, dtype=pl.String)
    for name in STEPS:
        once = clean(series, [name])
        assert once.dtype == pl.String
        assert len(once) == len(texts)
        if name in ("strip", "collapse_whitespace", "drop_invisible", "half_width", "empty_placeholder"):
            assert clean(once, [name]).to_list() == once.to_list()


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_text_is_cleaned_the_same_alone_and_among_others(texts):
    together = clean(pl.Series(texts), list(STEPS))
    assert together.to_list() == [clean(pl.Series([text]), list(STEPS))[0] for text in texts]
