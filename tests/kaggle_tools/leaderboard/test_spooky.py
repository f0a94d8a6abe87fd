"""Eighteen real submissions and their real scores: what `predict` is known to reach without the target's own."""

import numpy as np
import polars as pl
import pytest

from kaggle_tools.importing import read_foreign
from kaggle_tools.leaderboard import believe, draw_splits, leave_one_out, prepare, track

pytestmark = pytest.mark.shared
CLASSES = ("EAP", "HPL", "MWS")


@pytest.fixture(scope="module")
def spooky(shared_data):
    folder = shared_data / "spooky"
    oof, test = (
        {
            file.name.split(".")[0]: read_foreign(file, classes=CLASSES, id_column="id")
            for file in sorted(part.iterdir())
        }
        for part in (folder / "oof", folder / "test")
    )
    belief = believe(oof, test)
    board = pl.read_csv(folder / "leaderboard" / "scores.csv")
    files = [folder / "leaderboard" / f"{name}.parquet" for name in board["filename"]]
    probs = [read_foreign(file, classes=CLASSES, id_column="id").align(belief.ids).probs for file in files]
    return belief.probs, np.stack(probs), board


def test_private_scores_are_predicted_from_other_submissions_public_scores(spooky):
    belief, probs, board = spooky
    public, private = board["public_lb_logloss"].to_numpy(), board["private_lb_logloss"].to_numpy()
    predicted = leave_one_out(prepare(belief, probs, public, "log_loss"))
    assert np.corrcoef(predicted, private)[0, 1] >= 0.985
    assert np.abs(predicted - private).mean() <= 0.03
    assert np.abs(predicted - public).mean() <= 0.01


def test_shift_between_public_and_private_is_no_surprise(spooky):
    belief, probs, board = spooky
    shift = (board["private_lb_logloss"] - board["public_lb_logloss"]).to_numpy()
    splits = draw_splits(belief, probs, "log_loss", round(0.3 * len(belief)))
    assert (np.abs(shift) <= 2.5 * splits.noise_of_shift).all()


def test_cross_validation_tracks_the_board(spooky):
    board = spooky[2]
    found = track(board["ten_fold_cv_logloss"].to_numpy(), board["public_lb_logloss"].to_numpy())
    assert found.n == 13
    assert found.rank_correlation >= 0.9
