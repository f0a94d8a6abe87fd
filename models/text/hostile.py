"""Texts on which tokenizers have differed from one another: what a faster one has to read as the stock one does.

Blanks of all kinds, characters that are deleted or decomposed, scripts whose lower case is longer than the upper,
joined emoji, words too long for a vocabulary, what looks like a special token.
"""

from __future__ import annotations

_ASCII = ("".join(map(chr, range(128))), " ".join(map(chr, range(128))))  # all of it: others are looked for in texts
_ACCENTS = (
    "caf\u00e9 cafe\u0301 CAF\u00c9",
    "\u1e69 s\u0323\u0307 s\u0307\u0323",  # one letter with two marks, in three orders
    "\u0301 starts with a mark",
    "e" + "\u0301" * 40,
    "\u212b \u00c5 A\u030a",
    "\ufb01 \ufb03 \u0132 \u01c4 \u1e9e \u00df",  # ligatures, capital sharp s
)
_CASE = (
    "\u0130stanbul \u0131 I i",  # Turkish
    "\u039f\u0394\u039f\u03a3 \u03c3\u03c2",  # Greek final sigma
    "\u10d0\u1c90 \u13a0\uab70 \U0001d400\U0001d41a",  # Georgian, Cherokee, mathematical letters
    "\u01c5 \u1f88 \ufb13",
)
_BLANKS = (
    "",
    " ",
    "\t\n\r",
    "  two  blanks  ",
    "a\u00a0b\u2003c\u3000d\u202fe\u205ff\u1680g",
    "a\u200bb\u200cc\u200dd\u2060e\ufefff",  # of no width
    "a\u0085b\u2028c\u2029d",
    "a\x0bb\x0cc\x1cd\x1ee\x1ff",
)
_DELETED = (
    "a\x00b",
    "\x00",
    "\x01\x02\x7f\x80\x9f",
    "a\ufffdb",
    "\u00ad soft\u00adhyphen",
    "\ue000 \U000f0000 \ufdd1 \uffff",  # private, no characters at all
    "\u202eright to left\u202c",
    "\U000e0041 \U000e007f",  # tags
)
_SCRIPTS = (
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002Hello\u4e16\u754c2020",
    "\u3400 \U00020000 \U0002f800 \uf900 \u9fff \u3007",  # ideographs from all over
    "\u30ab\u3099\u30ac \uff76\uff9e \u3042\u30fc",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",  # Hangul, whole and in parts
    "\u0627\u0644\u0633\u064e\u0644\u0627\u0645\u064f \u0644\u0640\u0640\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u0661\u0662\u0663 \u2167 \u00b2 \u00bd \u2460 \uff11",  # digits that are none
)
_SIGNS = (
    "don't WE'LL I'm rock'n'roll it\u2019s \u201cquoted\u201d",
    "a-b_c/d\\e|f~g`h^i=j+k<l>m$n%o&p*q#r@s",
    "...!!! --- \u2014\u2026\u3010\u3011\u00bf\u00a1",
    "http://a.b/c?d=e&f=%20 a@b.co #tag @name :-)",
    "3.14 1,000,000 -5 1e9 0x1F",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f1e9\U0001f1ea \u2764\ufe0f 1\ufe0f\u20e3",
    "\u2200x\u2208\u211d: \u221ax\u2265\u2212\u221e \u20ac\u00a3\u00a5",
)
_LONG = (
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "\u00e9" * 100,
    "e\u0301" * 60,
    "x" * 5000,
    "\u4f60" * 700,
    "word " * 700,
    "!" * 700,
    "\U0001f600" * 300,
)
_MARKS = (
    "[CLS]", "[SEP] [PAD][UNK] [MASK]", "a[MASK]b", "[mask] [ MASK ] [MASK", "<s></s> <pad> <unk> <mask>x", "##s ##",
    "<|endoftext|>", "\u2581a \u0120b",
)  # fmt: skip

HOSTILE = (*_ASCII, *_ACCENTS, *_CASE, *_BLANKS, *_DELETED, *_SCRIPTS, *_SIGNS, *_LONG, *_MARKS)


def hostile_texts(special: list[str]) -> list[str]:
    """The list above, and a tokenizer's own special tokens in the midst of texts."""
    around = ("{}", " {} ", "a{}b", "a {}{} b.", "{}\n{}")
    return [*HOSTILE, *(frame.format(token, token) for token in special for frame in around)]
