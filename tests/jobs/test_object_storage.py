"""`cli score` with tables, output and parts on object storage: the same bytes, resumed anywhere, nothing half-done."""

import gzip
import io
import json

import polars as pl
import pytest

from benchmarks.faults.tables import make_model, working_directory
from jobs import score, status
from jobs.batch.fingerprints import Digests, inputs_of, named_in
from jobs.batch.matrix import Task
from jobs.resolve import InputOptions
from jobs.show.progress import SilentWatch
from kaggle_tools.errors import UserError
from kaggle_tools.remote import place, shared_place
from tests.object_storage import KEYS, error, serve

ROWS, SHARD_ROWS = 240, 24
TABLE = "id,text\n" + "".join(f'r{i},"text {i * 7919 % 997}, é"\n' for i in range(ROWS))


@pytest.fixture(scope="module")
def storage():
    with serve() as found:
        place("s3://bucket/in/rows.csv").write_bytes(TABLE.encode())
        yield found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    make_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def local(tmp_path_factory, model):
    """The output from and to a disk."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "rows.csv").write_text(TABLE)
    score_it(folder, model, "rows.csv", "out.csv")
    return (folder / "out.csv").read_bytes()


@pytest.fixture(autouse=True)
def calm(storage):
    storage.answer = None
    storage.requests.clear()
    yield
    storage.answer = None


class Watch(SilentWatch):
    """Remembers notes; acts once so many parts are there."""

    def __init__(self, parts=0, act=None):
        self.notes, self.left, self.act, self.done_before = [], parts, act, 0

    def note(self, text):
        self.notes.append(text)

    def started(self, n_rows, rows_done, ceiling):
        self.done_before = rows_done

    def committed(self, stats, seconds):
        self.left -= 1
        if self.left == 0:
            self.act()


def score_it(folder, model, source, output, watch=None, parts=None, **changes):
    folder.mkdir(exist_ok=True)
    settings = {"shard_rows": SHARD_ROWS, "submission": False, "device": "cpu", **changes}
    with working_directory(folder):
        options = score.ScoreOptions(
            InputOptions((source,)),
            (model,),
            output=place(output),
            parts=shared_place(parts) if parts else None,
            **settings,
        )
        return score.run(options, watch or Watch())


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "parquet", "*"])
def test_the_output_has_the_bytes_of_a_job_on_a_disk(tmp_path, model, local, kind):
    frame, buffer = pl.read_csv(io.StringIO(TABLE)), io.BytesIO()
    content = {"csv": TABLE.encode(), "csv.gz": gzip.compress(TABLE.encode()), "jsonl": frame.write_ndjson().encode()}
    if kind == "parquet":
        frame.write_parquet(buffer, row_group_size=50)
        content[kind] = buffer.getvalue()
    if kind == "*":
        for i in range(3):
            place(f"s3://bucket/in/some-{i}.csv").write_bytes(frame[i * 80 : (i + 1) * 80].write_csv().encode())
    else:
        place(f"s3://bucket/in/some-{kind}").write_bytes(content[kind])
    source = "s3://bucket/in/some-*.csv" if kind == "*" else f"s3://bucket/in/some-{kind}"
    output = f"s3://bucket/out/{kind.replace('*', 'all')}.csv"
    result = score_it(tmp_path, model, source, output)
    assert str(result.output) == output
    assert place(output).read_bytes() == local


def test_a_complete_job_is_known_by_the_version_of_its_output(tmp_path, model, local, storage):
    where = {"source": "s3://bucket/in/rows.csv", "output": "s3://bucket/out/known.csv"}
    score_it(tmp_path, model, **where)
    storage.requests.clear()
    assert score_it(tmp_path, model, **where).was_complete
    assert not [r for r in storage.requests if r.method == "GET" and r.path == "/bucket/out/known.csv"]
    place(where["output"]).write_bytes(b"damaged")
    assert not score_it(tmp_path, model, **where).was_complete
    assert place(where["output"]).read_bytes() == local


def test_what_one_machine_began_another_finishes_though_they_share_no_disk(tmp_path, model, local, storage):
    where = {"parts": "s3://bucket/jobs", "source": "s3://bucket/in/rows.csv", "output": "s3://bucket/out/shared.csv"}
    with pytest.raises(KeyboardInterrupt):
        score_it(tmp_path / "first", model, **where, watch=Watch(5, interrupt))
    assert not place(where["output"]).exists()
    storage.answer = lambda request: pytest.fail("a list of jobs asked the network")
    (listed,) = status.run(tmp_path / "first")
    assert (listed.state, listed.rows) == ("interrupted", ROWS)
    storage.answer = None
    watch = Watch()
    result = score_it(tmp_path / "second", model, **where, watch=watch)
    assert watch.done_before >= 5 * SHARD_ROWS
    assert result.totals["rows"] == ROWS
    assert place(where["output"]).read_bytes() == local
    names = {path.name for path in (tmp_path / "second").glob(".jobs/*/*")}
    assert {"plan.json", "parts.json", "result.json"} <= names
    assert "parts" not in names
    assert len(list(place("s3://bucket/jobs").glob("*/parts/*.parquet"))) == ROWS // SHARD_ROWS


def test_a_job_that_is_begun_elsewhere_is_given_up_here(tmp_path, model, monkeypatch):
    where = {"parts": "s3://bucket/jobs2", "source": "s3://bucket/in/rows.csv", "output": "s3://bucket/out/twice.csv"}
    monkeypatch.setattr("jobs.runner.progress.EVERY_S", 0.0)

    def begin_elsewhere():
        with pytest.raises(KeyboardInterrupt):
            score_it(tmp_path / "other", model, **where, watch=Watch(1, interrupt))

    with pytest.raises(UserError, match="was taken over by process"):
        score_it(tmp_path / "here", model, **where, watch=Watch(3, begin_elsewhere))
    assert score_it(tmp_path / "other", model, **where).totals["rows"] == ROWS


def test_a_job_keeps_the_place_of_its_parts(tmp_path, model):
    where = {"source": "s3://bucket/in/rows.csv", "output": "kept.csv"}
    with pytest.raises(KeyboardInterrupt):
        score_it(tmp_path, model, **where, watch=Watch(3, interrupt))
    with pytest.raises(UserError, match="has its parts in"):
        score_it(tmp_path, model, **where, parts="s3://bucket/jobs3")
    assert score_it(tmp_path, model, **where).resumed_rows >= 3 * SHARD_ROWS


def test_a_changed_object_is_a_new_job_and_is_noticed_while_one_runs(tmp_path, model):
    source = place("s3://bucket/in/changing.csv")
    source.write_bytes(TABLE.encode())
    where = {"source": str(source), "output": "s3://bucket/out/changing.csv"}
    with pytest.raises(UserError, match=r"changing\.csv changed while it was read"):
        score_it(tmp_path, model, **where, watch=Watch(1, lambda: source.write_bytes(TABLE.encode() + b"late,row\n")))
    watch = Watch()
    result = score_it(tmp_path, model, **where, watch=watch)
    assert result.totals["rows"] == ROWS + 1
    assert any("changing.csv changed since job" in note for note in watch.notes)


def test_an_output_that_does_not_arrive_is_not_there_and_the_scores_are_kept(tmp_path, model, local, storage):
    where = {"source": "s3://bucket/in/rows.csv", "output": "s3://bucket/out/late.csv"}
    is_output = lambda request: request.method == "PUT" and request.path == "/bucket/out/late.csv"  # noqa: E731
    storage.answer = lambda request: error(403, "AccessDenied", "not now") if is_output(request) else None
    with pytest.raises(UserError, match="access is denied"):
        score_it(tmp_path, model, **where)
    assert not place(where["output"]).exists()
    assert not list(tmp_path.glob("**/.*.tmp"))
    storage.answer = None
    watch = Watch()
    score_it(tmp_path, model, **where, watch=watch)
    assert watch.done_before == ROWS
    assert place(where["output"]).read_bytes() == local
    assert not [file for file in place("s3://bucket/out").iterdir() if "probe" in file.name]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "s3://bucket/in/row.csv"}, "no file row.csv"),
        ({"source": "s3://nobucket/rows.csv"}, "there is no bucket 'nobucket'"),
        ({"output": "s3://nobucket/out.csv"}, "there is no bucket 'nobucket'"),
        ({"output": "s3://bucket/in/rows.csv"}, "--output is an input"),
        ({"output": "s3://bucket/there.csv"}, "the output file exists"),
        ({"parts": "s3://nobucket/jobs"}, "there is no bucket 'nobucket'"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_scored(tmp_path, model, changes, said):
    place("s3://bucket/there.csv").write_bytes(b"mine")
    where = {"source": "s3://bucket/in/rows.csv", "output": "s3://bucket/out/never.csv", **changes}
    with pytest.raises(UserError, match=said):
        score_it(tmp_path, model, **where, watch=Watch(1, lambda: pytest.fail("something was scored")))
    assert place("s3://bucket/there.csv").read_bytes() == b"mine"
    assert not place("s3://bucket/out/never.csv").exists()


def test_no_key_is_in_any_file_object_or_message(tmp_path, model, storage, capsys):
    where = {"parts": "s3://bucket/jobs4", "source": "s3://bucket/in/rows.csv", "output": "s3://bucket/out/keys.csv"}
    storage.answer = lambda request: (
        error(403, "SignatureDoesNotMatch") if request.path.endswith("00003.parquet") else None
    )
    with pytest.raises(UserError) as caught:
        score_it(tmp_path, model, **where)
    storage.answer = None
    result = score_it(tmp_path, model, **where)
    with working_directory(tmp_path):
        shown = json.dumps(status.show(result.job).request, default=str)
    said = str(caught.value) + "".join(getattr(caught.value, "__notes__", [])) + shown + "".join(capsys.readouterr())
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    contents += [file.read_bytes() for file in place("s3://bucket").glob("**")]
    assert len(contents) > 20
    for key in KEYS.values():
        assert key not in said
        assert [content for content in contents if key.encode() in content] == []


def test_other_commands_say_that_they_take_no_address(call):
    code, _, err = call("lengths", "--input", "s3://bucket/in/rows.csv", "--text", "text")
    assert code == 2
    assert "s3://bucket/in/rows.csv cannot be used here" in err


def test_a_batch_runs_a_step_again_when_its_object_changed_and_asks_for_no_other_programs(tmp_path, storage):
    source = place("s3://bucket/in/step.csv")
    source.write_bytes(TABLE.encode())
    words = ("score", "--input", str(source), "--output=s3://bucket/out/step.csv", "https://example.org/x?y")
    ours, theirs = Task("t", "t", words, True, (), (), {}, {}), Task("t", "t", ("aws", *words), False, (), (), {}, {})
    before = Digests().of_all(inputs_of(ours, tmp_path), tmp_path)
    assert list(before) == [str(source)]
    source.write_bytes(TABLE.encode() + b"late,row\n")
    after = Digests().of_all([*before, "s3://bucket/in/gone.csv"], tmp_path)
    assert after.keys() == before.keys()
    assert after != before
    storage.requests.clear()
    assert named_in(theirs, tmp_path) == []
    assert storage.requests == []
