"""`cli doctor`: what machine, devices, libraries and workspace we found, what is wrong, and the command that mends it.

    cli doctor
    cli doctor --json | jq '.findings[] | select(.level == "problem")'
    cli doctor --measure

Looks only: it fetches nothing and writes nothing. With `--measure` it also measures the ceilings of the devices, some
seconds each, and keeps them in the user's cache folder (`jobs.ceilings`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jobs import ceilings, machine
from jobs.workspace import Run, Workspace
from kaggle_tools.errors import UserError

Level = Literal["ok", "note", "problem"]

DISTRIBUTION = "kaggle-jobs"
GIB = 1 << 30
LITTLE_DISK, NO_DISK = 5 * GIB, GIB // 2
LITTLE_MEMORY = 4 * GIB  # what scoring promises to stay below, whatever the input

# Import name → what it is for, and how to get it.
BACKENDS: dict[str, tuple[str, str]] = {
    "ray": ("scoring on several machines", "pip install 'kaggle-jobs[ray]'"),
    "obstore": ("tables and parts on object storage", "pip install 'kaggle-jobs[remote]'"),
    "kaggle": ("submitting from the command line", "pip install 'kaggle-jobs[kaggle]'"),
    "openvino": ("--backend openvino, and int8 on a CPU", "pip install 'kaggle-jobs[openvino]'"),
    "nncf": ("int8 on a CPU, which --precision int8 asks for", "pip install 'kaggle-jobs[openvino]'"),
    "torch.nn.attention.varlen": ("flash attention over packed batches on CUDA", "pip install --upgrade 'torch>=2.10'"),
}
MEASURE = "cli doctor --measure"
HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT")
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class DoctorOptions:
    """What to look at.

    Attributes:
        start: Folder from which the workspace is looked for upward; None is the working directory.
        measure: Measure the ceilings of every device first.
    """

    start: Path | None = None
    measure: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        group: Heading it belongs under: machine, devices, ceilings, libraries, backends, hub or workspace.
        level: ``ok``; ``note``: works, but worth knowing; ``problem``: something will fail.
        what: The thing.
        detail: What was found.
        next: What to do about it; empty where nothing is needed.
    """

    group: str
    level: Level
    what: str
    detail: str
    next: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All findings, in the order of their groups."""

    findings: tuple[Finding, ...] = field(default=())

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that will make something fail."""
        return tuple(finding for finding in self.findings if finding.level == "problem")

    @property
    def exit_code(self) -> int:
        """1 with any problem, else 0."""
        return 1 if self.problems else 0


def run(options: DoctorOptions) -> DoctorReport:
    """Look at everything. What cannot be looked at becomes a finding, never an exception."""
    start = (options.start or Path.cwd()).resolve()
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("machine", lambda: check_machine(start)),
        ("devices", check_devices),
        ("ceilings", lambda: check_ceilings(options.measure)),
        ("libraries", check_libraries),
        ("backends", check_backends),
        ("hub", lambda: check_hub(os.environ)),
        ("workspace", lambda: check_workspace(start)),
    )
    return DoctorReport(tuple(finding for group, check in checks for finding in _guarded(group, check)))


