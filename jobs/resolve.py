"""What a person names on the command line, found: models, input files, columns. Says where each value came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.run_folder import RECIPE_FILE
from jobs.runner.plan import InputFile
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import FILE_NAME, Competition
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.remote import Place
from kaggle_tools.tables import TableFormat, expand_inputs, float_columns, missing_column, read_columns, sniff_format
from models.errors import ModelError
from models.hub import checkpoints_of
from models.recipe import load_recipe

PIPE = "-"  # an input that is stdin, an output that is stdout
# Hardly a column's name: four words or more, or a dozen characters where no blanks part words.
_A_TEXT = r"(\S+\s+){3}\S|[\u3040-\u30ff\u4e00-\u9fff].{11}"


@dataclass(frozen=True)
class Setting:
    """A value and where it came from: a flag, `competition.toml`, the file itself, or the default."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class InputOptions:
    """What was said of the input; None means: find out.

    Attributes:
        patterns: Files and globs.
        id_column: Column of ids.
        no_id: Number the rows instead.
        text_column: What is scored.
        encoding: Python codec name.
        encoding_errors: ``strict`` or ``replace``.
        separator: Between fields of a CSV.
        quote: Quote character, or ``none``.
        pair_column: The second text where a row is a pair.
    """

    patterns: tuple[str, ...]
    id_column: str | None = None
    no_id: bool = False
    text_column: str | None = None
    encoding: str | None = None
    encoding_errors: str | None = None
    separator: str | None = None
    quote: str | None = None
    pair_column: str | None = None


@dataclass(frozen=True)
class Inputs:
    """Input files with their columns.

    Attributes:
        files: In the order in which they are scored.
        id_column: None where rows are numbered.
        text_column: What is scored.
        settings: Where each of these came from.
        pair_column: The second text of a row; None where a row is one text.
        float_ids: Whether a file has its ids as floats.
    """

    files: tuple[InputFile, ...]
    id_column: str | None
    text_column: str
    settings: tuple[Setting, ...]
    pair_column: str | None = None
    float_ids: bool = False


def find_models(workspace: Workspace, names: Sequence[str]) -> dict[str, list[str]]:
    """Run name → checkpoints (directories or Hub ids), for runs, directories and Hub ids.

    Where none is named, all runs but `quick_looks`.

    Raises:
        UserError: Nothing to score with, an imported run, two models of one name.
    """
    if not names:
        passing = quick_looks(workspace)
        runs = [run for run in workspace.runs() if run.checkpoints and run.name not in passing]
        found = {run.name: [str(p) for p in run.checkpoints] for run in runs}
        if not found:
            raise UserError(
                "no runs to score with",
                where=workspace.runs_folder,
                next="train one with `cli train recipes/linear.toml`, or name a directory or Hub id with --model",
            )
        return found
    models: dict[str, list[str]] = {}
    for name in names:
        key, sources = _find_model(workspace, name)
        if key in models:
            raise UserError(f"two models are called '{key}'", next="name each once; rename one of the directories")
        models[key] = sources
    return models


def quick_looks(workspace: Workspace) -> dict[str, str]:
    """Trained runs over some of the rows (`cli train --limit`) beside one over more, and what to say of each."""
    n_rows = {run: int((run.info or {}).get("n_oof") or 0) for run in workspace.runs() if run.checkpoints}
    most = max(n_rows.values(), default=0)
    limited = {run: n for run, n in n_rows.items() if n < most and (run.folder / RECIPE_FILE).is_file()}
    return {
        run.name: f"it was trained on {n:,} of {most:,} rows (--limit)"
        for run, n in limited.items()
        if _limit_of(run) == n
    }


def _limit_of(run: Run) -> int | None:
    """Rows that a run was held to; None also where its recipe is of a version that took what this one refuses."""
    try:
        return load_recipe(run.folder / RECIPE_FILE).data.limit
    except ModelError:
        return None


def _find_model(workspace: Workspace, name: str) -> tuple[str, list[str]]:
    run = Run(name, workspace.runs_folder / name)
    if run.info is not None:
        if not run.checkpoints:
            raise UserError(f"run '{name}' was imported: it has predictions but no checkpoint", where=run.folder)
        return name, [str(path) for path in run.checkpoints]
    known = [r.name for r in workspace.runs()]
    if "/" not in name and known and not Path(name).is_dir():
        raise UserError(f"no run, directory or Hub id '{name}'", where=workspace.root, next=did_you_mean(name, known))
    return Path(name).resolve().name, checkpoints_of(name)


