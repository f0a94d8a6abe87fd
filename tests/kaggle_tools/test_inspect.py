import gzip
from pathlib import Path

import polars as pl
import pytest

from kaggle_tools.competition import FILE_NAME, Competition
from kaggle_tools.errors import UserError
from kaggle_tools.inspect import Conclusions, Overrides, conclude

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
LONG = "a text of some length about nothing in particular, number"
COLOURS = ("red", "green", "blue")

Columns = dict[str, list[str]]


def rows(n: int, **columns: list[str]) -> Columns:
    """A table of `n` rows with ids and texts; the values of other columns are repeated to fill it."""
    return {
        "id": [f"r{i}" for i in range(n)],
        "text": [f"{LONG} {i}" for i in range(n)],
        **{name: [values[i % len(values)] for i in range(n)] for name, values in columns.items()},
    }


def without(table: Columns, *names: str) -> Columns:
    return {name: values for name, values in table.items() if name not in names}


def look(
    folder: Path,
    train: Columns | None = None,
    test: Columns | None = None,
    sample: Columns | None = None,
    **asked: object,
) -> Conclusions:
    paths = []
    for name, table in (("train", train), ("test", test), ("sample", sample)):
        path = folder / f"{name}.csv"
        if table is not None:
            pl.DataFrame(table).write_csv(path)
        paths.append(None if table is None else path)
    return conclude(*paths, root=folder, overrides=Overrides(**asked))  # type: ignore[arg-type]


def why(found: Conclusions, key: str) -> str:
    (reason,) = [reason for reason in found.reasons if reason.key == key]
    return reason.why


def test_probabilities_of_authors(tmp_path: Path) -> None:
    train, test = rows(12, author=["EAP", "HPL", "MWS"]), rows(4)
    sample = {"id": test["id"], "MWS": ["0.2"] * 4, "EAP": ["0.5"] * 4, "HPL": ["0.3"] * 4}
    found = look(tmp_path, train, test, sample, name="spooky")
    assert found.competition == Competition(
        root=tmp_path.resolve(),
        name="spooky",
        task="single_label",
        metric="log_loss",
        id_column="id",
        text_column="text",
        label_column="author",
        classes=("MWS", "EAP", "HPL"),
        train="train.csv",
        test="test.csv",
        sample_submission="sample.csv",
        submission_format="probabilities",
        submission_id="id",
        submission_columns=("MWS", "EAP", "HPL"),
    )
    assert "its values are the sample's columns" in why(found, "label_column")
    assert "guess" in why(found, "metric")


def test_every_conclusion_has_a_reason(tmp_path: Path) -> None:
    test = rows(6)
    found = look(tmp_path, rows(12, label=["a", "b"]), test, {"id": test["id"], "label": ["a"] * 6})
    keys = {reason.key for reason in found.reasons}
    assert {"task", "classes", "metric", "submission_format", "label_column", "submission_id"} <= keys
    assert {
        f"{key} of {role}" for key in ("encoding", "id_column", "text_column") for role in ("train", "test")
    } <= keys
    assert all(reason.why for reason in found.reasons)


def test_what_is_concluded_can_be_saved_and_loaded(tmp_path: Path) -> None:
    test = {"post": [f"r{i}" for i in range(4)], "content": [LONG] * 4}
    found = look(tmp_path, rows(12, y=["1", "-1", "0"]), test, {"id": test["post"], "y": ["0"] * 4})
    found.competition.save(tmp_path / FILE_NAME)
    assert Competition.load(tmp_path / FILE_NAME) == found.competition


def test_columns_of_test_may_be_called_otherwise(tmp_path: Path) -> None:
    train = rows(12, label=["1", "-1", "0"])
    test = {"微博id": [f"{i}9 " for i in range(4)], "微博中文内容": [LONG] * 4, "pics": ["['http://x/y.jpg'] * 9"] * 4}
    found = look(tmp_path, train, test, {"id": [f"{i}9" for i in range(4)], "y": ["0", "1", "1", "0"]}).competition
    assert (found.id_column, found.text_column, found.label_column) == ("id", "text", "label")
    assert (found.test_id, found.test_text, found.submission_id) == ("微博id", "微博中文内容", "id")
    assert (found.classes, found.submission_format, found.submission_columns) == (("-1", "0", "1"), "labels", ("y",))


def test_same_columns_are_said_once(tmp_path: Path) -> None:
    test = rows(4)
    found = look(tmp_path, rows(12, label=["a", "b"]), test).competition
    assert (found.test_id_column, found.test_text_column, found.test_encoding) == (None, None, None)
    assert (found.test_id, found.test_text) == ("id", "text")


