"""`jobs.score.run` on real files: every way in gives the same scores, every mistake gives one clear error."""

import csv
import gzip
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard
from polars.testing import assert_frame_equal

from jobs import prune, score, status
from jobs.resolve import InputOptions
from jobs.runner import engines, planner
from jobs.runner.joining import Joining
from jobs.runner.plan import Plan, tasks_of
from jobs.runner.planner import load_plan
from jobs.runner.store import JobStore
from jobs.score import ScoreOptions
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.tables.streams import ByteStream
from models.errors import ModelError
from models.inference.gate import SAMPLE_ROWS, GateBounds
from models.inference.scorer import Scorer

ROWS = [
    ("a1", "w1 w2 w3"),
    ("a2", "w4\nw5"),
    ("a3", 'w6 "w7" w8'),
    ("a4", ""),
    ("a5", "w1 w2 w3"),
    ("a6", "w9, w10"),
    ("a7", "猫 w11"),
]


class Notes:
    """A watch that remembers."""

    def __init__(self):
        self.notes, self.rows, self.commits, self.before = [], 0.0, 0, 0

    def note(self, text):
        self.notes.append(text)

    def started(self, n_rows, rows_done, ceiling):
        self.before = rows_done

    def advanced(self, rows):
        self.rows += rows

    def committed(self, stats, seconds):
        self.commits += 1


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def table(here):
    return write_csv(here / "rows.csv")


def write_csv(path, rows=ROWS, header=("id", "text"), encoding="utf-8", newline="\n"):
    with path.open("w", newline="", encoding=encoding) as handle:
        writer = csv.writer(handle, lineterminator=newline)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def options(model, *inputs, **changes):
    of_input = {name: changes.pop(name) for name in list(changes) if name in InputOptions.__dataclass_fields__}
    asked = InputOptions(tuple(map(str, inputs)), **of_input)
    return replace(ScoreOptions(asked, (model,), Path("out.parquet"), precision="fp32"), **changes)


def scores(path="out.parquet"):
    return pl.read_parquet(path).select(pl.col("^prob_.*$")).to_numpy()


@pytest.fixture
def expected(model):
    return Scorer({"m": [model]}, precision="fp32").score([text for _, text in ROWS])["m"]


def test_output_has_ids_labels_and_probabilities_in_input_order(table, model, expected):
    watch = Notes()
    result = score.run(options(model, table, shard_rows=3), watch)
    frame = pl.read_parquet("out.parquet")
    assert frame.columns == ["id", "label", "prob_cat", "prob_dog", "prob_emu"]
    assert frame["id"].to_list() == [row[0] for row in ROWS]
    np.testing.assert_allclose(scores(), expected, atol=1e-6)
    assert frame["label"].to_list() == [("cat", "dog", "emu")[i] for i in expected.argmax(1)]
    assert result.totals["null_texts"] == 1
    assert (watch.commits, round(watch.rows)) == (3, 7)


