"""`cli doctor`: everything it looks at becomes a finding, problems come with what mends them, nothing is written."""

import importlib.metadata
import json
import platform
from pathlib import Path

import polars as pl
import pytest
import torch

from jobs import ceilings, doctor, machine, measure
from jobs.doctor import DoctorOptions, DoctorReport, Finding, run
from kaggle_tools.competition import Competition
from kaggle_tools.submissions import ManifestDraft, write_version


def by_what(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_whole_report_of_this_machine(tmp_path: Path) -> None:
    report = run(DoctorOptions(start=tmp_path))
    groups = list(dict.fromkeys(finding.group for finding in report.findings))
    assert groups == ["machine", "devices", "ceilings", "libraries", "backends", "hub", "workspace"]
    assert not [f for f in report.findings if "could not be looked at" in f.detail]
    found = by_what(list(report.findings))
    assert found["Python"].detail.startswith(platform.python_version())
    assert importlib.metadata.version("polars") in found["polars"].detail
    assert list(tmp_path.iterdir()) == []


def test_ceilings_are_measured_once_and_shown_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, value in (("_SECONDS", 0.001), ("_ROWS", 200), ("_PARQUET_ROWS", 500), ("_WORDS", 1500)):
        monkeypatch.setattr(measure, name, value)
    (never,) = (f for f in doctor.check_ceilings(False) if f.what == "cpu")
    assert (never.level, never.next) == ("note", "cli doctor --measure")
    findings = list(doctor.check_ceilings(True))
    kept = ceilings.known(torch.device("cpu"))
    assert kept is not None
    assert set(kept.rates) >= {"fp32", "bandwidth", "tokenizer", "csv_index", "csv_read", "parquet_write"}
    assert set(kept.rates) <= set(ceilings.RATES)
    assert all(rate > 1e3 for rate in kept.rates.values())
    assert findings == list(doctor.check_ceilings(False))
    assert by_what(findings)["cpu matrix product, fp32"].detail.endswith(f"FLOP/s, {kept.measured[:10]}")


def test_made_up_texts_have_words_of_one_and_of_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = measure._texts(50)
    assert [len(text.split()) for text in texts] == [measure._ROW_WORDS] * 50
    assert len({measure._word(i) for i in range(measure._WORDS)}) == measure._WORDS


def test_the_best_of_several_rounds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 5.0, 5.0, 6.0, 7.0, 9.0, 99.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(times))
    assert measure.best_of(lambda: None, seconds=6.5) == 1.0


def test_exit_code_is_one_with_any_problem() -> None:
    note, problem = Finding("g", "note", "x", "y"), Finding("g", "problem", "x", "y")
    assert DoctorReport((note,)).exit_code == 0
    assert DoctorReport((note, problem)).exit_code == 1
    assert DoctorReport((note, problem)).problems == (problem,)


def test_missing_and_old_libraries_come_with_the_command() -> None:
    wanted = ["polars>=1.30", "polars>=999.1", "no-such-library>=2", "numpy", "pytest>=1; extra == 'dev'"]
    ok, old, missing, unbound = doctor.check_libraries(wanted)
    assert ok.level == "ok"
    assert (old.level, old.next) == ("problem", "pip install --upgrade 'polars>=999.1'")
    assert (missing.level, missing.next) == ("problem", "pip install 'no-such-library>=2'")
    assert (unbound.what, unbound.level) == ("numpy", "ok")


@pytest.mark.parametrize(
    ("version", "floor", "old"),
    [
        ("2.13.0+cpu", "2.13", False),
        ("2.9.1", "2.11", True),
        ("2.11", "2.11.0", False),
        ("10.0", "9.9.9", False),
        ("0.60.0rc1", "0.60", False),
        ("1.0", "", False),
    ],
)
def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch, version: str, floor: str, old: bool) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    (found,) = doctor.check_libraries([f"torch>={floor}" if floor else "torch"])
    assert (found.level == "problem") == old


def test_checkout_that_was_never_installed_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISTRIBUTION", "no-such-distribution")
    (found,) = doctor.check_libraries()
    assert (found.level, found.next) == ("problem", "pip install --editable .")


def test_hub_findings_tell_the_cache_and_offline_mode(tmp_path: Path) -> None:
    (tmp_path / "hub" / "models--bert").mkdir(parents=True)
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_TOKEN": "secret"}
    findings = list(doctor.check_hub(environment))
    found = by_what(findings)
    assert found["cache"].detail == f"1 models in {tmp_path / 'hub'}"
    assert found["offline"].detail == "by HF_HUB_OFFLINE"
    assert "secret" not in str(findings)
    assert "offline" not in by_what(list(doctor.check_hub({"HF_HUB_OFFLINE": "0"})))


