"""Another text column in competition.toml after a run was made: scoring says that it was trained on other texts."""

import pytest

RECIPE = 'name = "words"\nkind = "linear"\n[folds]\nn = 3\nkind = "stratified"\nseed = 1\n'
COMPETITION = """\
name = "two texts"
task = "single_label"
metric = "accuracy"
text_column = "title"
classes = ["no", "yes"]
id_column = "id"
label_column = "label"
train = "train.csv"
test = "test.csv"
"""


@pytest.mark.parametrize("new", ['text_column = "body"', 'text_column = "title"\npair_column = "body"'])
def test_a_run_that_was_trained_on_other_texts_is_told(tmp_path, call, new):
    rows = [
        f"{i},{'aaa' if i % 2 else 'zzz'} {i},{'zzz' if i % 2 else 'aaa'} {i},{'yes' if i % 2 else 'no'}"
        for i in range(60)
    ]
    (tmp_path / "train.csv").write_text("id,title,body,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "test.csv").write_text("id,title,body\n" + "\n".join(row.rsplit(",", 1)[0] for row in rows[:20]) + "\n")
    (tmp_path / "competition.toml").write_text(COMPETITION)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    assert call("train", "recipe.toml")[0] == 0
    assert "was trained on" not in call("score", "--input", "test.csv")[2]
    (tmp_path / "competition.toml").write_text(COMPETITION.replace('text_column = "title"', new))
    code, _, err = call("score", "--input", "test.csv")
    assert code == 0
    assert "note: run 'words' was trained on column title, competition.toml names " in err
