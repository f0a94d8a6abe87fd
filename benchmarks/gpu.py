"""What a GPU is to be asked, most important first: is it right, how fast is the engine; then whole jobs.

    python -m benchmarks.gpu right engine      # tests; ways, ahead, attention, profile, layouts, budgets
    python -m benchmarks.gpu whole             # CSV to Parquet beside the best peers
    python -m benchmarks.gpu ways attention    # some parts of the engine alone

Tables go to stdout and, where OUT names a folder, into it: gpu.md, profile-*.txt; each line as soon as it is known. A
part that takes too long is ended, and one that breaks the device down costs its own figures alone. What to look at, and
what each figure is expected to be: benchmarks/gpu.md. `--device cpu --scale 0.0002` tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from benchmarks.score import make_models

if TYPE_CHECKING:
    import torch

    from models.inference.scorer import Scorer
    from models.inference.shards import Prepared

OUT = Path(os.environ["OUT"]) if "OUT" in os.environ else None
ROWS = {"BERT-base": 32_768, "BERT-large": 8_192, "MiniLM-L6": 131_072, "DeBERTa-v3-base": 32_768}  # of a job's shards
SHARDS = 4
ROUNDS = 3
COMPILED, NO_GELU, NO_QKV = ", compiled", ", compiled, GELU apart", ", compiled, QKV apart"
STOCK, STOCK_COMPILED = ", stock attention", ", compiled, stock attention"  # of DeBERTa
ENGINE = ("ways", "ahead", "attention", "profile", "layouts", "budgets")
# Seconds after which a part is ended.
LIMITS = {
    "right": 200,
    "ways": 150,
    "ahead": 60,
    "attention": 60,
    "profile": 80,
    "layouts": 60,
    "budgets": 80,
    "whole": 300,
}
_BEGAN = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", help=f"right, engine ({', '.join(ENGINE)}), whole")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of rows")
    parser.add_argument("--shapes", nargs="+", default=["BERT-base", "MiniLM-L6"], choices=list(ROWS))
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        run_parts(arguments)
        return
    asked = [name for part in arguments.parts for name in (ENGINE if part == "engine" else (part,))]
    if unknown := [name for name in asked if name not in LIMITS]:
        parser.error(f"unknown part '{unknown[0]}'")
    # Each shape's ways are a part of their own.
    parts = [part for name in asked for part in ([f"ways/{s}" for s in arguments.shapes] if name == "ways" else [name])]
    with tempfile.TemporaryDirectory() as scratch:
        watch_parts(parts, Path(scratch), arguments)


def watch_parts(parts: Sequence[str], scratch: Path, arguments: argparse.Namespace) -> None:
    """Parts in a process beside this one; where one ends it, the next one takes what was not begun."""
    begun = scratch / "begun"
    shared = ["--device", arguments.device, "--scale", str(arguments.scale), "--tokens", str(arguments.tokens)]
    left = list(parts)
    while left:
        begun.write_text("")
        command = [sys.executable, "-m", "benchmarks.gpu", *left, *shared, "--inside", str(begun)]
        process = subprocess.Popen([*command, "--shapes", *arguments.shapes], process_group=0)
        names: list[str] = []
        since = time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if (now := begun.read_text().split()) != names:
                    names, since = now, time.monotonic()
                running = (names or left[:1])[-1]
                limit = LIMITS[running.split("/")[0]]
                if time.monotonic() - since > limit:
                    say(f"\n({running}: ended, it took more than {limit} s)\n")
                    break
        finally:
            end(process)
        left = left[max(1, len(names)) :]
        say(f"\n({time.perf_counter() - _BEGAN:.0f} s in all)\n")


def end(process: subprocess.Popen[bytes]) -> None:
    """With all that it began."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_parts(arguments: argparse.Namespace) -> None:
    """Here; what fails is told, and the next begins, unless the device is broken for this process."""
    for part in arguments.parts:
        with arguments.inside.open("a") as handle:
            handle.write(part + "\n")
        began = time.perf_counter()
        name, _, shape = part.partition("/")
        with told(part):
            PARTS[name](argparse.Namespace(**{**vars(arguments), "shape": shape}))
        say(f"\n({part}: {time.perf_counter() - began:.0f} s)\n")


