"""`jobs.lengths`: lengths in characters and tokens, and a max_length that covers what it should."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobs.lengths import LengthsOptions, run, suggest
from jobs.show.lengths import render_lengths
from kaggle_tools.errors import UserError
from models.pretrained import load_tokenizer
from tests.jobs.test_train import Place, table


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def lengths(place, **options):
    return run(LengthsOptions(start=place.root, **options))


def test_characters_of_the_training_table_are_counted(place):
    expected = [len(text) for text in table()["text"]]
    result = lengths(place)
    assert (result.unit, result.n_rows, result.longest) == ("characters", 36, max(expected))
    assert result.mean == pytest.approx(np.mean(expected))
    assert result.suggested == 16
    console = Console(record=True, width=120)
    render_lengths(result, console)
    assert "suggested" in console.export_text()


def test_tokens_are_those_of_the_tokenizer_special_ones_included(place, save_model):
    folder = place.root / "model"
    save_model(folder, 0, vocabulary=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat"))
    tokenizer = load_tokenizer(str(folder))
    result = lengths(place, encoder=str(folder))
    expected = [len(tokenizer(text)["input_ids"]) for text in table()["text"]]
    assert (result.unit, result.longest, result.limit) == ("tokens", max(expected), 40)
    pl.DataFrame({"id": ["a", "b"], "text": ["cat " * 90, None]}).write_csv(place.root / "long.csv")
    long = lengths(place, encoder=str(folder), inputs=(place.root / "long.csv",))
    assert (long.longest, long.n_empty, long.suggested) == (92, 1, 40)
    cut = next(cut for cut in long.cuts if cut.max_length == 40)
    assert (cut.rows_cut, cut.units_lost) == (1, pytest.approx(52 / 94))


def test_a_recipe_brings_its_cleaning_and_its_vocabulary(place):
    pl.DataFrame({"text": ["  THE cat  ", "dog"]}).write_csv(place.root / "few.csv")
    place.recipe("linear", 'kind = "linear"\n[data]\ncleaning = ["strip"]\n')
    few = (place.root / "few.csv",)
    assert lengths(place, inputs=few, recipe=place.root / "linear.toml").longest == 7
    result = lengths(place, inputs=few, recipe=place.root / "tiny.toml")
    assert result.unit == "tokens"
    assert result.limit is None


@given(st.lists(st.integers(0, 600), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_the_suggestion_covers_the_share_and_no_smaller_multiple_does(values, cover):
    values = np.array(values)
    suggested = suggest(values, cover)
    assert suggested % 8 == 0
    assert (values <= suggested).mean() >= cover - 1e-9
    assert suggested == 8 or (values <= suggested - 8).mean() < cover
    assert suggest(values, cover, limit=20) <= 20


@pytest.mark.parametrize(
    ("options", "message"), [({"cover": 0.0}, "no share of the rows"), ({"text": "txt"}, "no column 'txt'")]
)
def test_what_cannot_be_measured_is_told(place, options, message):
    with pytest.raises(UserError, match=message):
        lengths(place, **options)


def test_without_a_competition_a_table_and_its_column_are_asked_for(tmp_path):
    with pytest.raises(UserError, match="no table to measure"):
        run(LengthsOptions(start=tmp_path))
    (tmp_path / "a.csv").write_text("t\nx\n")
    with pytest.raises(UserError, match="which column"):
        run(LengthsOptions(inputs=(tmp_path / "a.csv",), start=tmp_path))
