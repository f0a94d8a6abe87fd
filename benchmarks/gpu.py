"""What a GPU is to be asked, in two runs of some five minutes: is it right, how fast is the engine; then whole jobs.

    python -m benchmarks.gpu right engine      # tests, ceilings, ways to run a network, budgets, layouts, profiles
    python -m benchmarks.gpu whole             # CSV to Parquet beside the best peers

Tables go to stdout and, where OUT names a folder, into it: gpu.md, profile-*.txt. What to look at, and what each figure
is expected to be: benchmarks/gpu.md. `--device cpu --scale 0.0002` tries the script itself without a GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np

from benchmarks.score import make_models

if TYPE_CHECKING:
    from models.inference.scorer import Scorer
    from models.inference.shards import Prepared

OUT = Path(os.environ["OUT"]) if "OUT" in os.environ else None
ROWS = {"BERT-base": 100_000, "BERT-large": 30_000, "MiniLM-L6": 400_000, "DeBERTa-v3-base": 30_000}
ROUNDS = 3
COMPILED, NO_GELU, NO_QKV = ", compiled", ", compiled, GELU apart", ", compiled, QKV apart"
_BEGAN = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of rows")
    parser.add_argument("--shapes", nargs="+", default=["BERT-base", "MiniLM-L6"], choices=list(ROWS))
    parser.add_argument("--tokens", type=int, default=40)
    arguments = parser.parse_args()
    for part in arguments.parts:
        PARTS[part](arguments)
        say(f"\n({part}: done after {time.perf_counter() - _BEGAN:.0f} s)\n")


def say(text: str) -> None:
    print(text, flush=True)
    if OUT is not None:
        with (OUT / "gpu.md").open("a") as handle:
            handle.write(text + "\n")


def right(_: argparse.Namespace) -> None:
    """The tests that need a GPU; what fails is printed, and the rest goes on."""
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_scorer_gpu.py"]
    done = subprocess.run([*tests, "--show-capture=no", "--tb=short"], capture_output=True, text=True)
    say("## Is it right?\n\n```\n" + "\n".join(done.stdout.splitlines()[-60:]) + "\n```")


def engine(arguments: argparse.Namespace) -> None:
    """From token ids in memory to probabilities in memory: the device, and how it is fed."""
    import torch
    import transformers

    from models.inference.device import resolve_device

    device = resolve_device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    say(f"## The engine: {name}, torch {torch.__version__}, transformers {transformers.__version__}\n")
    rates = ceilings(device)
    say("\n| model | how | rows/s | Mtok/s | TFLOP/s | share | off | compiled in | peak GB |\n|" + "---|" * 9)
    with tempfile.TemporaryDirectory() as scratch:
        for shape in arguments.shapes:
            folder = make_models(Path(scratch), shape, 1)[0]
            rows = max(64, int(ROWS[shape] * arguments.scale))
            ways(shape, folder, token_rows(rows, arguments.tokens), arguments.device, rates)
        base = str(Path(scratch) / "BERT-base-0")
        if "BERT-base" in arguments.shapes:
            budgets(base, token_rows(max(64, int(100_000 * arguments.scale)), arguments.tokens), arguments.device)
            layouts(base, arguments.device, arguments.scale)
        ahead(scratch, arguments)
        profile(scratch, arguments)


def ceilings(device: object) -> dict[str, float]:
    """Matrix products, and bytes of a copy, read and written."""
    import torch

    from models.inference.device import PRECISIONS, measure_matmul_rate, synchronise

    wanted = ("bf16", "fp8") if device.type == "cuda" else ("fp32",)  # type: ignore[attr-defined]
    rates = {name: measure_matmul_rate(device, PRECISIONS[name]) for name in wanted}  # type: ignore[arg-type]
    source = torch.randn(1 << (29 if device.type == "cuda" else 22), device=device)  # type: ignore[attr-defined]
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        synchronise(device)  # type: ignore[arg-type]

    moved = 2 * source.nbytes / best(copy)
    say(", ".join(f"{name} {rate / 1e12:,.0f} TFLOP/s" for name, rate in rates.items()) + f", {moved / 1e12:.2f} TB/s")
    return rates


def token_rows(rows: int, tokens: int) -> np.ndarray:
    """(N,) lengths: log-normal with this mean, special tokens included."""
    drawn = np.random.default_rng(0).lognormal(np.log(tokens - 2) - 0.18, 0.6, rows)
    return (np.clip(drawn, 1, 500).astype(np.int64) + 2).clip(max=510)


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


def ways(shape: str, folder: str, lengths: np.ndarray, device: str, rates: dict[str, float]) -> None:
    """A line for each way to run a network on the same tokens."""
    import torch

    from models.inference import fused, joined
    from models.inference.device import peak_memory
    from models.inference.scorer import Scorer

    reference = None
    plan = [("bf16", ""), ("bf16", NO_GELU), ("bf16", NO_QKV), ("bf16", COMPILED), ("fp8", NO_QKV), ("fp8", COMPILED)]
    for precision, layers in plan if device != "cpu" else [("fp32", ""), ("fp32", COMPILED)]:
        scorer = Scorer(folder, device=device, precision=precision)
        prepared = prepared_of(scorer, lengths)
        began = time.perf_counter()
        with without(fused, "wants_fusing", layers == NO_GELU), without(joined, "wants_joining", layers == NO_QKV):
            scorer.set_compiled(bool(layers))
        spent = time.perf_counter() - began
        graphs = scorer.groups[0].graphs
        for recorded in (False, True) if graphs is not None else (False,):
            scorer.groups[0].graphs = graphs if recorded else None
            if recorded:
                graphs.after = 2
            if scorer.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            for _ in range(3 if recorded else 1):
                scored = scorer.infer(prepared)
            seconds = best(partial(scorer.infer, prepared))
            probs = scored.probs[scorer.runs[0]]
            reference = probs if reference is None else reference
            flop = scored.stats.flop / seconds
            how = f"{precision}{layers}{', recorded' if recorded else ''}"
            off = np.abs(probs - reference).max()
            say(
                f"| {shape} | {how} | {len(lengths) / seconds:,.0f} | {lengths.sum() / seconds / 1e6:.2f} | "
                f"{flop / 1e12:,.1f} | {flop / rates[precision]:.0%} | {off:.1e} | {spent:.1f} s | "
                f"{peak_memory(scorer.device) / 1e9:.1f} |"
            )
        for note in scorer.notes:
            say(f"\n{note}\n")


def without(module: object, name: str, yes: bool) -> AbstractContextManager[object]:
    """A step of compiling is left out."""
    return patch.object(module, name, lambda _: False) if yes else nullcontext()


def budgets(folder: str, lengths: np.ndarray, device: str) -> None:
    """Tokens a batch: enough to fill the device, little enough for its caches."""
    from models.inference.scorer import Scorer

    say("\n| tokens a batch, BERT-base, compiled | rows/s |\n|---|---|")
    for tokens in (16_384, 32_768, 65_536, 131_072, 262_144):
        scorer = Scorer(folder, device=device, precision="auto", token_budget=tokens, compile=True)
        prepared = prepared_of(scorer, lengths)
        scorer.infer(prepared)
        say(f"| {tokens:,} | {len(lengths) / best(partial(scorer.infer, prepared)):,.0f} |")


def ahead(scratch: str, arguments: argparse.Namespace) -> None:
    """Shards one after the other, and each launched before the one before it is collected, as in a job."""
    from models.inference.scorer import Scorer

    say("\n| shards of 32,768 rows, compiled | one by one, rows/s | launched ahead | gain |\n|---|---|---|---|")
    rows, n_shards = max(64, int(32_768 * arguments.scale)), 4
    for shape in arguments.shapes:
        scorer = Scorer(f"{scratch}/{shape}-0", device=arguments.device, precision="auto", compile=True)
        shards = [prepared_of(scorer, token_rows(rows, arguments.tokens)) for _ in range(n_shards)]

        def one_by_one(scorer: Scorer = scorer, shards: list[Prepared] = shards) -> None:
            for shard in shards:
                scorer.infer(shard)

        def launched_ahead(scorer: Scorer = scorer, shards: list[Prepared] = shards) -> None:
            before = None
            for shard in shards:
                launched = scorer.launch(shard)
                if before is not None:
                    scorer.collect(before)
                before = launched
            assert before is not None
            scorer.collect(before)

        one_by_one()
        found = [n_shards * rows / best(work) for work in (one_by_one, launched_ahead)]
        say(f"| {shape} | {found[0]:,.0f} | {found[1]:,.0f} | {found[1] / found[0] - 1:+.1%} |")


def layouts(folder: str, device: str, scale: float) -> None:
    """Rows of one length side by side, and the same packed: from which length on packing whole batches would pay."""
    import torch

    from models.inference.device import synchronise
    from models.inference.packed import pack, packed_logits
    from models.inference.scorer import Scorer

    scorer = Scorer(folder, device=device, precision="auto", compile=True)
    network, on = scorer.groups[0].networks[0], scorer.device
    say("\n| length, BERT-base, compiled | side by side, Mtok/s | packed, Mtok/s |\n|---|---|---|")
    for length in (16, 40, 128, 256, 510):
        count = max(2, int(65_536 * min(1.0, scale * 20)) // length)
        with torch.inference_mode():
            ids = torch.randint(5, 30_000, (count * length,), device=on, dtype=torch.int32)
            offsets = torch.arange(count + 1, device=on) * length
            flat = pack(ids, offsets, torch.arange(count, device=on), count * length, length, None)
            batch = ids.long().view(count, length)

            def side_by_side(batch: object = batch) -> None:
                network(batch)
                synchronise(on)

            def packed(flat: object = flat) -> None:
                packed_logits(network, flat)
                synchronise(on)

            found = [count * length / best(run) / 1e6 for run in (side_by_side, packed)]
        say(f"| {length} | {found[0]:.2f} | {found[1]:.2f} |")


def profile(scratch: str, arguments: argparse.Namespace) -> None:
    """Which kernels take the time of a shard, and how much of it the device is idle."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    from models.inference.scorer import Scorer

    on_cuda = arguments.device != "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    say("\n| profile | wall s | device busy |\n|---|---|---|")
    for shape, compiled in (("BERT-base", True), ("MiniLM-L6", False), ("MiniLM-L6", True)):
        if shape not in arguments.shapes:
            continue
        scorer = Scorer(f"{scratch}/{shape}-0", device=arguments.device, precision="auto", compile=compiled)
        prepared = prepared_of(scorer, token_rows(max(64, int(65_536 * arguments.scale)), arguments.tokens))
        for _ in range(4):
            scorer.infer(prepared)
        with profiler(activities=activities) as found:
            scored = scorer.infer(prepared)
        events = found.key_averages()
        key = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        busy = sum(getattr(event, key) for event in events if not event.key.startswith("aten::") or not on_cuda) / 1e6
        name = f"{shape}{', compiled' if compiled else ''}"
        say(f"| {name} | {scored.stats.infer_s:.3f} | {busy / scored.stats.infer_s:.0%} |")
        if OUT is not None:
            table = events.table(sort_by=key, row_limit=40, max_name_column_width=90)
            (OUT / f"profile-{name.replace(', ', '-')}.txt").write_text(table)


def whole(arguments: argparse.Namespace) -> None:
    """CSV in, Parquet out, each contestant in a process of its own; the fastest kinds of peers, at one batch size."""
    say("## Whole jobs\n")
    precision = "bf16" if arguments.device != "cpu" else "fp32"
    peers = ["--peers", "sorted", "compiled", "--quick"] if arguments.device != "cpu" else ["--peers", "sorted"]
    for shapes, rows, models in ((arguments.shapes, 200_000, "1"), (["MiniLM-L6"], 10_000, "5")):
        command = [
            sys.executable, "-m", "benchmarks.score", "--device", arguments.device, "--precision", precision,
            "--rows", str(max(8, int(rows * arguments.scale))), "--models", models, "--shapes", *shapes, *peers,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        say(done.stdout if not done.returncode else done.stderr[-2000:])


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


PARTS = {"right": right, "engine": engine, "whole": whole}

if __name__ == "__main__":
    main()