def test_blanks_around_ids_are_told(tmp_path: Path) -> None:
    test = {"id": ["1 ", "2 "], "text": [LONG] * 2}
    found = look(tmp_path, rows(6, label=["a", "b"]), test, {"id": ["1", "2"], "label": ["a", "a"]})
    assert "blanks around ids" in why(found, "id_column of test")


def test_ids_that_pandas_made_floats_of_are_those_of_the_sample(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("train.parquet", "test.parquet", "sample.csv")]
    train, test = (
        pl.DataFrame({**table, "id": range(len(table["text"]))}) for table in (rows(6, label=["a", "b"]), rows(4))
    )
    train.write_parquet(paths[0])
    test.with_columns(pl.col("id").cast(float)).write_parquet(paths[1])
    pl.DataFrame({"id": [3, 2, 1, 0], "label": ["a"] * 4}).write_csv(paths[2])
    found = conclude(*paths, root=tmp_path)
    assert found.competition.test_id == "id"
    assert "all the ids of the sample, each once" in why(found, "id_column of test")
    assert not [line for line in found.findings if "sample" in line]


def test_ids_are_found_by_values_wherever_the_column_stands(tmp_path: Path) -> None:
    test = {**rows(4), "key": ["k1", "k2", "k3", "k4"]}
    sample = {"label": ["a"] * 4, "k": ["k4", "k3", "k2", "k1"]}
    found = look(tmp_path, rows(6, label=["a", "b"]), test, sample).competition
    assert (found.test_id, found.submission_id, found.submission_columns) == ("key", "k", ("label",))


def test_of_columns_with_the_same_values_the_one_called_as_in_the_sample_holds_the_ids(tmp_path: Path) -> None:
    test = {"Unnamed: 0": ["0", "1", "2"], "id": ["2", "0", "1"], "text": rows(3)["text"]}
    found = look(tmp_path, rows(12, label=["a", "b"]), test, {"id": ["0", "1", "2"], "label": ["a"] * 3})
    assert found.competition.test_id == "id"


def test_words_are_neither_ids_nor_passed_over_for_codes(tmp_path: Path) -> None:
    words = rows(12)["text"]
    short = [text[-20:] for text in words]
    found = look(tmp_path, {"utterance": short, "domain": ["bank", "card"] * 6, "intent": ["x", "y", "z"] * 4})
    assert (found.competition.id_column, found.competition.text_column) == (None, "utterance")
    chinese = look(tmp_path, {"query": [f"天气怎么样{i}" for i in range(12)], "intent": ["x", "y", "z"] * 4})
    assert (chinese.competition.id_column, chinese.competition.text_column) == (None, "query")
    links = [f"https://www.example.com/{text.replace(' ', '-')}" for text in words]
    found = look(tmp_path, {**without(rows(12, label=["a", "b"]), "text"), "url": links, "headline": words})
    assert found.competition.text_column == "headline"
    codes = {"review_id": [f"r{i}" for i in range(12)], "essay": words}
    found = look(tmp_path, {**without(rows(12, label=["a", "b"]), "text"), **codes})
    assert found.competition.text_column == "essay"


def test_sample_of_another_test_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column of test\.csv holds the ids of sample\.csv"):
        look(tmp_path, rows(6, label=["a", "b"]), rows(3), {"id": ["x", "y"], "label": ["a", "b"]})


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    found = look(tmp_path, without(rows(8, label=["a", "b"]), "id"), {"text": ["same", "same"]})
    assert found.competition.id_column is None
    assert "numbered" in why(found, "id_column of train")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["a", "b", "a,b", "b, c"], "6 hold ','"),
        (["a", "b", "a;b", "b;c"], "6 hold ';'"),
        (["Paris, France", "Lima, Peru"], None),
        (["a", "b"], None),
    ],
)
def test_labels_joined_by_something_else_are_told(tmp_path: Path, labels: list[str], told: str | None) -> None:
    found = look(tmp_path, rows(12, label=labels))
    assert found.competition.task == "single_label"
    suffix = "" if told is None else f", {told}: if these are several labels, join them by '|'"
    assert why(found, "task") == f"no label holds '|'{suffix}"


def test_joined_labels_make_a_multi_label_task(tmp_path: Path) -> None:
    found = look(tmp_path, rows(12, tags=["a|b", "a", "c"]))
    assert (found.competition.task, found.competition.classes) == ("multi_label", ("a", "b", "c"))
    test = rows(3)
    found = look(tmp_path, rows(12, tags=["a|b", "a", "c"]), test, {"id": test["id"], "tags": ["a"] * 3})
    assert found.competition.metric == "micro_f1"
    assert found.findings[-1] == "the sample shows no row of several labels: submissions join them by '|'"
    found = look(tmp_path, rows(12, tags=["a|b", "a", "c"]), test, {"id": test["id"], "tags": ["a c", "b", "a"]})
    assert found.findings[-1] == "the sample joins several labels by ' ', and so do submissions"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["b", "10", "9"], ("10", "9", "b")),
        (["2.0", "10", "1"], ("1", "2.0", "10")),
    ],
)
def test_classes_are_sorted_as_numbers_where_all_are(
    tmp_path: Path, labels: list[str], classes: tuple[str, ...]
) -> None:
    assert look(tmp_path, rows(12, label=labels)).competition.classes == classes


