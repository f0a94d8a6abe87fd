"""Submissions: built in the shape of the sample, checked against it, kept as versions that are never overwritten."""

from kaggle_tools.submissions.build import build_submission, count_classes
from kaggle_tools.submissions.manifest import Manifest, ManifestDraft
from kaggle_tools.submissions.scores import record_scores
from kaggle_tools.submissions.validate import Problem, Validation, validate
from kaggle_tools.submissions.versions import (
    Damaged,
    Listing,
    Version,
    find_version,
    is_intact,
    list_versions,
    write_version,
)

__all__ = [
    "Damaged",
    "Listing",
    "Manifest",
    "ManifestDraft",
    "Problem",
    "Validation",
    "Version",
    "build_submission",
    "count_classes",
    "find_version",
    "is_intact",
    "list_versions",
    "record_scores",
    "validate",
    "write_version",
]
