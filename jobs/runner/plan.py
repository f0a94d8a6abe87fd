"""What a scoring job will do, decided before it starts and never changed: inputs, columns, models, shards.

The same request gives the same job id, so running a command again resumes its job. A changed input or model gives
another id, and so a new job.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from kaggle_tools.files import digest, sample_digest, table_stem
from kaggle_tools.remote import Place, place
from kaggle_tools.tables import MAX_SHARD_BYTES, FileIndex, Shard, TableFormat

VERSION = 1
_MOST_STEM_BYTES = 200  # what is written beside a job's folder has longer names


@dataclass(frozen=True)
class InputFile:
    """One input file as it was when the job was planned."""

    path: str
    format: TableFormat
    size: int
    mtime_ns: int
    sample: str

    @classmethod
    def look(cls, path: Place, fmt: TableFormat) -> InputFile:
        """Size, time and sampled content of a file."""
        stat = path.stat()
        return cls(str(path.resolve()), fmt, stat.st_size, stat.st_mtime_ns, sample_digest(path))


@dataclass(frozen=True)
class Request:
    """Everything that the scores depend on; its digest is the job's identity.

    Attributes:
        inputs: Input files in order.
        id_column: None where rows are numbered.
        text_column: What is scored.
        models: Run name → fingerprints of its checkpoints.
        classes: Column order of the probabilities.
        precision: As asked for (``auto`` included): what the gate made of it is in `precision.json`.
        max_length: Tokens a row at most, or None for each checkpoint's own.
        token_budget: Tokens in a batch, or None for the device's default.
        limit: Rows at most, or None for all.
        on_bad_row: ``fail`` or ``set-aside``.
        pair_column: The second text of a row; None where a row is one text.
        tokenizer: ``auto`` or ``stock``.
        backend: As asked for (``auto`` included): what was chosen is in `precision.json`.
        float_ids: Whether ids are stored as floats. Older versions left whole ones their ``.0``: that is another job.
    """

    inputs: tuple[InputFile, ...]
    id_column: str | None
    text_column: str
    models: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...]
    precision: str
    max_length: int | None
    token_budget: int | None
    limit: int | None
    on_bad_row: Literal["fail", "set-aside"]
    pair_column: str | None = None
    tokenizer: Literal["auto", "stock"] = "auto"
    backend: str = "auto"
    float_ids: bool = False

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The column of texts, or both of pairs."""
        return (self.text_column,) if self.pair_column is None else (self.text_column, self.pair_column)

    @property
    def stem(self) -> str:
        """What the input is called, for names of jobs and files."""
        name = table_stem(Path(self.inputs[0].path).name) or "input"
        return name if len(self.inputs) == 1 else f"{name}-and-{len(self.inputs) - 1}-more"

    @property
    def job_stem(self) -> str:
        """With what ids of this input's jobs begin: they are names of folders, which may have 255 bytes."""
        return self.stem.encode()[:_MOST_STEM_BYTES].decode(errors="ignore")

    def job_id(self, salt: str = "") -> str:
        """`<stem>-<digest>`. A touched file with the same content is the same input; `salt` tells two apart."""
        inputs = [(f.path, dataclasses.astuple(f.format), f.size, f.sample) for f in self.inputs]
        apart = ("inputs", "models", "tokenizer", "float_ids")
        rest = [getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in apart]
        if self.tokenizer != "auto":  # the same ids, unless a faster one proved wrong: then no part of its job is used
            rest.append(self.tokenizer)
        if self.float_ids:
            rest.append("float_ids")
        return f"{self.job_stem}-{digest(inputs, sorted(self.models.items()), rest, salt)[:10]}"


@dataclass(frozen=True)
class Piece:
    """A shard of one input file, and how many of its rows to score (fewer than it has only at the limit)."""

    file: int
    shard: Shard
    n_rows: int