@contextmanager
def told(what: str) -> Iterator[None]:
    """An error is printed where the figure would be."""
    try:
        yield
    except Exception as exc:
        say(f"\n{what} fails:\n\n```\n{''.join(traceback.format_exception(exc)[-12:])}```\n")
        if "DeviceFailed" in type(exc).__name__ or "CUDA error" in str(exc):
            os._exit(1)  # nothing more is computed in this process


def say(text: str) -> None:
    print(text, flush=True)
    if OUT is not None:
        with (OUT / "gpu.md").open("a") as handle:
            handle.write(text + "\n")


def say_lines_of(command: Sequence[str]) -> None:
    """What a command prints, line by line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip())


def right(_: argparse.Namespace) -> None:
    """The tests that need a GPU, several at a time where that is installed."""
    say("## Is it right?\n\n```")
    several = ["-n", "4"] if find_spec("xdist") else []
    tests = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "tests/models/test_scorer_gpu.py"]
    # A warning of a Python or a library that is not ours to choose is no fault there.
    say_lines_of([*tests, *several, "-W", "default", "--show-capture=no", "--tb=short", "--durations=5"])
    say("```")


def ways(arguments: argparse.Namespace) -> None:
    """A line for each way to run a network on the same shards, each launched before the last one is collected."""
    import torch

    from models.inference import disentangled, fused, joined
    from models.inference.device import peak_memory

    shape, reference = arguments.shape, None
    rates = ceilings(arguments)
    say("\n| model | how | rows/s | Mtok/s | TFLOP/s | share | off | compiled in | peak GB | packed |\n|" + "---|" * 10)
    plan = [("bf16", ""), ("bf16", COMPILED), ("fp8", COMPILED), ("bf16", NO_GELU), ("bf16", NO_QKV), ("fp8", NO_QKV)]
    if arguments.device == "cpu":
        plan = [("fp32", ""), ("fp32", COMPILED)]
    if shape.startswith("DeBERTa"):
        plan += [(plan[0][0], STOCK), (plan[0][0], STOCK_COMPILED)]
    for precision, layers in plan:
        with told(f"{shape}, {precision}{layers}"):
            with stock_attention(disentangled, layers in (STOCK, STOCK_COMPILED)):
                scorer = scorer_of(shape, arguments, precision=precision)
            shards = shards_of(scorer, shape, arguments)
            began = time.perf_counter()
            with without(fused, "wants_fusing", layers == NO_GELU), without(joined, "wants_joining", layers == NO_QKV):
                scorer.set_compiled(layers not in ("", STOCK))
            spent = time.perf_counter() - began
            for note in scorer.notes:
                say(f"\n{note}\n")
            graphs = scorer.groups[0].graphs
            for recorded in (False, True) if graphs is not None else (False,):
                scorer.groups[0].graphs = graphs if recorded else None
                if recorded:
                    graphs.after = 2
                if scorer.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                for _ in range(3 if recorded else 1):
                    probs = scorer.infer(shards[0]).probs[scorer.runs[0]]
                    found = one_ahead(scorer, shards)
                seconds = best(partial(one_ahead, scorer, shards))
                reference = probs if reference is None else reference
                tokens, flop = (sum(getattr(stats, name) for stats in found) for name in ("tokens", "flop"))
                how = f"{precision}{layers}{f', {len(graphs.shapes)} recorded' if recorded else ''}"
                say(
                    f"| {shape} | {how} | {sum(stats.rows for stats in found) / seconds:,.0f} | "
                    f"{tokens / seconds / 1e6:.2f} | {flop / seconds / 1e12:,.1f} | "
                    f"{flop / seconds / rates.get(precision, np.inf):.0%} | {np.abs(probs - reference).max():.1e} | "
                    f"{spent:.1f} s | {peak_memory(scorer.device) / 1e9:.1f} | {share_packed(scorer, shards[0]):.0%} |"
                )


def ceilings(arguments: argparse.Namespace) -> dict[str, float]:
    """Matrix products, and bytes of a copy, read and written."""
    import torch
    import transformers

    from models.inference.device import PRECISIONS, measure_matmul_rate, resolve_device, synchronise

    device = resolve_device(arguments.device)
    on_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_cuda else "CPU"
    say(f"## The engine: {name}, torch {torch.__version__}, transformers {transformers.__version__}\n")
    rates: dict[str, float] = {}
    for precision in ("bf16", "fp8") if on_cuda else ("fp32",):
        with told(f"the rate of {precision}"):
            rates[precision] = measure_matmul_rate(device, PRECISIONS[precision])
    source = torch.randn(1 << (29 if on_cuda else 22), device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        synchronise(device)

    moved = 2 * source.nbytes / best(copy)
    say(", ".join(f"{name} {rate / 1e12:,.0f} TFLOP/s" for name, rate in rates.items()) + f", {moved / 1e12:.2f} TB/s")
    return rates


def scorer_of(shape: str, arguments: argparse.Namespace, **how: object) -> Scorer:
    """Of random weights. The precision has a name, so that nothing waits for texts to be judged on."""
    from models.inference.scorer import Scorer

    folder = arguments.inside.parent
    path = folder / f"{shape}-0"
    if not path.exists():
        make_models(folder, shape, 1)
    settings: dict[str, Any] = {"precision": "fp32" if arguments.device == "cpu" else "bf16", "backend": "torch", **how}
    scorer = Scorer(str(path), device=arguments.device, **settings)
    assert scorer.compiled or not how.get("compile"), scorer.notes
    return scorer


def token_rows(rows: int, tokens: int, seed: int = 0) -> np.ndarray:
    """(N,) lengths: log-normal with this mean, special tokens included."""
    drawn = np.random.default_rng(seed).lognormal(np.log(tokens - 2) - 0.18, 0.6, rows)
    return (np.clip(drawn, 1, 500).astype(np.int64) + 2).clip(max=510)


def shards_of(scorer: Scorer, shape: str, arguments: argparse.Namespace) -> list[Prepared]:
    """As a job cuts them."""
    rows = max(64, int(ROWS[shape] * arguments.scale))
    return [prepared_of(scorer, token_rows(rows, arguments.tokens, seed)) for seed in range(SHARDS)]


def prepared_of(scorer: Scorer, lengths: np.ndarray) -> Prepared:
    """Random token ids of these lengths, as `Scorer.prepare` would give them."""
    import polars as pl

    from models.inference.forward import pinned
    from models.inference.shards import DistinctTexts, Prepared
    from models.inference.tokens import Tokens

    group = scorer.groups[0]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.random.default_rng(1).integers(5, 30_000, offsets[-1]).astype(np.int32)
    tokens = Tokens(ids, offsets, 0, 0)
    if scorer.device.type == "cuda":
        tokens = pinned(tokens)
    distinct = DistinctTexts(pl.Series("text", [""]).new_from_index(0, len(lengths)), np.arange(len(lengths)))
    return Prepared(len(lengths), {group.cleaning: distinct}, [tokens], 0.0)


def share_packed(scorer: Scorer, shard: Prepared) -> float:
    """Of a shard's tokens."""
    group = scorer.groups[0]
    batches = scorer.budget.batches(shard.features[0].lengths, pads=group.pads, packed=group.packed)
    return sum(batch.packed_tokens for batch in batches) / sum(batch.n_tokens for batch in batches)


