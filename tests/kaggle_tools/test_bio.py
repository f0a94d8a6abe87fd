"""`kaggle_tools.bio`, `tag_rows`, `tag_predictions`, `conll`: tags as data, against enumeration and seqeval's rules."""

import gzip
import itertools
import json

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.bio import check_tags, count_illegal, entities, is_illegal, legal_tags, repair, rules, to_bio
from kaggle_tools.conll import BLANK, read_conll, to_table
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import count_entities
from kaggle_tools.metrics.report import entity_report
from kaggle_tools.predictions import METADATA_KEY, Predictions
from kaggle_tools.tag_predictions import TagPredictions, join
from kaggle_tools.tag_rows import encode_tags, kinds_of_entities, read_tags

TAGS = ("B-A", "I-A", "B-B", "I-B", "O")
ROWS = st.lists(st.lists(st.sampled_from(TAGS), max_size=6), min_size=1, max_size=5)


@given(ROWS)
def test_repaired_rows_are_legal_and_legal_rows_stay(rows):
    fixed, n = repair(rows)
    assert count_illegal(fixed) == 0
    assert repair(fixed) == (fixed, 0)
    assert [len(row) for row in fixed] == [len(row) for row in rows]
    assert n == sum(a != b for pair in zip(rows, fixed, strict=True) for a, b in zip(*pair, strict=True))


@given(ROWS)
def test_entities_are_those_that_the_metric_counts(rows):
    counts = count_entities(rows, rows)
    found = [kind for row in rows for kind, _, _ in entities(row)]
    assert {kind: found.count(kind) for kind in set(found)} == {kind: one.true for kind, one in counts.items()}


@settings(deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_legal_tags_are_the_best_of_all_legal_paths(seed, lengths):
    draw = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    probs = draw.dirichlet(np.ones(len(TAGS)), int(offsets[-1])).astype(np.float32).reshape(-1, len(TAGS))
    chosen = legal_tags(probs, offsets, TAGS)
    for start, end in itertools.pairwise(offsets):
        own = np.log(probs[start:end].astype(np.float64))
        paths = {
            path: own[np.arange(len(path)), path].sum()
            for path in itertools.product(range(len(TAGS)), repeat=int(end - start))
            if count_illegal([[TAGS[i] for i in path]]) == 0
        }
        assert paths[tuple(chosen[start:end].tolist())] == pytest.approx(max(paths.values()), abs=1e-5)


SPANS = st.lists(st.tuples(st.sampled_from(["PER", "LOC", ""]), st.integers(1, 4)), max_size=6)


@settings(deadline=None)
@given(SPANS, st.sampled_from(["BIO", "BMES", "BIOES", "BILOU"]), st.booleans())
def test_entities_of_other_schemes_are_those_that_were_written(spans, scheme, typed):
    begin, inside, end, single = {"BIO": "BIIB", "BMES": "BMES", "BIOES": "BIES", "BILOU": "BILU"}[scheme]
    tags, expected = [], []
    for kind, n in spans:
        if kind == "":
            tags += ["O"] * n
            continue
        expected.append((kind if typed else "word", len(tags), len(tags) + n))
        letters = [single] if n == 1 else [begin, *[inside] * (n - 2), end]
        tags += [f"{letter}-{kind}" if typed else letter for letter in letters]
    (found,) = to_bio([tags])
    assert entities(found) == expected
    assert [tag == "O" for tag in found] == [tag == "O" for tag in tags]
    if scheme == "BIO" and typed:
        assert found == tags


@pytest.mark.parametrize("tag", ["X", "X-PER", "BPER", "", "b-per"])
def test_what_is_no_tag_of_any_scheme_is_refused(tag):
    with pytest.raises(UserError, match="is no tag"):
        to_bio([["O", tag]])


def test_rules_say_what_is_illegal():
    first, allowed = rules(TAGS)
    assert first.tolist() == [True, False, True, False, True]
    assert all(allowed[i, j] != is_illegal(a, b) for i, a in enumerate(TAGS) for j, b in enumerate(TAGS))


@pytest.mark.parametrize("tags", [("B-A", "I-A"), ("O", "S-A"), ("O", "B-"), ("O", "BA")])
def test_tags_that_are_not_bio_are_refused(tags):
    with pytest.raises(UserError):
        check_tags(tags)


def test_table_rows_become_codes_and_kinds():
    labels, n = read_tags(pl.Series(["a b", "", "c"]), pl.Series(["O I-A", None, "B-B"]), TAGS, "repair")
    assert (labels.to_list(), n) == (["O B-A", "", "B-B"], 1)
    assert encode_tags(labels, TAGS).tolist() == [[4, 0], [-100, -100], [2, -100]]
    assert kinds_of_entities(labels).to_list() == ["A", "", "B"]
    with pytest.raises(UserError, match="'B-C' is not among the classes"):
        read_tags(pl.Series(["a"]), pl.Series(["B-C"]), TAGS, "repair")


def make_tags(n=6, seed=0):
    draw = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(0, 4, n))]).astype(np.int64)
    probs = draw.dirichlet(np.ones(5), int(offsets[-1])).astype(np.float32)
    labels = pl.Series(
        "label", [list(draw.choice(TAGS, b - a)) for a, b in itertools.pairwise(offsets)], pl.List(pl.String)
    )
    ids = pl.Series("row", [f"r{i}" for i in range(n)])
    codes = probs.argmax(1).astype(np.int64)
    return TagPredictions(ids, TAGS, offsets, probs, codes, labels, (np.arange(n) % 2).astype(np.int16), {"run": "x"})