@dataclass(frozen=True)
class ShardTask:
    """What becomes one part: a shard of one input file, or the shards of several small files together.

    Attributes:
        index: Of its part.
        n_rows: That are scored.
        pieces: In input order.
    """

    index: int
    n_rows: int
    pieces: tuple[Piece, ...]

    @property
    def words(self) -> str:
        """Where its rows are."""
        first, last = self.pieces[0].shard, self.pieces[-1].shard
        if first is not last:
            return f"{first.path} to {last.path}"
        return f"{first.path}, rows {first.first_row + 1:,} to {first.first_row + first.n_rows:,}"

    def path_of(self, row: int) -> Place:
        """The file that holds a row, counted from 0 over the rows of all pieces."""
        ends = list(accumulate(piece.n_rows for piece in self.pieces))
        return self.pieces[bisect_right(ends, row)].shard.path


@dataclass(frozen=True)
class Plan:
    """An immutable job plan."""

    id: str
    created: str
    request: Request
    columns: tuple[str, ...]
    shard_rows: int
    n_rows: int
    tasks: tuple[ShardTask, ...]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As `plan.json` has it."""
        return {"version": VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Plan:
        """What `to_json` wrote, after a trip through JSON."""
        request = raw["request"]
        inputs = tuple(InputFile(**{**f, "format": TableFormat(**f["format"])}) for f in request["inputs"])
        models = {run: tuple(prints) for run, prints in request["models"].items()}
        # Where small files do not share parts, of an older version, a task is its one piece.
        tasks = tuple(
            ShardTask(task["index"], task["n_rows"], tuple(map(_piece, task.get("pieces", [task]))))
            for task in raw["tasks"]
        )
        return cls(
            id=raw["id"],
            created=raw["created"],
            request=Request(**{**request, "inputs": inputs, "models": models, "classes": tuple(request["classes"])}),
            columns=tuple(raw["columns"]),
            shard_rows=raw["shard_rows"],
            n_rows=raw["n_rows"],
            tasks=tasks,
            versions=raw["versions"],
        )


def _piece(raw: Mapping[str, Any]) -> Piece:
    return Piece(raw["file"], Shard(**{**raw["shard"], "path": place(raw["shard"]["path"])}), raw["n_rows"])


def pieces_of(indexes: Sequence[FileIndex], limit: int | None) -> list[Piece]:
    """Shards of all files in order, cut off after `limit` rows."""
    pieces: list[Piece] = []
    left = limit
    for number, index in enumerate(indexes):
        for shard in index.shards:
            if left is not None and left <= 0:
                return pieces
            n_rows = shard.n_rows if left is None else min(left, shard.n_rows)
            pieces.append(Piece(number, shard, n_rows))
            left = None if left is None else left - n_rows
    return pieces


def tasks_of(pieces: Sequence[Piece], sizes: Sequence[int], shard_rows: int) -> list[ShardTask]:
    """Shards that follow one another put together, while they are no more rows and bytes than one shard may have.

    Args:
        pieces: All of the job.
        sizes: Bytes of each input file: of a Parquet file, whose shards do not tell theirs.
        shard_rows: Rows of a shard.
    """
    groups: list[list[Piece]] = []
    rows = n_bytes = 0
    for piece in pieces:
        shard = piece.shard
        own = shard.end - shard.start or sizes[piece.file]
        rows, n_bytes = rows + shard.n_rows, n_bytes + own
        if groups and rows <= shard_rows and n_bytes <= MAX_SHARD_BYTES:
            groups[-1].append(piece)
        else:
            groups.append([piece])
            rows, n_bytes = shard.n_rows, own
    return [ShardTask(index, sum(piece.n_rows for piece in group), tuple(group)) for index, group in enumerate(groups)]


# Of two cores; of the slowest GPU that is worth having (a T4 in fp16). A GPU with shards made for a CPU would spend its
# time on writing parts.
_FLOPS = {"cpu": 3e11, "mps": 3e12, "cuda": 3e13}


def shard_rows_for(weight_bytes: int, device: str = "cpu", seconds: float = 20.0) -> int:
    """Rows in a shard, so that a kill loses `seconds` of work or less: a power of two in [128, 262144].

    A static estimate (two operations a float32 weight and token, 64 tokens a row, a slow device of its kind), so that a
    plan does not depend on how busy the machine was.
    """
    flop_per_row = 2.0 * (weight_bytes / 4) * 64 + 1e6
    rows = seconds * _FLOPS.get(device, _FLOPS["cpu"]) / flop_per_row
    power = 1 << max(0, int(rows).bit_length() - 1)
    return min(max(power, 128), 262144)