def one_ahead(scorer: Scorer, shards: Sequence[Prepared]) -> list[object]:
    """Stats of shards, each launched before the one before it is collected, as in a job."""
    found, before = [], None
    for shard in (*shards, None):
        launched = None if shard is None else scorer.launch(shard)
        if before is not None:
            found.append(scorer.collect(before).stats)
        before = launched
    return found


def without(module: object, name: str, yes: bool) -> AbstractContextManager[object]:
    """A step of compiling is left out."""
    return patch.object(module, name, lambda _: False) if yes else nullcontext()


def stock_attention(module: object, yes: bool) -> AbstractContextManager[object]:
    """A DeBERTa attends as transformers has it."""
    return patch.object(module, "disentangle", lambda *_, **__: None) if yes else nullcontext()


def ahead(arguments: argparse.Namespace) -> None:
    """Shards one after the other, and each launched before the one before it is collected, as in a job."""
    say(
        "\n| a job's shards, compiled | one by one, rows/s | launched ahead | gain | the thread is busy |\n"
        + "|---" * 5
        + "|"
    )
    for shape in arguments.shapes:
        with told(shape):
            scorer = scorer_of(shape, arguments, compile=True)
            shards = shards_of(scorer, shape, arguments)

            def one_by_one(scorer: Scorer = scorer, shards: Sequence[Prepared] = shards) -> None:
                for shard in shards:
                    scorer.infer(shard)

            one_by_one()
            rows = sum(shard.n_rows for shard in shards)
            found = [rows / best(work) for work in (one_by_one, partial(one_ahead, scorer, shards))]
            began, busy = time.perf_counter(), time.thread_time()
            one_ahead(scorer, shards)
            busy = (time.thread_time() - busy) / (time.perf_counter() - began)
            say(f"| {shape} | {found[0]:,.0f} | {found[1]:,.0f} | {found[1] / found[0] - 1:+.1%} | {busy:.0%} |")