def check_machine(start: Path) -> Iterator[Finding]:
    """Python, operating system, processor, cores, memory and disk."""
    yield Finding("machine", "ok", "Python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("machine", "ok", "platform", platform.platform())
    cpu = machine.processor()
    yield Finding(
        "machine", "ok", "processor", f"{cpu.model} ({', '.join(cpu.vector_flags) or 'no vector flags known'})"
    )
    cores = machine.usable_cores()
    yield Finding("machine", "ok", "cores", f"{cores:g} usable of {os.cpu_count()}")
    memory = machine.usable_memory()
    short = memory < LITTLE_MEMORY
    hint = "score with fewer models at once, or a smaller token budget" if short else ""
    yield Finding("machine", "note" if short else "ok", "memory", f"{memory / GIB:.1f} GiB", hint)
    free = machine.free_disk(start)
    level: Level = "problem" if free < NO_DISK else "note" if free < LITTLE_DISK else "ok"
    hint = "" if level == "ok" else "free some space: checkpoints take up to 1 GiB a fold"
    yield Finding("machine", level, "disk", f"{free / GIB:.1f} GiB free at {start}", hint)


def check_devices() -> Iterator[Finding]:
    """What torch can compute on, and whether bfloat16 is fast there."""
    try:
        import torch
    except (ImportError, OSError) as exc:
        yield Finding(
            "devices", "problem", "torch", f"cannot be imported: {exc}", "pip install --force-reinstall torch"
        )
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    yield Finding(
        "devices", "ok", "torch", f"{torch.__version__}, built for {build}, {torch.get_num_threads()} threads"
    )
    flags = machine.processor().bf16_flags
    detail = f"fast ({', '.join(flags)})" if flags else "slow (neither AMX nor AVX-512 BF16): work stays at fp32"
    yield Finding("devices", "ok" if flags else "note", "bf16 on the processor", detail)
    if torch.version.cuda and not torch.cuda.is_available():
        yield Finding("devices", "note", "CUDA", "none usable", "if this machine has a GPU: does `nvidia-smi` see it?")
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        half = "bf16" if about.major >= 8 else "fp16" if about.major == 7 else "fp32"
        memory = f"{about.total_memory / GIB:.0f} GiB"
        detail = f"{about.name}, {memory}, compute capability {about.major}.{about.minor}, fast {half}"
        yield Finding("devices", "ok", f"cuda:{i}", detail)
    if torch.backends.mps.is_available():
        yield Finding("devices", "ok", "mps", "Apple GPU")


def check_ceilings(measure: bool) -> Iterator[Finding]:
    """What each device can do at most, as it was measured, now or before."""
    import torch

    if measure:
        from jobs.measure import measure_all

        for one in measure_all():
            ceilings.keep(one)
    devices = [torch.device("cpu"), *(torch.device("cuda", i) for i in range(torch.cuda.device_count()))]
    devices += [torch.device("mps")] if torch.backends.mps.is_available() else []
    for device in devices:
        found = ceilings.known(device)
        if found is None:
            yield Finding("ceilings", "note", str(device), "never measured: no share of it is told", MEASURE)
            continue
        for name, rate in found.rates.items():
            what, unit = ceilings.RATES.get(name, (name, "1/s"))
            yield Finding("ceilings", "ok", f"{device} {what}", f"{_with_prefix(rate)}{unit}, {found.measured[:10]}")


def check_libraries(requirements: list[str] | None = None) -> Iterator[Finding]:
    """Version of each library that we need against the lowest that serves; what is missing or too old is a problem.

    Args:
        requirements: Such as ``polars>=1.30``; default: those of the installed distribution.
    """
    if requirements is None:
        try:
            requirements = importlib.metadata.requires(DISTRIBUTION) or []
        except importlib.metadata.PackageNotFoundError:
            yield Finding("libraries", "problem", DISTRIBUTION, "is not installed", "pip install --editable .")
            return
    for requirement in requirements:
        name, floor = _parse(requirement)
        if "extra ==" not in requirement:
            yield _library(name, floor)


def check_backends() -> Iterator[Finding]:
    """Optional packages: there, or how to get them."""
    for name, (purpose, command) in BACKENDS.items():
        if _has_module(name):
            yield Finding("backends", "ok", name, f"{_installed(name) or 'there'}: {purpose}")
        else:
            yield Finding("backends", "note", name, f"not installed: {purpose}", command)


def check_hub(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Where models from the Hugging Face Hub are kept, and whether we may go there."""
    home = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(environment.get("HF_HUB_CACHE") or home / "hub")
    models = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    yield Finding("hub", "ok", "cache", f"{models} models in {cache}")
    for name in HUB_VARIABLES:
        if environment.get(name):
            yield Finding("hub", "note", name, environment[name])
    offline = [name for name in OFFLINE_VARIABLES if environment.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]
    if offline:
        yield Finding(
            "hub", "note", "offline", f"by {', '.join(offline)}", "only models in the cache or on disk can be named"
        )


def check_workspace(start: Path) -> Iterator[Finding]:
    """competition.toml, the files that it names, and what has been made so far."""
    try:
        workspace = Workspace.find(start)
    except UserError as exc:
        yield _from_error("competition.toml", exc)
        return
    competition = workspace.competition
    if competition is None:
        hint = "cli init --train train.csv --test test.csv --sample sample_submission.csv"
        yield Finding("workspace", "note", "competition.toml", f"none at or above {start}", hint)
    else:
        about = f"{competition.name}: {len(competition.classes)} classes, {competition.metric}"
        yield Finding("workspace", "ok", "competition.toml", f"{about}, in {competition.root}")
        for key in ("train", "test", "sample_submission"):
            path = competition.path(getattr(competition, key))
            if path is not None and not path.is_file():
                hint = f"put it there, or change '{key}' in competition.toml"
                yield Finding("workspace", "problem", key, f"no file {path}", hint)
    yield from _check_runs(workspace)
    yield from _check_submissions(workspace)
    yield from _check_jobs(workspace)


def _check_runs(workspace: Workspace) -> Iterator[Finding]:
    folder = workspace.runs_folder
    names = [p.name for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."] if folder.is_dir() else []
    complete = 0
    for name in names:
        try:
            if Run(name, folder / name).info is None:
                hint = f"train it to its end, or delete {folder / name}"
                yield Finding("workspace", "note", f"run {name}", "not complete", hint)
            else:
                complete += 1
        except UserError as exc:
            yield _from_error(f"run {name}", exc)
    yield Finding("workspace", "ok", "runs", f"{complete} complete")


def _check_submissions(workspace: Workspace) -> Iterator[Finding]:
    from kaggle_tools.submissions import list_versions

    listing = list_versions(workspace.submissions)
    for damaged in listing.damaged:
        yield _from_error(f"submission {damaged.folder.name}", damaged.problem)
    newest = f", newest {listing.versions[-1].title}" if listing.versions else ""
    yield Finding("workspace", "ok", "submissions", f"{len(listing.versions)} versions{newest}")


def _check_jobs(workspace: Workspace) -> Iterator[Finding]:
    plans = list(workspace.jobs.glob("*/plan.json"))
    unfinished = sum(not (plan.parent / "result.json").is_file() for plan in plans)
    hint = "run the same `cli score` command again to resume" if unfinished else ""
    detail = f"{len(plans)}, {unfinished} unfinished"
    yield Finding("workspace", "note" if unfinished else "ok", "jobs", detail, hint)


def _guarded(group: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that breaks on an odd machine must not hide what the others found."""
    try:
        yield from check()
    except Exception as exc:
        yield Finding(group, "problem", group, f"could not be looked at: {type(exc).__name__}: {exc}")


def _from_error(what: str, exc: UserError) -> Finding:
    where = exc.details.get("where", "")
    return Finding(
        "workspace", "problem", what, f"{exc.summary} ({where})" if where else exc.summary, exc.details.get("next", "")
    )


def _library(name: str, floor: str) -> Finding:
    version = _installed(name)
    wanted = f"'{name}>={floor}'" if floor else name
    if version is None:
        return Finding("libraries", "problem", name, "not installed", f"pip install {wanted}")
    if _release(version) < _release(floor):
        return Finding(
            "libraries", "problem", name, f"{version} is older than {floor}", f"pip install --upgrade {wanted}"
        )
    return Finding("libraries", "ok", name, f"{version} (at least {floor})" if floor else version)


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # its parent is missing
        return False


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _with_prefix(rate: float) -> str:
    """``1.23 T``, ``4.56 G``, ``7.89 M``, ``12.3 k``."""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= limit:
            return f"{rate / limit:.3g} {prefix}"
    return f"{rate:.3g} "


def _parse(requirement: str) -> tuple[str, str]:
    """Name and floor of ``name[extra]>=floor``; the floor is empty where there is none."""
    name = re.match(r"[\w.-]+", requirement)
    floor = re.search(r">=\s*([\w.]+)", requirement)
    return name[0] if name else requirement, floor[1] if floor else ""


def _release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` → (2, 13), trailing zeros off. Pre-releases count as the release: good enough for a floor."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