def test_every_way_to_write_a_table_gives_the_same_scores(here, model, expected):
    frame = pl.DataFrame({"id": [r[0] for r in ROWS], "text": [r[1] for r in ROWS]})
    plain = write_csv(here / "plain.csv")
    write_csv(here / "crlf.csv", newline="\r\n")
    write_csv(here / "chinese.csv", encoding="gb18030")
    (here / "packed.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (here / "packed.csv.zst").write_bytes(zstandard.compress(plain.read_bytes()))
    frame.write_csv(here / "tabs.tsv", separator="\t")
    frame.write_parquet(here / "rows.parquet", row_group_size=2)
    frame.write_ndjson(here / "lines.jsonl")
    for path in sorted(p for p in here.iterdir() if p.is_file()):
        encoding = "gb18030" if path.stem == "chinese" else None
        score.run(options(model, path, encoding=encoding, output=Path(f"{path.name}.parquet"), shard_rows=2), Notes())
        np.testing.assert_allclose(scores(f"{path.name}.parquet"), expected, atol=1e-6, err_msg=path.name)


def test_the_sign_that_joins_pairs_is_a_blank_in_a_single_text(here, model):
    texts = ["w1 \ufdd0 w2", "w3", "w4 w5 w6"]
    score.run(options(model, write_csv(here / "rows.csv", [(str(i), text) for i, text in enumerate(texts)])), Notes())
    alone = Scorer({"m": [model]}, precision="fp32").score(["w1 w2", *texts[1:]])["m"]
    np.testing.assert_allclose(scores(), alone, atol=1e-6)


def test_a_notebook_gets_the_very_numbers_of_the_file(table, tmp_path, model, save_model):
    other = save_model(tmp_path / "other", 1)
    score.run(replace(options(model, table), models=(model, other), each=True), Notes())
    file = pl.read_parquet("out.parquet")
    scores = Scorer([model, other], precision="fp32").score([text for _, text in ROWS])
    assert_frame_equal(scores.to_polars(file["id"], each=True), file, check_exact=True)


def test_many_files_are_one_table_in_natural_order(here, model, expected):
    for number, row in zip((1, 2, 3, 4, 5, 10, 20), ROWS, strict=True):
        write_csv(here / f"part-{number}.csv", [row])
    score.run(options(model, "part-*.csv"), Notes())
    assert pl.read_parquet("out.parquet")["id"].to_list() == [row[0] for row in ROWS]
    np.testing.assert_allclose(scores(), expected, atol=1e-6)


def test_small_files_share_parts_and_their_rows_are_numbered_and_set_aside_as_those_of_one_table(here, model):
    texts = [f"w{i}" for i in range(9)]
    lines = [[texts[0]], ["w1,odd", texts[2], texts[3]], [texts[4]], [texts[5], "w6,odd"], [texts[7]], [texts[8]]]
    for number, own in enumerate(lines):
        (here / f"part-{number}.csv").write_text("text\n" + "\n".join(own) + "\n")
    asked = options(model, "part-*.csv", on_bad_row="set-aside", shard_rows=4)
    result = score.run(asked, Notes())
    store = JobStore(here / ".jobs" / result.job)
    assert [[piece.file for piece in task.pieces] for task in load_plan(store).tasks] == [[0, 1], [2, 3, 4], [5]]
    assert (len(store.done()), result.totals["set_aside"], result.totals["rows"]) == (3, 2, 7)
    assert pl.read_parquet("out.parquet")["row"].to_list() == ["0", "2", "3", "4", "5", "7", "8"]
    alone = Scorer({"m": [model]}, precision="fp32").score([texts[i] for i in (0, 2, 3, 4, 5, 7, 8)])["m"]
    np.testing.assert_allclose(scores(), alone, atol=1e-6)
    aside = status.show(result.job).set_aside
    assert [(Path(row["path"]).name, row["line"]) for row in aside] == [("part-1.csv", 2), ("part-3.csv", 3)]


class _Killed(Exception):
    pass


class _Kills(Notes):
    """Ends the job behind its first part."""

    def committed(self, stats, seconds):
        raise _Killed


def test_a_job_of_an_older_version_whose_files_have_a_part_each_goes_on_so(here, model, expected, monkeypatch):
    for number, row in enumerate(ROWS):
        write_csv(here / f"part-{number}.csv", [row])
    asked = options(model, "part-*.csv", shard_rows=4)
    with monkeypatch.context() as patch:
        patch.setattr(planner, "tasks_of", lambda pieces, sizes, _rows: tasks_of(pieces, sizes, 1))
        with pytest.raises(_Killed):
            score.run(asked, _Kills())
    (store,) = map(JobStore, here.glob(".jobs/*-*"))
    plan = store.read("plan.json")
    for task in plan["tasks"]:
        task.update(*task.pop("pieces"))  # as it was written before
    store.write("plan.json", plan)
    os.utime("part-3.csv")
    result = score.run(asked, Notes())
    assert (result.job, len(store.done())) == (store.id, len(ROWS))
    assert 0 < result.resumed_rows < len(ROWS)
    np.testing.assert_allclose(scores(), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_text_outputs_hold_the_same_values(table, model, expected, suffix):
    output = Path(f"out.{suffix}")
    score.run(options(model, table, output=output, shard_rows=3), Notes())
    frame = pl.read_csv(output) if suffix == "csv" else pl.read_ndjson(output)
    np.testing.assert_allclose(frame.select(pl.col("^prob_.*$")).to_numpy(), expected, atol=1e-6)


def test_several_models_are_averaged_and_each_can_be_had(table, tmp_path, model, save_model):
    other = save_model(tmp_path / "other", 1)
    score.run(replace(options(model, table), models=(model, other), each=True), Notes())
    frame = pl.read_parquet("out.parquet")
    parts = [frame.select(f"{run}/prob_{c}" for c in ("cat", "dog", "emu")).to_numpy() for run in ("tiny", "other")]
    np.testing.assert_allclose(scores(), (parts[0] + parts[1]) / 2, atol=1e-6)
    assert np.abs(parts[0] - parts[1]).max() > 0.01


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_columns_of_each_run_can_be_asked_for_later_and_left_out_again(table, model, suffix):
    asked = options(model, table, output=Path(f"out{suffix}"))
    read = pl.read_parquet if suffix == ".parquet" else pl.read_csv
    for each in (False, True, False):
        result = score.run(replace(asked, each=each), Notes())
        assert ("tiny/prob_cat" in read(result.output).columns) == each
        assert score.run(replace(asked, each=each), Notes()).was_complete


def test_ids_of_one_table_are_alike_whether_pandas_stored_them_as_integers_or_as_floats(here, model):
    pl.DataFrame({"id": [7, 8], "text": ["w1", "w2"]}).write_parquet(here / "part-1.parquet")
    pl.DataFrame({"id": [9.0, 10.0], "text": ["w3", "w4"]}).write_parquet(here / "part-2.parquet")
    result = score.run(options(model, "part-*.parquet"), Notes())
    assert pl.read_parquet("out.parquet")["id"].to_list() == ["7", "8", "9", "10"]
    assert load_plan(JobStore(here / ".jobs" / result.job)).request.float_ids
    pl.DataFrame({"id": [7.0], "text": ["w3"]}).write_parquet(here / "part-3.parquet")
    with pytest.raises(UserError, match=r"(?s)1 ids occur more than once.*first: +7\n"):
        score.run(options(model, "part-*.parquet"), Notes())


def test_a_job_of_an_older_version_whose_ids_had_another_spelling_is_another_job(here, model):
    pl.DataFrame({"id": [7.0, 8.0], "text": ["w1", "w2"]}).write_parquet(here / "rows.parquet")
    plan = load_plan(JobStore(here / ".jobs" / score.run(options(model, "rows.parquet"), Notes()).job))
    before = plan.to_json()
    del before["request"]["float_ids"]
    older = Plan.from_json(before).request.job_id()
    assert older != plan.id == plan.request.job_id()
    shutil.rmtree(here / ".jobs" / plan.id)
    JobStore(here / ".jobs" / older).write("plan.json", {**before, "id": older})
    watch = Notes()
    score.run(options(model, "rows.parquet", force=True), watch)
    assert watch.notes == [f"the spelling of ids changed since job {older}: this is a new job"]


def test_rows_without_an_id_column_are_numbered(here, model):
    write_csv(here / "rows.csv", [(text,) for _, text in ROWS], header=("text",))
    score.run(options(model, "rows.csv", shard_rows=2), Notes())
    assert pl.read_parquet("out.parquet")["row"].to_list() == [str(i) for i in range(7)]


def test_numbers_of_rows_do_not_shift_when_rows_are_set_aside(here, model):
    (here / "rows.csv").write_text("key,text\na,w1\nb\nc,w3\nd,w4,w5\ne,w6\n")
    result = score.run(options(model, "rows.csv", no_id=True, on_bad_row="set-aside", shard_rows=2), Notes())
    assert pl.read_parquet("out.parquet").to_series(0).to_list() == ["0", "2", "4"]
    assert result.totals["set_aside"] == 2


def test_a_model_that_is_replaced_while_it_is_loaded_is_told(table, model, here, save_model, monkeypatch):
    ours, other = shutil.copytree(model, here / "ours"), save_model(here / "other", 1)

    def load(*arguments, **options):
        scorer = Scorer(*arguments, **options)
        shutil.copyfile(Path(other, "model.safetensors"), ours / "model.safetensors")
        return scorer

    monkeypatch.setattr(score, "Scorer", load)
    with pytest.raises(UserError, match="ours changed while it was loaded"):
        score.run(options(str(ours), table), Notes())
    monkeypatch.setattr(score, "Scorer", Scorer)
    agree = score.agree

    def judge(*arguments):
        shutil.copyfile(Path(model, "model.safetensors"), ours / "model.safetensors")
        return agree(*arguments)

    monkeypatch.setattr(score, "agree", judge)
    with pytest.raises(UserError, match="other weights of 'ours' than the job was planned with"):
        score.run(options(str(ours), table), Notes())
    score.run(options(str(ours), table), Notes())  # once it stands still
    assert len(pl.read_parquet("out.parquet")) == len(ROWS)


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "测" * 80 + ".csv"])
def test_a_name_as_long_as_the_file_system_allows_is_scored_and_resumed(here, model, name):
    write_csv(here / name)
    first = score.run(options(model, name, output=None), Notes())
    assert len(pl.read_parquet(first.output)) == len(ROWS)
    assert score.run(options(model, name, output=None), Notes()).was_complete


