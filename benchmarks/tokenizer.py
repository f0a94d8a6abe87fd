"""The faster tokenizer against the stock one: tokens a processor second, and a job where tokenising is all the work.

    python -m benchmarks.tokenizer                     # words of a made language, frequent ones more often
    python -m benchmarks.tokenizer --csv posts.csv --column text --model runs/minilm/fold0

Contestants take turns in one process, on one thread; what counts is processor time, best of several rounds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROUNDS = 3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="texts to read instead of made ones")
    parser.add_argument("--column", default="text")
    parser.add_argument("--model", help="whose tokenizer; by default one of 30,000 pieces")
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    import polars as pl
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        texts = pl.read_csv(arguments.csv)[arguments.column].to_list() if arguments.csv else made_texts(arguments.rows)
        tokenizer = make_tokenizer(folder) if arguments.model is None else load(arguments.model)
        rates(texts, tokenizer)
        whole_job(folder, texts, tokenizer)


def made_texts(rows: int) -> list[str]:
    """Zipfian words of two to four pieces, about 20 a row."""
    random = np.random.default_rng(0)
    syllables = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]
    words = ["".join(random.choice(syllables, n)) for n in random.integers(1, 5, 200_000)]
    drawn = random.zipf(1.3, rows * 20) % len(words)
    ends = np.cumsum(random.integers(5, 35, rows)) % (rows * 20 - 40)
    return [" ".join(words[i] for i in drawn[end : end + random.integers(5, 35)]) for end in ends]


def make_tokenizer(folder: Path) -> object:
    from transformers import BertTokenizerFast

    syllables = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]
    pairs = [a + b for a in syllables for b in syllables]
    pieces = [*SPECIAL, *syllables, *pairs, *(f"##{s}" for s in syllables), *(f"##{p}" for p in pairs)]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    return BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=128)


def load(source: str) -> object:
    from models.pretrained import load_tokenizer

    return load_tokenizer(source)


def rates(texts: list[str], tokenizer: object) -> None:
    """Tokens a processor second of both; the faster one with its checks, anew and once it knows the words."""
    from models.inference.faster_tokens import faster
    from models.inference.tokens import TextTokenizer

    best = {"stock": 0.0, "faster, anew": 0.0, "faster, warm": 0.0}
    for _ in range(ROUNDS):
        stock = TextTokenizer(tokenizer, 128)
        other = faster(TextTokenizer(tokenizer, 128), tokenizer)
        for name, tokenize in {"stock": stock, "faster, anew": other, "faster, warm": other}.items():
            began = time.process_time()
            n = tokenize(texts).ids.size
            best[name] = max(best[name], n / (time.process_time() - began))
    print(f"{len(texts):,} rows, {n:,} tokens, {sum(map(len, texts)):,} characters\n")
    for name, rate in best.items():
        print(f"| {name} | {rate / 1e6:.2f} Mtok/s | {rate / best['stock']:.1f}× |")


def whole_job(folder: Path, texts: list[str], tokenizer: object) -> None:
    """`cli score` with the smallest network there is, CSV to Parquet."""
    import polars as pl
    from transformers import BertConfig, BertForSequenceClassification

    from jobs.resolve import InputOptions
    from jobs.score import ScoreOptions, run
    from jobs.show.progress import SilentWatch

    names = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **small, **names))  # type: ignore[arg-type]
    model.save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")  # type: ignore[attr-defined]
    pl.DataFrame({"id": range(len(texts)), "text": texts}).write_csv(folder / "rows.csv")
    found = {}
    for turn in range(ROUNDS):
        for name in ("stock", "auto"):
            (folder / f"{name}{turn}").mkdir()
            os.chdir(folder / f"{name}{turn}")
            began = time.process_time()
            options = ScoreOptions(
                InputOptions(("../rows.csv",)), ("../tiny",), Path("scores.parquet"), tokenizer=name,
                precision="fp32", device="cpu",
            )  # fmt: skip
            result = run(options, SilentWatch())
            assert result.performance is not None
            seconds = time.process_time() - began
            stages = result.performance.stage_seconds
            found[name] = min(found.get(name, (np.inf, {})), (seconds, stages), key=lambda pair: pair[0])
    print()
    for name, (seconds, stages) in found.items():
        told = ", ".join(f"{stage} {stages[stage]:.2f}" for stage in ("read", "prepare", "infer", "write"))
        print(f"| {name} | {seconds:.2f} processor s | {len(texts) / seconds:,.0f} rows a processor s | {told} |")


if __name__ == "__main__":
    main()