@pytest.mark.parametrize(
    ("metric", "value", "told"), [("micro_f1", "0", 1), ("micro_f1", "0.5", 0), ("log_loss", "0", 0)]
)
def test_columns_of_decisions_are_told(tmp_path: Path, metric: str, value: str, told: int) -> None:
    test = rows(4)
    sample = {"id": test["id"], "a": [value] * 4, "b": ["1"] * 4}
    found = look(tmp_path, rows(12, tags=["a|b", "a"]), test, sample, metric=metric, label_column="tags")
    assert sum("needs them rounded" in finding for finding in found.findings) == told


@pytest.mark.parametrize(
    ("metric", "value", "form"),
    [("AUC", "0", "probabilities"), ("log_loss", "0.0", "probabilities"), ("accuracy", "0", "labels")],
)
def test_a_metric_of_probabilities_decides_what_a_column_of_zeros_stands_for(
    tmp_path: Path, metric: str, value: str, form: str
) -> None:
    test = rows(4)
    sample = {"id": test["id"], "label": [value] * 4}
    found = look(tmp_path, rows(12, label=["0", "1"]), test, sample, metric=metric)
    assert (found.competition.submission_format, found.competition.classes) == (form, ("0", "1"))


@pytest.mark.parametrize(
    ("labels", "metric"),
    [(["a", "b"], "accuracy"), (["a", "a", "b"], "macro_f1"), (["a", "a", "a", "b", "b"], "accuracy")],
)
def test_metric_of_labels_follows_the_balance_of_classes(tmp_path: Path, labels: list[str], metric: str) -> None:
    test = rows(3)
    found = look(tmp_path, rows(30, label=labels), test, {"id": test["id"], "label": ["a"] * 3})
    assert found.competition.metric == metric


def test_one_column_of_fractions_is_the_probability_of_the_second_class(tmp_path: Path) -> None:
    test = rows(3)
    found = look(tmp_path, rows(8, target=["0", "1"]), test, {"id": test["id"], "target": ["0.5"] * 3}).competition
    assert (found.submission_format, found.submission_columns) == ("probabilities", ("target",))
    assert (found.classes, found.metric) == (("0", "1"), "roc_auc")


@pytest.mark.parametrize(("column", "classes"), [("fake", ("real", "fake")), ("prob_real", ("fake", "real"))])
def test_the_class_that_the_one_column_is_called_like_is_the_second(
    tmp_path: Path, column: str, classes: tuple[str, str]
) -> None:
    test = rows(3)
    found = look(tmp_path, rows(8, label=["fake", "real"]), test, {"id": test["id"], column: ["0.5"] * 3}).competition
    assert (found.submission_format, found.classes) == ("probabilities", classes)


@pytest.mark.parametrize("labels", [["0.0", "1.0"], ["0.0", "1.0", "2.0"]])
@pytest.mark.parametrize("form", [None, "labels"])
def test_labels_that_pandas_made_floats_of_are_told_beside_the_samples(tmp_path: Path, labels, form) -> None:
    """Beside a sample of 0 and 1 the probability of `1.0` was what is asked for."""
    train, test = rows(12, label=labels), rows(4)
    sample = {"id": test["id"], "label": ["0", "0", "0", "1"]}
    with pytest.raises(UserError, match=r"(?s)labels of train in another spelling.*0, 1 in the sample, 0.0, 1.0"):
        look(tmp_path, train, test, sample, submission_format=form)
    if len(labels) == 2:
        assert look(tmp_path, train, test, sample, submission_format="probabilities").competition.classes == (
            "0.0",
            "1.0",
        )
        assert (
            look(tmp_path, train, test, {**sample, "label": [".5"] * 4}).competition.submission_format
            == "probabilities"
        )
    assert look(tmp_path, train, test, {**sample, "label": ["1.0"] * 4}).competition.submission_format == "labels"


def test_prefixed_columns_of_the_sample_belong_to_the_labels(tmp_path: Path) -> None:
    test = rows(3)
    sample = {"id": test["id"], **{f"p_{name}": ["0.3"] * 3 for name in COLOURS}}
    found = look(tmp_path, rows(12, label=["blue", "green", "red"]), test, sample).competition
    assert found.classes == COLOURS
    assert found.submission_columns == ("p_red", "p_green", "p_blue")


