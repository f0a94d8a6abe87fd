"""Options that a command would pass over are an error, so that nobody believes that they were heeded."""

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "strong", "--threshold", "0.4"), "--threshold is for multi_label tasks"),
        (
            ("import", "x", "--test", "t.csv", "--test-ids", "i.csv"),
            "--test-ids is for an .npy as --test, which is a table",
        ),
        (
            ("import", "x", "--test", "t.npy", "--oof-ids", "i.csv"),
            "--oof-ids is for an .npy as --oof, which is missing",
        ),
        (("import", "x", "--test", "t.csv", "--label", "y"), "--label is of the --oof file"),
        (("run", "jobs.toml", "--once"), "--once is for --watch"),
        (("run", "--score-options", "-m strong"), "--score-options is for --watch"),
        (("run", "--into", "elsewhere"), "--into is for --watch"),
        (("run", "--settle", "1"), "--settle is for --watch"),
    ],
)
def test_options_that_nothing_would_heed_are_refused(workspace, call, words, message):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert message in err
