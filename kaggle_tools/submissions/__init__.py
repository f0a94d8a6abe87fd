"""Submissions: built in the shape of the sample, checked against it, kept as versions that are never overwritten."""

from kaggle_tools.submissions.answers import Answers, count_answers, read_answer_file, read_answers
from kaggle_tools.submissions.build import build_submission, count_classes, require_same_ids
from kaggle_tools.submissions.manifest import Manifest, ManifestDraft, edited_by_hand
from kaggle_tools.submissions.scores import check_score, record_scores
from kaggle_tools.submissions.validate import Problem, Validation, validate
from kaggle_tools.submissions.versions import (
    Damaged,
    Listing,
    Version,
    find_version,
    is_intact,
    list_versions,
    write_version,
    write_version_bytes,
)

__all__ = [
    "Answers",
    "Damaged",
    "Listing",
    "Manifest",
    "ManifestDraft",
    "Problem",
    "Validation",
    "Version",
    "build_submission",
    "check_score",
    "count_answers",
    "count_classes",
    "edited_by_hand",
    "find_version",
    "is_intact",
    "list_versions",
    "read_answer_file",
    "read_answers",
    "record_scores",
    "require_same_ids",
    "validate",
    "write_version",
    "write_version_bytes",
]
