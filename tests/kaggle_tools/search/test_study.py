"""Studies: what a trial is worth, what is never lost, and several processes at one study."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate
from kaggle_tools.search import _study_worker, study
from kaggle_tools.search._study_scores import Scorer
from kaggle_tools.search._study_space import Space
from kaggle_tools.search.inputs import check_arrays
from kaggle_tools.search.recipe import Recipe, apply_stack

from .data import make_label_stack, make_stack

NAMES, CLASSES = ("bert", "cnn", "roberta", "xlnet"), ("EAP", "HPL", "MWS")
STACK, CODES = make_stack(4, 400, 3, seed=5)
LABEL_STACK, LABEL_CODES = make_label_stack(3, 300, 4, seed=5)


def make_recipe(kind, parameters, models=NAMES, task="single_label", classes=CLASSES):
    return Recipe(kind, task, classes, models, "macro_f1", parameters)


def run(metric="macro_f1", *, codes=CODES, stack=STACK, names=NAMES, classes=CLASSES, trials=20, **options):
    return study.search(codes, stack, metric, names=names, classes=classes, trials=trials, **options)


def replayed(recipe, metric="macro_f1", stack=STACK, codes=CODES, names=NAMES):
    places = [names.index(model) for model in recipe.models]
    return evaluate(metric, codes, apply_stack(recipe, stack[places]))


# What a result is


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss", "accuracy", "quadratic_kappa", "roc_auc"])
def test_the_recipe_replays_to_exactly_the_reported_score(metric):
    found = run(metric)
    assert replayed(found.recipe, metric) == found.score == found.recipe.fitted
    assert found.recipe.metric == metric


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "log_loss"])
def test_labels_get_thresholds_where_the_metric_is_one_of_label_sets(metric):
    names = NAMES[:3]
    found = run(
        metric, codes=LABEL_CODES, stack=LABEL_STACK, names=names, classes=tuple("abcd"), task="multi_label"
    )  # fmt: skip
    assert ("thresholds" in found.recipe.parameters) == (metric != "log_loss")
    assert replayed(found.recipe, metric, LABEL_STACK, LABEL_CODES, names) == found.score


@pytest.mark.parametrize("sampler", ["auto", "tpe", "cmaes", "random"])
def test_the_same_seed_gives_the_same_result(sampler):
    found, again, other = (run(trials=30, sampler=sampler, seed=seed) for seed in (3, 3, 4))
    assert (found.recipe, found.score, found.trial) == (again.recipe, again.score, again.trial)
    assert found.recipe.parameters != other.recipe.parameters


def test_the_sampler_and_its_settings_are_on_record():
    found = run(trials=3)
    assert found.sampler["name"] == "TPESampler"
    assert all(found.sampler[option] for option in ("multivariate", "group", "constant_liar"))
    assert found.recipe.provenance["sampler"] == found.sampler
    assert "3 trials" in repr(found)
    assert "TPESampler" in repr(found)


def test_cma_es_learns_from_its_generations():
    starts = [make_recipe("mean", {})]
    scores = [run("log_loss", trials=n, sampler="cmaes", starts=starts, batch=8).score for n in (9, 120)]
    assert scores[1] < scores[0] - 0.005


def test_weights_per_class_are_in_the_space_where_asked_for():
    found = run(trials=20, per_class=True)
    weights = found.recipe.parameters.get("weights") or found.recipe.parameters["exponents"]
    assert np.shape(weights) == (len(found.recipe.models), 3)
    assert replayed(found.recipe) == found.score


# Starts


STARTS = [
    make_recipe("mean", {}),
    make_recipe("linear_pool", {"weights": (0.5, -0.1, 0.4, 0.2), "class_weights": (0.5, 1.0, 2.0)}),
    make_recipe("log_pool", {"exponents": (2.5, 0.0, 0.4, -0.2), "biases": (0.3, 0.0, -4.0)}),
    make_recipe("geometric_mean", {"weights": (1.0, 0.0, 2.0, 3.0)}),
    make_recipe("power_mean", {"power": -3.0}, models=("xlnet", "bert")),
    make_recipe("rank_mean", {}),
    make_recipe("linear_pool", {"weights": ((0.5, 0.2, 0.0), (0.1, 0.2, 0.3))}, models=("cnn", "roberta")),
]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.kind)
@pytest.mark.parametrize("metric", ["macro_f1", "log_loss"])
@pytest.mark.parametrize("trials", [1, 8])
def test_no_result_is_worse_than_its_best_start(start, metric, trials):
    found = run(metric, trials=trials, starts=[STARTS[0], start], sampler="random")
    scores = [replayed(one, metric) for one in (STARTS[0], start)]
    best = max(scores) if metric == "macro_f1" else min(scores)
    assert found.start == best
    assert found.score >= best if metric == "macro_f1" else found.score <= best
    assert found.gain == pytest.approx(abs(found.score - best))


def test_a_start_that_is_not_surpassed_is_the_result_as_it_was():
    exact = run("log_loss", trials=300, sampler="cmaes").recipe
    found = run("log_loss", trials=5, starts=[exact], sampler="random")
    assert found.trial is None
    assert found.recipe.parameters == exact.parameters


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["linear_pool", "log_pool", "geometric_mean", "power_mean"]),
    weights=st.lists(st.sampled_from([0.0, 0.1, 0.35, 1.0]), min_size=4, max_size=4).filter(any),
    power=st.sampled_from([-1.0, -0.5, 0.3, 1.0]),
    biases=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
)
def test_a_recipe_of_the_space_comes_back_from_its_point_in_it(kind, weights, power, biases):
    parameters = {"exponents" if kind == "log_pool" else "weights": weights}
    parameters |= {"power": power} if kind == "power_mean" else {}
    parameters |= {"biases": biases} if kind == "log_pool" else {}
    recipe = make_recipe(kind, parameters)
    space = Space(NAMES, CLASSES, "single_label", biases=True)
    back = space.recipe(space.candidate(space.params(recipe)), "macro_f1", None)
    assert set(back.models) == {name for name, weight in zip(NAMES, weights, strict=True) if weight}
    expected = apply_stack(recipe, STACK)
    np.testing.assert_allclose(apply_stack(back, STACK[[NAMES.index(m) for m in back.models]]), expected, atol=1e-6)


# What a trial is worth


@pytest.mark.parametrize("family", ["linear", "log", "power"])
@pytest.mark.parametrize("metric", ["macro_f1", "log_loss"])
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_the_fast_score_of_a_trial_is_that_of_its_recipe(family, metric, task):
    single = task == "single_label"
    stack, codes = (STACK, CODES) if single else (LABEL_STACK, LABEL_CODES)
    names, classes = NAMES[: len(stack)], CLASSES if single else tuple("abcd")
    space = Space(names, classes, task, biases=metric == "log_loss")
    scorer = Scorer(check_arrays(stack, codes, metric), allow_absent=False)
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))
    for power in (0.001, -1.0, 0.7):
        random.enqueue_trial({"family": family, "power": power})
        candidate = space.draw(random.ask())
        value, adjustment = scorer.settle(candidate)
        recipe = space.recipe(candidate, metric, adjustment)
        assert value == pytest.approx(replayed(recipe, metric, stack, codes, names), abs=2e-3)
        assert scorer.value(candidate) == pytest.approx(value, abs=2e-2)


def test_on_many_rows_class_weights_come_from_a_sample_and_the_score_from_all(monkeypatch):
    monkeypatch.setattr("kaggle_tools.search._study_scores.COARSE", 100)
    found = run(trials=10)
    assert replayed(found.recipe) == found.score


def test_models_that_no_trial_uses_are_used_alike():
    space = Space(NAMES, CLASSES, "single_label")
    params = {"family": "linear"} | {f"use:{n}": False for n in NAMES} | {f"weight:{n}": 0.3 for n in NAMES}
    assert (space.candidate(params).weights == 0.25).all()


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "trials must be 1 or more, but got 0"),
        ({"batch": 0}, "batch must be 1 or more"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"metric": "macrof1"}, "unknown metric"),
        ({"stack": STACK[:1], "names": NAMES[:1]}, "one model only"),
        ({"stack": np.where(STACK > 0.9, np.nan, STACK)}, "not a number"),
        ({"stack": np.log(STACK)}, "negative probability"),
        ({"stack": np.concatenate([STACK[:3], np.full_like(STACK[:1], 1 / 3)])}, "the same probabilities"),
        ({"codes": np.minimum(CODES, 1)}, "1 of 3 classes have no rows"),
        ({"codes": None}, "labels are missing"),
        ({"names": ("a", "b", "c", "c")}, "3 distinct model names for 4"),
        ({"classes": ("a", "b")}, "2 distinct class names for 3"),
        ({"task": "multi_label"}, "the labels are of a single_label task"),
        ({"starts": [make_recipe("mean", {}, models=("bert", "robert"))]}, "did you mean 'roberta'"),
        ({"starts": [make_recipe("mean", {}, classes=("HPL", "EAP", "MWS"))]}, "other classes"),
        ({"storage": "blend.db"}, "is no storage"),
        ({"storage": "journal:"}, "a journal needs a file"),
        ({"storage": "journal:/no/such/folder/blend.log"}, "no such folder"),
        ({"storage": "mysql+nothing://me:secret@host/db"}, "is no storage"),
    ],
)
def test_bad_input_is_told(options, message):
    with pytest.raises(UserError) as caught:
        run(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["shopping list\nmilk\n", "shopping list\nmilk", "milk\n", "[3]\n", '{"a": 1}\n{"b": 2}', '{"a": 1}', '{"a": 1}\n'],
)
def test_a_file_that_is_no_journal_is_told_and_left_as_it_is(tmp_path, text):
    (tmp_path / "notes.txt").write_text(text)
    with pytest.raises(UserError, match="not a journal"):
        run(storage=f"journal:{tmp_path / 'notes.txt'}")
    assert (tmp_path / "notes.txt").read_text() == text


def test_an_unreachable_database_is_told_without_its_password(tmp_path):
    with pytest.raises(UserError, match="cannot be opened") as caught:
        run(storage=f"sqlite:///{tmp_path}/no/such/blend.db")
    assert "blend.db" in str(caught.value)
    with pytest.raises(UserError) as caught:
        run(storage="postgresql+asyncpg://me:secret@localhost:1/db")
    assert "secret" not in str(caught.value)


# Time, progress, manners


def test_the_time_limit_ends_a_study_early():
    began = time.perf_counter()
    found = run(trials=100_000, time_limit=0.3, starts=[make_recipe("mean", {})])
    assert 0 < found.n_trials < 100_000
    assert time.perf_counter() - began < 20


def test_a_time_limit_too_short_for_any_trial_needs_a_start():
    assert run(time_limit=0.0, starts=[make_recipe("mean", {})]).recipe.kind == "mean"
    with pytest.raises(UserError, match="no trial was finished in time"):
        run(time_limit=0.0)


def test_progress_never_gets_worse_and_counts_up_to_the_budget():
    seen = []
    found = run("log_loss", trials=40, batch=16, starts=[make_recipe("mean", {})], on_batch=seen.append)
    assert [one.finished for one in seen] == [1, 17, 33, 40]  # the start first
    best = [one.best for one in seen]
    assert best == sorted(best, reverse=True)
    assert found.score == pytest.approx(best[-1], abs=1e-5)


def test_optuna_is_as_loud_afterwards_as_before_and_not_loaded_before_it_is_needed(capfd):
    level = optuna.logging.get_verbosity()
    run(trials=3)
    assert optuna.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")
    code = "import sys, kaggle_tools.search.study; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_interrupted_trials_are_marked_as_failed(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    storage = f"journal:{tmp_path}/blend.log"
    monkeypatch.setattr(Scorer, "value", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(trials=8, batch=4, storage=storage)
    monkeypatch.undo()
    assert run(trials=8, batch=4, storage=storage).n_trials == 8
    assert sorted(states(storage)) == ["COMPLETE"] * 8 + ["FAIL"] * 4


def test_a_journal_whose_last_line_was_cut_off_goes_on_without_that_line(tmp_path):
    """As after a full disk: what is written behind half a line could never be read again."""
    path = tmp_path / "blend.log"
    run(trials=8, batch=4, storage=f"journal:{path}")
    path.write_bytes(path.read_bytes()[:-7])
    found = run(trials=12, batch=4, storage=f"journal:{path}")
    assert (found.n_trials, found.n_own) == (12, 5)
    assert run(trials=12, batch=4, storage=f"journal:{path}").n_own == 0


# Storage


def load(storage, name="blend"):
    """The study as Optuna alone sees it; its trials are read before the connection is closed."""
    if storage.startswith("journal:"):
        backend = optuna.storages.journal.JournalFileBackend(storage.removeprefix("journal:"))
        return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))
    database = optuna.storages.RDBStorage(storage)
    copy = optuna.create_study(study_name=name)
    copy.add_trials(optuna.load_study(study_name=name, storage=database).get_trials())
    database.remove_session()
    database.engine.dispose()
    return copy


def states(storage):
    return [trial.state.name for trial in load(storage).trials]


def test_a_study_is_a_plain_one_with_readable_names(tmp_path):
    storage = f"journal:{tmp_path}/blend.log"
    found = run("log_loss", trials=30, storage=storage, starts=STARTS[:1], study_name="spooky", sampler="random")
    plain = load(storage, "spooky")
    assert plain.direction.name == "MINIMIZE"
    assert plain.user_attrs["sampler"]["name"] == "RandomSampler"
    assert plain.user_attrs["about"] == {
        "metric": "log_loss", "models": list(NAMES), "classes": list(CLASSES), "rows": 400,
    }  # fmt: skip
    names = {name for trial in plain.trials for name in trial.params}
    assert {"family", "power", "use:roberta", "weight:roberta", "exponent:roberta", "bias:EAP"} <= names
    assert plain.best_value == pytest.approx(found.score, abs=1e-5) or found.trial is None


@pytest.fixture(params=["journal", "sqlite"])
def storage(request, tmp_path):
    return f"journal:{tmp_path}/blend.log" if request.param == "journal" else f"sqlite:///{tmp_path}/blend.db"


def test_the_same_study_goes_on_and_another_problem_is_refused(storage, tmp_path):
    starts = STARTS[:2]
    first = run(trials=6, batch=3, storage=storage, starts=starts)
    more = run(trials=10, batch=3, storage=storage, starts=starts)
    assert (first.n_own, more.n_own, more.n_trials) == (6, 4, 10)
    assert more.score >= first.score
    assert run(trials=10, storage=storage, starts=starts).n_own == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others = (
        {"metric": "accuracy"},
        {"codes": CODES[::-1].copy()},
        {"stack": STACK[::-1].copy()},
        {"names": NAMES[::-1]},
    )
    for other in others:
        with pytest.raises(UserError, match="is of another problem"):
            run(trials=20, storage=storage, **other)
    with pytest.raises(UserError, match="is of another space"):
        run(trials=20, storage=storage, sampler="cmaes")
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_foreign_study_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("kaggle_tools.search._study_storage._CREATION_S", 0.1)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "blend.log"))
    optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name="blend")
    with pytest.raises(UserError, match="not one of ours"):
        run(storage=f"journal:{tmp_path}/blend.log")


def work(storage, results):
    found = run(trials=24, batch=4, storage=storage, starts=[make_recipe("mean", {})])
    results.put((found.n_own, found.n_trials, found.score))


def work_together(storage):
    """Two processes at one study of 24 trials."""
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    workers = [spawn.Process(target=work, args=(storage, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
        assert worker.exitcode == 0
        worker.close()
    results.close()
    results.join_thread()
    return found


def check_shared(storage, found):
    trials = load(storage).trials
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert 24 <= len(complete) <= 28  # a slow worker's last batch may come on top
    assert sum(own for own, _, _ in found) == len(complete)
    assert all(n_trials >= 24 for _, n_trials, _ in found)
    starts = [trial for trial in trials if "fixed_params" in trial.system_attrs]
    assert 1 <= len(starts) <= 2
    drawn = [tuple(sorted(trial.params.items())) for trial in complete if trial not in starts]
    assert len(set(drawn)) == len(drawn)  # no two workers draw the same


def test_two_processes_share_the_trials_of_a_journal(tmp_path):
    storage = f"journal:{tmp_path}/blend.log"
    check_shared(storage, work_together(storage))


def stall(storage, asked):
    """A worker that never finishes what it began."""

    def hang(*_):
        asked.set()
        time.sleep(600)

    Scorer.value = hang
    run(trials=12, batch=4, storage=storage)


def check_killed(storage, monkeypatch):
    """A worker that dies holds up nobody, and its trials are made anew by the next."""
    spawn = multiprocessing.get_context("spawn")
    asked = spawn.Event()
    worker = spawn.Process(target=stall, args=(storage, asked))
    worker.start()
    assert asked.wait(timeout=120)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    worker.close()
    monkeypatch.setattr(_study_worker, "GRACE_S", 0.1)
    value, seen = Scorer.value, []

    def slow_in_the_end(scorer, candidate):  # a batch that takes long after all gives no second chance to the dead
        seen.append(candidate)
        time.sleep(1.0 if len(seen) > 8 else 0.0)
        return value(scorer, candidate)

    monkeypatch.setattr(Scorer, "value", slow_in_the_end)
    assert states(storage) == ["RUNNING"] * 4
    assert run(trials=12, batch=4, storage=storage).n_own == 12
    assert sorted(states(storage)) == ["COMPLETE"] * 12 + ["FAIL"] * 4


def test_a_killed_worker_does_not_hold_up_the_others(tmp_path, monkeypatch):
    check_killed(f"journal:{tmp_path}/blend.log", monkeypatch)


def test_a_slow_worker_whose_trials_were_given_up_goes_on_with_others(tmp_path, monkeypatch):
    storage, value = f"journal:{tmp_path}/blend.log", Scorer.value
    given_up = []

    def slow(scorer, candidate):
        if not given_up:
            plain = load(storage)
            given_up.extend(trial.number for trial in plain.trials if trial.state.name == "RUNNING")
            for number in given_up:
                plain.tell(number, state=optuna.trial.TrialState.FAIL)
        return value(scorer, candidate)

    monkeypatch.setattr(Scorer, "value", slow)
    monkeypatch.setattr("kaggle_tools.search._study_worker.in_threads", lambda function, items: [*map(function, items)])
    found = run(trials=8, batch=4, storage=storage)
    assert (len(given_up), found.n_own, found.n_trials) == (4, 8, 8)


def test_processes_share_a_postgresql_database_and_a_killed_one_takes_no_trial_along(postgresql, monkeypatch):
    check_shared(postgresql, work_together(postgresql))
    elsewhere = postgresql.replace("/postgres?", "/template1?")  # another database of the same server
    check_killed(elsewhere, monkeypatch)
    with pytest.raises(UserError, match="is of another problem"):
        run("accuracy", storage=postgresql)


@pytest.fixture
def postgresql():
    """URL of a server of our own, in a folder of its own, without a port."""
    import importlib.util
    import pwd
    import shutil
    import tempfile
    from pathlib import Path

    driver = next((name for name in ("psycopg", "psycopg2") if importlib.util.find_spec(name)), None)
    if driver is None:
        pytest.skip("no driver for PostgreSQL: neither psycopg nor psycopg2 is installed")
    found = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), reverse=True)]
    binaries = next((Path(path).resolve().parent for path in found if path), None)
    if binaries is None:
        pytest.skip("no PostgreSQL server: initdb was not found")
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        known = {entry.pw_name for entry in pwd.getpwall()}
        user = next(name for name in ("postgres", "nobody") if name in known)
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # pytest's own cannot be entered by another user
    try:
        if user is not None:
            shutil.chown(folder, user)
        quietly = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        start = [binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(start, check=True, **quietly)
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with subprocess.Popen([binaries / "postgres", "-D", folder / "data", *options], **quietly) as server:
            try:
                ask = [binaries / "pg_isready", "-h", folder, "-t", "1"]
                deadline = time.monotonic() + 60
                while subprocess.run(ask, check=False, **quietly).returncode:
                    assert server.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                yield f"postgresql+{driver}://postgres@/postgres?host={folder}"
            finally:
                server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_gain_is_zero_or_more_in_either_direction():
    for metric in ("macro_f1", "log_loss"):
        found = run(metric, trials=10, starts=STARTS[:1])
        assert 0 <= found.gain < math.inf
    assert run(trials=3).gain is None