def test_a_name_that_is_no_text_is_told(here, model, cli):
    (here / os.fsdecode("测试.csv".encode("gb18030"))).write_text("id,text\n1,w1\n")
    done = cli("score", "--input", "[!a-z]*.csv", "--model", model, check=2)
    assert "error: a name is not UTF-8" in done.stderr


def test_a_long_name_of_the_only_column_can_be_given(here, model):
    (here / "rows.csv").write_text("What did you like?\nw1\nw2\n")
    with pytest.raises(UserError, match="the first line looks like a text"):
        score.run(options(model, "rows.csv"), Notes())
    score.run(options(model, "rows.csv", text_column="What did you like?"), Notes())
    assert len(pl.read_parquet("out.parquet")) == 2


def test_limit_counts_rows_of_the_file(here, model):
    (here / "rows.csv").write_text("id,text\na,w1\nb\nc,w3\nd,w4\ne\nf\n")
    result = score.run(options(model, "rows.csv", limit=3, on_bad_row="set-aside"), Notes())
    assert pl.read_parquet("out.parquet")["id"].to_list() == ["a", "c"]
    assert result.totals["set_aside"] == 1  # of three rows, not those beyond
    lines = next(here.glob(".jobs/*/quarantine/*.jsonl")).read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [3]


@pytest.mark.parametrize(
    ("name", "header", "row"), [("rows.csv", b"id,text\n", b"%d,%s\n"), ("rows.jsonl", b"", b'{"id":%d,"text":"%s"}\n')]
)
def test_broken_bytes_beyond_the_limit_are_nothing_to_this_job(here, model, name, header, row):
    def write(*texts):
        (here / name).write_bytes(header + b"".join(row % (i, text) for i, text in enumerate(texts)))

    write(b"w1 \xff", b"w2", b"\xff\xff w3")
    result = score.run(options(model, name, limit=2, encoding_errors="replace"), Notes())
    assert (result.totals["rows"], result.totals["replaced"]) == (2, 1)
    write(b"w1", b"w2", b"\xff\xff w3")
    score.run(options(model, name, limit=2, output=Path("strict.parquet")), Notes())
    assert pl.read_parquet("strict.parquet")["id"].to_list() == ["0", "1"]


