"""The command line: signatures and help. No work is done here, and nothing heavy is imported before a command runs.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 done but something was found (see the command), 2
a mistake that the user can mend, 130 and 143 interrupted (run the same command again). Every option can also be set in
the environment: `KAGGLE_JOBS_SCORE_DEVICE=cpu` is `cli score --device cpu`.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from jobs.errors import USER_ERRORS, Interrupted

app = typer.Typer(
    name="cli",
    help="Score huge tables with transformer classifiers, and climb leaderboards with what comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes would cost every `--help` a tenth of a second
    context_settings={"auto_envvar_prefix": "KAGGLE_JOBS", "max_content_width": 100},
)

option = partial(typer.Option, show_envvar=False)  # one sentence above says it for all

Json = Annotated[bool, option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, option("--quiet", "-q", help="Print errors only.")]
Force = Annotated[bool, option("--force", help="Replace what is there.")]


def examples(*lines: str) -> str:
    """The last words of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@app.command(
    epilog=examples(
        "cli init --train train.csv --test test.csv --sample sample_submission.csv",
        "cli init --train labelled.csv --test posts.gb18030.csv.gz --label sentiment --metric macro_f1",
    )
)
def init(
    train: Annotated[Path | None, option("--train", help="Table with labels.")] = None,
    test: Annotated[Path | None, option("--test", help="Table to predict.")] = None,
    sample: Annotated[Path | None, option("--sample", help="Sample submission.")] = None,
    name: Annotated[str | None, option("--name", help="Of the competition; default: the folder's name.")] = None,
    slug: Annotated[str | None, option("--slug", help="Its name in its Kaggle address.")] = None,
    task: Annotated[Literal["single_label", "multi_label"] | None, option("--task", help="Labels a row.")] = None,
    metric: Annotated[str | None, option("--metric", help="What answers are scored by, such as macro_f1.")] = None,
    id_column: Annotated[str | None, option("--id", help="Column of ids.")] = None,
    text: Annotated[str | None, option("--text", help="Column that is classified.")] = None,
    label: Annotated[str | None, option("--label", help="Column of labels in the training table.")] = None,
    classes: Annotated[str | None, option("--classes", help="All class names in order, joined by commas.")] = None,
    encoding: Annotated[str | None, option("--encoding", help="Of the files that are not UTF-8.")] = None,
    submission_format: Annotated[
        Literal["labels", "probabilities"] | None, option("--format", help="What a submission holds.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a competition's files and write competition.toml, with a reason for each conclusion."""
    from jobs import init as command
    from jobs.show.output import emit
    from jobs.show.train import render_init
    from kaggle_tools.inspect import Overrides

    names = tuple(classes.split(",")) if classes else ()
    overrides = Overrides(name, slug, task, metric, id_column, text, label, names, encoding, submission_format)
    options = command.InitOptions(train, test, sample, overrides, force=force)
    emit(command.run(options), render_init, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli train recipes/bert-mini.toml",
        "cli train --encoder FacebookAI/roberta-base --name roberta --fold 0 --fold 2",
    )
)
def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe file; see recipes/.")] = None,
    encoder: Annotated[
        str | None, option("--encoder", help="Directory or Hugging Face Hub id, fine-tuned with default settings.")
    ] = None,
    name: Annotated[str | None, option("--name", help="Of the run; default: the recipe's.")] = None,
    fold: Annotated[list[int] | None, option("--fold", min=0, help="Train this fold only; again for more.")] = None,
    limit: Annotated[int | None, option("--limit", min=1, help="Use so many training rows, drawn at random.")] = None,
    seed: Annotated[int | None, option("--seed", help="Overrides the recipe's.")] = None,
    device: Annotated[str, option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a recipe in k folds: out-of-fold predictions, a checkpoint a fold. Run again to resume."""
    from jobs import train as command
    from jobs.show.output import emit
    from jobs.show.train import render_train, training_progress

    with training_progress(quiet) as on_progress:
        options = command.TrainOptions(
            recipe, encoder, name, tuple(fold or ()), limit, seed, device, force, on_progress
        )
        result = command.run(options)
    emit(result, render_train, as_json=as_json, quiet=quiet)


@app.command(
    "import",
    epilog=examples(
        "cli import lgbm --oof oof.csv --test test_pred.csv",
        "cli import nb42 --oof oof.npy --test test.npy --logits",
    ),
)
def import_run(
    name: Annotated[str, typer.Argument(help="What to call the run.")],
    oof: Annotated[Path | None, option("--oof", help="Out-of-fold predictions of the training rows.")] = None,
    test: Annotated[Path | None, option("--test", help="Predictions of the test rows.")] = None,
    id_column: Annotated[str | None, option("--id", help="Column of ids.")] = None,
    label: Annotated[str | None, option("--label", help="Column of true labels.")] = None,
    column: Annotated[
        str | None, option("--column", help="Column of predicted labels, or prefix of the class columns, if in doubt.")
    ] = None,
    oof_ids: Annotated[
        Path | None, option("--oof-ids", help="Table with the rows of an .npy; default: the training file.")
    ] = None,
    test_ids: Annotated[
        Path | None, option("--test-ids", help="Table with the rows of an .npy; default: the test file.")
    ] = None,
    logits: Annotated[bool, option("--logits", help="The files hold logits.")] = False,
    normalise: Annotated[bool, option("--normalise", help="Divide each row by its sum.")] = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a run out of anybody's predictions: CSV, Parquet, JSON Lines or npy."""
    from jobs import imports as command
    from jobs.show.output import emit
    from jobs.show.train import render_import

    options = command.ImportOptions(
        name, oof, test, id_column, label, column, oof_ids, test_ids, logits, normalise, force
    )
    emit(command.run(options), render_import, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli score --input data/test.csv",
        "cli score --input 'part-*.csv.gz' --model runs/roberta --model linear --output scored.parquet",
    )
)
def score(
    ctx: typer.Context,
    input: Annotated[list[str], option("--input", "-i", help="CSV, TSV, JSON Lines or Parquet; .gz, .zst; globs.")],
    model: Annotated[
        list[str] | None,
        option("--model", "-m", help="Run, directory or Hugging Face Hub id; again for more. Default: every run."),
    ] = None,
    output: Annotated[
        Path | None, option("--output", "-o", help=".parquet, .csv or .jsonl. Default: predictions/<job>.parquet.")
    ] = None,
    text: Annotated[str | None, option("--text", help="Column that is scored.")] = None,
    id_column: Annotated[str | None, option("--id", help="Column of ids.")] = None,
    no_id: Annotated[bool, option("--no-id", help="Number the rows, from 0, instead.")] = False,
    encoding: Annotated[str | None, option("--encoding", help="Of the input, such as gb18030.")] = None,
    encoding_errors: Annotated[
        Literal["strict", "replace"] | None,
        option("--encoding-errors", help="strict, or replace: broken bytes become U+FFFD."),
    ] = None,
    separator: Annotated[str | None, option("--separator", help="Between fields; default: found out.")] = None,
    quote: Annotated[str | None, option("--quote", help="Quote character, or none; default: found out.")] = None,
    on_bad_row: Annotated[
        Literal["fail", "set-aside"], option("--on-bad-row", help="fail, or set-aside: go on without such rows.")
    ] = "fail",
    device: Annotated[str, option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, option("--precision", help="auto, fp32, bf16 or fp16.")] = "auto",
    max_flips: Annotated[
        float, option("--max-flips", help="Share of labels that a precision below fp32 may change.")
    ] = 0.01,
    max_difference: Annotated[float, option("--max-difference", help="How far it may move a probability.")] = 0.05,
    max_length: Annotated[int | None, option("--max-length", min=2, help="Tokens a text at most.")] = None,
    batch_tokens: Annotated[int | None, option("--batch-tokens", min=1, help="Tokens in a batch.")] = None,
    shard_rows: Annotated[
        int | None, option("--shard-rows", min=1, help="Rows in a part: what a kill can lose. Default: by model size.")
    ] = None,
    limit: Annotated[int | None, option("--limit", min=1, help="Score the first rows only.")] = None,
    each: Annotated[bool, option("--each", help="Also write each run's own columns to the output.")] = False,
    submission: Annotated[
        bool, option("--submission/--no-submission", help="Write a version when the test file was scored.")
    ] = True,
    name: Annotated[str | None, option("--name", help="Of the submission version.")] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Score a sample and say what it would all take.")] = False,
    force: Force = False,
    verbose: Annotated[bool, option("--verbose", help="Show where each setting came from.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a table with every model in one pass. Run the same command again to resume."""
    from jobs import score as command
    from jobs.resolve import InputOptions
    from jobs.show import score as show
    from jobs.show.output import emit
    from jobs.show.progress import watching
    from models.inference.gate import GateBounds

    options = command.ScoreOptions(
        input=InputOptions(tuple(input), id_column, no_id, text, encoding, encoding_errors, separator, quote),
        models=tuple(model or ()),
        output=output,
        on_bad_row=on_bad_row,
        device=device,
        precision=precision,
        bounds=GateBounds(max_flips, max_difference),
        max_length=max_length,
        token_budget=batch_tokens,
        shard_rows=shard_rows,
        limit=limit,
        each=each,
        submission=submission,
        name=name,
        force=force,
    )
    if verbose:
        show.render_sources(_sources(ctx))
    if dry_run:
        emit(command.predict(options), show.render_forecast, as_json=as_json, quiet=quiet)
        return
    with watching(quiet) as watch:
        result = command.run(options, watch)
    if verbose:
        show.render_settings(result)
    emit(result, show.render_score, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli blend --trials 200",
        "cli blend --run roberta --run linear --method weights --metric log_loss --no-submission",
    )
)
def blend(
    run: Annotated[list[str] | None, option("--run", help="Run to blend; again for more. Default: all.")] = None,
    method: Annotated[
        str, option("--method", help="auto, single, mean, geometric, rank, weights, greedy, stack or vote.")
    ] = "auto",
    metric: Annotated[str | None, option("--metric", help="Default: the competition's.")] = None,
    seed: Annotated[int, option("--seed", help="Of restarts and bootstraps.")] = 0,
    signed: Annotated[bool, option("--signed", help="Weights of the linear pool may be negative.")] = False,
    sparse: Annotated[int | None, option("--sparse", min=1, help="Use so many models at most.")] = None,
    per_class: Annotated[bool, option("--per-class", help="A weight for each model and class.")] = False,
    trials: Annotated[int, option("--trials", min=0, help="Trials of an Optuna study beside the exact solutions.")] = 0,
    storage: Annotated[
        str | None, option("--storage", help="Of that study: journal:FILE or an SQLAlchemy URL; default: memory.")
    ] = None,
    time_limit: Annotated[float | None, option("--time-limit", help="Seconds that one fit may take.")] = None,
    submission: Annotated[
        bool, option("--submission/--no-submission", help="Apply it to the test predictions and write a version.")
    ] = True,
    name: Annotated[str | None, option("--name", help="Of the recipe and the version; default: blend.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the blend, with class weights, that out-of-fold predictions can honestly give; apply it to the test."""
    from jobs import blend as command
    from jobs.show.blend import render_blend, tell_tried
    from jobs.show.output import emit

    options = command.BlendOptions(
        runs=tuple(run or ()),
        method=method,
        metric=metric,
        seed=seed,
        signed=signed,
        sparse=sparse,
        per_class=per_class,
        trials=trials,
        storage=storage,
        time_limit=time_limit,
        submission=submission,
        name=name,
        on_tried=None if quiet else tell_tried,
    )
    emit(command.run(options), render_blend, as_json=as_json, quiet=quiet)


jobs_app = typer.Typer(
    help="Scoring jobs: state, progress, what happened.",
    invoke_without_command=True,
    rich_markup_mode=None,
    epilog=examples("cli jobs", "cli jobs show test-3fa9c1d2"),
)
app.add_typer(jobs_app, name="jobs")


@jobs_app.callback()
def list_jobs(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """List scoring jobs with state and progress."""
    if ctx.invoked_subcommand is not None:
        return
    from jobs import status
    from jobs.show.output import emit
    from jobs.show.score import render_jobs

    emit(status.run(), render_jobs, as_json=as_json, quiet=quiet)


@jobs_app.command("show", epilog=examples("cli jobs show test-3fa9c1d2", "cli jobs show test --json | jq .events"))
def show_job(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="A job's id, or how it begins.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show one job: what was asked, what happened, rows set aside."""
    from jobs import status
    from jobs.show.output import emit
    from jobs.show.score import render_job

    emit(status.show(job_id), render_job, as_json=as_json, quiet=quiet)


@app.command(epilog=examples("cli doctor", "cli doctor --json | jq '.findings[] | select(.level == \"problem\")'"))
def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Say what machine, devices, libraries and workspace were found, and what is missing. Exit code 1: a problem."""
    from jobs import doctor as command
    from jobs.show.doctor import render_doctor
    from jobs.show.output import emit

    report = command.run(command.DoctorOptions())
    emit(report, render_doctor, as_json=as_json, quiet=quiet)
    raise typer.Exit(report.exit_code)


def _sources(ctx: typer.Context) -> dict[str, tuple[Any, str]]:
    """Every parameter with its value and where it came from: a flag, the environment or the default."""
    names = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment", "DEFAULT": "default"}
    found = {}
    for parameter, value in ctx.params.items():
        source = ctx.get_parameter_source(parameter)
        found[parameter] = (value, names.get(source.name, "default") if source else "default")
    return found


def main() -> None:
    """Run a command; the one place where errors become messages and exit codes."""
    # Threads of torch that wait for each other would otherwise spin, and take the cores from whoever has work: another
    # job on the machine, or our own tokeniser.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except USER_ERRORS as exc:
        sys.stderr.write(f"error: {exc}\n")
        sys.exit(exc.exit_code)
    except Interrupted as exc:
        _say_interrupted(exc.exit_code)
    except SystemExit as exc:
        if exc.code == 130:  # typer's own answer to Ctrl-C, which says nothing
            _say_interrupted(130)
        raise
    except BrokenPipeError:
        # The reader of a pipe has gone (`cli jobs | head`); Python would complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _say_interrupted(exit_code: int) -> NoReturn:
    sys.stderr.write("interrupted: what was finished is kept; run the same command again to go on\n")
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
