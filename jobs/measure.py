"""`cli doctor --measure`: the ceilings of this machine, in seconds, on made-up data, without network.

Each rate is the best of several rounds: other work on the machine can only hide what it can do.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.ceilings import Ceilings, identify
from jobs.runner.clock import now

if TYPE_CHECKING:
    import torch

_SECONDS = 0.4  # for each rate
_WORDS, _ROW_WORDS, _ROWS = 20_000, 40, 40_000
_ALPHABET = "etaoinshrdlcumwfgypbvkjxqz"
_PARQUET_ROWS, _CLASSES = 200_000, 4


def measure_all() -> list[Ceilings]:
    """Of the CPU, with the rates of tokenizer and tables, and of every GPU."""
    from models.inference.device import resolve_device

    found = [measure(resolve_device("cpu"))]
    best = resolve_device("auto")
    if best.type == "mps":
        found.append(measure(best))
    if best.type == "cuda":
        import torch

        found += [measure(torch.device("cuda", i)) for i in range(torch.cuda.device_count())]
    return found


def measure(device: torch.device) -> Ceilings:
    """All rates of one device; those of tokenizer and tables with the CPU."""
    rates = _matmul_rates(device) | {"bandwidth": _bandwidth(device)}
    if device.type == "cpu":
        rates |= {"tokenizer": _tokenizer_rate()} | _table_rates()
    return Ceilings(*identify(device), now(), rates)


def best_of(work: Callable[[], object], seconds: float = _SECONDS) -> float:
    """Seconds of the fastest of at least two calls; calls go on until `seconds` are over."""
    best, until = float("inf"), time.perf_counter() + seconds
    calls = 0
    while calls < 2 or time.perf_counter() < until:
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
        calls += 1
    return best


def _matmul_rates(device: torch.device) -> dict[str, float]:
    """FLOP/s of large matrix products, for the formats that the device computes in hardware."""
    from models.errors import ModelError
    from models.inference.device import PRECISIONS, measure_matmul_rate, resolve_precision

    rates = {}
    for name, dtype in PRECISIONS.items():
        try:
            resolve_precision(name, device)
        except ModelError:
            continue
        rates[name] = measure_matmul_rate(device, dtype, _SECONDS)
    int8 = _int8_rate(device)
    return rates if int8 is None else rates | {"int8": int8}


def _int8_rate(device: torch.device) -> float | None:
    """Operations a second of torch's own int8 product; None where it has none for the device."""
    import torch

    from models.inference.device import synchronise

    n = 8192 if device.type == "cuda" else 1024
    a = torch.randint(-9, 9, (n, n), dtype=torch.int8, device=device)
    b = torch.randint(-9, 9, (n, n), dtype=torch.int8, device=device).t().contiguous().t()

    def multiply() -> None:
        torch._int_mm(a, b)
        synchronise(device)

    try:
        multiply()
    except (RuntimeError, NotImplementedError):
        return None
    return 2.0 * n**3 / best_of(multiply)


def _bandwidth(device: torch.device) -> float:
    """Bytes read and written a second by a copy that no cache holds."""
    import torch

    from models.inference.device import synchronise

    source = torch.zeros((1 << 31 if device.type == "cuda" else 1 << 27) // 4, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        synchronise(device)

    return 2.0 * source.nbytes / best_of(copy)


def _tokenizer_rate() -> float:
    """Tokens a second of the stock WordPiece tokenizer with all cores, on words of one or two pieces."""
    from transformers import BertTokenizer

    from models.inference.tokens import TextTokenizer

    halves = [_word(i, 2) for i in range(26**2)]
    words = [_word(i) for i in range(_WORDS // 2)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *halves, *(f"##{half}" for half in halves), *words]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenize = TextTokenizer(BertTokenizer(vocab=vocabulary, model_max_length=512), 512)
    texts = _texts(2000)
    n_tokens = tokenize(texts).ids.size
    return n_tokens / best_of(lambda: tokenize(texts), 2 * _SECONDS)


def _table_rates() -> dict[str, float]:
    """A CSV indexed and read, Parquet written as parts are."""
    import numpy as np
    import polars as pl
    import pyarrow.parquet as pq

    from kaggle_tools.parquet import PARQUET
    from kaggle_tools.tables import ShardReader, index_file, sniff_format

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows.csv"
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["id", "text"])
            writer.writerows((f"r{i}", text) for i, text in enumerate(_texts(_ROWS)))
        fmt = sniff_format(path)
        index = index_file(path, fmt, shard_rows=8192)  # what is compiled at the first call is compiled now

        def read() -> None:
            with ShardReader(fmt, ["id", "text"], id_column="id") as reader:
                for shard in index.shards:
                    reader.read(shard)

        draw = np.random.default_rng(0).random((_PARQUET_ROWS, _CLASSES), dtype=np.float32)
        columns = {f"prob_{i}": draw[:, i] for i in range(_CLASSES)}
        table = pl.DataFrame({"id": [f"row{i}" for i in range(_PARQUET_ROWS)], **columns}).to_arrow()
        parquet = Path(scratch) / "part.parquet"
        return {
            "csv_index": path.stat().st_size / best_of(lambda: index_file(path, fmt, shard_rows=8192)),
            "csv_read": _ROWS / best_of(read),
            "parquet_write": _PARQUET_ROWS / best_of(lambda: pq.write_table(table, parquet, **PARQUET)),
        }


def _word(number: int, letters: int = 4) -> str:
    """A word of its own for each number below 26 ** letters."""
    return "".join(_ALPHABET[number // 26**k % 26] for k in range(letters))


def _texts(count: int) -> list[str]:
    """Texts of words of which half are in the vocabulary and half are cut into two pieces."""
    import numpy as np

    drawn = np.random.default_rng(0).integers(0, _WORDS, (count, _ROW_WORDS))
    words = [_word(i) for i in range(_WORDS)]
    return [" ".join(words[i] for i in row) for row in drawn.tolist()]
