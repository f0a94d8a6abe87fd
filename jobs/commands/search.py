"""Signatures of the commands that search recipes and replay them: blend, rescale, vote, apply, explain, decode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.app import Force, Json, Quiet, app, examples, option

Metric = Annotated[str | None, option("--metric", help="Default: the competition's.")]
Seed = Annotated[int, option("--seed", help="Of restarts, folds and bootstraps.")]
Submission = Annotated[
    bool, option("--submission/--no-submission", help="Apply it to the test predictions and write a version.")
]
Normalise = Annotated[bool, option("--normalise", help="Divide rows that do not sum to one by their sum.")]
AllowAbsent = Annotated[bool, option("--allow-absent", help="Accept classes without a row; nothing is learnt of them.")]
To = Annotated[
    list[str] | None,
    option("--to", help="MODEL=FILE, a file, a pattern or a run; again for more. Default: the runs' test predictions."),
]
IdColumn = Annotated[str | None, option("--id", help="Id column of files that are not ours.")]
RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A path, a name in blends/ or how it begins, or latest.")
]


@app.command(
    epilog=examples(
        "cli blend --trials 200",
        "cli blend --run roberta --run linear --method weights --metric log_loss --no-submission",
        "cli blend --trials 1000 --workers 4 --storage journal:study.log --sampler cmaes",
    )
)
def blend(
    run: Annotated[
        list[str] | None, option("--run", help="Run to blend; again for more. Default: all over all rows.")
    ] = None,
    method: Annotated[
        str, option("--method", help="auto, single, mean, geometric, rank (for AUC), weights, greedy, stack or vote.")
    ] = "auto",
    metric: Metric = None,
    seed: Seed = 0,
    signed: Annotated[bool, option("--signed", help="Weights of the linear pool may be negative.")] = False,
    sparse: Annotated[int | None, option("--sparse", min=1, help="Blend so many models at most.")] = None,
    per_class: Annotated[bool, option("--per-class", help="A weight for each model and class.")] = False,
    trials: Annotated[
        int | None, option("--trials", help="Trials of an Optuna study beside the exact solutions.")
    ] = None,
    storage: Annotated[
        str | None, option("--storage", help="Of that study: journal:FILE or an SQLAlchemy URL; default: memory.")
    ] = None,
    study: Annotated[str | None, option("--study", help="Its name in the storage; default: blend.")] = None,
    sampler: Annotated[str | None, option("--sampler", help="auto, tpe, cmaes or random.")] = None,
    workers: Annotated[int | None, option("--workers", help="Processes that work on it; default: 1.")] = None,
    time_limit: Annotated[float | None, option("--time-limit", min=0, help="Seconds that one fit may take.")] = None,
    submission: Submission = True,
    name: Annotated[str | None, option("--name", help="Of the recipe and the version; default: blend.")] = None,
    normalise: Normalise = False,
    allow_absent: AllowAbsent = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the blend, with class weights, that out-of-fold predictions can honestly give; apply it to the test."""
    from jobs import blend as command
    from jobs.show.blend import Teller, render_blend
    from jobs.show.output import emit

    teller = Teller()
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
        study=study,
        sampler=sampler,
        workers=workers,
        time_limit=time_limit,
        submission=submission,
        name=name,
        normalise=normalise,
        allow_absent=allow_absent,
        on_tried=None if quiet else teller.tried,
        on_batch=None if quiet else teller.batch,
    )
    emit(command.run(options), render_blend, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples("cli rescale roberta", "cli rescale roberta --metric macro_f1 --bags 0 --no-submission --json")
)
def rescale(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run whose decisions are to be moved.")],
    metric: Metric = None,
    seed: Seed = 0,
    bags: Annotated[
        int | None, option("--bags", help="Bootstraps that class weights are averaged over; 0: exact. Default: 20.")
    ] = None,
    certify: Annotated[
        float, option("--certify", min=0, help="Seconds for the bound on what any weights could reach (C ≤ 4).")
    ] = 10.0,
    submission: Submission = True,
    name: Annotated[str | None, option("--name", help="Of the recipe and the version; default: RUN-rescaled.")] = None,
    normalise: Normalise = False,
    allow_absent: AllowAbsent = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the class weights of a run, or its thresholds, exactly; say what the gain is worth; apply them to the test.

    Thresholds are for several labels a row; for two classes the weights are told as a threshold, too.
    """
    from jobs import rescale as command
    from jobs.show.output import emit
    from jobs.show.rescale import render_rescale

    options = command.RescaleOptions(
        run=run,
        metric=metric,
        seed=seed,
        bags=bags,
        certify_s=certify,
        submission=submission,
        name=name,
        normalise=normalise,
        allow_absent=allow_absent,
    )
    emit(command.run(options), render_rescale, as_json=as_json, quiet=quiet)


@app.command(epilog=examples("cli vote", "cli vote --run roberta --run bert --run linear --plain --rule best"))
def vote(
    run: Annotated[
        list[str] | None, option("--run", help="Run that may vote, in voting order; again for more. Default: all.")
    ] = None,
    rule: Annotated[
        str, option("--rule", help="Of ties: first, best, probability, score-weighted or winners.")
    ] = "winners",
    plain: Annotated[bool, option("--plain", help="One majority of all the runs; nothing is searched.")] = False,
    metric: Metric = None,
    max_rounds: Annotated[int, option("--rounds", min=1, help="Rounds of the search at most.")] = 3,
    beam: Annotated[int, option("--beam", min=1, help="Outcomes of a round that may vote in later ones.")] = 3,
    seed: Seed = 0,
    submission: Submission = True,
    name: Annotated[str | None, option("--name", help="Of the recipe and the version; default: vote.")] = None,
    normalise: Normalise = False,
    allow_absent: AllowAbsent = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let runs vote, round by round: dissimilar ones first, their outcome again, until unseen rows gain nothing."""
    from jobs import vote as command
    from jobs.show.output import emit
    from jobs.show.vote import render_vote

    options = command.VoteOptions(
        runs=tuple(run or ()),
        rule=rule,
        plain=plain,
        metric=metric,
        max_rounds=max_rounds,
        beam=beam,
        seed=seed,
        submission=submission,
        name=name,
        normalise=normalise,
        allow_absent=allow_absent,
    )
    emit(command.run(options), render_vote, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli apply latest",
        "cli apply blend-3fa9c1d2 --to roberta=new/roberta.parquet --to linear=new/linear.csv --output blended.parquet",
    )
)
def apply(
    recipe: RecipeName,
    to: To = None,
    output: Annotated[
        Path | None,
        option("--output", "-o", help=".parquet or .csv; - is stdout, as CSV. Default: a submission version instead."),
    ] = None,
    submission: Annotated[
        bool | None, option("--submission/--no-submission", help="Write a version; default: where no --output is.")
    ] = None,
    name: Annotated[str | None, option("--name", help="Of the version; default: the recipe's.")] = None,
    id_column: IdColumn = None,
    normalise: Normalise = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replay a recipe on predictions, bit for bit."""
    from jobs import apply as command
    from jobs.pipes import is_pipe
    from jobs.show.apply import render_apply
    from jobs.show.output import emit

    options = command.ApplyOptions(
        recipe=recipe,
        to=tuple(to or ()),
        output=output,
        submission=submission,
        name=name,
        id_column=id_column,
        normalise=normalise,
        force=force,
    )
    emit(command.run(options), render_apply, as_json=as_json, quiet=quiet, on_stderr=is_pipe(output))


@app.command(epilog=examples("cli explain latest", "cli explain blend-3fa9c1d2 --to 'runs/*/oof.parquet'"))
def explain(
    recipe: RecipeName,
    to: To = None,
    id_column: IdColumn = None,
    normalise: Normalise = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a recipe does, in words and numbers, and what it changes on predictions where there are any."""
    from jobs import explain as command
    from jobs.show.apply import render_explain
    from jobs.show.output import emit

    options = command.ExplainOptions(recipe, tuple(to or ()), id_column, normalise)
    emit(command.run(options), render_explain, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli decode bert-mini",
        "cli decode bert-mini --metric group_accuracy --no-submission --json",
    )
)
def decode(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run whose label groups are to be decided jointly.")],
    metric: Annotated[
        str | None, option("--metric", help="exact_match or group_accuracy; default: the competition's, or the first.")
    ] = None,
    decoder: Annotated[Path | None, option("--decoder", help="Apply this one instead of fitting one.")] = None,
    submission: Submission = True,
    name: Annotated[str | None, option("--name", help="Of the decoder and the version; default: RUN-joint.")] = None,
    seed: Annotated[int, option("--seed", help="Of the bootstraps.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decide linked label groups jointly (task multi_group): the most probable combination, not each group alone."""
    from jobs import decode as command
    from jobs.show.decode import render_decode
    from jobs.show.output import emit

    options = command.DecodeOptions(run, metric, decoder, submission, name, seed)
    emit(command.run(options), render_decode, as_json=as_json, quiet=quiet)