def attention(arguments: argparse.Namespace) -> None:
    """A layer's attention over a batch of rows of one length, by each kernel, and what the first call of one takes."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from models.inference.device import resolve_device, synchronise
    from models.inference.varlen import KERNELS

    device = resolve_device(arguments.device)
    on_cuda = device.type == "cuda"
    kinds = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}
    kinds = {**kinds, "cuDNN": SDPBackend.CUDNN_ATTENTION} if on_cuda else {"math": SDPBackend.MATH}
    say(
        f"\n| heads, length | {' ms | '.join(kinds)} ms | packed, flash ms | packed, efficient ms "
        f"| first call of {list(kinds)[-1]}, ms |\n{'|---' * (len(kinds) + 4)}|"
    )
    for heads, width in ((12, 64), (12, 32)):
        for length in (16, 24, 40, 64, 96, 128, 256, 512):
            count = max(2, int(65_536 * min(1.0, arguments.scale)) // length)
            joined = torch.randn(count, length, 3, heads, width, device=device, dtype=torch.bfloat16)
            dense = [part.transpose(1, 2) for part in joined.unbind(2)]
            flat = [part.flatten(0, 1) for part in joined.unbind(2)]
            starts = torch.arange(0, (count + 1) * length, length, device=device, dtype=torch.int32)

            def several(work: Callable[[], object]) -> None:
                for _ in range(10):
                    work()
                synchronise(device)

            cells, first = [], 0.0
            for kind in kinds.values():
                attend = partial(torch.nn.functional.scaled_dot_product_attention, *dense)
                try:
                    with sdpa_kernel(kind), torch.inference_mode():
                        began = time.perf_counter()
                        attend()
                        synchronise(device)
                        first = time.perf_counter() - began
                        cells.append(f"{best(partial(several, attend)) * 100:.3f}")
                except RuntimeError as exc:
                    cells.append(str(exc).splitlines()[0][:40])
            batch_of_one = [part.unsqueeze(0) for part in flat]
            efficient = partial(
                torch.ops.aten._efficient_attention_forward, *batch_of_one, None, starts, starts, length, length, 0.0, 0
            )
            for packed in (partial(KERNELS[device.type], *flat, starts, length, None, -1), efficient):
                try:
                    with torch.inference_mode():
                        packed()
                        cells.append(f"{best(partial(several, packed)) * 100:.3f}")
                except RuntimeError as exc:
                    cells.append(str(exc).splitlines()[0][:40])
            say(f"| {heads} × {width}, {length} | {' | '.join(cells)} | {first * 1000:.1f} |")


def profile(arguments: argparse.Namespace) -> None:
    """Which kernels take the time of a shard, and how much of it the device is idle."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    on_cuda = arguments.device != "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    say("\n| profile | wall s | device busy |\n|---|---|---|")
    for shape in arguments.shapes:
        with told(shape):
            scorer = scorer_of(shape, arguments, compile=True)
            rows = max(64, int(min(ROWS[shape], 65_536) * arguments.scale))
            prepared = prepared_of(scorer, token_rows(rows, arguments.tokens))
            for _ in range(4):
                scorer.infer(prepared)
            with profiler(activities=activities) as found:
                scored = scorer.infer(prepared)
            events = found.key_averages()
            key = "self_device_time_total" if on_cuda else "self_cpu_time_total"
            busy = (
                sum(getattr(event, key) for event in events if not event.key.startswith("aten::") or not on_cuda) / 1e6
            )
            say(f"| {shape}, compiled | {scored.stats.infer_s:.3f} | {busy / scored.stats.infer_s:.0%} |")
            table = events.table(sort_by=key, row_limit=40, max_name_column_width=90)
            if OUT is not None:
                (OUT / f"profile-{shape}.txt").write_text(table)
            else:
                say(table)


