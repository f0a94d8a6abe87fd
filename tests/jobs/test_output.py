"""Results as JSON that every reader takes."""

import json

from jobs.show.output import to_json


def test_what_is_no_finite_number_is_null():
    found = to_json({"a": float("nan"), "b": [float("inf"), -float("inf"), 1.5]})
    assert json.dumps(found, allow_nan=False) == '{"a": null, "b": [null, null, 1.5]}'
