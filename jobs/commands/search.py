"""Signatures of the commands that search recipes: blend."""

from __future__ import annotations

from typing import Annotated

from jobs.commands.app import Json, Quiet, app, examples, option


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