def test_check_that_breaks_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down() -> None:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(doctor, "check_devices", break_down)
    report = run(DoctorOptions(start=tmp_path))
    (problem,) = [finding for finding in report.problems if finding.group == "devices"]
    assert "driver too old" in problem.detail
    assert report.exit_code == 1
    assert by_what(list(report.findings))["runs"].level == "ok"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text("id,text,label\n")
    competition = Competition(
        tmp_path, "toy", "single_label", "log_loss", "text", ("a", "b"), train="train.csv", test="test.csv"
    )
    competition.save(tmp_path / "competition.toml")
    return tmp_path


def test_workspace_findings_tell_what_is_there_and_what_is_missing(home: Path) -> None:
    (home / "runs" / "good").mkdir(parents=True)
    (home / "runs" / "good" / "run.json").write_text("{}")
    (home / "runs" / "half").mkdir()
    (home / "runs" / "bad").mkdir()
    (home / "runs" / "bad" / "run.json").write_text("{")
    for name, done in (("a", True), ("b", False)):
        (home / ".jobs" / name).mkdir(parents=True)
        (home / ".jobs" / name / "plan.json").write_text("{}")
        if done:
            (home / ".jobs" / name / "result.json").write_text("{}")
    write_version(home / "submissions", "x", pl.DataFrame({"id": ["1"], "y": ["a"]}), ManifestDraft())
    (home / "submissions" / "v0002-y").mkdir()
    found = by_what(list(doctor.check_workspace(home)))
    assert found["competition.toml"].detail.startswith("toy: 2 classes, log_loss")
    assert "train" not in found
    assert (found["test"].level, found["test"].detail) == ("problem", f"no file {home / 'test.csv'}")
    assert found["runs"].detail == "1 complete"
    assert found["run half"].level == "note"
    assert found["run bad"].level == "problem"
    assert found["submissions"].detail == "1 versions, newest v0001-x"
    assert found["submission v0002-y"].level == "problem"
    assert (found["jobs"].level, found["jobs"].detail) == ("note", "2, 1 unfinished")


def test_damaged_competition_is_a_problem_not_a_crash(home: Path) -> None:
    (home / "competition.toml").write_text("name = ")
    (found,) = doctor.check_workspace(home)
    assert found.level == "problem"
    assert "not valid TOML" in found.detail


@pytest.mark.parametrize(("free", "level"), [(1 << 28, "problem"), (1 << 31, "note"), (1 << 40, "ok")])
def test_little_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setattr(machine, "free_disk", lambda _: free)
    assert by_what(list(doctor.check_machine(tmp_path)))["disk"].level == level


def test_processor_is_read_from_the_kernels_description(tmp_path: Path) -> None:
    text = "processor\t: 0\nmodel name\t: Fast CPU\nflags\t\t: fpu avx2 amx_bf16 avx512_bf16\n\nprocessor\t: 1\n"
    (tmp_path / "cpuinfo").write_text(text)
    found = machine.processor(tmp_path / "cpuinfo")
    assert (found.model, found.vector_flags, found.bf16_flags) == ("Fast CPU", ("avx2",), ("amx_bf16", "avx512_bf16"))
    assert machine.processor(tmp_path / "none").vector_flags == ()


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "100000"}, 0.25),
    ],
)
def test_quota_of_a_container_limits_the_cores(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.usable_cores(tmp_path) == cores


def test_no_quota_means_all_cores(tmp_path: Path) -> None:
    everything = machine.usable_cores(tmp_path / "none")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.usable_cores(tmp_path) == everything
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.usable_cores(tmp_path) == everything


def test_limit_of_a_container_limits_the_memory(tmp_path: Path) -> None:
    whole = machine.usable_memory(tmp_path / "none")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.usable_memory(tmp_path) == whole
    (tmp_path / "memory.max").write_text("1000000\n")
    assert machine.usable_memory(tmp_path) == 1_000_000


def test_free_disk_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert machine.free_disk(tmp_path / "a" / "b") > 0


def test_findings_are_plain_data() -> None:
    assert json.dumps(vars(Finding("machine", "ok", "x", "y"))) == (
        '{"group": "machine", "level": "ok", "what": "x", "detail": "y", "next": ""}'
    )