def test_without_train_the_sample_tells_the_classes(tmp_path: Path) -> None:
    test = rows(3)
    found = look(tmp_path, None, test, {"id": test["id"], "a": ["0.5"] * 3, "b": ["0.5"] * 3}).competition
    assert (found.train, found.label_column, found.classes) == (None, None, ("a", "b"))
    with pytest.raises(UserError, match="only one class"):
        look(tmp_path, None, test, {"id": test["id"], "label": ["a"] * 3})
    with pytest.raises(UserError, match="no file tells the classes"):
        look(tmp_path, None, test)


def test_nothing_to_look_at_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to look at"):
        look(tmp_path)


def test_what_is_asked_for_wins(tmp_path: Path) -> None:
    train = rows(12, label=["a", "b"], mood=["x", "y", "z"])
    asked = {"label_column": "mood", "metric": "Macro-F1", "submission_format": "labels", "classes": ("z", "y", "x")}
    found = look(tmp_path, train, rows(3), slug="my-slug", **asked)
    assert (found.competition.label_column, found.competition.metric) == ("mood", "macro_f1")
    assert (found.competition.classes, found.competition.slug) == (("z", "y", "x"), "my-slug")
    assert found.competition.submission_format == "labels"
    assert why(found, "label_column") == "asked for"


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ({"label_column": "lable"}, "train.csv has no column 'lable'", "did you mean 'label'?"),
        ({"text_column": "texts"}, "test.csv has no column 'texts'", "did you mean 'text'?"),
        ({"metric": "macrof1"}, "unknown metric", "did you mean 'macro_f1'?"),
        ({"metric": "samples_f1"}, "not for single_label", "macro_f1"),
        ({"metric": "entity_f1"}, "not for single_label", "macro_f1"),
        ({"metric": "rmse", "classes": ("a", "b", "c")}, "for 2 classes, these are 3", "macro_f1"),
        ({"text_column": "label", "label_column": "label"}, "'label' cannot be two things at once", "apart"),
        ({"pair_column": "text", "text_column": "text"}, "'text' cannot be two things at once", "apart"),
        ({"classes": ("a", "b", "")}, "two different names or more", "a,b,c"),
        ({"classes": ("a", "a")}, "two different names or more", "a,b,c"),
        ({"task": "multi_lable"}, "unknown task", "did you mean 'multi_label'?"),
        ({"submission_format": "probs"}, "unknown submission format", "known: labels, probabilities"),
    ],
)
def test_unusable_answers_are_told(tmp_path: Path, asked: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        look(tmp_path, rows(12, label=["a", "b"]), rows(3, label=["c"]), **asked)
    assert hint in raised.value.details["next"]


def test_column_that_only_one_file_has_is_asked_for_in_that_file(tmp_path: Path) -> None:
    train = {**rows(12, label=["a", "b"]), "key": [f"k{i}" for i in range(12)]}
    test = {"nr": ["7", "8"], "content": [LONG] * 2}
    found = look(tmp_path, train, test, id_column="key", text_column="text").competition
    assert (found.id_column, found.test_id) == ("key", "nr")
    assert (found.text_column, found.test_text) == ("text", "content")


def test_several_possible_labels_are_listed_with_the_flag(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"several columns of train\.csv can be the label") as raised:
        look(tmp_path, rows(12, group=["a", "b"], emotion=["x", "y", "z"]))
    assert list(raised.value.details) == ["'group'", "'emotion'", "next"]
    assert raised.value.details["next"] == "choose one: --label group"


def test_labels_that_the_sample_has_all_are_proposed_as_groups(tmp_path: Path) -> None:
    train = rows(12, group=["a", "b"], emotion=["x", "y", "z"], source=["p", "q"])
    sample = {"id": ["r0"], "group": ["a"], "emotion": ["x"]}
    with pytest.raises(UserError, match=r"several columns of train\.csv can be the label") as raised:
        look(tmp_path, train, rows(3), sample)
    assert "--label group --label emotion" in raised.value.details["next"]
    groups = look(tmp_path, train, rows(3), sample, label_columns=("group", "emotion")).competition.label_groups
    assert list(groups) == ["group", "emotion"]
    train["emotion"] = ["1.0", "2.0", "3.0"] * 4
    with pytest.raises(UserError, match="column 'emotion' of the sample has the labels of train in another spelling"):
        look(tmp_path, train, rows(3), {**sample, "emotion": ["1"]}, label_columns=("group", "emotion"))


def test_columns_of_zeros_and_ones_are_no_label_groups(tmp_path: Path) -> None:
    train = rows(12, toxic=["0", "1"], insult=["0", "0", "1"])
    sample = {"id": rows(3)["id"], "toxic": ["0.5"] * 3, "insult": ["0.5"] * 3}
    with pytest.raises(UserError, match="can be the label") as raised:
        look(tmp_path, train, rows(3), sample)
    assert "joined by '|'" in raised.value.details["next"]
    with pytest.raises(UserError, match="the sample has a probability in column 'toxic'"):
        look(tmp_path, train, rows(3), sample, label_columns=("toxic", "insult"))
    joined = [("toxic" if i % 2 else "") + "|insult" * (i % 3 == 2) for i in range(12)]
    mended = {**rows(12), "labels": [labels.strip("|") for labels in joined]}
    found = look(tmp_path, mended, rows(3), sample).competition
    assert (found.task, found.classes, found.submission_format) == (
        "multi_label",
        ("toxic", "insult"),
        "probabilities",
    )


@pytest.mark.parametrize("name", ["spam", "verdict"])
def test_a_table_without_names_of_columns_is_refused(tmp_path: Path, name: str) -> None:
    train = {"a sentence that was the first": rows(12)["text"], name: ["spam", "ham"] * 6}
    if name == "verdict":
        assert look(tmp_path, train).competition.label_column == name
        return
    with pytest.raises(UserError, match="the first line looks like a row"):
        look(tmp_path, train)
    assert look(tmp_path, train, label_column=name).competition.label_column == name


@pytest.mark.parametrize("name", ["target", "score"])
def test_no_other_column_is_the_label_where_the_sample_asks_for_quantities(tmp_path: Path, name: str) -> None:
    train = rows(12, kfold=["0", "1", "2"], **{name: [f"{i / 7:.4f}" for i in range(12)]})
    with pytest.raises(UserError, match=f"column '{name}' of train.csv is called like the label"):
        look(tmp_path, train, rows(3), {"id": rows(3)["id"], name: ["0"] * 3})


def test_a_placeholder_in_test_leaves_the_label_the_label(tmp_path: Path) -> None:
    train = rows(12, label=["a", "b"], kfold=["0", "1", "2"])
    assert look(tmp_path, train, rows(3, label=["a"])).competition.label_column == "label"
    stance = rows(12, target=["sun", "moon"], stance=["for", "against"])
    assert look(tmp_path, stance, rows(3, target=["sun", "moon"])).competition.label_column == "stance"
    asked = {"id": rows(3)["id"], "verdict": ["a"] * 3}
    train = rows(12, verdict=["a", "b"], kfold=["0", "1", "2"])
    assert look(tmp_path, train, rows(3, verdict=["a", "b"]), asked).competition.label_column == "verdict"


def test_the_only_column_with_few_values_is_the_label(tmp_path: Path) -> None:
    found = look(tmp_path, rows(12, verdict=["a", "b"], note=[f"note {i}" for i in range(12)]), rows(3))
    assert found.competition.label_column == "verdict"


def test_a_column_called_label_is_one_even_where_test_has_it(tmp_path: Path) -> None:
    found = look(tmp_path, rows(12, label=["a", "b", "c"]), rows(3, label=["a", "b", "c"]))
    assert found.competition.label_column == "label"
    assert "test has it as well" in why(found, "label_column")


def test_no_possible_label_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column of train\.csv can be the label"):
        look(tmp_path, rows(12), rows(3))


def test_several_texts_that_are_no_pair_are_not_guessed(tmp_path: Path) -> None:
    table = {"sentence_before": [LONG] * 6, "sentence_after": [LONG] * 6, "label": ["0", "1"] * 3}
    with pytest.raises(UserError, match="can be the text"):
        look(tmp_path, table)
    assert look(tmp_path, table, text_column="sentence_after").competition.text_column == "sentence_after"


@pytest.mark.parametrize(
    "names", [("sentence1", "sentence2"), ("question1", "question2"), ("text_a", "text_b"), ("Premise", "Hypothesis")]
)
def test_columns_called_like_two_texts_are_a_pair(tmp_path: Path, names: tuple[str, str]) -> None:
    pairs = {names[0]: [LONG + str(i) for i in range(6)], names[1]: [LONG] * 6, "label": ["0", "1"] * 3}
    found = look(tmp_path, pairs, {name: pairs[name] for name in names})
    assert (found.competition.text_column, found.competition.pair_column) == names
    assert (found.competition.test_text, found.competition.test_pair) == names
    assert found.competition.task == "single_label"
    assert Competition.load(saved(tmp_path, found.competition)) == found.competition


def test_one_text_of_a_pair_alone_or_two_of_other_names_can_be_asked_for(tmp_path: Path) -> None:
    pairs = {"sentence1": [LONG + "a"] * 6, "sentence2": [LONG] * 6, "label": ["0", "1"] * 3}
    one = look(tmp_path, pairs, text_column="sentence2").competition
    assert (one.text_column, one.pair_column) == ("sentence2", None)
    table = {"left": [LONG] * 6, "right": [LONG + "a"] * 6, "label": ["0", "1"] * 3}
    both = look(tmp_path, table, text_column="left", pair_column="right").competition
    assert (both.text_column, both.pair_column) == ("left", "right")
    with pytest.raises(UserError, match="has no column 'rigth'"):
        look(tmp_path, table, text_column="left", pair_column="rigth")
    with pytest.raises(UserError, match="two texts of a pair"):
        look(tmp_path, table, task="pair")


def test_pairs_are_counted_as_pairs(tmp_path: Path) -> None:
    pairs = {"text1": ["a", "a", "b", "b"], "text2": ["b", "b", "b", ""], "label": ["0", "1"] * 2}
    findings = look(tmp_path, pairs).findings
    assert "1 pairs of train repeat an earlier one" in findings
    assert "1 pairs of train are one text twice" in findings
    assert "1 texts in pairs of train are empty" in findings


def test_marked_entities_are_noticed(tmp_path: Path) -> None:
    marked = {"text": [f"the <e1>cat</e1> on the <e2>mat</e2> {i}" for i in range(4)], "label": ["on", "by"] * 2}
    assert any("marks two entities" in finding for finding in look(tmp_path, marked, task="relation").findings)
    assert look(tmp_path, marked, task="relation").competition.task == "single_label"


def saved(folder: Path, competition: Competition) -> Path:
    path = folder / "competition.toml"
    competition.save(path)
    return path


@pytest.mark.parametrize("name", ["context", "reviewer"])
def test_a_short_column_called_somewhat_like_text_is_not_taken_for_it(tmp_path: Path, name: str) -> None:
    table = {**without(rows(12, label=["a", "b"]), "text"), name: ["Ann Lee", "Bob Ray"] * 6, "post": [LONG] * 12}
    with pytest.raises(UserError, match="can be the text") as raised:
        look(tmp_path, table)
    assert {f"'{name}'", "'post'"} <= set(raised.value.details)
    assert look(tmp_path, {**table, "post": ["so so", "very"] * 6}).competition.text_column == name
    table["text"] = ["a short one"] * 12
    assert look(tmp_path, table).competition.text_column == "text"


def test_longest_column_is_the_text_where_none_is_called_so(tmp_path: Path) -> None:
    table = {"id": [f"r{i}" for i in range(6)], "city": ["Rome"] * 6, "said": [LONG] * 6, "label": ["a", "b"] * 3}
    found = look(tmp_path, table)
    assert found.competition.text_column == "said"
    assert "longest" in why(found, "text_column of train")


@pytest.mark.parametrize("n", [4, 60])
def test_quantities_are_not_classes(tmp_path: Path, n: int) -> None:
    values = [f"{i / 7:.3f}" for i in range(n)]
    with pytest.raises(UserError, match="quantities, not classes"):
        look(tmp_path, rows(120, target=values))
    assert look(tmp_path, rows(120, target=values), classes=tuple(values)).competition.classes == tuple(values)


@pytest.mark.parametrize("values", [['["x"]', '["x", "y"]'], ["['x']", "['y']"], ["[27]", "[2, 3]", "[]"]])
def test_lists_are_not_classes(tmp_path: Path, values: list[str]) -> None:
    with pytest.raises(UserError, match=r"the labels are lists[\s\S]*join each row's labels by '\|'"):
        look(tmp_path, rows(12, target=values))
    assert look(tmp_path, rows(12, target=values), classes=tuple(values)).competition.classes == tuple(values)
    names = ["[joy]", "[anger]"]
    assert set(look(tmp_path, rows(12, target=names)).competition.classes) == set(names)


def test_many_whole_numbers_may_be_quantities(tmp_path: Path) -> None:
    told = [why(look(tmp_path, rows(240, target=list(map(str, range(n))))), "classes") for n in (50, 60)]
    assert ["regression is not served" in reason for reason in told] == [False, True]


def test_quantities_are_no_label_groups(tmp_path: Path) -> None:
    train = rows(24, grammar=["1.0", "1.5", "2.0"], syntax=["3.0", "2.5"])
    sample = {"id": rows(3)["id"], "grammar": ["3.0"] * 3, "syntax": ["3.0"] * 3}
    with pytest.raises(UserError, match="can be the label") as raised:
        look(tmp_path, train, rows(3), sample)
    assert "--label grammar --label syntax" not in str(raised.value)
    assert "regression is not served" in str(raised.value)
    with pytest.raises(UserError, match=r"(?s)quantities, not classes.*column 'grammar'"):
        look(tmp_path, train, rows(3), sample, label_columns=("grammar", "syntax"))


def test_tags_are_tags_without_being_asked_for(tmp_path: Path) -> None:
    train = rows(12, tags=["O B-PER I-PER", "O O", "B-LOC"])
    found = look(tmp_path, train).competition
    assert (found.task, found.metric) == ("token", "entity_f1")
    assert set(found.classes) == {"O", "B-PER", "I-PER", "B-LOC"}
    assert look(tmp_path, rows(12, grade=["O", "B-A"])).competition.task == "single_label"


@pytest.mark.parametrize("values", [["0"], ["0", "1"]])
def test_zeros_where_train_has_other_numbers_are_no_fractions(tmp_path: Path, values: list[str]) -> None:
    train, test = rows(12, label=["-1", "2"]), rows(4)
    sample = {"id": test["id"], "label": [values[i % len(values)] for i in range(4)]}
    with pytest.raises(UserError, match="neither the labels of train nor fractions"):
        look(tmp_path, train, test, sample)
    for form in ("labels", "probabilities"):
        assert look(tmp_path, train, test, sample, submission_format=form).competition.submission_format == form


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["good", " good", "bad"], "classes ' good' and 'good' differ by blanks or capitals alone"),
        (["Good", "good", "bad"], "classes 'Good' and 'good' differ by blanks or capitals alone"),
        (["nan", "good", "bad"], "class 'nan' is called like a missing value"),
    ],
)
def test_classes_that_may_be_one_or_none_are_told(tmp_path: Path, labels: list[str], told: str) -> None:
    assert told in look(tmp_path, rows(12, label=labels)).findings


