"""Floats that are whole numbers become those again; ids that have lost digits are told."""

import numpy as np
import polars as pl
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.whole_numbers import as_integers, ids_as_text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, -2.0, None], ["1", "-2", None]),
        ([1.0, float("nan")], ["1", None]),
        ([1.5, 2.0], ["1.5", "2.0"]),
        ([float("inf"), 2.0], ["inf", "2.0"]),
        ([2.0**53 - 1], [str(2**53 - 1)]),
        ([2**63 - 1], [str(2**63 - 1)]),  # integers have all their digits
        (["1.0", " a"], ["1.0", " a"]),
        ([], []),
    ],
)
def test_ids_as_they_were_meant(values, expected):
    assert ids_as_text(pl.Series("id", values)).to_list() == expected


@pytest.mark.parametrize(("dtype", "exact"), [(np.float16, 2**11), (np.float32, 2**24), (np.float64, 2**53)])
def test_ids_are_refused_from_where_two_integers_are_one_float(dtype, exact):
    assert dtype(exact) == dtype(exact + 1)
    assert dtype(exact - 2) != dtype(exact - 1)
    assert ids_as_text(pl.Series("id", np.array([exact - 1], dtype))).to_list() == [str(exact - 1)]
    with pytest.raises(UserError, match=rf"(?s)column 'id' .* 1 of 2 rows; row 2: {exact}\n.*exact below {exact:,}"):
        ids_as_text(pl.Series("id", np.array([1, exact], dtype)))


def test_labels_of_any_size_stay_what_they_are():
    assert as_integers(pl.Series([1e300])).to_list() == [1e300]