def test_the_same_request_is_complete_and_does_nothing(table, model):
    first = score.run(options(model, table), Notes())
    before = Path("out.parquet").stat().st_mtime_ns
    again = score.run(options(model, table), Notes())
    assert (first.was_complete, again.was_complete) == (False, True)
    assert Path("out.parquet").stat().st_mtime_ns == before
    assert again.totals == first.totals


def test_a_lost_output_is_assembled_again_from_the_parts(table, model):
    score.run(options(model, table), Notes())
    whole = Path("out.parquet").read_bytes()
    Path("out.parquet").unlink()
    watch = Notes()
    score.run(options(model, table), watch)
    assert Path("out.parquet").read_bytes() == whole
    assert watch.commits == 0


def test_a_changed_input_is_a_new_job_and_it_says_so(table, model):
    first = score.run(options(model, table), Notes())
    write_csv(table, [*ROWS, ("a8", "w1")])
    watch = Notes()
    second = score.run(options(model, table, output=Path("new.parquet")), watch)
    assert second.job != first.job
    assert watch.notes == [f"rows.csv changed since job {first.job}: this is a new job"]


def test_a_changed_model_is_a_new_job(table, tmp_path, model, save_model):
    mine = str(tmp_path / "mine")
    shutil.copytree(model, mine)
    first = score.run(options(mine, table), Notes())
    shutil.rmtree(mine)
    save_model(Path(mine), 9)
    watch = Notes()
    second = score.run(options(mine, table, output=Path("new.parquet")), watch)
    assert second.job != first.job
    assert watch.notes == [f"mine changed since job {first.job}: this is a new job"]


def test_a_touched_input_is_the_same_job(table, model):
    first = score.run(options(model, table), Notes())
    os.utime(table)
    assert score.run(options(model, table), Notes()).job == first.job


def test_a_change_that_samples_cannot_see_is_a_new_job_all_the_same(here, model, monkeypatch):
    """A large file of the same size with one byte changed between the samples: the checksums of the shards tell."""
    monkeypatch.setattr("kaggle_tools.files._SAMPLES", 2)
    monkeypatch.setattr("kaggle_tools.files._SAMPLE_BYTES", 4)
    table = write_csv(here / "rows.csv")
    first = score.run(options(model, table), Notes())
    table.write_text(table.read_text().replace("w9, w10", "w9, w20"))
    second = score.run(options(model, table, output=Path("new.parquet")), Notes())
    assert second.job != first.job
    assert (scores()[5] != scores("new.parquet")[5]).any()


def test_an_input_that_changes_while_the_job_runs_is_noticed(table, model, monkeypatch):
    real = engines.run_shards

    def meddle(*arguments):
        table.write_text(table.read_text().replace("w1", "w3"))
        return real(*arguments)

    monkeypatch.setattr(engines, "run_shards", meddle)
    with pytest.raises(UserError, match=r"rows\.csv changed while the job ran"):
        score.run(options(model, table), Notes())
    assert not Path("out.parquet").exists()


def test_a_second_process_on_the_same_job_is_refused(table, model):
    job = score.run(options(model, table), Notes()).job
    with JobStore(Path(".jobs") / job).lock(), pytest.raises(UserError, match="another process is at work"):
        score.run(options(model, table), Notes())


def test_a_damaged_part_is_named(table, model):
    job = score.run(options(model, table), Notes()).job
    part = Path(".jobs") / job / "parts" / "00000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    Path("out.parquet").unlink()
    with pytest.raises(UserError, match="part 00000 is damaged") as caught:
        score.run(options(model, table), Notes())
    assert caught.value.details["next"] == "delete that file and run the command again"
    part.unlink()
    score.run(options(model, table), Notes())
    assert Path("out.parquet").exists()


def test_an_output_that_exists_is_kept_unless_forced(table, model):
    Path("out.parquet").write_text("mine")
    with pytest.raises(UserError, match="the output file exists"):
        score.run(options(model, table), Notes())
    assert Path("out.parquet").read_text() == "mine"
    score.run(options(model, table, force=True), Notes())
    assert len(pl.read_parquet("out.parquet")) == 7


def test_an_output_that_is_a_folder_is_told_before_the_work(table, model):
    Path("out.parquet").mkdir()
    watch = Notes()
    with pytest.raises(UserError, match=r"cannot write out\.parquet: it is a folder"):
        score.run(options(model, table, force=True), watch)
    assert watch.commits == 0


def test_an_output_that_another_job_put_there_meanwhile_is_kept(table, model, monkeypatch):
    other = write_csv(Path("other.csv"), ROWS[:2])
    real, asked = engines.run_shards, options(model, table, output=Path("out.csv"))

    def with_company(*arguments):
        monkeypatch.setattr(engines, "run_shards", real)
        score.run(options(model, other, output=Path("out.csv")), Notes())
        return real(*arguments)

    monkeypatch.setattr(engines, "run_shards", with_company)
    with pytest.raises(UserError, match=r"the output file appeared while the job ran[\s\S]*parts of job .* are kept"):
        score.run(asked, Notes())
    assert len(pl.read_csv("out.csv")) == 2
    with pytest.raises(UserError, match="the output file exists"):
        score.run(asked, Notes())
    watch = Notes()
    score.run(replace(asked, force=True), watch)
    assert (len(pl.read_csv("out.csv")), watch.commits) == (7, 0)