def test_labels_of_the_sample_that_are_no_class_are_told(tmp_path: Path) -> None:
    train, test = rows(12, label=["a", "b", "c"]), rows(4)
    for value, told in (("0", 1), ("a", 0)):
        found = look(tmp_path, train, test, {"id": test["id"], "label": [value] * 4})
        assert sum("no labels of train" in finding for finding in found.findings) == told


def test_other_columns_of_the_sample_are_no_classes(tmp_path: Path) -> None:
    train, test = rows(12, author=["a", "b"]), rows(4)
    with pytest.raises(UserError, match="other columns beside the id and 'author': text"):
        look(tmp_path, train, test, {**test, "author": ["a"] * 4})
    with pytest.raises(UserError, match="none of the 3 labels is called like one of the sample's 2 columns"):
        look(
            tmp_path,
            rows(12, author=["a", "b", "c"]),
            test,
            {"id": test["id"], "answer": ["a"] * 4, "sure": ["1"] * 4},
        )


def test_nan_is_a_missing_label(tmp_path: Path) -> None:
    train = pl.DataFrame(rows(12)).with_columns(label=pl.Series([0.0, 1.0, float("nan")] * 4))
    train.write_parquet(tmp_path / "train.parquet")
    lines = [f'{{"id": "r{i}", "text": "{LONG} {i}", "label": {("0", "1", "NaN")[i % 3]}}}' for i in range(12)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    for name, classes in (("train.parquet", ("0.0", "1.0")), ("train.jsonl", ("0", "1"))):
        found = conclude(tmp_path / name, None, None, root=tmp_path)
        assert found.competition.classes == classes
        assert "4 rows of train have no label" in found.findings


def write_bytes(folder: Path, content: bytes) -> Path:
    (folder / "train.csv").write_bytes(content)
    return folder / "train.csv"


CHINESE = "id,text,label\n" + "".join(f"{i},今天天气很好我们出门散步吧,{'ab'[i % 2]}\n" for i in range(40))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (CHINESE.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + CHINESE.encode(), "utf-8"),
        (CHINESE.encode("gb18030"), "gb18030"),
        ("id,text,label\n1,Bjørn går på café,a\n2,Ærlig talt så,b\n3,og så,a\n4,nå,b\n".encode("cp1252"), "cp1252"),
    ],
)
def test_encoding_is_found(tmp_path: Path, content: bytes, encoding: str) -> None:
    found = conclude(write_bytes(tmp_path, content), None, None, root=tmp_path).competition
    assert (found.encoding, found.encoding_errors, found.id_column) == (encoding, "strict", "id")


