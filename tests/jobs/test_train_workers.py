"""`cli train --workers`: folds shared out among processes, the bytes of one, what is left when some are killed."""

import dataclasses
import json
import pickle
import queue
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext

import polars as pl
import psutil
import pytest
import torch

from jobs import train as command
from jobs.fold_workers import FoldDuty, FoldWorker, Stepped, _Shift
from jobs.runner.reports import Failed, Lost, Ready, tell_failure
from jobs.show.train import training_progress
from jobs.train import TrainOptions
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from models.errors import ModelError
from models.training.progress import Progress
from tests.conftest import process_environment
from tests.jobs.test_train import LINEAR, RICH, TINY, Place

LONG = TINY.replace("epochs = 2", "epochs = 150")
PATIENCE_S = 400  # of a machine that is busy with other things


@pytest.fixture
def place(tmp_path):
    (tmp_path / "here").mkdir()
    return Place(tmp_path / "here")


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """Files of a run that one process trained, and nobody disturbed."""
    place = Place(tmp_path_factory.mktemp("long"))
    place.recipe("long", LONG)
    place.train("long")
    return files_of(place, "long")


def files_of(place, run):
    """Bytes of all that a run holds but times: those of a fold stand in its own predictions."""
    files = {}
    for path in place.file(run).rglob("*"):
        if not path.is_file() or path.name == "run.json":
            continue
        name = str(path.relative_to(place.file(run)))
        files[name] = path.read_bytes() if path.parent == place.file(run) else _without_times(path)
    return files


def _without_times(path):
    return Predictions.load(path).probs.tobytes() if path.name == "oof.parquet" else path.read_bytes()


@contextmanager
def started(place, *words):
    """`cli train` as a process of its own that does not outlive the block; what it says goes to a file."""
    said = place.root / "said.txt"
    with said.open("w") as handle:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "train", "long.toml", "--device", "cpu", *words],
            cwd=place.root, env=process_environment({"OMP_NUM_THREADS": "1"}), stdout=subprocess.PIPE, stderr=handle,
            text=True,
        )  # fmt: skip
    try:
        with process:
            yield process
    finally:
        process.kill()


def said(place):
    return (place.root / "said.txt").read_text()


def wait_until(condition, process, place):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, said(place)
        assert time.monotonic() < until, said(place)
        time.sleep(0.05)


def workers_of(process):
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def train_two_at_once(process, place):
    wait_until(lambda: "fold 0: step" in said(place) and "fold 1: step" in said(place), process, place)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [TINY, RICH], ids=["tiny", "rich"])
def test_two_workers_give_the_bytes_of_one_process(place, tmp_path, recipe):
    other = tmp_path / "other"
    other.mkdir()
    both = [place, Place(other)]
    steps = []
    for where in both:
        where.recipe("same", recipe)
    alone = both[0].train("same", seeds=2)
    shared = both[1].train("same", seeds=2, workers=2, on_progress=steps.append)
    assert files_of(both[1], "same") == files_of(both[0], "same")
    assert (shared.score, shared.seeds, shared.missing) == (alone.score, alone.seeds, ())
    assert [(fold.fold, fold.seed, fold.reused) for fold in shared.folds] == [
        (fold, seed, False) for fold in range(3) for seed in (3, 4)
    ]
    assert {(step.fold, step.seed) for step in steps} == {(fold, seed) for fold in range(3) for seed in (3, 4)}
    assert [path.name for path in (other / ".jobs/runs/same").iterdir()] == ["lock"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        '[pseudo_labels]\nrun = "teacher"\ntable = "more.csv"\nthreshold = 0.5\nsource = "fold"\n',
        '[distill]\nteacher = "teacher"\nsource = "fold"\ntest = true\n',
    ],
    ids=["pseudo-labels", "soft targets"],
)
def test_a_teacher_teaches_each_worker_what_it_teaches_one_process(place, tmp_path, more):
    other = tmp_path / "other"
    other.mkdir()
    for where in (place, Place(other)):
        rows = [f"An {animal} {verb} far" for animal in ("cat", "dog", "emu") for verb in ("sat", "ran", "slept")]
        texts = pl.DataFrame({"id": [f"u{i}" for i in range(len(rows))], "text": rows})
        for name in ("more.csv", "test.csv"):
            texts.write_csv(where.root / name)
        where.competition(test="test.csv")
        where.recipe("teacher", LINEAR)
        where.recipe("student", TINY + more)
        where.train("teacher")
        result = where.train("student", workers=2 if where is not place else None)
        assert all(fold.n_pseudo > 0 for fold in result.folds)
    assert files_of(Place(other), "student") == files_of(place, "student")