def test_an_interrupted_job_does_not_take_another_jobs_output_for_its_own(table, model, monkeypatch):
    real, asked = engines.run_shards, options(model, table, output=Path("out.csv"))

    def break_off(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(engines, "run_shards", break_off)
    with pytest.raises(KeyboardInterrupt):
        score.run(asked, Notes())
    monkeypatch.setattr(engines, "run_shards", real)
    score.run(options(model, write_csv(Path("other.csv"), ROWS[:2]), output=Path("out.csv")), Notes())
    with pytest.raises(UserError, match="the output file exists"):
        score.run(asked, Notes())
    assert len(pl.read_csv("out.csv")) == 2


def test_a_metrics_file_destroys_nothing(table, model):
    asked = options(model, table, output=Path("out.csv"))
    with pytest.raises(UserError, match="--metrics-file is the output"):
        score.run(replace(asked, metrics_file=Path("./out.csv"), force=True), Notes())
    Path("keep.toml").write_text("a = 1\n")
    with pytest.raises(UserError, match="file of another kind"):
        score.run(replace(asked, metrics_file=Path("keep.toml"), force=True), Notes())
    assert Path("keep.toml").read_text() == "a = 1\n"
    assert not Path(".jobs").exists()
    Path("empty.prom").touch()
    for _ in range(2):
        score.run(replace(asked, metrics_file=Path("empty.prom"), force=True), Notes())
    assert Path("empty.prom").read_text().startswith("# HELP kaggle_jobs")


@pytest.mark.parametrize("name", ["label", "fold", "prob_cat", "tiny/prob_dog"])
def test_an_id_column_called_as_one_of_the_scores_is_refused_before_anything_is_scored(here, model, name):
    write_csv(here / "rows.csv", header=(name, "text"))
    watch = Notes()
    with pytest.raises(UserError, match=f"the id column is called '{name}'") as caught:
        score.run(options(model, "rows.csv", id_column=name), watch)
    assert "--no-id" in caught.value.details["next"]
    assert not Path(".jobs").exists()
    score.run(options(model, "rows.csv", no_id=True), Notes())


@pytest.mark.parametrize("option", ["output", "metrics_file"])
def test_an_input_is_never_written_over(table, model, option):
    before = table.read_bytes()
    Path("link.csv").symlink_to(table)
    with pytest.raises(UserError, match="is an input, which would be lost"):
        score.run(options(model, table, force=True, **{option: Path("link.csv")}), Notes())
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ("id,txt\na,w1\n", {"text_column": "text"}, r"rows\.csv has no column 'text'\n.*\n.*\n.*did you mean 'txt'\?"),
        ("id,a,b\n1,x,y\n", {}, "which column is the text"),
        ("w1 w2 w3 w4\nw5\n", {}, "the first line looks like a text"),
        ("今天的天气真好我们出去走走吧\nw5\n", {}, "the first line looks like a text"),
        ("id,text\na,w1\nb,w2\na,w3\n", {}, "1 ids occur more than once"),
        ("id,text\na,w1\n,w2\n", {}, r"rows\.csv line 3: no id in column 'id'"),
        ("", {}, "is empty"),
        ("id,text\n", {}, "has a header but no rows"),
        ("id,text\na,w1\nb\n", {}, r"1 of 2 rows are ragged\n.*\n.*line 3 has 1 fields"),
        ('id,text\na,w1\nb,"w2\nc,w3\n', {}, "line 3: the quote that opens here is never closed"),
        ("id,text\na,w1\n", {"encoding": "utf-9"}, "unknown encoding 'utf-9'"),
        ("id,text\na,w1\n", {"output": Path("out.xlsx")}, r"cannot write '\.xlsx' files"),
    ],
)
def test_bad_input_gives_one_clear_error_and_no_output(here, model, content, changes, message):
    (here / "rows.csv").write_text(content)
    with pytest.raises(UserError) as caught:
        score.run(options(model, "rows.csv", **changes), Notes())
    assert re.search(message, str(caught.value)), str(caught.value)
    assert not Path("out.parquet").exists()
    assert not list(here.glob(".jobs/*/plan.json"))


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({37: "r2", 21: "r11"}, r"2 ids occur more than once[\s\S]*first: r2, r11"),
        ({33: "", 12: ""}, r"rows\.csv line 14: no id in column 'id'"),  # the first of the table, whoever is quicker
    ],
)
def test_ids_of_many_shards_are_checked_in_order(here, model, monkeypatch, cores, rows, message):
    monkeypatch.setattr(planner, "usable_cores", lambda: float(cores))
    write_csv(here / "rows.csv", [(rows.get(i, f"r{i}"), "w1") for i in range(40)])
    with pytest.raises(UserError, match=message):
        score.run(options(model, "rows.csv", shard_rows=3), Notes())


def test_a_wrong_encoding_names_the_byte_and_the_likely_encoding(here, model):
    write_csv(here / "rows.csv", [*ROWS, ("a8", "我们的猫很好")], encoding="gb18030")
    with pytest.raises(UserError, match=r"rows\.csv line 10: not utf-8 at byte \d+") as caught:
        score.run(options(model, "rows.csv"), Notes())
    offset = (here / "rows.csv").read_bytes().index("我".encode("gb18030"))
    assert f"byte {offset:,}" in caught.value.summary
    assert caught.value.details["next"] == "it looks like gb18030: --encoding gb18030"