def test_a_sample_that_no_other_command_could_read_is_told_at_once(tmp_path: Path) -> None:
    for name, table in (("train", rows(40, label=["好", "坏"])), ("test", rows(30))):
        pl.DataFrame(table).write_csv(tmp_path / f"{name}.csv")
    sample = pl.DataFrame({"id": rows(30)["id"], "label": ["今天天气很好", "我们不喜欢下雨"] * 15})
    (tmp_path / "sample.csv").write_bytes(sample.write_csv().encode("gb18030"))
    files = [tmp_path / f"{name}.csv" for name in ("train", "test", "sample")]
    with pytest.raises(UserError, match="the sample submission is not UTF-8") as raised:
        conclude(*files, root=tmp_path)
    assert raised.value.details["found"] == "gb18030"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_few_broken_bytes_are_counted_with_their_offset_and_replaced(tmp_path: Path, pack: object) -> None:
    content = bytearray(CHINESE.encode("gb18030"))
    place = content.index("吧".encode("gb18030"), 400)
    content[place : place + 2] = b"\x80!"  # ASCII behind it, so that the break does not reach the characters behind it
    path = write_bytes(tmp_path, pack(bytes(content)))  # type: ignore[operator]
    found = conclude(path, None, None, root=tmp_path)
    assert (found.competition.encoding, found.competition.encoding_errors) == ("gb18030", "replace")
    assert f"breaks in 1 places, the first is byte {place:,}" in why(found, "encoding of train")