@pytest.mark.parametrize("about", [{"task": "token"}, {"task": "token", "version": 1, "classes": ["B-X"]}, "token"])
def test_files_with_other_metadata_are_no_predictions_of_tags(about, tmp_path):
    table = make_tags().frame().to_arrow().replace_schema_metadata({METADATA_KEY: json.dumps(about)})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="cannot be understood") as caught:
        TagPredictions.load(tmp_path / "t.parquet")
    assert str(caught.value.details["where"]) == str(tmp_path / "t.parquet")


def test_tag_predictions_come_back_from_disk_in_any_order(tmp_path):
    made = make_tags()
    made.save(tmp_path / "t.parquet")
    found = TagPredictions.load(tmp_path / "t.parquet")
    assert found.frame().equals(made.frame())
    assert found.meta == {"run": "x"}
    order = pl.Series(["r3", "r0", "r5", "r1", "r4", "r2"])
    moved = found.align(order)
    assert moved.tags == [made.tags[int(name[1])] for name in order]
    assert moved.align(made.ids).frame().equals(made.frame())
    pieces = [
        found.align(pl.Series("row", made.ids.to_list())),
        TagPredictions(**{**vars(make_tags(2, 1)), "ids": pl.Series("row", ["y", "z"])}),
    ]
    assert join(pieces, {}).tags == [*pieces[0].tags, *pieces[1].tags]
    with pytest.raises(UserError, match="1 of 6 missing"):
        found.align(pl.Series(["r3", "r0", "r5", "r1", "r4", "rX"]))
    with pytest.raises(UserError, match="tags of words"):
        Predictions.load(tmp_path / "t.parquet")


def test_the_report_of_entities_is_that_of_their_counts():
    made = make_tags(40)
    truth, predicted = made.labels.to_list(), made.tags
    report, counts = entity_report(truth, predicted), count_entities(truth, predicted)
    for kind, line in report.classes.items():
        assert line.f1 == pytest.approx(counts[kind].f1)
        assert line.support == counts[kind].true
    assert report.averages["macro"].f1 == pytest.approx(np.mean([one.f1 for one in counts.values()]))
    assert entity_report([["O"]], [["O"]]).averages["micro"].f1 == 0.0


def test_conll_files_become_tables(tmp_path):
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress("-DOCSTART- O\n\n科0\tB-A\n技1\tI-A\n\n\n\u30000\tO\n。0\tO".encode()))
    table = to_table(read_conll(path, word_position=True), "a-")
    assert table.rows() == [("a-0", "科 技", "B-A I-A"), ("a-1", f"{BLANK} 。", "O O")]
    (tmp_path / "plain.conll").write_text("EU NNP B-ORG\nrejects VBZ O\n\n")
    assert read_conll(tmp_path / "plain.conll")[0].tags == ("B-ORG", "O")
    (tmp_path / "blanks.conll").write_text("a B-X \nb O\n\nc O  \n")
    assert [(one.tags, one.line) for one in read_conll(tmp_path / "blanks.conll")] == [(("B-X", "O"), 1), (("O",), 4)]
    (tmp_path / "signs.conll").write_bytes("a O\r\n\u2028 O\r\nb\x85c\tB-X\r\n1 000\tI-X\r\n".encode())
    (signs,) = read_conll(tmp_path / "signs.conll")
    assert (signs.words, signs.tags) == (("a", BLANK, "b\x85c", f"1{BLANK}000"), ("O", "O", "B-X", "I-X"))
    (tmp_path / "words.conll").write_text("one\ntwo\n\nthree\n")
    assert to_table(read_conll(tmp_path / "words.conll")).columns == ["id", "text"]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [("a O\nb\n", {}, "some lines have a tag"), ("\n\n", {}, "no sentence"),
     ("a O\n", {"word_position": True}, "position"), ("é".encode("latin-1"), {}, "cannot be read as utf-8")],
)  # fmt: skip
def test_conll_files_that_make_no_sense_are_refused(tmp_path, content, options, words):
    path = tmp_path / "bad.conll"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words):
        read_conll(path, **options)