def test_rows_set_aside_are_written_down_with_line_and_reason(here, model):
    (here / "rows.csv").write_text("id,text\na,w1\nb\nc,w3\n,w4\n")
    result = score.run(options(model, "rows.csv", on_bad_row="set-aside"), Notes())
    lines = [json.loads(line) for line in next(here.glob(".jobs/*/quarantine/*.jsonl")).read_text().splitlines()]
    assert [(line["line"], line["raw"]) for line in lines] == [(3, "b"), (5, ",w4")]
    assert all(line["path"] == str(here / "rows.csv") for line in lines)
    assert result.totals["set_aside"] == 2
    assert pl.read_parquet("out.parquet")["id"].to_list() == ["a", "c"]


@pytest.mark.parametrize(("n_rows", "precision"), [(7, "fp32"), (8, "bf16")])
def test_the_gate_judges_a_format_that_has_rows_enough_to_pay_for_it(here, model, n_rows, precision, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda _: True)
    monkeypatch.setitem(SAMPLE_ROWS, "cpu", 2)
    write_csv(here / "rows.csv", [*ROWS, ("a8", "w2")][:n_rows])
    result = score.run(replace(options(model, "rows.csv"), precision="auto"), Notes())
    assert (result.precision, result.gate is not None) == (precision, precision == "bf16")


def test_a_first_shard_without_a_good_row_leaves_the_gate_nothing_and_goes_on(here, model, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda _: True)
    monkeypatch.setitem(SAMPLE_ROWS, "cpu", 1)  # a longer table would be judged
    (here / "rows.csv").write_text("id,text\na\nb\nc,w3\nd,w4\n")
    asked = options(model, "rows.csv", on_bad_row="set-aside", shard_rows=2)
    result = score.run(replace(asked, precision="auto"), Notes())
    assert (result.precision, result.gate) == ("fp32", None)
    assert pl.read_parquet("out.parquet")["id"].to_list() == ["c", "d"]


def test_a_job_in_a_format_that_strays_further_than_is_allowed_now_is_refused(here, model, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda _: True)  # in emulation, where there is none
    write_csv(here / "rows.csv")
    asked = options(model, "rows.csv", precision="bf16", bounds=GateBounds(1.0, 1.0))
    assert score.run(asked, Notes()).precision == "bf16"
    with pytest.raises(UserError, match="by more than is allowed now"):
        score.run(replace(asked, bounds=GateBounds(1.0, 0.0)), Notes())
    assert score.run(asked, Notes()).was_complete


@pytest.mark.parametrize("bounds", [GateBounds(float("nan")), GateBounds(-1.0), GateBounds(difference=1.5)])
def test_bounds_that_bound_nothing_are_refused(table, model, bounds):
    with pytest.raises(UserError, match=r"--max-(flips|difference) is .*\n.*between 0 and 1"):
        score.run(options(model, table, bounds=bounds), Notes())


def test_of_many_files_only_one_is_open_at_a_time(here, model, monkeypatch):
    for number in range(30):
        write_csv(here / f"part-{number}.csv", [(f"r{number}", "w1")])
    opened, most = set(), [0]
    real_open, real_close = ByteStream._open, ByteStream.close

    def count(self):
        real_open(self)
        opened.add(id(self))
        most[0] = max(most[0], len(opened))

    def forget(self):
        opened.discard(id(self))
        real_close(self)

    monkeypatch.setattr(ByteStream, "_open", count)
    monkeypatch.setattr(ByteStream, "close", forget)
    score.run(options(model, "part-*.csv"), Notes())
    assert most[0] <= 3  # the shard's, and those that look at a header
    assert not opened


def test_a_model_that_is_not_there_is_an_error(table):
    with pytest.raises(ModelError, match="no model directory"):
        score.run(options("./nowhere", table), Notes())