@pytest.mark.slow
def test_a_killed_worker_costs_its_fold_alone_and_the_same_command_trains_it(place, long_run):
    place.recipe("long", LONG)
    with started(place, "--workers", "2") as process:
        train_two_at_once(process, place)
        workers_of(process)[0].kill()
        process.wait(PATIENCE_S)
    assert process.returncode == 2, said(place)
    (error,) = [line for line in said(place).splitlines() if line.startswith("error: ")]
    lost = error.removeprefix("error: fold ")[0]
    assert lost in "01"
    assert error == f"error: fold {lost} is not trained: a worker was lost (ended by SIGKILL)"
    assert f"note: a worker was lost (ended by SIGKILL), and with it fold {lost}; the others go on" in said(place)
    assert "run the same command again" in said(place)
    kept = [fold for fold in "012" if (place.file("long") / f"fold{fold}/oof.parquet").is_file()]
    assert kept == [fold for fold in "012" if fold != lost]
    with started(place, "--workers", "2", "--json", "--quiet") as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
    result = json.loads(out)
    assert said(place) == ""
    assert [fold["reused"] for fold in result["folds"]] == [fold != lost for fold in "012"]
    assert files_of(place, "long") == long_run


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(place, number):
    """However it ends; of three folds no more than three workers train."""
    place.recipe("long", LONG.replace("150", "20000"))
    with started(place, "--workers", "8") as process:
        train_two_at_once(process, place)
        workers = workers_of(process)
        process.send_signal(number)
        process.wait(PATIENCE_S)
        assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert len(workers) == 3
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert ("run the same command again" in said(place)) == (number != signal.SIGKILL)
    assert "Traceback" not in said(place)
    assert not list(place.root.glob("runs/long/fold*/oof.parquet"))


@pytest.mark.slow
def test_ctrl_c_reaches_workers_that_only_start_without_a_word_from_them(place):
    place.recipe("long", LONG.replace("150", "20000"))
    with started(place, "--workers", "2") as process:
        wait_until(lambda: len(workers_of(process)) == 2, process, place)
        workers = workers_of(process)
        for each in (*workers, process):  # as a terminal does
            each.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
        assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert process.returncode == 130
    assert said(place) == "interrupted: what was finished is kept; run the same command again to go on\n"


@pytest.mark.slow
def test_an_error_in_a_worker_is_that_of_one_process(place):
    place.recipe("wild", TINY.replace("1e-2", "1e30"))
    errors = []
    for workers in (None, 2):
        with pytest.raises(ModelError) as error:
            place.train("wild", workers=workers)
        errors.append((type(error.value), str(error.value), error.value.exit_code))
    assert errors[0] == errors[1]
    assert "loss" in errors[0][1]


def test_a_linear_run_and_one_worker_start_no_process(place, monkeypatch):
    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", lambda _: pytest.fail("a process was started"))
    assert place.train("linear", workers=4).missing == ()
    assert place.train("tiny", workers=1).missing == ()


