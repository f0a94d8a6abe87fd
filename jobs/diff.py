"""`cli diff A B`: what differs between two versions, files or predictions, and whether it is expected to be better.

    cli diff latest~1 latest
    cli diff v0007 teammate.csv.gz --csv changed.csv --html changed.html

Joined by id whatever the order of the rows. Exit code 0: the same; 1: different; 2: they cannot be compared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from jobs.groups import grouped_note
from jobs.members import without_partial
from jobs.tasks import require_plain
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import table_stem, write_atomically
from kaggle_tools.metrics import find_metric, score
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions.answers import Answers, read_answers
from kaggle_tools.submissions.changes import ChangedRow, Texts, changed_rows, changes_table
from kaggle_tools.submissions.diff import Difference, Shift, compare
from kaggle_tools.submissions.expected import ExpectedChange, expected_change
from kaggle_tools.submissions.judge import Judge, fit_judge
from kaggle_tools.tables import read_table, sniff_format

STDOUT = "-"
_MOST_JUDGES = 8
_HTML_ROWS = 200


@dataclass(frozen=True)
class DiffOptions:
    """What to compare.

    Attributes:
        a: A version, a file or predictions.
        b: Another.
        rows: How many of the biggest changes to show.
        metric: Whose expected change to tell; None: the competition's.
        tolerance: How far a probability may move without counting as changed.
        common: Compare the rows that both have, where the ids differ.
        csv: Where to write all changed rows; ``-`` is stdout.
        html: Where to write a page.
        force: Replace such files.
    """

    a: str
    b: str
    rows: int = 10
    metric: str | None = None
    tolerance: float = 0.0
    common: bool = False
    csv: str | None = None
    html: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class JudgeSummary:
    """Who says what is expected: see `kaggle_tools.submissions.judge`."""

    runs: tuple[str, ...]
    n_rows: int
    log_loss: float
    calibration_error: float


@dataclass(frozen=True)
class DiffResult:
    """What was found; see `kaggle_tools.submissions.diff.Difference` and `ExpectedChange` for the parts.

    Attributes:
        title_a: The version's title or the file's name.
        title_b: The same of B.
        path_a: The file.
        path_b: The file.
        compared: ``probabilities`` or ``labels``.
        task: ``single_label`` or ``multi_label``.
        n_rows: Rows that were compared.
        same: Nothing differs.
        n_changed: Rows with another label or a probability that moved.
        n_flipped: Rows with another decision.
        churn: Their share, in [0, 1].
        only_a: Ids that B lacks.
        only_b: Ids that A lacks.
        counts_a: Class → rows with this decision in A.
        counts_b: The same in B.
        transitions: Class in A → class in B → rows; for several labels a row: label → ``kept``, ``added``, ``removed``.
        shift: How far probabilities moved; None for labels.
        expected: What the metric is expected to do; None where nobody can tell.
        not_expected: Then why.
        judge: Who says so.
        rows: The biggest changes.
        notes: What a reader should know.
        csv: File with all changed rows.
        html: Page that was written.
    """

    title_a: str
    title_b: str
    path_a: Path
    path_b: Path
    compared: str
    task: str
    n_rows: int
    same: bool
    n_changed: int
    n_flipped: int
    churn: float
    only_a: int
    only_b: int
    counts_a: Mapping[str, int]
    counts_b: Mapping[str, int]
    transitions: Mapping[str, Mapping[str, int]]
    shift: Shift | None
    expected: ExpectedChange | None
    not_expected: str
    judge: JudgeSummary | None
    rows: tuple[ChangedRow, ...]
    notes: tuple[str, ...]
    csv: Path | None = None
    html: Path | None = None


def run(options: DiffOptions) -> DiffResult:
    """Compare, judge, write what was asked for.

    Raises:
        UserError: A name that means nothing, an unknown metric, files that cannot be compared, a file in the way.
    """
    if options.metric is not None:
        find_metric(options.metric)  # an unknown one is told, whether or not anything differs
    csv = Path(options.csv) if options.csv and options.csv != STDOUT else None
    for path in (csv, options.html):
        if path is not None and path.exists() and not options.force:
            raise UserError(f"{path.name} exists", where=path, next="give another name, or --force to replace it")
    workspace = Workspace.find()
    competition = workspace.competition
    require_plain(competition, "diff")
    a = read_answers(options.a, workspace.submissions, competition)
    b = read_answers(options.b, workspace.submissions, competition)
    found = compare(a, b, common=options.common, tolerance=options.tolerance)
    judge, not_expected = find_judge(workspace, found)
    expected, not_expected = expect(found, judge, options.metric, competition, not_expected)
    texts = read_texts(competition) if found.changed.any() and (options.rows or options.csv or options.html) else None
    notes = (*_partial(found), *grouped_note(workspace)) if expected else ()
    result = _result(found, expected, not_expected, judge, changed_rows(found, options.rows, texts, judge), notes)
    if options.csv:
        table = changes_table(found, texts, judge)
        if csv is None:
            sys.stdout.write(table.write_csv())
        else:
            with write_atomically(csv) as temporary:
                table.write_csv(temporary)
    if options.html is not None:
        from kaggle_tools.report import write_page
        from kaggle_tools.report.sections.difference import difference_page

        rows = changed_rows(found, _HTML_ROWS, texts, judge)
        write_page(difference_page(found, expected, not_expected, judge, rows, result.notes), options.html)
    return _with_files(result, csv, options.html)


def _result(
    found: Difference,
    expected: ExpectedChange | None,
    not_expected: str,
    judge: Judge | None,
    rows: tuple[ChangedRow, ...],
    notes: tuple[str, ...],
) -> DiffResult:
    return DiffResult(
        title_a=found.a.title,
        title_b=found.b.title,
        path_a=found.a.path,
        path_b=found.b.path,
        compared=found.compared,
        task=found.task,
        n_rows=len(found),
        same=found.same,
        n_changed=int(found.changed.sum()),
        n_flipped=int(found.flipped.sum()),
        churn=found.churn,
        only_a=len(found.only_a),
        only_b=len(found.only_b),
        counts_a=_counts(found, "a"),
        counts_b=_counts(found, "b"),
        transitions=_transitions(found),
        shift=found.shift,
        expected=expected,
        not_expected=not_expected,
        judge=JudgeSummary(judge.names, judge.n_rows, judge.log_loss, judge.calibration_error) if judge else None,
        rows=rows,
        notes=(*found.notes, *notes),
    )


def _partial(found: Difference) -> tuple[str, ...]:
    """A warning where the judge does not know what is behind a file. Figures: benchmarks/LOG.md."""
    foreign = [name for name, side in (("A", found.a), ("B", found.b)) if _is_foreign(side)]
    if not foreign:
        return ()
    who = "A and B are" if len(foreign) == 2 else f"{foreign[0]} is"
    return (
        f"{who} not made of runs of this workspace, who alone are the judge: trust the sign of the expected gain, not "
        "its interval, and expect the foreign file to be better than it says",
    )


def _is_foreign(side: Answers) -> bool:
    """Neither a version of ours nor a run's own predictions."""
    if side.version is not None:
        return side.version.manifest.recipe.get("kind") == "adopted"
    return side.path.parent.name != "predictions"


