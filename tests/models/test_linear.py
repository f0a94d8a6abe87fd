import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from models.checkpoint import CheckpointSpec
from models.errors import ModelError
from models.linear import JSON_FILE, TENSOR_FILE, TOKEN_PATTERN, LinearModel, fit_vectorizer, split_options

SHARED = Path(__file__).parents[2].parent / "shared"

TOPICS = {
    "food": "soup bread cheese lunch taste sweet salt",
    "sea": "ship wave storm sailor harbour salt wind",
    "city": "street tower bus crowd market noise lunch",
    "天气": "天气下雨很冷今天出门风大",
}


def corpus(n: int, names: list[str], seed: int = 0) -> tuple[list[str], NDArray[np.int64]]:
    """Texts of random words of their topic and of another one."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(names), n)
    texts = []
    for code in codes:
        own, other = (TOPICS[names[k]] for k in (code, rng.integers(len(names))))
        texts.append(" ".join(rng.permutation([*own.split(), *own[::3].split(), *other.split()[:3]])[:8]))
    return texts, codes


def fitted(names: list[str], **options: Any) -> tuple[LinearModel, list[str], NDArray[np.int64]]:
    texts, codes = corpus(120, names)
    of_vectorizer, of_classifier = split_options(options)
    vectorizer = fit_vectorizer(texts, **of_vectorizer)
    return LinearModel.fit(vectorizer, vectorizer.transform(texts), codes, names, **of_classifier), texts, codes


@pytest.mark.parametrize("names", [["food", "sea"], ["food", "sea", "city"], ["天气", "city"]])
def test_probabilities_are_those_of_scikit_learns_own_pipeline(names: list[str]) -> None:
    model, texts, codes = fitted(names)
    common = {"sublinear_tf": True, "min_df": 2, "max_features": 200_000}
    oracle = make_pipeline(
        make_union(
            TfidfVectorizer(token_pattern=TOKEN_PATTERN, ngram_range=(1, 2), **common),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), **common),
        ),
        LogisticRegression(C=5.0, solver="newton-cg", tol=1e-8),
    ).fit(texts, codes)
    fresh, _ = corpus(50, names, seed=1)
    ours = softmax(model.logits(model.vectorizer.transform(fresh)), axis=1)
    assert ours.dtype == np.float32
    assert np.abs(ours - oracle.predict_proba(fresh)).max() < 2e-3  # where the optimiser stops
    exact = LogisticRegression(C=5.0, solver="newton-cg").fit(model.vectorizer.transform(texts), codes)
    assert np.abs(ours - exact.predict_proba(model.vectorizer.transform(fresh))).max() < 1e-5


def test_features_are_those_of_scikit_learn_and_float32() -> None:
    texts, _ = corpus(60, ["food", "sea"])
    vectorizer = fit_vectorizer(texts, word_ngrams=[1, 1], char_ngrams=[2, 3], max_features=40, lowercase=False)
    features = vectorizer.transform(["Soup and ship", ""])
    common = {"sublinear_tf": True, "min_df": 2, "max_features": 40, "lowercase": False}
    oracle = make_union(
        TfidfVectorizer(token_pattern=TOKEN_PATTERN, ngram_range=(1, 1), **common),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), **common),
    ).fit(texts)
    assert features.dtype == np.float32
    assert features.format == "csr"
    assert np.allclose(features.toarray(), oracle.transform(["Soup and ship", ""]).toarray(), atol=1e-6)
    assert features[1].nnz == 0


def test_no_texts_make_an_empty_matrix_of_the_right_width() -> None:
    vectorizer = fit_vectorizer(["a b", "a b"])
    assert vectorizer.transform([]).shape == (0, vectorizer.n_features)


def test_chinese_characters_are_words_of_their_own_and_pairs_of_them_too() -> None:
    vectorizer = fit_vectorizer(["今天天气 good day", "今天 good"], chars=False)
    assert set(vectorizer.vocabulary["words"]) == {"今", "天", "今 天", "good"}
    mixed = fit_vectorizer(["カナと漢字abc1", "カナと漢字abc1"], chars=False, word_ngrams=[1, 1])
    assert mixed.vocabulary["words"] == ("abc1", "と", "カ", "ナ", "字", "漢")


@pytest.mark.parametrize(("option", "left"), [("words", "chars"), ("chars", "words")])
def test_either_kind_of_ngrams_can_be_switched_off(option: str, left: str, tmp_path: Path) -> None:
    texts, codes = corpus(40, ["food", "sea"])
    vectorizer = fit_vectorizer(texts, **{option: False})
    assert list(vectorizer.vocabulary) == [left]
    model = LinearModel.fit(vectorizer, vectorizer.transform(texts), codes, ("food", "sea"))
    model.save(tmp_path / "model")
    again = LinearModel.load(tmp_path / "model")
    assert np.array_equal(again.logits(again.vectorizer.transform(texts)), model.logits(vectorizer.transform(texts)))


def test_one_model_with_one_vector_serves_two_classes() -> None:
    model, texts, codes = fitted(["food", "sea"])
    assert model.coef.shape == (2, model.vectorizer.n_features)
    logits = model.logits(model.vectorizer.transform(texts))
    assert logits.shape == (120, 2)
    assert (logits.argmax(axis=1) == codes).mean() > 0.9


@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_saved_model_scores_any_text_as_before(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    model, _, _ = fitted(["food", "sea", "city"], char_ngrams=[1, 3])
    folder = tmp_path_factory.mktemp("linear") / "fold0"
    model.save(folder)
    loaded = LinearModel.load(folder)
    before = model.logits(model.vectorizer.transform(texts))
    assert (loaded.logits(loaded.vectorizer.transform(texts)) == before).all()
    assert loaded.vectorizer.fingerprint == model.vectorizer.fingerprint


def test_checkpoint_says_what_it_is_and_holds_no_pickle(tmp_path: Path) -> None:
    model, _, _ = fitted(["food", "天气"])
    model.save(tmp_path / "fold0", cleaning=["strip"], score=0.5)
    spec = CheckpointSpec.load(tmp_path / "fold0")
    assert spec == CheckpointSpec("linear", ("food", "天气"), cleaning=("strip",), score=0.5)
    names = sorted(path.name for path in (tmp_path / "fold0").iterdir())
    assert names == ["kaggle_jobs.json", JSON_FILE, TENSOR_FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["fold0"]


def test_fitting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fitted(["food", "sea", "city"])[0].save(tmp_path / name)
    for file in (JSON_FILE, TENSOR_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_fingerprint_tells_vectorizers_apart() -> None:
    texts, _ = corpus(40, ["food", "sea"])
    same = [fit_vectorizer(texts).fingerprint for _ in range(2)]
    others = [fit_vectorizer(texts, lowercase=False).fingerprint, fit_vectorizer(texts[:-1]).fingerprint]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 3


def test_class_that_a_fold_has_not_seen_gets_next_to_nothing() -> None:
    texts, codes = corpus(60, ["food", "sea"])
    vectorizer = fit_vectorizer(texts)
    features = vectorizer.transform(texts)
    model = LinearModel.fit(vectorizer, features, codes * 2, ["food", "never", "sea"])
    probs = softmax(model.logits(features), axis=1)
    assert probs[:, 1].max() < 1e-8
    assert probs[:, 1].min() > 0
    assert (probs.argmax(axis=1) == codes * 2).mean() > 0.9


def test_balanced_classes_and_weaker_penalty_change_the_fit() -> None:
    plain, texts, _ = fitted(["food", "sea"])
    features = plain.vectorizer.transform(texts)
    codes = np.array([0] * 100 + [1] * 20)
    balanced = [
        LinearModel.fit(plain.vectorizer, features, codes, ["a", "b"], balanced=b, C=c)
        for b, c in ((False, 10), (True, 10), (False, 1))
    ]
    rare = [softmax(m.logits(features), axis=1)[:, 1].sum() for m in balanced]
    assert rare[1] > rare[0]
    assert np.abs(balanced[2].coef).max() < np.abs(balanced[0].coef).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word": False}, "unknown option 'word'"),
        ({"words": 1}, "option 'words' of a linear model cannot be 1"),
        ({"char_ngrams": [1, 2, 3]}, "option 'char_ngrams'"),
        ({"char_ngrams": [3, 2]}, "must be .shortest, longest."),
        ({"words": False, "chars": False}, "both are switched off"),
        ({"min_df": 0}, "at least 1"),
        ({"C": 0}, "must be positive"),
        ({"C": "10"}, "option 'C'"),
        ({"balanced": "yes"}, "option 'balanced'"),
    ],
)
def test_unusable_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        fitted(["food", "sea"], **options)


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ModelError) as raised:
        split_options({"char_ngram": [1, 2]})
    assert raised.value.details["next"] == "did you mean 'char_ngrams'?"


def test_texts_without_frequent_ngrams_are_told() -> None:
    with pytest.raises(ModelError, match="2 texts have no n-grams of words") as raised:
        fit_vectorizer(["one", "two"])
    assert "lower min_df (now 2)" in raised.value.details["next"]


def test_rows_of_one_class_are_told() -> None:
    model, texts, codes = fitted(["food", "sea"])
    features = model.vectorizer.transform(texts)
    with pytest.raises(ModelError, match="120 training rows are all of one class") as raised:
        LinearModel.fit(model.vectorizer, features, codes * 0 + 1, ["food", "sea"])
    assert raised.value.details["found"] == "sea"


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ModelError, match="something in the checkpoint folder"):
        fitted(["food", "sea"])[0].save(tmp_path)


def remove(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def rewrite(name: str, text: str) -> Any:
    return lambda folder: (folder / name).write_text(text)


def shorten_vocabulary(folder: Path) -> None:
    about = json.loads((folder / JSON_FILE).read_text())
    about["vocabulary"]["words"].pop()
    (folder / JSON_FILE).write_text(json.dumps(about))


def repeat_a_term(folder: Path) -> None:
    about = json.loads((folder / JSON_FILE).read_text())
    about["vocabulary"]["words"][-1] = about["vocabulary"]["words"][0]
    (folder / JSON_FILE).write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("kaggle_jobs.json"), "not a linear checkpoint"),
        (remove(JSON_FILE), "no linear.json"),
        (remove(TENSOR_FILE), "no linear.safetensors"),
        (rewrite(JSON_FILE, "{"), "damaged"),
        (rewrite(JSON_FILE, "[]"), "damaged"),
        (rewrite(TENSOR_FILE, "x" * 100), "damaged"),
        (shorten_vocabulary, "do not fit together"),
        (repeat_a_term, "occurs twice"),
    ],
)
def test_missing_or_damaged_files_are_told(tmp_path: Path, damage: Any, message: str) -> None:
    folder = tmp_path / "fold0"
    fitted(["food", "sea"])[0].save(folder)
    damage(folder)
    with pytest.raises(ModelError, match=message):
        LinearModel.load(folder)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data")
def test_spooky_authors_are_told_apart() -> None:
    raw = gzip.decompress((SHARED / "data" / "spooky" / "train.csv.gz").read_bytes())
    frame = pl.read_csv(raw, infer_schema=False).head(3000)
    classes = ["EAP", "HPL", "MWS"]
    texts, codes = frame["text"].to_list(), np.array([classes.index(name) for name in frame["author"]])
    vectorizer = fit_vectorizer(texts)
    features = vectorizer.transform(texts)
    model = LinearModel.fit(vectorizer, features[:2000], codes[:2000], classes)
    assert (model.logits(features[2000:]).argmax(axis=1) == codes[2000:]).mean() > 0.72
