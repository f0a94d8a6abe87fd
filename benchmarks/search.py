"""The search against its peers on the same probabilities, in one run: class weights, blends, bootstrap, votes.

    python -m benchmarks.search                  # make bench-search: the sizes of the goals, minutes
    python -m benchmarks.search --quick          # small sizes, about a minute: whether everything runs
    python -m benchmarks.search --only rescale blend --rows 100000 --limit 300

Probabilities are those of `benchmarks.problems`: imbalanced classes, correlated and overconfident models. What is
fitted on one half is scored on the other. "ours is" says how many times faster our first row of a contest is. Peers
beside scipy, scikit-learn, Optuna and cmaes are the optional group ``bench``; AutoGluon's needs autogluon.core, too
heavy for that group. One that is not there is a row that says so; one that takes too long is ended.
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass

import numpy as np

from benchmarks import search_peers as peers
from benchmarks.contest import Answer, Contest, Contestant, Outcome, hold
from benchmarks.problems import imbalanced


@dataclass(frozen=True)
class Size:
    """Rows of each half, classes, models, and how far the classes lie apart: several models are each given less."""

    rows: int
    classes: int
    models: int = 1
    strength: float = 2.7

    def __str__(self) -> str:
        models = f"{self.models} × " if self.models > 1 else ""
        return f"{models}{self.rows:,} × {self.classes}"


def rescale(bags: int) -> Contestant:
    def run(contest: Contest) -> Answer:
        from kaggle_tools.search import rescale as ours

        found = ours.fit(contest.fitted.codes, contest.fitted.stack[0], contest.metric, bags=bags)
        return Answer(lambda stack: found.apply(stack[0]), note=f"{found.n_evaluations:,} lines")

    return Contestant(f"ours, {bags} bags" if bags else "ours, exact", run, compiles=True)


def blend(family: str, **options: int) -> Contestant:
    def run(contest: Contest) -> Answer:
        from kaggle_tools.search import blend as ours

        found = ours.fit(contest.fitted.codes, contest.fitted.stack, contest.metric, family=family, **options)
        return Answer(found.apply, note="" if found.gap is None else f"gap {found.gap:.1e}")

    words = "".join(f", {value} {name}" if value else ", exact" for name, value in options.items())
    return Contestant(f"ours, {family} pool{words}", run, compiles=True)


def _stack(contest: Contest) -> Answer:
    from kaggle_tools.search import stack as ours

    codes = contest.fitted.codes
    return Answer(ours.fit(codes, contest.fitted.stack, np.arange(len(codes)) % 5).apply)


def _bootstrap(contest: Contest) -> Answer:
    from kaggle_tools.search.compare import compare

    found = compare(contest.metric, contest.fitted.codes, *contest.fitted.stack, n_bootstraps=contest.trials)
    return Answer(note=f"gain {found.gain:+.5f}, 95 % in [{found.low:+.5f}, {found.high:+.5f}]")


def _vote(contest: Contest) -> Answer:
    from kaggle_tools.search import vote
    from kaggle_tools.search.recipe import apply_stack

    m, _, c = contest.fitted.stack.shape
    names = [str(i) for i in range(m)]
    found = vote.search(contest.fitted.stack, contest.fitted.codes, contest.metric, names=names, max_rounds=2)
    recipe = found.recipe([str(i) for i in range(c)])
    members = [int(name) for name in recipe.models]
    note = f"{len(found.rounds)} rounds, {len(members)} models, nested"
    return Answer(lambda stack: apply_stack(recipe, stack[members]), note=note)


def _untouched(_: Contest) -> Answer:
    return Answer(lambda stack: stack[0], note="argmax")


def _mean(_: Contest) -> Answer:
    return Answer(lambda stack: stack.mean(axis=0))


NELDER_MEAD = Contestant("scipy Nelder–Mead + scikit-learn", peers.nelder_mead)
TPE = Contestant("Optuna TPE", peers.optuna_tpe)
CMA = Contestant("cmaes", peers.cma_es)
AUTOGLUON = Contestant("AutoGluon EnsembleSelection", peers.autogluon)
HILLCLIMBERS = Contestant("hillclimbers", peers.hillclimbers)
CUTOFFS = Contestant("optimal-classification-cutoffs", peers.classification_cutoffs, compiles=True)
UNTOUCHED, MEAN = Contestant("nothing done", _untouched), Contestant("equal mean", _mean)

# Of each contest: its metric, ours first, then the peers.
CONTESTS: dict[str, tuple[str, list[Contestant]]] = {
    "rescale": ("macro_f1", [rescale(20), rescale(0), UNTOUCHED, NELDER_MEAD, CUTOFFS, TPE, CMA]),
    "blend": (
        "macro_f1",
        [
            blend("linear", bags=0),
            blend("linear", bags=20),
            blend("log", bags=0),
            MEAN,
            AUTOGLUON,
            NELDER_MEAD,
            TPE,
            CMA,
        ],
    ),
    "log-loss": (
        "log_loss",
        [blend("linear"), blend("log"), MEAN, HILLCLIMBERS, AUTOGLUON, NELDER_MEAD, TPE, CMA],
    ),
    "rmse": ("rmse", [blend("linear"), MEAN, HILLCLIMBERS, AUTOGLUON, NELDER_MEAD, CMA]),
    "auc": ("roc_auc", [Contestant("ours, logistic stack", _stack, compiles=True), MEAN, HILLCLIMBERS, AUTOGLUON]),
    "bootstrap": (
        "macro_f1",
        [Contestant("ours, multinomial", _bootstrap, True), Contestant("scikit-learn", peers.naive_bootstrap)],
    ),
    "vote": (
        "macro_f1",
        [Contestant("ours, two rounds", _vote, True), MEAN, Contestant("numpy + scikit-learn", peers.naive_vote)],
    ),
}
N_BOOTSTRAPS = 10_000


def sizes(name: str, rows: int) -> list[Size]:
    """The sizes of the goals where `rows` is 100,000."""
    return {
        "rescale": [Size(rows, 3), Size(rows, 27), Size(10 * rows, 27)],
        "blend": [Size(rows, 3, 10, 1.5), Size(rows, 27, 10, 2.1)],
        "log-loss": [Size(rows, 2, 10, 1.2)],
        "rmse": [Size(rows, 2, 10, 1.2)],
        "auc": [Size(rows, 2, 10, 1.2)],
        "bootstrap": [Size(10 * rows, 27, 2)],
        "vote": [Size(rows, 3, 14, 1.5)],
    }[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*CONTESTS], default=[*CONTESTS])
    parser.add_argument("--rows", type=int, help="the goals' 100,000; some contests take ten times as many")
    parser.add_argument("--trials", type=int, help="of Optuna; cmaes gets ten evaluations for each")
    parser.add_argument("--limit", type=float, help="seconds after which a contestant is ended")
    parser.add_argument("--quick", action="store_true", help="5,000 rows, 30 trials, 8 seconds")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    quick = (5_000, 30, 8.0) if given.quick else (100_000, 1000, 300.0)
    rows, trials, limit = (a or b for a, b in zip((given.rows, given.trials, given.limit), quick, strict=True))
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}"
    )
    for name in given.only:
        metric, contestants = CONTESTS[name]
        for size in sizes(name, rows):
            contest = _contest(f"{name}, {metric}, {size}", metric, size, given.seed, trials)
            print_table(contest.name, hold(contest, contestants, limit))


def _contest(name: str, metric: str, size: Size, seed: int, trials: int) -> Contest:
    fitted, held_out = imbalanced(
        rows=size.rows, classes=size.classes, models=size.models, strength=size.strength, seed=seed
    )
    return Contest(name, metric, fitted, held_out, N_BOOTSTRAPS if name.startswith("bootstrap") else trials)


def print_table(name: str, outcomes: list[Outcome]) -> None:
    ours = outcomes[0].seconds
    print(f"\n### {name}\n")
    print("| contestant | seconds | ours is | fitted | held-out | note |\n|---|---|---|---|---|---|")
    for one in outcomes:
        ratio = one.seconds / ours if ours and one.seconds is not None else None
        cells = [_shown(one.seconds, ",.3f"), _shown(ratio, ",.1f", "×"), _shown(one.fitted), _shown(one.held_out)]
        print("| " + " | ".join([one.contestant, *cells, one.note]) + " |", flush=True)


def _shown(value: float | None, form: str = ".5f", unit: str = "") -> str:
    return "–" if value is None else format(value, form) + unit


if __name__ == "__main__":
    main()
