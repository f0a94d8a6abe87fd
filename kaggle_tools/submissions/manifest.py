"""`manifest.json`: where a submission came from and what it scored. Knows nothing of version numbers' making."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import write_atomically
from kaggle_tools.seals import KEY, seal_of, sealed

MANIFEST_FILE = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True)
class ManifestDraft:
    """What the maker of a submission knows about it.

    Attributes:
        recipe: How it was made, as JSON values: enough to make it again.
        inputs: Files that it was made from; their content is hashed when the version is written.
        competition: Name of the competition.
        metric: Name in `kaggle_tools.metrics.METRICS`; what the scores below are.
        oof_score: Score of the same recipe on the out-of-fold predictions.
        honest_score: Score under nested cross-validation.
        honest_interval: Its 95 % interval, low and high.
        class_counts: Rows predicted as each class, classes in the order that they had; see `count_classes`.
        parents: Titles of the versions it was made from, such as ``v0003-roberta``.
        note: Free text.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
    competition: str | None = None
    metric: str | None = None
    oof_score: float | None = None
    honest_score: float | None = None
    honest_interval: tuple[float, float] | None = None
    class_counts: Mapping[str, int] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Manifest:
    """Content of `manifest.json`; the draft's facts and those that writing the version adds.

    Attributes:
        version: Number of the version.
        name: What the version is called beside its number.
        created: When, UTC, ISO 8601 to the second.
        n_rows: Rows of `submission.csv`.
        submission_digest: `kaggle_tools.files.file_digest` of `submission.csv`.
        code_version: Version of kaggle-jobs that wrote it.
        recipe: See `ManifestDraft`, as for the attributes below.
        inputs: Path (relative to the folder above `submissions/` where it lies below) → `file_digest`.
        public_score: Public leaderboard score, once known.
        private_score: Private leaderboard score, once known.
        rank: Place on the public leaderboard, 1 is the first, once known.
        kaggle_ref: Kaggle's own number of the submission; None where it was not sent from here.
        submitted: When it was sent, UTC, ISO 8601 to the second.
        scored: When the scores were last written, likewise.
    """

    version: int
    name: str
    created: str
    n_rows: int
    submission_digest: str
    code_version: str
    recipe: Mapping[str, Any]
    inputs: Mapping[str, str]
    competition: str | None
    metric: str | None
    oof_score: float | None
    honest_score: float | None
    honest_interval: tuple[float, float] | None
    public_score: float | None
    private_score: float | None
    class_counts: Mapping[str, int]
    parents: tuple[str, ...]
    note: str
    rank: int | None = None
    kaggle_ref: int | None = None
    submitted: str | None = None
    scored: str | None = None

    def is_scored_by(self, metric: str | None, classes: Sequence[str] = ()) -> bool:
        """Whether `oof_score` and `honest_score` are of this metric, however it is spelt; also where nobody says.

        Args:
            metric: Its name.
            classes: In order: F1 of the second class is of another one where the version had them in another order.
        """
        from kaggle_tools.metrics import same_metric

        if metric is None or self.metric is None:
            return True
        return same_metric(metric, self.metric) and not self.of_other_order(classes)

    def of_other_order(self, classes: Sequence[str]) -> bool:
        """Whether its scores depend on the order of the classes, and that was another when it was made."""
        from kaggle_tools.metrics import find_metric

        own = tuple(self.class_counts)
        if self.metric is None or own == tuple(classes) or sorted(own) != sorted(classes):
            return False
        try:
            return find_metric(self.metric).depends_on_order(len(own))
        except UserError:  # not known here
            return False

    def save(self, folder: Path, *, broken_seal: str | None = None) -> None:
        """Write `manifest.json` into a version's folder, whole or not at all.

        Args:
            folder: The version's.
            broken_seal: The seal of a manifest that was edited by hand: it stays, so that the edit still shows.
        """
        content = sealed({"schema": SCHEMA, **dataclasses.asdict(self)})
        content[KEY] = broken_seal or content[KEY]
        text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
        with write_atomically(folder / MANIFEST_FILE) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read and check the `manifest.json` of a version's folder.

        Raises:
            UserError: No file, not JSON, a key missing or unknown, a value of the wrong type, another schema.
        """
        path = folder / MANIFEST_FILE
        raw = _read(folder)
        raw.pop(KEY, None)
        if raw.pop("schema", None) != SCHEMA:
            raise UserError("manifest.json has another schema", where=path, expected=f'"schema": {SCHEMA}')
        values = {key: _checked(key, value, path) for key, value in raw.items()}
        missing = [key for key in _KINDS if key not in values and key not in _LATER]
        if missing:
            raise UserError(f"manifest.json lacks {', '.join(missing)}", where=path)
        return cls(**values)


def edited_by_hand(folder: Path) -> bool:
    """Whether a version's `manifest.json` is other than what was last saved; False for one without a seal.

    Raises:
        UserError: No file, or not JSON.
    """
    return broken_seal_of(folder) is not None


def broken_seal_of(folder: Path) -> str | None:
    """The seal of a `manifest.json` that was edited by hand; None where it is as it was saved, or has no seal."""
    raw = _read(folder)
    seal = raw.pop(KEY, None)
    return None if seal is None or seal == seal_of(raw) else str(seal)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise UserError("no manifest.json", where=folder) from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise UserError(f"manifest.json is damaged: {exc}", where=path) from exc
    if not isinstance(raw, dict):
        raise UserError("manifest.json is damaged: not a JSON object", where=path)
    return raw


_SCORE = (float, int, type(None))
_TEXT_OR_NONE = (str, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "name": (str,),
    "created": (str,),
    "n_rows": (int,),
    "submission_digest": (str,),
    "code_version": (str,),
    "recipe": (dict,),
    "inputs": (dict,),
    "competition": _TEXT_OR_NONE,
    "metric": _TEXT_OR_NONE,
    "oof_score": _SCORE,
    "honest_score": _SCORE,
    "honest_interval": (list, type(None)),
    "public_score": _SCORE,
    "private_score": _SCORE,
    "class_counts": (dict,),
    "parents": (list,),
    "note": (str,),
    "rank": (int, type(None)),
    "kaggle_ref": (int, type(None)),
    "submitted": _TEXT_OR_NONE,
    "scored": _TEXT_OR_NONE,
}
_LATER = ("rank", "kaggle_ref", "submitted", "scored")  # manifests of older versions of this program lack them


def _checked(key: str, value: Any, path: Path) -> Any:
    if key not in _KINDS:
        raise UserError(f"manifest.json has an unknown key '{key}'", where=path, next=did_you_mean(key, list(_KINDS)))
    if not isinstance(value, _KINDS[key]) or isinstance(value, bool):
        expected = " or ".join(kind.__name__.replace("NoneType", "null") for kind in _KINDS[key])
        raise UserError(f"manifest.json: '{key}' cannot be {value!r}", where=path, expected=expected)
    is_right, expected = _CONTENT.get(key, (None, ""))
    if is_right is not None and value is not None and not is_right(value):
        raise UserError(f"manifest.json: '{key}' cannot be {value!r:.80}", where=path, expected=expected)
    return tuple(value) if isinstance(value, list) else value


def _is_time(value: object) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, str | bool) and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _are(kind: type, values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) for value in values)


# Of values that are not null: whether it is one, and what one is.
_NUMBER = (_is_number, "a finite number")
_TIME = (_is_time, "a time, ISO 8601 in UTC")
_CONTENT: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("oof_score", "honest_score", "public_score", "private_score"), _NUMBER),
    **dict.fromkeys(("created", "submitted", "scored"), _TIME),
    "honest_interval": (lambda ends: len(ends) == 2 and all(map(_is_number, ends)), "two finite numbers"),
    "class_counts": (lambda counts: _are(int, counts.values()), "a whole number for each class"),
    "parents": (lambda titles: _are(str, titles), "titles of versions"),
    "inputs": (lambda digests: _are(str, digests.values()), "a digest for each path"),
}