def _with_files(result: DiffResult, csv: Path | None, html: Path | None) -> DiffResult:
    import dataclasses

    return dataclasses.replace(result, csv=csv, html=html)


def _counts(found: Difference, side: str) -> dict[str, int]:
    decided = found.decisions_a if side == "a" else found.decisions_b
    c = len(found.classes)
    counts = decided.sum(axis=0) if decided.ndim == 2 else np.bincount(decided, minlength=c)
    return dict(zip(found.classes, counts.tolist(), strict=True))


def _transitions(found: Difference) -> dict[str, dict[str, int]]:
    table = found.transitions
    if found.task == "single_label":
        return {
            name: dict(zip(found.classes, row.tolist(), strict=True))
            for name, row in zip(found.classes, table, strict=True)
        }
    return {
        name: {"kept": int(corners[1, 1]), "added": int(corners[0, 1]), "removed": int(corners[1, 0])}
        for name, corners in zip(found.classes, table, strict=True)
    }


def expect(
    found: Difference, judge: Judge | None, metric: str | None, competition: Competition | None, why: str
) -> tuple[ExpectedChange | None, str]:
    """What the metric (None: the competition's) is expected to do; or why nobody can tell, `why` without a judge."""
    name = metric or (competition.metric if competition else None)
    if judge is None or name is None:
        return None, why or "no metric is known: say --metric"
    try:
        judges = judge.in_order(found.ids, found.classes)
        a, b = (
            side.in_order(found.classes)[rows] if side.probs is not None else decided
            for side, rows, decided in (
                (found.a, found.rows_a, found.decisions_a),
                (found.b, found.rows_b, found.decisions_b),
            )
        )
        return expected_change(name, judges, a, b, task=found.task), ""
    except UserError as exc:
        if metric is not None:
            raise
        return None, exc.summary


def find_judge(workspace: Workspace, found: Difference) -> tuple[Judge | None, str]:
    """Every run with out-of-fold and test predictions, pooled; or why there is none."""
    competition = workspace.competition
    if competition is None or competition.test is None:
        return None, "no competition here, so no runs to tell"
    stem = table_stem(Path(competition.test).name)
    oof, test = {}, {}
    for run in workspace.runs():
        if run.oof.is_file() and run.predictions(stem).is_file():
            predictions = Predictions.load(run.oof).in_class_order(competition.classes)
            if predictions.labels is not None and "hard_labels" not in predictions.meta:
                oof[run.name] = predictions
                test[run.name] = Predictions.load(run.predictions(stem)).in_class_order(competition.classes)
    if not oof:
        return None, f"no run has out-of-fold predictions and predictions for {competition.test}"
    if not found.changed.any():
        return None, "nothing changed"
    oof, _ = without_partial(oof)
    best = sorted(oof, key=lambda name: score("log_loss", oof[name]))[:_MOST_JUDGES]
    try:
        return fit_judge({name: oof[name] for name in best}, {name: test[name] for name in best}), ""
    except UserError:  # runs of different rows or classes: the best one judges alone
        alone = best[0]
    try:
        return fit_judge({alone: oof[alone]}, {alone: test[alone]}), ""
    except UserError as exc:
        return None, exc.summary


def read_texts(competition: Competition | None) -> Texts | None:
    """The test file's texts; None where they cannot be had, which is no reason not to compare."""
    path = competition.path(competition.test) if competition else None
    if competition is None or path is None or not path.is_file() or competition.test_id is None:
        return None
    encoding, errors = competition.encoding_of(path)
    texts = [name for name in (competition.test_text, competition.test_pair) if name is not None]
    try:
        fmt = sniff_format(path, encoding=encoding, encoding_errors=errors)
        columns = list(dict.fromkeys([competition.test_id, *texts]))
        table = read_table(path, fmt=fmt, columns=columns, id_column=competition.test_id, on_bad_row="set-aside")
    except UserError:
        return None
    shown = table.select(pl.concat_str(pl.col(texts).fill_null(""), separator=" ¦ ")).to_series()
    return Texts(table[competition.test_id], shown)