def look_at_inputs(workspace: Workspace, asked: InputOptions) -> Inputs:
    """Find the files, their format and their columns.

    Raises:
        UserError: No such file, no such column, files whose columns differ.
    """
    competition = workspace.competition
    paths = expand_inputs(asked.patterns)
    first = paths[0]
    known = competition.encoding_of(first) if competition and isinstance(first, Path) else (None, None)
    encoding = _choose("encoding", asked.encoding, known[0], "utf-8")
    errors = _choose("encoding errors", asked.encoding_errors, known[1], "strict")
    formats = [
        sniff_format(
            path,
            encoding=encoding.value if encoding else None,
            encoding_errors="replace" if errors and errors.value == "replace" else "strict",
            separator=asked.separator,
            quote_char="auto" if asked.quote is None else None if asked.quote == "none" else asked.quote,
        )
        for path in paths
    ]
    columns = _common_columns(paths, formats)
    if competition is not None and isinstance(first, Path) and first.resolve() == competition.path(competition.test):
        _check_test_columns(competition, first, columns, asked)
    texts = (competition.test_text, competition.text_column) if competition else ()
    text = _choose("text column", asked.text_column, _first(texts, columns), _only_text(columns))
    if text is None:
        raise UserError("which column is the text?", where=paths[0], found=", ".join(columns), next="say --text COLUMN")
    if text.source == "default":
        _check_header(first, formats[0], columns)
    pairs = (competition.test_pair, competition.pair_column) if competition else ()
    # A second column that the file lacks is named all the same: the check below says so.
    pair = _choose("second text column", asked.pair_column, _first(pairs, columns) or next(iter(pairs), None), None)
    ids = (competition.test_id, competition.id_column) if competition else ()
    id_column = _choose("id column", asked.id_column, _first(ids, columns), _first(("id",), columns))
    chosen_id = id_column.value if id_column is not None and not asked.no_id else None
    if chosen_id is None:
        id_column = Setting("id column", "row numbers", "flag" if asked.no_id else "default")
    pair_column = pair.value if pair is not None else None
    for column in (text.value, pair_column, chosen_id):
        if column is not None and column not in columns:
            raise missing_column(paths[0], column, columns)
    return Inputs(
        files=tuple(InputFile.look(path, fmt) for path, fmt in zip(paths, formats, strict=True)),
        id_column=chosen_id,
        text_column=text.value,
        settings=tuple(setting for setting in (encoding, errors, text, pair, id_column) if setting is not None),
        pair_column=pair_column,
        float_ids=any(chosen_id in float_columns(path, fmt) for path, fmt in zip(paths, formats, strict=True)),
    )


def _check_test_columns(competition: Competition, path: Path, columns: Sequence[str], asked: InputOptions) -> None:
    """Refuse a name that `competition.toml` has for test alone and test lacks: that of train would take its place."""
    named = {
        "test_id_column": asked.no_id or asked.id_column,
        "test_text_column": asked.text_column,
        "test_pair_column": asked.pair_column,
    }
    for key, flag in named.items():
        name = getattr(competition, key)
        if name is not None and not flag and name not in columns:
            raise UserError(
                f"{path.name} has no column '{name}', which competition.toml names as {key}",
                where=path,
                found=", ".join(columns),
                next=f"mend {key} in {competition.root / FILE_NAME}",
            )


def _check_header(path: Place, fmt: TableFormat, columns: Sequence[str]) -> None:
    """Refuse a file of texts alone whose first line is one of them: taken for a name, it would not be scored."""
    name = columns[0]
    if fmt.kind == "csv" and len(columns) == 1 and re.search(_A_TEXT, name):
        raise UserError(
            "the first line looks like a text, where the name of the column is expected",
            where=path,
            found=name[:60],
            next="write a line with the name above it, such as text; or, if it is the name, say so: --text COLUMN",
        )


def _common_columns(paths: Sequence[Place], formats: Sequence[TableFormat]) -> tuple[str, ...]:
    columns = read_columns(paths[0], formats[0])
    for path, fmt in zip(paths[1:], formats[1:], strict=True):
        other = read_columns(path, fmt)
        if other != columns:
            raise UserError(
                "the files have different columns",
                where=path,
                found=", ".join(other),
                expected=f"{', '.join(columns)} (as {paths[0].name})",
                next="score them one by one",
            )
    return columns


def _choose(name: str, flag: str | None, from_file: str | None, default: str | None) -> Setting | None:
    for value, source in ((flag, "flag"), (from_file, "competition.toml"), (default, "default")):
        if value is not None:
            return Setting(name, value, source)
    return None


def _first(names: Sequence[str | None], present: Sequence[str]) -> str | None:
    return next((name for name in names if name in present), None)


def _only_text(columns: Sequence[str]) -> str | None:
    """`text` or its usual other names, or the only column besides an id."""
    for name in ("text", "content", "sentence", "comment_text", "body", "review"):
        if name in columns:
            return name
    rest = [name for name in columns if name != "id"]
    return rest[0] if len(rest) == 1 else None