def layouts(arguments: argparse.Namespace) -> None:
    """Rows of one length side by side, and the same packed: from which length on packing whole batches would pay."""
    import torch

    from models.inference.device import computing
    from models.inference.packed import pack, packed_logits

    for shape in arguments.shapes:
        with told(shape):
            scorer = scorer_of(shape, arguments, compile=True)
            network, on = scorer.groups[0].networks[0], scorer.device
            say(f"\n| length, {shape}, compiled | side by side, Mtok/s | packed, Mtok/s |\n|---|---|---|")
            for length in (16, 40, 128, 256, 510):
                count = max(2, int(65_536 * min(1.0, arguments.scale * 20)) // length)
                with torch.inference_mode(), computing(on):
                    ids = torch.randint(5, 30_000, (count * length,), device=on, dtype=torch.int32)
                    offsets = torch.arange(count + 1, device=on) * length
                    flat = pack(ids, offsets, torch.arange(count, device=on), count * length, length, None)
                    batch = ids.long().view(count, length)

                    runs = (partial(network, batch), partial(packed_logits, network, flat))
                    found = [count * length / best(partial(waited_for, run, on)) / 1e6 for run in runs]
                say(f"| {length} | {found[0]:.2f} | {found[1]:.2f} |")


def waited_for(work: Callable[[], object], device: torch.device) -> None:
    from models.inference.device import synchronise

    work()
    synchronise(device)


def budgets(arguments: argparse.Namespace) -> None:
    """Tokens a batch: enough to fill the device, little enough for its caches."""
    for shape in arguments.shapes:
        say(f"\n| tokens a batch, {shape}, compiled | rows/s |\n|---|---|")
        with told(shape):
            scorer = scorer_of(shape, arguments, compile=True)
            shards = shards_of(scorer, shape, arguments)
            for tokens in (65_536, 32_768, 131_072, 16_384, 262_144):
                scorer.budget.tokens = tokens
                one_ahead(scorer, shards)
                rows = sum(shard.n_rows for shard in shards)
                say(f"| {tokens:,} | {rows / best(partial(one_ahead, scorer, shards)):,.0f} |")


def whole(arguments: argparse.Namespace) -> None:
    """CSV in, Parquet out, each contestant in a process of its own: ours alone on many rows, then beside peers."""
    say("## Whole jobs\n")
    on_cuda = arguments.device != "cpu"
    peers = ["sorted", "compiled"] if on_cuda else ["sorted"]
    each = [([shape], 100_000, "1", peers) for shape in arguments.shapes]
    for shapes, rows, models, beside in (
        (arguments.shapes, 400_000, "1", []),
        *each,
        (["MiniLM-L6"], 10_000, "5", peers),
    ):
        say_lines_of([
            sys.executable, "-u", "-m", "benchmarks.score", "--device", arguments.device,
            "--precision", "bf16" if on_cuda else "fp32", "--rows", str(max(8, int(rows * arguments.scale))),
            "--models", models, "--shapes", *shapes, "--quick", "--peers", *beside,
        ])  # fmt: skip


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


PARTS = {
    "right": right, "ways": ways, "ahead": ahead, "attention": attention, "profile": profile, "layouts": layouts,
    "budgets": budgets, "whole": whole,
}  # fmt: skip

if __name__ == "__main__":
    main()
