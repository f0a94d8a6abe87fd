"""The `Scorer`: texts in, probabilities of every run out. The same object serves a job, an actor and a notebook.

    scorer = Scorer(["runs/roberta", "runs/linear"])       # directories of runs or checkpoints, or Hub ids
    scores = scorer.score(["a text", "another"])           # .probabilities (2, C) float32, .labels, .to_polars()
    for scores in scorer.score_batches(endless): ...       # the same for a stream, in order

Work is shared wherever it can be: a text that occurs twice is scored once; members with the same cleaning and tokenizer
share one tokenisation, members with the same vectorizer one TF-IDF; all networks see each batch while it is on the
device; folds are added up there. `prepare` (CPU), `launch` and `collect` (device) are separate so that shards overlap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.errors import ModelError
from models.hub import Models, by_run
from models.inference.arithmetic import Arithmetic, Due, check_calibration, resolve_backend
from models.inference.device import computing, current, failures_told, resolve_device, resolve_precision
from models.inference.forward import TokenBudget, pinned
from models.inference.groups import Features, Group, NetworkGroup, group_members
from models.inference.launched import Launched, Launcher
from models.inference.members import check_classes, load_member, slow_tokenizers
from models.inference.notebook import score_stream, score_texts
from models.inference.scores import Scores
from models.inference.shards import DistinctTexts, NonFinite, Prepared, Scored, ShardStats, distinct_texts
from models.inference.tokens import Tokens, UnusableTexts
from models.inference.turns import Turns
from models.memory import memory_told
from models.text.cleaning import clean
from models.text.pairs import Text, are_pairs, as_series

if TYPE_CHECKING:
    from models.inference.bounds import GateReport

_MORE_ROOM = "score fewer models at a time, or use --precision bf16, another --device, or --device cpu"
BATCH_ROWS = 4096  # of a stream: enough to find rows of equal length, little enough to wait for


class Scorer:
    """All models of a job, resident on one device.

    Args:
        models: One or several directories (of a run with folds, or of a checkpoint) or Hugging Face Hub ids, each a run
            named by its last part; or run name → such a directory or id, or its checkpoints, which are averaged.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``, ``fp8``, ``int8``: the format of weights and activations.
            Softmax and the mean over folds are always float32. Linear models ignore it. What ``auto`` finds, and int8,
            must first agree with float32 on the texts that `score` or `score_batches` sees first; ``auto`` is float32
            until a hundred of them come at once.
        classes: Class names in the wanted column order; by default the order of the first checkpoint.
        token_budget: Tokens in a batch; by default the device's own figure.
        max_length: Tokens a row at most; by default each checkpoint's own.
        compile: Let torch compile the networks' layers: some seconds, which a long stream on a GPU wins back.
        tokenizer: ``auto``: a faster one where one is installed and gives the same ids; or ``stock``.
        backend: Who computes on a CPU: ``torch``, ``openvino`` (networks that it cannot compute stay with torch, and
            `notes` says why), or ``auto``: OpenVINO where it is installed and was measured to be faster, which is tried
            where very many texts are scored at once, and remembered.
        calibration: Texts that int8 is calibrated on; by default those that `score` or `score_batches` sees first.

    Raises:
        ModelError: A checkpoint that cannot be used, classes that disagree, a device, precision or backend that is not
            there.
    """

    def __init__(
        self,
        models: Models,
        *,
        device: str = "auto",
        precision: str = "auto",
        classes: Sequence[str] | None = None,
        token_budget: int | None = None,
        max_length: int | None = None,
        compile: bool = False,
        tokenizer: Literal["auto", "stock"] = "auto",
        backend: str = "auto",
        calibration: Sequence[Text] = (),
    ) -> None:
        for what, value, least in (("max_length", max_length, 2), ("token_budget", token_budget, 1)):
            if value is not None and value < least:
                raise ModelError(f"{what}={value}", expected=f"{least} or more")
        sources = by_run(models) if models is not None else {}
        if not sources or not all(sources.values()):
            raise ModelError("no models to score with", next="train one with `cli train`, or name one with --model")
        self.device = resolve_device(device)
        wanted = resolve_precision(precision, self.device)
        backend = resolve_backend(backend, wanted, self.device)
        members = [load_member(run, source, max_length) for run, folds in sources.items() for source in folds]
        self.classes = tuple(classes) if classes is not None else members[0].spec.classes
        self.runs = tuple(sources)
        self.task = members[0].spec.task
        check_classes(members, self.classes, self.task)
        self.groups = group_members(members, stock_tokenizer=tokenizer == "stock")
        self.budget = TokenBudget.for_device(self.device, token_budget)
        self.gate: GateReport | None = None
        self.process = os.getpid()
        self.turns, self._tokenising = Turns(), Turns()
        self._members = members
        self._folds = {run: len(folds) for run, folds in sources.items()}
        self.due: Due | None = None
        given = tuple(as_series(calibration)) if wanted == "int8" and calibration else ()
        if self.flop_per_token > 0:
            gated = wanted == "int8" or (precision == "auto" and wanted != "fp32")
            if gated or backend == "auto":
                self.due = Due(wanted, backend, given, gated=gated, named=precision != "auto")
        self._compile = compile
        self._place(_at_first(wanted, backend, given))

    @property
    def flop_per_token(self) -> float:
        """Floating-point operations of all networks for one token; 0 for linear models alone."""
        return sum(group.flop_per_token for group in self.groups if isinstance(group, NetworkGroup))

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the models run; more may come once texts were seen."""
        networks = [group for group in self.groups if isinstance(group, NetworkGroup)]
        return [*slow_tokenizers(self._members), *(note for group in networks for note in group.notes)]

    def set_precision(self, name: str, backend: str = "torch", calibration: Sequence[Text] = ()) -> None:
        """Change how networks compute; scoring after this is as if it had been asked for at first.

        Args:
            name: Of the number format.
            backend: ``torch`` or ``openvino``; int8 is always OpenVINO's.
            calibration: Texts for int8.

        Raises:
            ModelError: The device has no hardware for it, it is not installed, nothing to calibrate on, or no network
                that OpenVINO can compute in int8.
        """
        name = resolve_precision(name, self.device)
        backend = resolve_backend("auto" if name == "int8" else backend, name, self.device)
        self.due = None
        self._place(Arithmetic(name, backend, tuple(as_series(calibration)) if name == "int8" else ()))

    @property
    def compiled(self) -> bool:
        """Whether any network's layers are compiled."""
        return any(isinstance(group, NetworkGroup) and group.compiled for group in self.groups)

    def set_compiled(self, wanted: bool) -> None:
        """Compile the networks' layers, in this precision and any that follows, or go back to the eager ones.

        What cannot be compiled, or computes something else then, stays as it is: see `notes`.
        """
        self._compile = wanted
        with computing(self.device):
            for group in self.groups:
                if isinstance(group, NetworkGroup):
                    group.set_compiled(wanted and self.task != "token")

    @contextmanager
    def eager(self) -> Iterator[None]:
        """No layers are compiled as long as the context lasts; then as asked for, in what precision it left."""
        asked, self._compile = self._compile, False
        try:
            yield
        finally:
            self._compile = asked
        if asked:
            self.set_compiled(True)

    def score(self, texts: Iterable[Text] | pl.Series, *, logits: bool = False) -> Scores:
        """Score N texts. None counts as empty text; pairs are given as tuples, or as `models.text.pairs` joins them.

        Args:
            texts: A list or a polars Series; nothing of pandas is needed.
            logits: Keep each fold's logits as well.

        Raises:
            UnusableTexts: Some are no strings; pairs where one text is read or the reverse; entities that are not
                marked. `rows` says which.
            NonFinite: A network gave NaN or infinity; `rows` says for which texts.
            ModelError: Out of memory with a single row; not a list of texts.
        """
        return score_texts(self, texts, logits=logits)

    def score_batches(self, texts: Iterable[Any], rows: int = BATCH_ROWS, *, logits: bool = False) -> Iterator[Scores]:
        """Score a stream that may never end: `Scores` in order, each with its `first_row`. Raises as `score`.

        At most two batches are held: one on the device while the next is read and tokenised.

        Args:
            texts: Texts, `rows` of which become a batch; or lists, arrays or Series of texts, each a batch of its own.
                What came before a fault in them is given first.
            rows: More rows at once find more others of their own length, and need more memory.
            logits: Keep each fold's logits as well.
        """
        return score_stream(self, texts, rows, logits=logits)

    def prepare(self, texts: Sequence[Text] | pl.Series) -> Prepared:
        """The part that needs no device: clean, find distinct texts, tokenise.

        Raises:
            UnusableTexts: Pairs where one text is read or the reverse, or entities that are not marked.
        """
        began = time.perf_counter()
        series = as_series(texts)
        self._check_pairs(series)
        distinct = {steps: distinct_texts(clean(series, steps)) for steps in {group.cleaning for group in self.groups}}
        with self._tokenising.lock:
            features = [self._featurise(group, distinct[group.cleaning]) for group in self.groups]
        if self.device.type == "cuda":  # here, so that the device need not wait for it
            with current(self.device):
                features = [pinned(part) if isinstance(part, Tokens) else part for part in features]
        return Prepared(len(series), distinct, features, time.perf_counter() - began)

    def infer(
        self, prepared: Prepared, tick: Callable[[float], None] | None = None, *, keep_logits: bool = False
    ) -> Scored:
        """The part that runs on the device: `launch`, and `collect` at once. Arguments and errors are theirs."""
        return self.collect(self.launch(prepared, tick, keep_logits=keep_logits))

    def launch(
        self, prepared: Prepared, tick: Callable[[float], None] | None = None, *, keep_logits: bool = False
    ) -> Launched:
        """Send a shard to the device. A GPU is waited for only where it is many batches behind, so that the next shard
        can be launched before this one is collected.

        Args:
            prepared: From `prepare`.
            tick: Called after each batch with the share of the shard's work that it was; the shares sum to one. What it
                raises ends the scoring.
            keep_logits: Give each fold's logits as well.

        Raises:
            DeviceFailed: The device broke down.
            ModelError: Out of memory with a single row.
        """
        stats = ShardStats(rows=prepared.n_rows, prepare_s=prepared.seconds)
        if self.task == "token" and keep_logits:
            raise ModelError("tags of words come with probabilities alone", next="leave logits out")
        with failures_told(self.device), computing(self.device):
            launcher = Launcher(self.classes, self.device, self.budget, stats, tick, keeps_logits=keep_logits)
            if prepared.n_rows:
                stats.scored = max(len(distinct.texts) for distinct in prepared.distinct.values())
                shares = self._shares(prepared.features)
                for group, features, share in zip(self.groups, prepared.features, shares, strict=True):
                    launcher.launch(group, features, prepared.distinct[group.cleaning].inverse, share)
            return launcher.launched()

    def collect(self, launched: Launched) -> Scored:
        """What the device made of a shard, once it is through with it.

        Raises:
            NonFinite: A network gave NaN or infinity.
            DeviceFailed: The device broke down.
        """
        with failures_told(self.device), current(self.device):
            launched.ended.wait()
            launched.stats.infer_s = launched.ended.since(launched.started)
        if not launched.outputs:
            return self._nothing(launched)
        sums: dict[str, NDArray[np.float32]] = {}
        logits: dict[int, NDArray[np.float32]] = {}
        for outputs in launched.outputs:
            for run, probs in outputs.sums.items():
                sums[run] = sums[run] + probs[outputs.places] if run in sums else probs[outputs.places]
            logits.update({member: own[outputs.places] for member, own in outputs.logits.items()})
        offsets = launched.outputs[-1].offsets
        self._divide_by_folds(sums, offsets)
        kept = self._logits_by_run(logits) if launched.keeps_logits else None
        return Scored({run: sums[run] for run in self.runs}, launched.stats, offsets, kept)

    def _nothing(self, launched: Launched) -> Scored:
        """Of no rows."""
        none = np.empty((0, len(self.classes)), dtype=np.float32)
        logits = {run: np.stack([none] * folds) for run, folds in self._folds.items()}
        return Scored(
            {run: none.copy() for run in self.runs},
            launched.stats,
            np.zeros(1, np.int64) if self.task == "token" else None,
            logits if launched.keeps_logits else None,
        )

    def _logits_by_run(self, kept: Mapping[int, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """For each run (F, N, C) logits of its folds, in their order."""
        return {run: np.stack([kept[id(member)] for member in self._members if member.run == run]) for run in self.runs}

    def _check_pairs(self, texts: pl.Series) -> None:
        """Refuse pairs for models of one text, and the reverse."""
        pairs = are_pairs(texts)
        for group in self.groups:
            for member in group.members:
                if len(texts) and member.spec.pair not in (None, pairs):
                    wanted = "pairs of texts" if member.spec.pair else "one text a row"
                    raise UnusableTexts(
                        f"run '{member.run}' reads {wanted}", list(range(len(texts))), where=member.source,
                        next="a second text column is named with --pair, or in competition.toml: pair_column",
                    )  # fmt: skip

    def _featurise(self, group: Group, distinct: DistinctTexts) -> Features:
        try:
            features = group.featurise(distinct.texts)
            if isinstance(group, NetworkGroup) and isinstance(features, Tokens):
                group.check_ids(features)
        except UnusableTexts as exc:
            exc.rows = np.flatnonzero(np.isin(distinct.inverse, exc.rows)).tolist()
            raise
        return features

    def _divide_by_folds(
        self, sums: Mapping[str, NDArray[np.float32]], offsets: NDArray[np.int64] | None = None
    ) -> None:
        """Make means of each run's sums, in place.

        Args:
            sums: (N, C) or, where words have tags, (W, C).
            offsets: (N + 1,) where each row's words begin.

        Raises:
            NonFinite: Some are NaN or infinite.
        """
        for run, total in sums.items():
            total /= np.float32(self._folds[run])
            if not np.isfinite(total).all():
                bad = np.flatnonzero(~np.isfinite(total).all(axis=1))
                rows = bad if offsets is None else np.unique(np.searchsorted(offsets, bad, side="right") - 1)
                raise NonFinite(run, rows.tolist())

    def _shares(self, features: Sequence[Features]) -> list[float]:
        """Each group's share of the work; a linear model counts as a hundredth of all of it."""
        cost = [
            f.ids.size * group.flop_per_token if isinstance(group, NetworkGroup) and isinstance(f, Tokens) else 0.0
            for group, f in zip(self.groups, features, strict=True)
        ]
        least = max(cost) / 100 or 1.0
        total = sum(max(c, least) for c in cost)
        return [max(c, least) / total for c in cost]

    def _place(self, arithmetic: Arithmetic) -> None:
        if arithmetic.precision == "int8":
            check_calibration(arithmetic.calibration)
        networks = [group for group in self.groups if isinstance(group, NetworkGroup)]
        with computing(self.device), memory_told("the networks' weights", _MORE_ROOM):
            for group in networks:
                group.place(self.device, arithmetic, self.budget.tokens)
        exported = any(group.is_exported for group in networks)
        if arithmetic.precision == "int8" and networks and not exported:
            raise ModelError("no network can be computed in int8", found=networks[0].notes[0], next="--precision auto")
        self.precision, self.backend = arithmetic.precision, "openvino" if exported else "torch"
        if self._compile and not self.compiled and self.due is None:
            self.set_compiled(True)


def _at_first(precision: str, backend: str, calibration: tuple[str, ...]) -> Arithmetic:
    """How to compute until the first texts come."""
    if precision == "int8" and not calibration:
        return Arithmetic()
    return Arithmetic(precision, "openvino" if backend == "openvino" else "torch", calibration)
