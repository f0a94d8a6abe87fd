"""`cli score --dry-run`: the arithmetic against a simulation, the sampling against clocks that go by tokens."""

import json
import re

import numpy as np
import pytest

from jobs import dry_run, score, trial
from jobs.dry_run import STAGES, add_up
from jobs.resolve import InputOptions
from jobs.score import ScoreOptions
from jobs.show.progress import SilentWatch
from jobs.trial import Cost, Trial, spread
from kaggle_tools.errors import UserError
from models.inference.scorer import Scorer

TOKEN_S = 0.01  # what a token takes by the clock of these tests


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture
def clock(monkeypatch):
    """Time stands still but for inference, where it goes by the tokens that are computed, a batch more for each."""
    now = [0.0]
    real = Scorer.infer

    def infer(self, prepared, *rest, **options):
        scored = real(self, prepared, *rest, **options)
        now[0] += TOKEN_S * scored.stats.computed_tokens
        return scored

    monkeypatch.setattr(trial.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(trial.time, "process_time", lambda: now[0])
    monkeypatch.setattr(Scorer, "infer", infer)
    monkeypatch.setattr("jobs.runner.local.measure_matmul_rate", lambda *_: 1e9)  # would wait for the clock
    return now


def made_up(rows, costs, *, distinct=None, n_bytes=0):
    """A trial whose stages take (wall, cpu) seconds."""
    known = {"infer first": costs["infer"], "finish": (0.0, 0.0), **costs}
    of_stages = {name: Cost(*known.get(name, (0.0, 0.0))) for name in (*STAGES, "infer first", "finish")}
    return Trial(rows, distinct or rows, rows, 10.0, 0.0, of_stages, n_bytes)


def simulated(walls, n_shards):
    """When the last of equal shards leaves the last stage: each stage does one at a time, with room to wait between."""
    free = dict.fromkeys(walls, 0.0)
    for _ in range(n_shards):
        at = 0.0
        for stage, seconds in walls.items():
            at = max(at, free[stage]) + seconds
            free[stage] = at
    return at


@pytest.mark.parametrize("n_shards", [1, 2, 7, 50])
@pytest.mark.parametrize("walls", [(1, 2, 8, 1), (3, 1, 1, 1), (1, 5, 2, 4)])
def test_stages_that_overlap_take_as_long_as_a_simulation_says(n_shards, walls):
    costs = {stage: (float(wall), 0.0) for stage, wall in zip(STAGES, walls, strict=True)}
    sums = add_up([made_up(100, costs)], 100 * n_shards, n_shards, cores=2)
    assert sums.scoring == pytest.approx(simulated({s: c[0] for s, c in costs.items()}, n_shards))
    assert sums.stages == pytest.approx({s: c[0] * n_shards for s, c in costs.items()} | {"finish": 0.0})


def test_cores_that_stages_share_are_not_counted_twice():
    trials = [made_up(100, {"prepare": (4.0, 8.0), "infer": (5.0, 10.0)})]
    assert add_up(trials, 1000, 10, cores=2).scoring == pytest.approx(90)  # 180 processor seconds on two cores
    assert add_up(trials, 1000, 10, cores=16).scoring == pytest.approx(9 + 9 * 5)
    assert add_up(trials, 1000, 10, cores=16).cpu == pytest.approx(180)


def test_what_new_shapes_cost_is_paid_once():
    trials = [made_up(100, {"infer": (5.0, 0.0), "infer first": (7.0, 0.0)})]
    assert add_up(trials, 1000, 10, cores=2).scoring == pytest.approx(7 + 9 * 5)
    assert add_up(trials, 100, 1, cores=2).scoring == pytest.approx(7)
    assert add_up([], 0, 0, cores=2).scoring == 0


def test_trials_stand_for_as_many_rows_as_they_have():
    trials = [made_up(100, {"infer": (1.0, 0.0)}), made_up(300, {"infer": (1.0, 0.0)})]
    assert add_up(trials, 4000, 1, cores=2).scoring == pytest.approx(20)


def test_tried_shards_are_the_middles_of_thirds():
    assert spread(tuple(range(3))) == [0, 1, 2]
    assert spread(tuple(range(12))) == [2, 6, 10]


def write_rows(path, lengths, repeats=1):
    words = np.random.default_rng(0).integers(0, 200, (len(lengths), max(lengths)))
    texts = [" ".join(f"w{w}" for w in row[:n]) for row, n in zip(words.tolist(), lengths, strict=True)]
    rows = [text for text in texts for _ in range(repeats)]
    path.write_text("id,text\n" + "".join(f"r{i},{text}\n" for i, text in enumerate(rows)))
    return len(rows)


def options(model, path, **changes):
    return ScoreOptions(InputOptions((str(path),)), (model,), path.parent / "out.parquet", precision="fp32", **changes)


@pytest.mark.parametrize("repeats", [1, 3])
def test_predicted_seconds_are_those_of_the_job_by_a_clock_of_tokens(tmp_path, model, clock, monkeypatch, repeats):
    monkeypatch.chdir(tmp_path)
    lengths = sorted(np.random.default_rng(1).integers(1, 38, 1200).tolist())  # a sorted file: no shard is like another
    n_rows = write_rows(tmp_path / "rows.csv", lengths, repeats)
    asked = options(model, tmp_path / "rows.csv", shard_rows=n_rows // 12, token_budget=120)
    predicted = score.predict(asked, SilentWatch())
    assert not (tmp_path / ".jobs").exists()
    real = score.run(asked, SilentWatch())
    tokens = real.totals["computed_tokens"]
    assert predicted.stage_seconds["infer"] == pytest.approx(TOKEN_S * tokens, rel=0.1)
    assert predicted.seconds == pytest.approx(sum(predicted.stage_seconds.values()))  # one stage alone takes time
    assert predicted.n_rows == n_rows
    assert predicted.distinct_share == pytest.approx(real.totals["scored"] / n_rows, rel=0.02)
    assert predicted.tokens_per_row == pytest.approx(real.totals["tokens"] / real.totals["scored"], rel=0.1)
    assert predicted.sample_rows < real.totals["scored"] / 5  # a sample it was


def test_memory_counts_the_shards_that_are_under_way(tmp_path, model, clock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.csv", [5] * 40)
    monkeypatch.setattr(dry_run, "peak_host_memory", lambda: 1000)
    fake = [made_up(10, {"infer": (1.0, 1.0)}, n_bytes=70), made_up(10, {"infer": (1.0, 1.0)}, n_bytes=50)]
    monkeypatch.setattr(dry_run, "try_shards", lambda *_: fake)
    assert score.predict(options(model, tmp_path / "rows.csv", shard_rows=10), SilentWatch()).memory_bytes == 1210
    assert score.predict(options(model, tmp_path / "rows.csv", shard_rows=2), SilentWatch()).memory_bytes == 1420
    assert score.predict(options(model, tmp_path / "rows.csv", shard_rows=50), SilentWatch()).memory_bytes == 1000


def test_a_shard_of_more_texts_than_are_tried_is_scaled_up(tmp_path, model, clock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "MAX_TEXTS", 150)
    write_rows(tmp_path / "rows.csv", np.random.default_rng(1).integers(2, 30, 600).tolist())
    asked = options(model, tmp_path / "rows.csv")
    predicted = score.predict(asked, SilentWatch())
    real = score.run(asked, SilentWatch())
    assert predicted.stage_seconds["infer"] == pytest.approx(TOKEN_S * real.totals["computed_tokens"], rel=0.15)


def test_a_dry_run_is_refused_what_the_job_would_be_refused(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("id,text\na,w1\na,w2\n")
    with pytest.raises(UserError, match="1 ids occur more than once"):
        score.predict(options(model, tmp_path / "rows.csv"), SilentWatch())


def test_the_command_shows_the_forecast(tmp_path, model, call):
    write_rows(tmp_path / "rows.csv", [5] * 40)
    command = ("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "--dry-run")
    code, out, _ = call(*command)
    assert code == 0
    assert re.search(r"time +\S+ s at \S+ rows/s, fp32", out)
    assert {"rows", "time", "seconds", "disk", "memory"} <= {line.split()[0] for line in out.splitlines()}
    found = json.loads(call(*command, "--json")[1])
    assert found["n_rows"] == 40
    assert found["memory_bytes"] > 100e6
    assert {"load", "plan", "infer", "finish"} <= set(found["stage_seconds"])


def test_linear_models_can_be_foretold(tmp_path, call):
    from models.linear import LinearModel, fit_vectorizer

    texts = ["red fox", "green dog", "blue sea"] * 4
    vectorizer = fit_vectorizer(texts, min_df=1)
    codes = np.array([0, 1, 2] * 4)
    LinearModel.fit(vectorizer, vectorizer.transform(texts), codes, ("r", "g", "b")).save(tmp_path / "linear")
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"r{i},{text}\n" for i, text in enumerate(texts)))
    code, out, err = call("score", "-i", "rows.csv", "-m", tmp_path / "linear", "--dry-run", "--json")
    assert code == 0, err
    assert (json.loads(out)["tokens_per_row"], json.loads(out)["distinct_share"]) == (0.0, 0.25)