def test_all_gpus_where_there_is_none_are_refused_as_in_scoring(place, cli_here, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    (place.root / "rows.csv").write_text("id,text\na,b\n")
    place.train("linear")
    trained = cli_here("train", "tiny.toml", "--device", "cuda:all", cwd=place.root, check=2)
    scored = cli_here("score", "--input", "rows.csv", "--device", "cuda:all", cwd=place.root, check=2)
    assert trained.stderr == scored.stderr
    assert trained.stderr.startswith("error: no device 'cuda:0' on this machine")
    assert not place.file("tiny").exists()


@pytest.mark.parametrize(
    ("workers", "threads", "expected"), [(2, 8, (2, 4)), (2, 1, (2, 1)), (16, 8, (3, 2)), (3, 8, (3, 2))]
)
def test_threads_are_divided_by_what_the_recipe_has_folds_for(place, monkeypatch, workers, threads, expected):
    """Not by what is left to train: a run that is resumed ends with the same last digits."""
    seen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(
        "jobs.fold_workers.train_by_workers", lambda duty, devices, *_: seen.append((duty, tuple(devices)))
    )
    for folds in ((), (1,)):
        place.train("tiny", workers=workers, folds=folds)
    assert [(len(devices), duty.threads) for duty, devices in seen] == [expected] * 2
    assert [duty.todo for duty, _ in seen] == [((0, None), (1, None), (2, None)), ((1, None),)]


def test_gpus_are_shared_out(place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    recipe = command.read_recipe(TrainOptions(place.root / "tiny.toml"))

    def devices(device, workers=None):
        return command._devices(recipe, TrainOptions(device=device, workers=workers))

    assert devices("cuda:all") == devices("auto", 2) == ("cuda:0", "cuda:1")
    assert devices("auto", 9) == ("cuda:0", "cuda:1", "cuda:0")
    assert devices("cuda:1", 2) == ("cuda:1", "cuda:1")
    assert devices("auto") == devices("auto", 1) == ("auto",)
    with pytest.raises(ModelError, match="no device 'cuda:2'"):
        devices("cuda:0,cuda:2")


@pytest.mark.parametrize(
    ("n_folds", "told"), [(2, ["one of 2 GPUs is used; --device cuda:all uses them all"]), (1, [])]
)
def test_a_gpu_that_idles_is_told_where_it_had_a_fold_to_train(place, monkeypatch, n_folds, told):
    notes = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("jobs.runner.places._leaves_open_which_gpu", lambda _: True)
    place.train("tiny", folds=range(n_folds), on_note=notes.append)
    assert notes == told


@pytest.fixture
def duty(place, monkeypatch):
    """What workers of a tiny run would be given."""
    made = []
    monkeypatch.setattr("jobs.fold_workers.train_by_workers", lambda duty, *_: made.append(duty))
    place.train("tiny", workers=2)
    return made[0]


def in_a_thread(duty, folder, index=0):
    """Reports of a worker without a process of its own, up to the end of a fold."""
    file = folder / "duty.pickle"
    file.write_bytes(pickle.dumps(duty))
    said: queue.SimpleQueue = queue.SimpleQueue()
    FoldWorker(file, "cpu", said.put).take(index)
    reports = [said.get(timeout=PATIENCE_S)]
    while isinstance(reports[-1], Stepped):
        reports.append(said.get(timeout=PATIENCE_S))
    return reports


def test_a_tokenizer_that_cannot_be_sent_is_made_by_each_worker(duty, place, tmp_path):
    class Bound(type(duty.shared.tokenizer)):
        def __reduce__(self):
            raise Exception("Custom PreTokenizer cannot be serialized")

    tokenizer = duty.shared.tokenizer
    tokenizer.__class__ = Bound
    other = FoldDuty.of(duty.task, duty.shared, duty.folder, duty.competition, duty.todo, 1)
    assert other.shared.tokenizer is None
    assert not isinstance(in_a_thread(other, tmp_path)[-1], Failed)
    (place.root / "alone").mkdir()
    alone = Place(place.root / "alone")
    alone.train("tiny", folds=(0,))
    for name in ("tokenizer.json", "model.safetensors"):
        assert (place.file("tiny/fold0") / name).read_bytes() == (alone.file("tiny/fold0") / name).read_bytes()


def test_what_breaks_in_a_worker_is_told_with_its_traceback(duty, tmp_path):
    rows = dataclasses.replace(duty.task.rows, targets=duty.task.rows.targets[:3])
    broken = dataclasses.replace(duty, task=dataclasses.replace(duty.task, rows=rows))
    (report,) = in_a_thread(broken, tmp_path, index=1)
    assert isinstance(report, Failed)
    assert (report.index, type(report.error)) == (1, IndexError)
    assert "in train_fold" in report.error.__notes__[0]


class Picky(Exception):
    """Can be sent to another process, and cannot be made there."""

    def __init__(self, code, *, response):
        super().__init__(f"code {code}")


def test_an_error_that_cannot_be_read_in_another_process_is_told_in_words():
    told = []
    try:
        raise Picky(7, response=None)
    except Picky as exc:
        tell_failure(told.append, 2, exc)
    (report,) = pickle.loads(pickle.dumps(told))
    assert (report.index, str(report.error)) == (2, "Picky: code 7")
    assert "in a worker" in report.error.__notes__[0]


def test_a_fold_that_was_finished_before_its_worker_was_lost_is_not_missed(duty):
    class Crew:
        """One worker, which trains and ends before it says so."""

        size = 1

        def hire(self, place):
            pass

        def assign(self, place, index):
            pass

    notes = []
    for trained, expected in ((False, UserError), (True, None)):
        shift = _Shift(dataclasses.replace(duty, todo=((0, None),)), Crew(), None, notes.append)
        shift.begin()
        if trained:
            in_a_thread(duty, duty.folder.run.folder.parent)
        for report in (Ready(), Lost("ended by SIGKILL")):
            shift.hear(0, report)
        assert shift.over
        with pytest.raises(expected, match="fold 0 is not trained") if expected else nullcontext():
            shift.raise_what_failed()
    lost = "a worker was lost (ended by SIGKILL)"
    assert notes == [f"{lost}, and with it fold 0", lost]


def test_steps_of_several_folds_each_have_lines_in_a_log(capsys):
    with training_progress(quiet=False) as display:
        for step in (1, 2):
            for fold in (0, 1):
                display.step(Progress(fold, 1, 2, step, 2, 0.5, 0.25 if step == 2 else None))
        display.note("a worker was lost")
    assert capsys.readouterr().err.splitlines() == [
        "fold 0: step 2 of 2, epoch 1 of 2, loss 0.5000, validation score 0.2500",
        "fold 1: step 2 of 2, epoch 1 of 2, loss 0.5000, validation score 0.2500",
        "note: a worker was lost",
    ]