def test_bytes_in_no_encoding_are_told_with_the_flag(tmp_path: Path) -> None:
    noise = bytes(byte for byte in range(0x80, 0x100)) * 20
    with pytest.raises(UserError, match="cannot tell the encoding") as raised:
        conclude(write_bytes(tmp_path, b"id,text\n1," + noise + b"\n"), None, None, root=tmp_path)
    assert "--encoding" in raised.value.details["next"]


def test_encoding_asked_for_is_that_of_files_that_are_not_utf8(tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_bytes("id,text\n8,今天天气很好\n9,很好很好\n".encode("big5", errors="ignore"))
    train = write_bytes(tmp_path, CHINESE.encode())
    found = conclude(train, test, None, root=tmp_path, overrides=Overrides(encoding="Big5")).competition
    assert found.encoding_of(train) == ("utf-8", "strict")
    assert found.encoding_of(test) == ("big5", "strict")
    assert (found.encoding, found.test_encoding) == ("utf-8", "big5")


def test_findings_count_what_is_odd(tmp_path: Path) -> None:
    train = rows(12, label=["a", "a", "b"])
    train["text"][3] = train["text"][2]
    train["text"][5] = " "
    train["id"][4] = "r1"
    test = rows(5)
    test["text"][4] = "only here"
    sample = {"id": ["r0", "r1", "r2", "r9"], "label": ["a"] * 4}
    found = look(tmp_path, train, test, sample, id_column="id", classes=("a", "c")).findings
    assert found == (
        "classes in train: a 8",
        "classes without a row in train: c",
        "4 labels of train are no class: 'b'",
        "train: 12 rows",
        "1 texts of train are empty",
        "1 texts of train repeat an earlier one",
        "1 ids of train repeat an earlier one",
        "test: 5 rows",
        "3 texts of test are in train too",
        "1 ids of the sample submission are not in test",
        "2 ids of test are not in the sample submission",
    )


def test_ragged_rows_are_counted_with_the_first_line(tmp_path: Path) -> None:
    path = write_bytes(tmp_path, CHINESE.encode() + b"41,too,many,fields\n")
    findings = conclude(path, None, None, root=tmp_path).findings
    assert any("1 rows of train cannot be read; the first is in line 42" in text for text in findings)


def test_files_elsewhere_are_named_relative_to_the_root(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    pl.DataFrame(rows(12, label=["a", "b"])).write_csv(tmp_path / "data" / "train.csv")
    found = conclude(tmp_path / "data" / "train.csv", None, None, root=tmp_path / "work").competition
    assert found.train == "../data/train.csv"
    assert found.path(found.train) == (tmp_path / "data" / "train.csv").resolve()
    assert found.name == "work"


shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data")


@pytest.mark.shared
@shared
def test_spooky_is_understood() -> None:
    folder = SHARED / "spooky"
    names = ("train.csv.gz", "test.csv.gz", "sample_submission.csv.gz")
    found = conclude(*(folder / name for name in names), root=folder).competition
    assert (found.label_column, found.classes, found.metric) == ("author", ("EAP", "HPL", "MWS"), "log_loss")


@pytest.mark.shared
@shared
def test_weibo_posts_are_understood() -> None:
    folder = SHARED / "weibo_ncov"
    names = ("labelled_3000.csv", "nCov_10k_test.gb18030.csv.gz", "submit_example_CRLF.csv.gz")
    found = conclude(*(folder / name for name in names), root=folder)
    competition = found.competition
    assert (competition.label_column, competition.classes, competition.metric) == (
        "label",
        ("-1", "0", "1"),
        "macro_f1",
    )
    assert (competition.id_column, competition.test_id, competition.submission_id) == ("id", "微博id", "id")
    assert (competition.text_column, competition.test_text) == ("content", "微博中文内容")
    assert (competition.encoding, competition.test_encoding) == ("utf-8", "gb18030")
    assert competition.test_encoding_errors == "replace"
    assert "37 texts of test are empty" in found.findings
