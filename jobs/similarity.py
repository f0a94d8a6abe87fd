"""`cli similarity`: which models are alike, and which add most to which.

    cli similarity                                  # every run, on the rows whose labels are known
    cli similarity 3 7 teammate.csv --by kappa      # versions and files, on the test rows
    cli similarity --output similarity.png

Everything is joined by id. What the names mean is found out here: runs, versions, files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jobs.members import left_out, refuse_partial, test_stem, without_partial
from jobs.tasks import require_plain
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.predictions import Predictions
from kaggle_tools.similarity import (
    MEASURES,
    Complement,
    Link,
    Similarity,
    Table,
    cluster,
    complement,
    join,
    measure,
)
from kaggle_tools.submissions import Answers, list_versions
from kaggle_tools.submissions.answers import read_answers

On = Literal["oof", "test"]


@dataclass(frozen=True)
class SimilarityOptions:
    """What to compare.

    Attributes:
        what: Runs, versions and files; none: every run, and on test every version too.
        on: ``oof`` or ``test``; None: ``oof`` where all that is named are runs that have it.
        by: Measure that puts alike ones side by side.
        metric: Of pairs' means; None: the competition's, else log loss.
        output: Heatmap with dendrogram, .png or .svg; or a page with everything, .html.
        force: Replace the file.
        start: Folder from which the competition is looked for upward.
    """

    what: tuple[str, ...] = ()
    on: On | None = None
    by: str = "agreement"
    metric: str | None = None
    output: Path | None = None
    force: bool = False
    start: Path | None = None


@dataclass(frozen=True)
class Addition:
    """What one model gains most from.

    Attributes:
        name: The model.
        score: Alone.
        partner: The model whose equal mean with it scores best.
        adds: By how much that beats the model alone; above zero is better.
        gain: By how much it beats the better of the two.
        oracle: Share of rows that at least one of the two gets right.
    """

    name: str
    score: float
    partner: str
    adds: float
    gain: float
    oracle: float


@dataclass(frozen=True)
class SimilarityResult:
    """All pairs.

    Attributes:
        names: K models, alike ones side by side.
        on: ``oof`` or ``test``.
        by: Measure of the order.
        n_rows: Rows compared.
        matrices: Measure → K rows of K values, in the order of `names`; NaN where a pair has none.
        links: Joints of the dendrogram, positions in the order of `names`.
        metric: Of the additions; None without labels.
        additions: What adds most to each model, best gain first; empty without labels.
        notes: What was left out and why.
        picture: The file written, if any.
        seconds: Wall time of the comparison, without reading.
    """

    names: tuple[str, ...]
    on: On
    by: str
    n_rows: int
    matrices: Mapping[str, tuple[tuple[float, ...], ...]]
    links: tuple[Link, ...]
    metric: str | None
    additions: tuple[Addition, ...]
    notes: tuple[str, ...]
    picture: Path | None
    seconds: float


def run(options: SimilarityOptions) -> SimilarityResult:
    """Compare all pairs.

    Raises:
        UserError: Fewer than two to compare, a name that is nothing, rows or classes that differ, an unknown measure.
    """
    if options.by not in MEASURES:
        raise UserError(f"unknown measure '{options.by}'", next=did_you_mean(options.by, list(MEASURES)))
    _check_output(options.output, options.force)
    workspace = Workspace.find(options.start)
    require_plain(workspace.competition, "similarity")
    on = options.on or _fitting(options.what, workspace)
    notes: list[str] = []
    members = _members(options.what, on, workspace, notes)
    if on == "oof":
        members = _over_all_rows(members, notes, named=bool(options.what))
    table = join(members, _labelled(workspace, members) if on == "oof" else None)
    began = time.perf_counter()
    found = measure(table)
    if options.by not in found.matrices:
        needed = "the labels of the rows" if MEASURES[options.by].needs == "truth" else "probabilities"
        raise UserError(
            f"{options.by} needs {needed}",
            next="compare runs on their out-of-fold rows: --on oof" if on == "test" else "choose another --by",
        )
    tree = cluster(options.by, found.matrices[options.by])
    order = np.array(tree.order)
    pairs = _pairs(table, options.metric, workspace)
    result = SimilarityResult(
        names=tuple(table.names[i] for i in order),
        on=on,
        by=options.by,
        n_rows=found.n_rows,
        matrices={
            name: tuple(tuple(row) for row in matrix[np.ix_(order, order)].tolist())
            for name, matrix in found.matrices.items()
        },
        links=tree.links,
        metric=pairs.metric if pairs else None,
        additions=_additions(pairs),
        notes=(*notes, *found.notes),
        picture=options.output,
        seconds=time.perf_counter() - began,
    )
    if options.output is not None:
        _write(result, found, pairs, options.output)
    return result


def _fitting(what: tuple[str, ...], workspace: Workspace) -> On:
    """OOF says more, since the labels are known: where all that is named are runs that have it."""
    with_oof = [run.name for run in workspace.runs() if run.oof.is_file()]
    named = what or with_oof
    return "oof" if len(named) > 1 and set(named) <= set(with_oof) else "test"


def _members(what: tuple[str, ...], on: On, workspace: Workspace, notes: list[str]) -> dict[str, Answers | Predictions]:
    runs = {run.name: run for run in workspace.runs()}
    if not what:
        return _everything(on, workspace, notes)
    twice = [name for name in dict.fromkeys(what) if what.count(name) > 1]
    if twice:
        raise UserError(f"'{twice[0]}' is named twice", next="name each once")
    found: dict[str, Answers | Predictions] = {}
    for name in what:
        if name in runs and not Path(name).is_file():
            found[name] = _load(_file_of(name, on, workspace), workspace)
            continue
        try:
            one = read_answers(name, workspace.submissions, workspace.competition)
        except UserError as exc:
            if "no submission version" not in exc.summary:
                raise
            known = [*runs, *(version.title for version in list_versions(workspace.submissions).versions)]
            raise UserError(f"no run, version or file '{name}'", next=did_you_mean(name, known)) from exc
        found[name if one.title in found else one.title] = one
    return found


def _everything(on: On, workspace: Workspace, notes: list[str]) -> dict[str, Answers | Predictions]:
    found: dict[str, Answers | Predictions] = {}
    for run in workspace.runs():
        path = run.oof if on == "oof" else run.predictions(test_stem(workspace))
        if path.is_file():
            found[run.name] = _load(path, workspace)
        else:
            notes.append(f"run '{run.name}' has no {on} predictions")
    if on == "test":
        listing = list_versions(workspace.submissions)
        notes += [f"{one.folder.name} left out: {one.problem.summary}" for one in listing.damaged]
        first = dict(list(found.items())[:1])
        for version in listing.versions:
            try:
                own = read_answers(str(version.submission), workspace.submissions, workspace.competition)
                if first:
                    join({**first, version.title: own})  # which says where it is about other rows
            except UserError as exc:
                notes.append(f"{version.title} left out: {exc.summary}")
                continue
            found[version.title] = own
    return found


def _load(path: Path, workspace: Workspace) -> Predictions:
    found = Predictions.load(path)
    return found if workspace.competition is None else found.in_class_order(workspace.competition.classes)


def _over_all_rows(
    members: dict[str, Answers | Predictions], notes: list[str], *, named: bool
) -> dict[str, Answers | Predictions]:
    """Without runs over some of the rows only; one that was named is an error."""
    runs = {name: one for name, one in members.items() if isinstance(one, Predictions)}
    _, partial = without_partial(runs)
    if named:
        refuse_partial(partial)
    notes += left_out(partial)
    return {name: one for name, one in members.items() if name not in partial}


def _file_of(name: str, on: On, workspace: Workspace) -> Path:
    run = workspace.run(name)
    path = run.oof if on == "oof" else run.predictions(test_stem(workspace))
    if not path.is_file():
        kind = "out-of-fold predictions" if on == "oof" else "predictions of the test file"
        raise UserError(f"run '{name}' has no {kind}", where=path, next=f"--on {'test' if on == 'oof' else 'oof'}")
    return path


def _labelled(workspace: Workspace, members: Mapping[str, Answers | Predictions]) -> Predictions | None:
    """Labels of the same rows from any run, where none of the members carries them."""
    ids = next(iter(members.values())).ids if members else None
    for run in workspace.runs():
        if ids is not None and run.oof.is_file():
            known = Predictions.load(run.oof)
            if known.labels is not None and len(known) == len(ids) and set(known.ids) == set(ids):
                return known
    return None


def _pairs(table: Table, metric: str | None, workspace: Workspace) -> Complement | None:
    if table.truth is None or table.with_probs.sum() < 2:
        return None
    own = workspace.competition.metric if workspace.competition else "log_loss"
    return complement(table, metric or own)


def _additions(found: Complement | None) -> tuple[Addition, ...]:
    rows = []
    for k, name in enumerate(found.names if found else ()):
        assert found is not None
        adds = found.adds[k].copy()
        adds[k] = -np.inf
        partner = int(adds.argmax())
        rows.append(
            Addition(
                name=name,
                score=float(found.scores[k]),
                partner=found.names[partner],
                adds=float(adds[partner]),
                gain=float(found.gains[k, partner]),
                oracle=float(found.oracle[k, partner]),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.gain))


def _check_output(output: Path | None, force: bool) -> None:
    """Before any work is done."""
    if output is None:
        return
    if output.suffix.lower() not in (".png", ".svg", ".html"):
        raise UserError(f"cannot draw '{output.name}'", expected="a file ending in .png, .svg or .html")
    if output.exists() and not force:
        raise UserError("the file is there already", where=output, next="--force replaces it, or name another")


def _write(result: SimilarityResult, found: Similarity, pairs: Complement | None, output: Path) -> None:
    if output.suffix.lower() != ".html":
        from kaggle_tools.similarity.picture import save_picture

        save_picture(result.names, result.matrices[result.by], result.links, result.by, output)
        return
    from kaggle_tools.report import Cell, Column, Page, Section, write_page
    from kaggle_tools.report import Table as Grid
    from kaggle_tools.report.sections.similarity import similarity_section

    rows = "out-of-fold rows" if result.on == "oof" else "test rows"
    problems = [note for note in result.notes if note not in found.notes]  # the section tells those itself
    section = similarity_section(found, pairs, problems, rows=rows, by=result.by)
    meanings = Grid(
        "Measures of two models",
        (Column("measure"), Column("what it is")),
        tuple((Cell(MEASURES[name].title), Cell(MEASURES[name].description)) for name in result.matrices),
    )
    sections = (section, Section("What is measured", (meanings,)))
    write_page(
        Page(f"{len(result.names)} models compared", sections, kicker="Similarity", footer="cli similarity"), output
    )
