"""What is believed of the test labels: an ensemble of runs, calibrated on their out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import members as joined
from kaggle_tools.search import stack
from kaggle_tools.search.honest import stratified_folds


def believe(oof: Mapping[str, Predictions], test: Mapping[str, Predictions]) -> Predictions:
    """The logistic stack of all runs, fitted to their OOF labels, applied to their test predictions.

    A stack is calibrated even where its runs are not: it minimises log loss with a free factor for each of them.

    Args:
        oof: Out-of-fold predictions with labels, by run.
        test: Test predictions of the same runs.

    Returns:
        Probabilities of the test rows, in the first run's order.

    Raises:
        UserError: No runs, no labels, or predictions that cannot be put together.
    """
    if not oof:
        raise UserError(
            "no run has both out-of-fold and test predictions, so nothing is known of the test labels",
            next="train and score one, or `cli import NAME --oof FILE --test FILE`",
        )
    known = joined.stack(oof)
    ahead = joined.stack(test, known.names)
    codes = known.codes
    folds = known.folds if known.folds is not None else stratified_folds(codes, 5, 0)
    found = stack.fit(codes, known.probs, np.asarray(folds), allow_absent=True)
    probs: NDArray[np.float32] = found.apply(ahead.probs)
    return Predictions(ahead.ids, ahead.classes, probs, task=ahead.task, meta={"runs": ", ".join(known.names)})
