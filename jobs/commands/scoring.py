"""Signatures of the commands that score tables: score, doctor."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from jobs.commands.app import Force, Json, Quiet, app, examples, option
from jobs.loading import loading


@app.command(
    epilog=examples(
        "cli score --input data/test.csv",
        "cli score --input 'part-*.csv.gz' --model runs/roberta --model linear --output scored.parquet",
        "cli score --input - --output - --model roberta < posts.csv > scored.csv",
    )
)
def score(
    ctx: typer.Context,
    input: Annotated[
        list[str],
        option("--input", "-i", help="CSV, TSV, JSON Lines, Parquet; .gz, .zst, .zip; globs; s3://…; - is stdin."),
    ],
    model: Annotated[
        list[str] | None,
        option(
            "--model",
            "-m",
            help="Run, directory or Hugging Face Hub id; again for more. Default: every run over all rows.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            help=".parquet, .csv or .jsonl; s3://…; - is stdout, as CSV. Default: predictions/<job>.parquet.",
        ),
    ] = None,
    text: Annotated[str | None, option("--text", help="Column that is scored.")] = None,
    pair: Annotated[str | None, option("--pair", help="Column of the second text, where rows are pairs.")] = None,
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
    device: Annotated[
        str, option("--device", help="auto, cpu, cuda, cuda:1 or mps; several: cuda:0,cuda:1 or cuda:all.")
    ] = "auto",
    engine: Annotated[
        Literal["local", "ray"], option("--engine", help="local: this machine; ray: a cluster, or one made for it.")
    ] = "local",
    workers: Annotated[
        int | None, option("--workers", min=1, help="Processes or Ray actors, at most; each has all models.")
    ] = None,
    threads: Annotated[
        int | None, option("--threads", min=1, help="Of each worker on a CPU. Default: the cores, divided.")
    ] = None,
    ray_address: Annotated[
        str | None, option("--ray-address", help="auto or HOST:PORT of a running cluster. Default: start one here.")
    ] = None,
    parts: Annotated[
        str | None, option("--parts", help="Where machines without a common disk put parts: s3://BUCKET/FOLDER.")
    ] = None,
    precision: Annotated[
        str,
        option(
            "--precision",
            help="auto (bf16, or fp16 on a T4, where it pays), fp32, bf16, fp16; fp8 on a GPU; int8 on a CPU.",
        ),
    ] = "auto",
    backend: Annotated[
        str, option("--backend", help="On a CPU: torch, openvino, or auto: the faster one, measured on a large table.")
    ] = "auto",
    max_flips: Annotated[
        float, option("--max-flips", help="Share of labels that a precision below fp32 may change.")
    ] = 0.01,
    max_difference: Annotated[float, option("--max-difference", help="How far it may move a probability.")] = 0.05,
    compile: Annotated[
        Literal["auto", "on", "off"],
        option("--compile", help="Let torch compile the networks' layers; auto: on a GPU, where it saves time."),
    ] = "auto",
    max_length: Annotated[int | None, option("--max-length", min=2, help="Tokens a text at most.")] = None,
    tokenizer: Annotated[
        Literal["auto", "stock"],
        option("--tokenizer", help="auto: a faster one where installed and seen to give the same ids; or stock."),
    ] = "auto",
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
    metrics_file: Annotated[
        Path | None, option("--metrics-file", help="Progress in Prometheus' text format, every few seconds.")
    ] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Score a sample and say what it would all take.")] = False,
    force: Force = False,
    verbose: Annotated[bool, option("--verbose", help="Show where each setting came from.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a table with every model in one pass. Run the same command again to resume."""
    called = time.perf_counter()  # the imports below are counted, too
    with loading():
        from jobs import early
        from jobs.pipes import is_pipe, send
        from jobs.resolve import InputOptions
        from jobs.runner.engine_options import EngineOptions
        from jobs.score_options import ScoreOptions
        from jobs.show import score as show
        from jobs.show.output import emit
        from jobs.show.progress import watching
        from kaggle_tools.remote import place, shared_place
        from models.inference.bounds import GateBounds

    target = None if output is None else place(output)
    options = ScoreOptions(
        input=InputOptions(tuple(input), id_column, no_id, text, encoding, encoding_errors, separator, quote, pair),
        models=tuple(model or ()),
        output=target,
        on_bad_row=on_bad_row,
        device=device,
        engine=EngineOptions(engine, workers, ray_address),
        parts=None if parts is None else shared_place(parts),
        threads=threads,
        precision=precision,
        backend=backend,
        bounds=GateBounds(max_flips, max_difference),
        compile=compile,
        max_length=max_length,
        tokenizer=tokenizer,
        token_budget=batch_tokens,
        shard_rows=shard_rows,
        limit=limit,
        each=each,
        submission=submission,
        name=name,
        force=force,
        metrics_file=metrics_file,
        argv=tuple(sys.argv[1:]),
        called=called,
    )
    if verbose:
        show.render_sources(_sources(ctx))
    if dry_run:
        with watching(quiet) as watch:
            predicted = early.predict(options, watch)
        emit(predicted, show.render_forecast, as_json=as_json, quiet=quiet)
        return
    with watching(quiet) as watch:
        result = early.score(options, watch)
    if verbose:
        show.render_settings(result)
    if is_pipe(target):
        assert isinstance(result.output, Path)
        send(result.output)
    emit(result, show.render_score, as_json=as_json, quiet=quiet, on_stderr=is_pipe(target))


@app.command(
    epilog=examples(
        "cli doctor", "cli doctor --json | jq '.findings[] | select(.level == \"problem\")'", "cli doctor --measure"
    )
)
def doctor(
    measure: Annotated[
        bool, option("--measure", help="Measure what the devices can do at most; kept in the user's cache folder.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what machine, devices, libraries and workspace were found, and what is missing. Exit code 1: a problem."""
    from jobs import doctor as command
    from jobs.show.doctor import render_doctor
    from jobs.show.output import emit

    report = command.run(command.DoctorOptions(measure=measure))
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
