"""Signatures of the commands about the board: similarity, leaderboard, record, pick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.commands.app import Force, Json, Quiet, app, examples, option

Which = Annotated[
    str, typer.Argument(metavar="V", help="A number, title or name, latest, latest~1, or the path of a version.")
]
PublicRows = Annotated[
    str,
    option("--public-rows", metavar="N", help="Rows, or share of the test rows (30%), that the public score is of."),
]


@app.command(
    epilog=examples(
        "cli similarity --output similarity.png",
        "cli similarity 3 latest teammate.csv --on test --by kappa",
    )
)
def similarity(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, versions and files. Default: every run, on test every version too."),
    ] = None,
    on: Annotated[
        Literal["oof", "test"] | None, option("--on", help="Which rows: oof, or test. Default: oof where all have it.")
    ] = None,
    by: Annotated[
        str,
        option(
            "--by",
            help="Measure of the matrix: agreement, kappa, churn, pearson, spearman, jensen_shannon; "
            "on oof also double_fault, q_statistic, error_overlap.",
        ),
    ] = "agreement",
    metric: Annotated[str | None, option("--metric", help="Of pairs' means; default: the competition's.")] = None,
    output: Annotated[
        Path | None, option("--output", "-o", help="Heatmap with dendrogram: .png or .svg; or a page: .html.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare runs, versions or files pair by pair: which are alike, and which add most to which."""
    from jobs import similarity as command
    from jobs.show.output import emit
    from jobs.show.similarity import render_similarity

    options = command.SimilarityOptions(tuple(what or ()), on, by, metric, output, force)
    emit(command.run(options), render_similarity, as_json=as_json, quiet=quiet)


leaderboard_app = typer.Typer(
    help="All versions ranked; how well out-of-fold tracks the board; its noise; what it will say.",
    invoke_without_command=True,
    rich_markup_mode=None,
    epilog=examples("cli leaderboard", "cli leaderboard --by honest --json"),
)
app.add_typer(leaderboard_app, name="leaderboard")


@leaderboard_app.callback()
def leaderboard(
    ctx: typer.Context,
    by: Annotated[
        Literal["auto", "private", "public", "honest", "oof"],
        option("--by", help="Score that ranks; auto: the one that most versions have."),
    ] = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank all versions, and say how well out-of-fold scores track the board."""
    if ctx.invoked_subcommand is not None:
        return
    from jobs import leaderboard as command
    from jobs.show.leaderboard import render_leaderboard
    from jobs.show.output import emit

    emit(command.run(command.LeaderboardOptions(by)), render_leaderboard, as_json=as_json, quiet=quiet)


@leaderboard_app.command(
    "noise", epilog=examples("cli leaderboard noise --public-rows 2500", "cli leaderboard noise 6 7 --public-rows 30%")
)
def leaderboard_noise(
    versions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[V…]", help="Versions, oldest first. Default: all with a public score."),
    ] = None,
    public_rows: PublicRows = "30%",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say how far a public score can be off by luck, and which moves on the board are more than that (ladder)."""
    from jobs import noise as command
    from jobs.show.board import render_noise
    from jobs.show.output import emit

    emit(
        command.run(command.NoiseOptions(tuple(versions or ()), public_rows)),
        render_noise,
        as_json=as_json,
        quiet=quiet,
    )


@leaderboard_app.command(
    "predict", epilog=examples("cli leaderboard predict latest", "cli leaderboard predict 7 --public-rows 2500 --json")
)
def leaderboard_predict(
    version: Annotated[str, typer.Argument(metavar="V", help="A version, or a submission file that is none yet.")],
    public_rows: PublicRows = "30%",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Expect a version's board score: by out-of-fold labels, agreement and the scores of other versions."""
    from jobs import foresee as command
    from jobs.show.board import render_predicted
    from jobs.show.output import emit

    emit(command.run(command.PredictOptions(version, public_rows)), render_predicted, as_json=as_json, quiet=quiet)


@app.command(
    epilog=examples(
        "cli record 7 --public 0.738 --rank 46", "cli record latest --private 0.731", "cli record 7 --clear public"
    )
)
def record(
    version: Which,
    public: Annotated[float | None, option("--public", help="Public score.")] = None,
    private: Annotated[float | None, option("--private", help="Private score.")] = None,
    rank: Annotated[int | None, option("--rank", min=1, help="Place on the public leaderboard.")] = None,
    clear: Annotated[
        list[str] | None,
        option("--clear", help="Forget a value: public, private or rank; give it several times for several."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what a leaderboard said about a version into its manifest, or clear it."""
    from jobs import leaderboard as command
    from jobs.show.leaderboard import render_recorded
    from jobs.show.output import emit

    options = command.RecordOptions(version, public, private, rank, clear=tuple(clear or ()))
    emit(command.record(options), render_recorded, as_json=as_json, quiet=quiet)


@app.command(epilog=examples("cli pick --public-rows 2500", "cli pick 3 5 7 --json"))
def pick(
    versions: Annotated[
        list[str] | None, typer.Argument(metavar="[V…]", help="Versions to choose from. Default: all.")
    ] = None,
    public_rows: PublicRows = "30%",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Propose the final two submissions, with reasons and a simulation of the shake-up."""
    from jobs import pick as command
    from jobs.show.board import render_pick
    from jobs.show.output import emit

    emit(
        command.run(command.PickOptions(tuple(versions or ()), public_rows)),
        render_pick,
        as_json=as_json,
        quiet=quiet,
    )