def test_a_checkpoint_without_tokenizer_is_an_error(table, tmp_path, model):
    bare = tmp_path / "bare"
    shutil.copytree(model, bare, ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    with pytest.raises(ModelError, match="checkpoint without tokenizer"):
        score.run(options(str(bare), table), Notes())


def test_a_folder_that_cannot_be_written_to_is_an_error_before_the_work(table, model):
    Path("file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        score.run(options(model, table, output=Path("file/out.parquet")), Notes())


def test_a_network_whose_rows_cannot_be_packed_is_named_in_a_note(table, model, here, monkeypatch):
    monkeypatch.setattr("models.inference.packed.refusal", lambda network, max_length: "of an unknown kind")
    watch = Notes()
    score.run(options(model, table), watch)
    assert [note for note in watch.notes if note.endswith("padded, not packed: of an unknown kind")]


def test_a_dry_run_writes_nothing(table, model, here):
    before = sorted(p.name for p in here.rglob("*"))
    forecast = score.predict(options(model, table), Notes())
    assert sorted(p.name for p in here.rglob("*")) == before
    assert (forecast.n_rows, forecast.sample_rows) == (7, 6)  # distinct texts
    assert forecast.distinct_share == pytest.approx(6 / 7)


def test_predictions_of_a_run_are_a_predictions_file(here, model):
    write_csv(here / "more.csv")
    run = here / "runs" / "mine"
    shutil.copytree(model, run / "fold0")
    (run / "run.json").write_text("{}")
    result = score.run(ScoreOptions(InputOptions(("more.csv",)), precision="fp32"), Notes())
    predictions = Predictions.load(run / "predictions" / "more.parquet")
    assert result.predictions == {"mine": run / "predictions" / "more.parquet"}
    assert predictions.classes == ("cat", "dog", "emu")
    assert predictions.ids.to_list() == [row[0] for row in ROWS]
    assert predictions.meta["run"] == "mine"
    assert result.output.parent == here / "predictions"


@pytest.fixture
def competition(here, model):
    """A workspace whose one run scores the competition's test file."""
    write_csv(here / "test.csv")
    (here / "sample.csv").write_text("id,y\n" + "".join(f"{key},cat\n" for key, _ in reversed(ROWS)))
    (here / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "macro_f1"\ntext_column = "text"\nid_column = "id"\n'
        'classes = ["dog", "cat", "emu"]\ntest = "test.csv"\nsample_submission = "sample.csv"\n'
        'submission_format = "labels"\nsubmission_columns = ["y"]\n'
    )
    run = here / "runs" / "mine"
    shutil.copytree(model, run / "fold0")
    (run / "run.json").write_text("{}")
    return here


def test_scoring_the_test_file_writes_one_submission_in_the_samples_order(competition, expected):
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32")
    result = score.run(asked, Notes())
    submission = pl.read_csv(competition / "submissions" / result.submission / "submission.csv")
    assert submission.columns == ["id", "y"]
    assert submission["id"].to_list() == [key for key, _ in reversed(ROWS)]
    assert submission["y"].to_list() == [("cat", "dog", "emu")[i] for i in expected[::-1].argmax(1)]
    assert score.run(asked, Notes()).submission == result.submission
    assert len(list((competition / "submissions").glob("v*"))) == 1


def test_a_name_that_no_version_can_have_is_told_before_the_work(competition):
    with pytest.raises(UserError, match="'a b' cannot be a version name"):
        score.run(ScoreOptions(InputOptions(("test.csv",)), precision="fp32", name="a b"), Notes())
    assert not Path(".jobs").exists()


def test_a_version_that_is_there_keeps_its_name_and_that_is_said(competition):
    watch = Notes()
    for name in ("first", "first", "second"):
        assert not watch.notes
        asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", name=name)
        assert score.run(asked, watch).submission == "v0001-first"
    assert watch.notes == ["v0001-first is of this job: one job makes one version, which keeps its name"]


@pytest.mark.parametrize(
    ("replaced", "by", "missing"),
    [("a7,", "a7", "a7"), ("a1,", "1.0,", "a1")],
    ids=["a row set aside", "another spelling"],
)
def test_ids_other_than_the_samples_are_told_before_the_work(competition, replaced, by, missing):
    text = (competition / "test.csv").read_text()
    (competition / "test.csv").write_text(text.replace(replaced, by))
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", on_bad_row="set-aside")
    for _ in range(2):  # the plan is there the second time
        watch = Notes()
        with pytest.raises(UserError, match="1 missing") as caught:
            score.run(asked, watch)
        assert caught.value.details["missing"] == missing
        assert (watch.commits, list(competition.glob("predictions/*"))) == (0, [])
    with pytest.raises(UserError, match="1 missing"):
        score.predict(asked, watch)
    score.run(replace(asked, submission=False), watch)
    assert watch.commits == 1


def test_predictions_of_a_namesake_from_elsewhere_do_not_land_in_our_run(competition, tmp_path, save_model):
    other = save_model(tmp_path / "elsewhere" / "mine", 5)
    result = score.run(ScoreOptions(InputOptions(("test.csv",)), (other,), precision="fp32"), Notes())
    assert result.predictions == {}
    assert result.submission is None
    assert not (competition / "runs" / "mine" / "predictions").exists()


def predictions_of(competition):
    return competition / "runs" / "mine" / "predictions" / "test.parquet"


def test_predictions_that_another_job_replaced_are_restored_before_a_submission_is_made_of_them(competition):
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", submission=False)
    first = score.run(asked, Notes())
    whole = predictions_of(competition).read_bytes()
    watch = Notes()
    other = score.run(replace(asked, max_length=3), watch)
    assert watch.notes == [
        f"predictions/test.parquet of mine replaced, which was of job {first.job}, whose command restores it: "
        "max length was none, is 3"
    ]
    assert predictions_of(competition).read_bytes() != whole
    watch = Notes()
    again = score.run(replace(asked, submission=True), watch)
    assert (again.was_complete, again.job, watch.commits) == (False, first.job, 0)
    assert predictions_of(competition).read_bytes() == whole
    assert f"job {other.job}" in watch.notes[0]
    scored = pl.read_parquet(first.output)
    submission = pl.read_csv(competition / "submissions" / again.submission / "submission.csv")
    assert dict(submission.iter_rows()) == dict(scored.select("id", "label").iter_rows())


def test_no_submission_is_made_of_predictions_that_another_job_replaces_meanwhile(competition, monkeypatch):
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32")
    score.run(replace(asked, max_length=3, submission=False), Notes())
    others, real = predictions_of(competition).read_bytes(), Joining.place

    def place_and_lose(joining):
        real(joining)
        predictions_of(competition).write_bytes(others)

    monkeypatch.setattr(Joining, "place", place_and_lose)
    with pytest.raises(UserError, match="another job replaced predictions"):
        score.run(asked, Notes())
    assert not list((competition / "submissions").glob("v*"))
    monkeypatch.setattr(Joining, "place", real)
    assert score.run(asked, Notes()).submission == "v0001-mine"


@pytest.mark.parametrize("gone", ["run.json", "."])
def test_a_run_that_is_trained_anew_or_removed_meanwhile_costs_its_predictions_alone(competition, gone):
    """`cli train --replace` removes `run.json` at its beginning; the scores of hours could not be had any more."""
    run = competition / "runs" / "mine"

    class Remover(Notes):
        def committed(self, stats, seconds):
            super().committed(stats, seconds)
            shutil.rmtree(run, ignore_errors=True) if gone == "." else (run / gone).unlink(missing_ok=True)

    watch = Remover()
    result = score.run(ScoreOptions(InputOptions(("test.csv",)), precision="fp32"), watch)
    assert [*result.predictions] == ([] if gone == "." else ["mine"])
    assert ["removed while the job ran" in note for note in watch.notes] == [True] * (gone == ".")
    assert pl.read_parquet(result.output)["id"].to_list() == [key for key, _ in ROWS]
    (job,) = status.run(competition)
    assert job.state == "complete"
    assert run.exists() == (gone != ".")


def test_predictions_by_row_number_are_replaced_by_those_with_ids(competition):
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", submission=False)
    score.run(asked, Notes())
    watch = Notes()
    score.run(replace(asked, input=InputOptions(("test.csv",), no_id=True)), watch)
    assert watch.notes[-1].endswith("id column was id, is none")
    assert not score.run(asked, Notes()).was_complete
    assert Predictions.load(predictions_of(competition)).ids.to_list() == [row[0] for row in ROWS]
    assert score.run(asked, Notes()).was_complete


def test_damaged_predictions_are_written_anew(competition):
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", submission=False)
    score.run(asked, Notes())
    whole = predictions_of(competition).read_bytes()
    predictions_of(competition).write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    score.run(asked, Notes())
    assert predictions_of(competition).read_bytes() == whole


def test_predictions_whose_parts_were_pruned_are_scored_again_and_that_is_said(competition):
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", submission=False)
    job = score.run(asked, Notes()).job
    whole = predictions_of(competition).read_bytes()
    prune.run(0, start=competition)
    predictions_of(competition).unlink()
    watch = Notes()
    score.run(asked, watch)
    assert watch.notes == [f"job {job} was complete, but its parts were pruned: all rows are scored again"]
    assert predictions_of(competition).read_bytes() == whole


def test_a_pruned_job_that_is_scored_again_is_complete_only_at_its_end(competition):
    class Breaks(Notes):
        def committed(self, stats, seconds):
            seen.append(status.run(competition)[0].state)
            raise KeyboardInterrupt

    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", submission=False, shard_rows=2)
    job = score.run(asked, Notes()).job
    whole = predictions_of(competition).read_bytes()
    prune.run(0, start=competition)
    predictions_of(competition).unlink()
    seen = []
    with pytest.raises(KeyboardInterrupt):
        score.run(asked, Breaks())
    (begun,) = status.run(competition)
    assert (set(seen), begun.state) == ({"running"}, "interrupted")
    assert 0 < begun.rows_done < begun.rows
    assert not prune.run(0, start=competition).jobs
    watch = Notes()
    assert score.run(asked, watch).job == job
    assert watch.before == begun.rows_done
    assert predictions_of(competition).read_bytes() == whole


def test_force_writes_what_a_complete_job_has_written_anew(competition):
    asked = ScoreOptions(InputOptions(("test.csv",)), precision="fp32", force=True)
    first = score.run(asked, Notes())
    files = [first.output, predictions_of(competition)]
    before = [path.stat().st_ino for path in files]
    watch = Notes()
    again = score.run(asked, watch)
    assert (again.was_complete, watch.commits, again.submission) == (False, 0, first.submission)
    assert all(path.stat().st_ino != inode for path, inode in zip(files, before, strict=True))


def test_tables_whose_names_differ_behind_a_dot_have_predictions_of_their_own(here, model):
    run = here / "runs" / "mine"
    shutil.copytree(model, run / "fold0")
    (run / "run.json").write_text("{}")
    for name in ("data.v1.csv", "data.v2.csv"):
        write_csv(here / name)
        score.run(ScoreOptions(InputOptions((name,)), precision="fp32"), Notes())
    assert sorted(path.name for path in (run / "predictions").iterdir()) == ["data.v1.parquet", "data.v2.parquet"]


def test_a_full_disk_is_one_error_and_the_job_goes_on_later(here, model, cli):
    """A limit on the size of files stands in for a disk without room."""
    write_csv(here / "rows.csv", [(f"r{i}", f"w{i % 200} w{i // 200}") for i in range(4000)])
    command = ("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "-o", "out.csv", "--shard-rows", "1024")
    done = cli(*command, check=2, file_limit=100_000)
    assert "cannot write out.csv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(here.rglob("*.tmp"))
    resumed = json.loads(cli(*command, "--json", check=0).stdout)
    assert resumed["resumed_rows"] == 4000
    assert len(pl.read_csv("out.csv")) == 4000
