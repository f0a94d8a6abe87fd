"""What a notebook gets: the `Scores` of some texts, frozen, with a repr that can be read.

    scores = Scorer("runs/roberta").score(["a text", "another"])
    scores.probabilities                   # (2, C) float32, the mean over models
    scores["roberta"]                      # one model's
    scores.labels, scores.to_polars()
    scores.outputs                         # of a regression, a reranker, a reward model, which have neither

Like a data frame, it has a length (texts), and iterating over it gives names (of models).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.errors import ModelError, did_you_mean
from models.label_groups import group_sizes

if TYPE_CHECKING:
    from models.inference.bounds import GateReport
    from models.inference.shards import ShardStats

THRESHOLD = 0.5  # from which probability on a text has one of several labels
_SHOWN_ROWS, _SHOWN_CLASSES = 5, 8


@dataclass(frozen=True, repr=False)
class Scores:
    """Probabilities of N texts over C classes, by each of M models.

    Attributes:
        classes: C class names in column order.
        task: ``single_label``, ``multi_label``, ``multi_group``, ``token`` or ``regression``.
        per_model: Model → (N, C) float32 probabilities, the mean over its folds; of a regression its outputs as they
            are. Where words have tags, (W, C) of the words of all texts, one text after the other.
        stats: What it took: distinct texts, tokens, padding, truncated texts, seconds.
        n_missing: Texts that were None and were scored as empty text.
        first_row: Position of the first text in the stream that it came from.
        device: Where the networks ran.
        precision: Number format of the networks.
        gate: What the precision gate measured, where ``precision="auto"`` had to choose, and of int8.
        logits: Model → (F, N, C) float32: each fold's logits, before softmax or sigmoid; None unless they were asked
            for. The mean over folds of *their probabilities* is `per_model`, not the softmax of their mean.
        offsets: Where words have tags, (N + 1,) int64: text i has the words ``offsets[i]:offsets[i + 1]``.
        notes: What is worth knowing of how the models ran: a slow tokenizer, rows that are padded.
        backend: Who computed: ``torch`` or ``openvino``.
    """

    classes: tuple[str, ...]
    task: str
    per_model: Mapping[str, NDArray[np.float32]]
    stats: ShardStats
    n_missing: int
    first_row: int
    device: str
    precision: str
    gate: GateReport | None = None
    logits: Mapping[str, NDArray[np.float32]] | None = None
    offsets: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    backend: str = "torch"

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(N, C) float32: the mean over models, as the columns ``prob_<class>`` of `cli score` have it.

        Raises:
            ModelError: A regression gives none.
        """
        self._need_classes()
        return self.outputs

    @property
    def outputs(self) -> NDArray[np.float32]:
        """(N, C) float32: the mean over models, of probabilities, or of what a regression gives."""
        return mean_probabilities(list(self.per_model.values()))

    @property
    def labels(self) -> pl.Series:
        """(N,) String: the likeliest class of each text, the first of equals.

        ``multi_label``: all classes of at least one half, joined by ``|``; ``multi_group``: the likeliest of each
        group, joined likewise; ``token``: the likeliest tag of each word, joined by blanks.

        Raises:
            ModelError: A regression gives none.
        """
        self._need_classes()
        probs = self.outputs
        if self.task == "multi_label":
            rows = [np.flatnonzero(row) for row in probs >= THRESHOLD]
            return pl.Series("label", ["|".join(self.classes[i] for i in row) for row in rows], dtype=pl.String)
        if self.task == "multi_group":
            ends = np.cumsum(group_sizes(self.classes))
            starts = [0, *ends[:-1]]
            best = np.stack([start + probs[:, start:end].argmax(1) for start, end in zip(starts, ends, strict=True)], 1)
            return pl.Series("label", ["|".join(self.classes[i] for i in row) for row in best], dtype=pl.String)
        names = pl.Series("label", self.classes, dtype=pl.String).gather(probs.argmax(1))
        return names if self.offsets is None else self._by_text(names).list.join(" ")

    def to_polars(self, ids: pl.Series | None = None, *, each: bool = False) -> pl.DataFrame:
        """A table: id or ``row``, ``label``, ``prob_<class>``; columns as `cli score` writes them (`column_names`).

        Args:
            ids: (N,) first column, under its own name; default: positions, from `first_row`.
            each: Also each model's own columns, ``<model>/prob_<class>``.

        Raises:
            ModelError: Not as many ids as texts; ids that are called as another column is.
        """
        if ids is not None and len(ids) != len(self):
            raise ModelError(f"{len(ids):,} ids for {len(self):,} texts", next="give one id a text")
        first = pl.Series("row", np.arange(self.first_row, self.first_row + len(self))) if ids is None else ids
        columns = [*([] if self.task == "regression" else [self.labels]), *self._columns(self.outputs)]
        for model, probs in self.per_model.items() if each else ():
            columns += [column.alias(f"{model}/{column.name}") for column in self._columns(probs)]
        if first.name in [column.name for column in columns]:
            raise ModelError(f"the ids are called '{first.name}', as a column of the scores is", next="rename them")
        return pl.DataFrame([first, *columns])

    def __len__(self) -> int:
        return next(iter(self.per_model.values())).shape[0] if self.offsets is None else len(self.offsets) - 1

    def __iter__(self) -> Iterator[str]:
        return iter(self.per_model)

    def __getitem__(self, model: str) -> NDArray[np.float32]:
        if model not in self.per_model:
            raise ModelError(f"no scores of a model '{model}'", next=did_you_mean(str(model), list(self.per_model)))
        return self.per_model[model]

    def __repr__(self) -> str:
        models = ", ".join(self.per_model)
        of = f"model {models}" if len(self.per_model) == 1 else f"{len(self.per_model)} models ({models})"
        what = f"{len(self.classes)} classes"
        if self.task == "regression":
            what = "one output" if len(self.classes) == 1 else f"{len(self.classes)} outputs"
        head = f"Scores of {len(self):,} texts, {what}, by {of}; {self.precision} on {self.device}"
        head += " with OpenVINO" if self.backend == "openvino" else ""
        if self.n_missing:
            head += f"; {self.n_missing:,} without text"
        if self.stats.truncated:
            head += f"; {self.stats.truncated:,} truncated"
        return "\n".join([head, *(self._lines() if len(self) else ()), *(f"note: {note}" for note in self.notes)])

    def _lines(self) -> list[str]:
        """The first rows as a small table."""
        rows = min(len(self), _SHOWN_ROWS)
        if self.offsets is not None:
            lines = [f"{self.first_row + i}  {label}" for i, label in enumerate(self.labels.head(rows))]
            return [*lines, *(["…"] if rows < len(self) else [])]
        names = [*self.classes[:_SHOWN_CLASSES], *(["…"] if len(self.classes) > _SHOWN_CLASSES else [])]
        labels = [] if self.task == "regression" else [self.labels[:rows].to_list()]
        table = [["", *names, *("label" for _ in labels)]]
        for i, probs in enumerate(self.outputs[:rows]):
            cells = [f"{p:.4f}" for p in probs[:_SHOWN_CLASSES]] + ["…"] * (len(self.classes) > _SHOWN_CLASSES)
            table.append([str(self.first_row + i), *cells, *(column[i] for column in labels)])
        widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in table]
        return [*lines, *(["…"] if rows < len(self) else [])]

    def _columns(self, probs: NDArray[np.float32]) -> list[pl.Series]:
        names = column_names(self.classes, self.task)
        columns = [pl.Series(name, probs[:, i]) for i, name in enumerate(names)]
        return columns if self.offsets is None else [self._by_text(column) for column in columns]

    def _need_classes(self) -> None:
        if self.task == "regression":
            raise ModelError("a regression gives neither probabilities nor labels", next=".outputs has its numbers")

    def _by_text(self, words: pl.Series) -> pl.Series:
        """(N,) List, of a value for each word."""
        assert self.offsets is not None
        parts = [words[int(a) : int(b)] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]
        return pl.Series(words.name, parts, dtype=pl.List(words.dtype))


def column_names(classes: Sequence[str], task: str) -> list[str]:
    """(C,) what columns are called: ``prob_<class>``; of a regression ``score``, or ``score_<name>`` for several."""
    if task != "regression":
        return [f"prob_{name}" for name in classes]
    return ["score"] if len(classes) == 1 else [f"score_{name}" for name in classes]


def mean_probabilities(probs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Mean over M arrays (N, C) float32, in the order given: the same bits whoever computes it."""
    total = probs[0].astype(np.float32, copy=True)
    for other in probs[1:]:
        total += other
    total /= np.float32(len(probs))
    return total
