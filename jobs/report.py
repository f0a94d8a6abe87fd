"""`cli report`: everything that is known of a competition on one page: a single HTML file that needs no network.

    cli report
    cli report --output ~/spooky.html

Sections whose data is not there yet say which command makes it; what is damaged is told and left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from jobs import report_data as data
from jobs.tasks import require_plain
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import find_metric
from kaggle_tools.predictions import Predictions
from kaggle_tools.report import Fact, Note, Page, Section, write_page
from kaggle_tools.report.sections.blends import Blend, blends_section, candidates, counted
from kaggle_tools.report.sections.competition import competition_section
from kaggle_tools.report.sections.leaderboard import leaderboard_section
from kaggle_tools.report.sections.measure import Measured
from kaggle_tools.report.sections.mistakes import mistakes_section
from kaggle_tools.report.sections.runs import ranked, runs_section
from kaggle_tools.report.sections.similarity import similarity_section
from kaggle_tools.report.sections.throughput import throughput_section
from kaggle_tools.report.sections.words import plural, spaced
from kaggle_tools.submissions import Version

_DIFFERENCE, _SIMILARITY = "Last change", "Similarity"
_CHANGED_ROWS = 40
_OURS = b'name="generator" content="kaggle-jobs"'


@dataclass(frozen=True)
class ReportOptions:
    """What to write.

    Attributes:
        output: The file; relative to the working directory.
        force: Replace a file that is not a report of ours.
        start: Folder from which the competition is looked for upward; None: the working directory.
        on_section: Told the title of each section before it is made.
    """

    output: Path = Path("report.html")
    force: bool = False
    start: Path | None = None
    on_section: Callable[[str], None] | None = None


@dataclass(frozen=True)
class ReportResult:
    """What was written.

    Attributes:
        path: The file.
        n_bytes: Its size.
        sections: Titles.
        problems: What could not be read or made, a sentence each; they stand in the report, too.
        seconds: Wall time.
    """

    path: Path
    n_bytes: int
    sections: tuple[str, ...]
    problems: tuple[str, ...]
    seconds: float


def run(options: ReportOptions) -> ReportResult:
    """Gather, draw, write.

    Raises:
        UserError: No competition, or the output cannot be written or is somebody else's file.
    """
    began = time.perf_counter()
    competition = Competition.find(options.start)
    path = options.output.expanduser().resolve()
    _check_output(path, force=options.force)
    page, problems = build_page(Workspace(competition.root, competition), competition, options.on_section)
    write_page(page, path)
    return ReportResult(
        path=path,
        n_bytes=path.stat().st_size,
        sections=tuple(section.title for section in page.sections),
        problems=tuple(problems),
        seconds=time.perf_counter() - began,
    )


def build_page(
    workspace: Workspace, competition: Competition, on_section: Callable[[str], None] | None = None
) -> tuple[Page, list[str]]:
    """The page and everything that was odd."""
    metric = find_metric(competition.metric).name
    tables, table_problems = data.read_tables(competition)
    runs = data.read_runs(workspace, competition)
    versions, version_problems = data.read_versions(workspace)
    blends, blend_problems = data.read_blends(workspace, versions)
    jobs, job_problems = data.read_jobs(workspace)
    ordered = ranked(runs.measured, metric)
    alike, others = data.same_rows(runs.oof)
    makers: dict[str, Callable[[], Section]] = {
        "The competition": lambda: competition_section(competition, tables, table_problems),
        "Runs": lambda: runs_section(ordered, metric, competition.classes, runs.problems),
        "Mistakes": lambda: mistakes_section(ordered, competition.classes),
        _SIMILARITY: lambda: _unless_refused(
            competition, "similarity", _SIMILARITY, lambda: _similarity(alike, others, metric)
        ),
        "Blends": lambda: blends_section(blends, blend_problems),
        _DIFFERENCE: lambda: _unless_refused(
            competition, "diff", _DIFFERENCE, lambda: _difference(workspace, competition, versions)
        ),
        "Leaderboard": lambda: leaderboard_section(versions, metric, competition.classes, version_problems),
        "Scoring jobs": lambda: throughput_section(jobs, job_problems),
    }
    problems = [*table_problems, *runs.problems, *version_problems, *blend_problems, *job_problems, *others]
    sections = []
    for title, make in makers.items():
        if on_section is not None:
            on_section(title)
        failed: list[str] = []
        section = data.attempt("This section", failed, make)
        sections.append(section or Section(title, [Note(failed[0], "warning")]))
        problems += failed
    page = Page(
        title=competition.name,
        kicker="Competition report",
        lead=_lead(ordered, versions, metric),
        facts=_facts(ordered, versions, blends, metric, competition.classes),
        sections=sections,
        footer=f"Written on {datetime.now().astimezone():%d %b %Y, %H:%M} by `cli report` of kaggle-jobs. "
        "Nothing on this page is fetched from anywhere.",
    )
    return page, problems


def _unless_refused(competition: Competition, command: str, title: str, make: Callable[[], Section]) -> Section:
    """The section, or why there is none for label groups and tags."""
    try:
        require_plain(competition, command)
    except UserError as exc:
        return Section(title, [Note(f"{exc.summary}; {exc.details['next']}.")])
    return make()


def _difference(workspace: Workspace, competition: Competition, versions: Sequence[Version]) -> Section:
    """What changed from the last version but one to the last."""
    from jobs.diff import expect, find_judge, read_texts
    from kaggle_tools.report.sections.difference import difference_section
    from kaggle_tools.submissions.answers import read_answer_file
    from kaggle_tools.submissions.changes import changed_rows
    from kaggle_tools.submissions.diff import compare

    if len(versions) < 2:
        hint = "A difference takes two submission versions; `cli score` and `cli blend` make them."
        return Section(_DIFFERENCE, [Note(hint)])
    a, b = (read_answer_file(one.submission, competition, title=one.title, version=one) for one in versions[-2:])
    found = compare(a, b)
    problems: list[str] = []
    judge, why = data.attempt("Judging the change", problems, lambda: find_judge(workspace, found)) or (None, "")
    expected, why = expect(found, judge, None, competition, why or "".join(problems).rstrip("."))
    rows = changed_rows(found, _CHANGED_ROWS, read_texts(competition), judge)
    section = difference_section(found, expected, why, judge, rows, title=_DIFFERENCE, with_facts=True)
    return replace(section, lead=f"From {a.title} (A) to {b.title} (B). {section.lead}".strip())


def _similarity(alike: Mapping[str, Predictions], others: Sequence[str], metric: str) -> Section:
    from kaggle_tools.similarity import complement, join, measure

    problems = list(others)
    if len(alike) < 2:
        return similarity_section(None, problems=problems)
    table = join(alike)
    pairs = data.attempt("What adds to what", problems, lambda: complement(table, metric))
    return similarity_section(measure(table), pairs, problems)


def _lead(runs: Sequence[Measured], versions: Sequence[Version], metric: str) -> str:
    scored = [run for run in runs if run.score is not None]
    if not scored:
        return "Nothing is scored yet."
    best = scored[0]
    parts = [
        f"The best of {plural(len(scored), 'run')}, {best.name}, has {spaced(metric)} {best.score:.4f} out of fold"
    ]
    if versions:
        parts.append(f"{plural(len(versions), 'submission version')} so far")
    return "; ".join(parts) + "."


def _facts(
    runs: Sequence[Measured],
    versions: Sequence[Version],
    blends: Sequence[Blend],
    metric: str,
    classes: Sequence[str],
) -> tuple[Fact, ...]:
    facts = []
    honest = [v for v in versions if v.manifest.honest_score is not None and v.manifest.is_scored_by(metric, classes)]
    sign = -1 if find_metric(metric).greater_is_better else 1
    if honest:
        best = min(honest, key=lambda one: sign * (one.manifest.honest_score or 0.0))
        facts.append(Fact(f"best honest {spaced(metric)}", f"{best.manifest.honest_score:.4f}", best.title))
    scored = [run for run in runs if run.score is not None]
    if scored:
        facts.append(Fact(f"best single {spaced(metric)}", f"{scored[0].score:.4f}", scored[0].name))
    table = candidates(blends[0].recipe) if blends else []
    taken = next((row for row in table if row["name"] == blends[0].recipe.provenance.get("candidate")), None)
    if taken is not None:
        taken = counted(taken, blends[0].recipe)
        interval = f"95 % {taken['low']:+.4f} to {taken['high']:+.4f}"
        facts.append(Fact("gain of blending", f"{taken['gain']:+.4f}", interval, "good" if taken["low"] > 0 else ""))
    public = [one for one in versions if one.manifest.public_score is not None]
    if public:
        best = min(public, key=lambda one: sign * (one.manifest.public_score or 0.0))
        facts.append(Fact("best public score", f"{best.manifest.public_score:.4f}", best.title))
    facts += [Fact("runs", f"{len(runs)}"), Fact("versions", f"{len(versions)}")]
    return tuple(facts)


def _check_output(path: Path, *, force: bool) -> None:
    """A report of ours is replaced; anything else only by force."""
    if path.is_dir():
        raise UserError("the output is a folder", where=path, next=f"--output {path / 'report.html'}")
    if force or not path.is_file():
        return
    with path.open("rb") as handle:
        if _OURS not in handle.read(4096):
            raise UserError(
                "a file is there that is not a report of ours", where=path, next="another --output, or --force"
            )
