"""What training gave of a fold's validation rows, as the predictions that lie beside its checkpoint."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.run_folder import Answers
from jobs.training_rows import TrainingRows
from kaggle_tools.bio import legal_tags
from kaggle_tools.competition import Competition
from kaggle_tools.predictions import Predictions
from kaggle_tools.tag_predictions import TagPredictions
from kaggle_tools.tag_rows import split_words
from models.tagged import Tagged


def fold_piece(
    rows: TrainingRows,
    inside: NDArray[np.int64],
    found: NDArray[np.float32] | Tagged,
    competition: Competition,
    meta: dict[str, str],
) -> Answers:
    """A fold's validation rows with what was predicted of them."""
    ids, labels, folds = rows.ids.gather(inside), rows.labels.gather(inside), rows.folds[inside]
    if isinstance(found, Tagged):
        tags = pl.Series("label", split_words(labels), dtype=pl.List(pl.String))
        classes = competition.classes
        codes = legal_tags(found.probs, found.offsets, classes)
        return TagPredictions(ids, classes, found.offsets, found.probs, codes, tags, folds, meta)
    return Predictions(ids, competition.classes, found, labels, folds, competition.task, meta)
