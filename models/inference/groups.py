"""Members grouped by what they can share.

Members with the same cleaning, tokenizer, maximum length and form of a row make a `NetworkGroup` and see the same
batches; linear models with the same vectorizer form a `LinearGroup` and see the same TF-IDF rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit, softmax
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.checkpoint import CheckpointSpec
from models.classifier import TextClassifier
from models.inference import compiled, disentangled, fp8, packed
from models.inference.arithmetic import Arithmetic
from models.inference.device import PRECISIONS
from models.inference.exported import NotExported, export
from models.inference.faster_tokens import FasterTokenizer, faster
from models.inference.forward import send
from models.inference.graphs import Graphs, graphs_for
from models.inference.last_layer import compute_exactly, name_of_last
from models.inference.members import Member, class_order
from models.inference.tokens import TextTokenizer, Tokens, UnusableTexts
from models.known import known_by
from models.label_groups import to_probabilities
from models.padding import end_text, hides_padding
from models.saved import load_classifier
from models.tagging import WordRows, align_words, tag_rows
from models.text.cleaning import clean

_FLOP_LENGTH = 32  # tokens at most of the row that operations are counted on
# Architectures whose stock forward pass copies something to the device each time, which a recording is broken off by.
_COPYING = ("deberta-v2", "mpnet")


class NetworkGroup:
    """Networks that share cleaning, tokenizer, maximum length and the form of a row."""

    def __init__(self, members: Sequence[Member], *, stock_tokenizer: bool = False) -> None:
        self.cleaning = members[0].spec.cleaning
        self.form = members[0].spec.form
        self.featurise = _tokenizer(members[0], stock_tokenizer)
        self.members = tuple(members)
        self.runs = [member.run for member in members]
        networks = [_take_over(member) for member in members]
        self.networks: list[nn.Module] = [*networks]
        self._disentangle()
        self._known = [known_by(network) for network in networks]
        pad_id = members[0].tokenizer.pad_token_id or 0
        kinds = [_kind(member.spec, network) for member, network in zip(members, networks, strict=True)]
        self._firsts = {kind: kinds.index(kind) for kind in kinds}  # what is checked of one holds for all of its kind
        first = [networks[place] for place in self._firsts.values()]
        self.pads = all(hides_padding(network, pad_id, members[0].max_length) for network in first)
        for network in networks:
            network.pads = self.pads
        length = min(_FLOP_LENGTH, members[0].max_length)
        self.packed = False
        self.compiled = False
        self.graphs: Graphs | None = None
        self.is_exported = False  # whether OpenVINO computes the networks
        self._dtype = torch.float32
        self._placed: tuple[torch.device, Arithmetic, int] | None = None
        self._unexported: str | None = None
        self._stock: str | None = None
        self._unpacked: str | None = None
        self._uncompiled: list[str] = []
        tried = {kind: _try_out(networks[place], length, self.form) for kind, place in self._firsts.items()}
        self.flop_per_token = sum(tried[kind][0] for kind in kinds)
        self._last_layers = [tried[kind][1] for kind in kinds]

    def check_ids(self, rows: Tokens) -> None:
        """Refuse tokens, and types of tokens, that a network has no embedding for; a GPU would break down over them.

        Raises:
            UnusableTexts: The tokenizer is another model's, or tokens were added to it alone.
        """
        for member, known in zip(self.members, self._known, strict=True):
            fault = known.fault(rows.ids, rows.types)
            if fault is not None:
                places, lacks, advice = fault
                texts = np.unique(np.searchsorted(rows.offsets, places, side="right") - 1)
                raise UnusableTexts(f"run '{member.run}' {lacks}", texts.tolist(), where=member.source, next=advice)

    def place(self, device: torch.device, arithmetic: Arithmetic, budget: int) -> None:
        """Compute in this way from now on, with eager layers, and OpenVINO with as many threads as torch has now.

        Args:
            device: Where.
            arithmetic: How.
            budget: Tokens in a batch.
        """
        asked = (device, arithmetic, torch.get_num_threads())
        if asked != self._placed:
            self._placed = None
            self._place(device, arithmetic, budget)
            self._placed = asked

    @property
    def notes(self) -> list[str]:
        """What a user should know of how they run."""
        found = [
            note for note in (self._unexported, self._stock, self._unpacked) if note is not None
        ] + self._uncompiled
        if isinstance(self.featurise, FasterTokenizer) and self.featurise.refusal is not None:
            found.append(f"{self.members[0].source}: the stock tokenizer reads all texts: {self.featurise.refusal}")
        return found

    def calibration_rows(self, texts: Sequence[str]) -> Tokens:
        """Different ones of these texts, as the networks read them; scoring tells of those that they cannot read."""
        cleaned = clean(pl.Series(texts, dtype=pl.String), self.cleaning).unique(maintain_order=True)
        try:
            rows = self.featurise(cleaned)
        except UnusableTexts as exc:
            rows = self.featurise(cleaned.gather(np.delete(np.arange(len(cleaned)), exc.rows)))
        assert isinstance(rows, Tokens)
        return rows

    def _place(self, device: torch.device, arithmetic: Arithmetic, budget: int) -> None:
        dtype = PRECISIONS.get(arithmetic.precision, torch.float32)
        if self.is_exported or arithmetic.backend == "openvino" or self._dtype != dtype:
            self._reload()
        self._unexported = None
        if arithmetic.backend == "openvino":
            self._disentangle(one_way=True)
            self._check_attention()
            if self._export(arithmetic):
                return
            self._disentangle()
        rest = fp8.REST if dtype == fp8.DTYPE else dtype
        for network, last in zip(self.networks, self._last_layers, strict=True):
            network.to(device, rest)
            if rest != torch.float32 and last is not None and self.members[0].spec.task != "token":
                compute_exactly(network, last)
        self._dtype = dtype
        self.set_compiled(False)
        self._check_attention()
        self.choose_packing(device, rest)
        self.choose_graphs(device, budget)
        if dtype == fp8.DTYPE:
            for network in self.networks:
                assert isinstance(network, TextClassifier)
                fp8.convert(network)

    def _reload(self) -> None:
        """Read the weights again: the way back from a format of fewer bits, and from OpenVINO."""
        if self.is_exported or self._dtype != torch.float32:
            networks = [load_classifier(member.source).network for member in self.members]
            for network in networks:
                network.pads = self.pads
            self.networks = [*networks]
            self.is_exported, self._dtype = False, torch.float32
            self._disentangle()

    def _export(self, arithmetic: Arithmetic) -> bool:
        """Let OpenVINO compute all networks, or none of them and note why."""
        try:
            self.networks = self._exported(arithmetic)
        except NotExported as exc:
            self._unexported = f"computed by torch, not by OpenVINO: {exc}"
            return False
        self.is_exported, self.packed, self.compiled, self.graphs = True, False, False, None
        self._unpacked, self._uncompiled = None, []
        return True

    def _exported(self, arithmetic: Arithmetic) -> list[nn.Module]:
        if self.members[0].spec.task == "token":
            raise NotExported("words have tags")
        rows = self.calibration_rows(arithmetic.calibration) if arithmetic.precision == "int8" else None
        networks: list[nn.Module] = []
        for member, network in zip(self.members, self.networks, strict=True):
            assert isinstance(network, TextClassifier)
            try:
                networks.append(export(network, member.source, member.max_length, arithmetic.precision, rows))
            except NotExported as exc:
                raise NotExported(f"{member.source}: {exc}") from exc
        return networks

    def _disentangle(self, *, one_way: bool = False) -> None:
        """Let DeBERTas of the second and third version attend in a faster way; see `disentangled.disentangle`."""
        for member, network in zip(self.members, self.networks, strict=True):
            assert isinstance(network, TextClassifier)
            disentangled.restore(network)
            disentangled.disentangle(network, member.max_length, one_way=one_way)

    def _check_attention(self) -> None:
        """Go back to the stock attention of DeBERTa, where the faster one gives something else."""
        self._stock = None
        networks = [network for network in self.networks if isinstance(network, TextClassifier)]
        for place in self._firsts.values():
            reason = disentangled.refusal(networks[place]) if disentangled.is_disentangled(networks[place]) else None
            if reason is not None:
                self._stock = f"{self.members[place].source}: the stock forward pass computes it: {reason}"
                for network in networks:
                    disentangled.restore(network)
                return

    def choose_packing(self, device: torch.device, dtype: torch.dtype) -> None:
        """Pack rows of different lengths from now on, where that is faster and the networks' logits stay the same."""
        self.packed, self._unpacked = False, None
        if self.members[0].spec.task == "token" or not packed.wants_packing(device, dtype):
            return
        for place in self._firsts.values():
            member, network = self.members[place], self.networks[place]
            assert isinstance(network, TextClassifier)
            reason = packed.refusal(network, member.max_length)
            if reason is not None:
                self._unpacked = f"{member.source}: rows of different lengths are padded, not packed: {reason}"
                return
        self.packed = True

    def choose_graphs(self, device: torch.device, budget: int) -> None:
        """Record batches of frequent shapes from now on, where launching takes longer than computing."""
        # Asked of the device in the forward pass: how long the longest text is, how many ends of text rows have.
        waits = self.form == "apart" or any(
            network.end_of_text is not None or _copies(network)
            for network in self.networks
            if isinstance(network, TextClassifier)
        )
        self.graphs = None if waits else graphs_for(device, self.flop_per_token / max(1, len(self.networks)) * budget)

    def set_compiled(self, wanted: bool) -> None:
        """Let torch compile the layers of the networks, where it can; or let the eager ones compute again."""
        self.compiled, self._uncompiled = False, []
        if self.is_exported:
            self._uncompiled = ["layers are not compiled: OpenVINO computes them"] if wanted else []
            return
        if self.graphs is not None:
            self.graphs.clear()
        for member, network in zip(self.members, self.networks, strict=True):
            assert isinstance(network, TextClassifier)
            if not wanted:
                compiled.disable(network)
            elif (reason := compiled.enable(network, packed=self.packed)) is None:
                self.compiled = True
            else:
                self._uncompiled.append(f"{member.source}: its layers are not compiled: {reason}")

    def probabilities(self, logits: Sequence[torch.Tensor], classes: Sequence[str]) -> list[torch.Tensor]:
        """For each member (N, C) float32 probabilities in the order of `classes`, from (N, C) float32 logits."""
        outputs = []
        for member, own in zip(self.members, logits, strict=True):
            probs = to_probabilities(own, member.spec.task, member.spec.classes)
            outputs.append(_columns(probs, class_order(member.spec.classes, classes)))
        return outputs

    def in_order(self, logits: Sequence[torch.Tensor], classes: Sequence[str]) -> dict[int, torch.Tensor]:
        """Member's id → (N, C) float32 logits in the order of `classes`."""
        pairs = zip(self.members, logits, strict=True)
        return {id(member): _columns(own, class_order(member.spec.classes, classes)) for member, own in pairs}

    def tag(
        self,
        words: WordRows,
        classes: Sequence[str],
        device: torch.device,
        batch_size: int,
        tick: Callable[[float], None],
    ) -> list[NDArray[np.float32]]:
        """For each member (W, C) float32 probabilities of the words' tags, in the order of `classes`."""
        share = 1.0 / max(1, len(words.first) * len(self.networks))
        outputs = []
        for member, network in zip(self.members, self.networks, strict=True):
            assert isinstance(network, TextClassifier)
            found = tag_rows(
                network, words, member.spec.classes, device, batch_size=batch_size,
                on_batch=lambda _, rows: tick(len(rows) * share),
            )  # fmt: skip
            outputs.append(found.probs[:, class_order(member.spec.classes, classes)])
        return outputs


class LinearGroup:
    """Linear models that share cleaning and vectorizer."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.cleaning = members[0].spec.cleaning
        self.members = tuple(members)
        self.runs = [member.run for member in members]
        self.models = [member.linear for member in members if member.linear is not None]
        self._vectorizer = self.models[0].vectorizer

    def featurise(self, texts: pl.Series) -> csr_matrix:
        """The (N, F) TF-IDF matrix of N texts."""
        return self._vectorizer.transform(texts.to_list())

    def probabilities(self, features: csr_matrix, classes: Sequence[str]) -> list[NDArray[np.float32]]:
        """For each member (N, C) float32 probabilities in the order of `classes`."""
        outputs = []
        for member, model in zip(self.members, self.models, strict=True):
            logits = model.logits(features)
            probs = softmax(logits, axis=1) if member.spec.task == "single_label" else expit(logits)
            outputs.append(probs[:, class_order(member.spec.classes, classes)].astype(np.float32, copy=False))
        return outputs

    def logits(self, features: csr_matrix, classes: Sequence[str]) -> dict[int, NDArray[np.float32]]:
        """Member's id → (N, C) float32 logits in the order of `classes`."""
        return {
            id(member): model.logits(features)[:, class_order(member.spec.classes, classes)].astype(
                np.float32, copy=False
            )
            for member, model in zip(self.members, self.models, strict=True)
        }


Group = NetworkGroup | LinearGroup
Features = Tokens | WordRows | csr_matrix


def group_members(members: Sequence[Member], *, stock_tokenizer: bool = False) -> list[Group]:
    """Members that can share their features, in order of first appearance.

    Args:
        members: Of one job.
        stock_tokenizer: Whether no faster one is to take its place.
    """
    shared: dict[tuple[object, ...], list[Member]] = {}
    for member in members:
        shared.setdefault(_sharing_key(member), []).append(member)
    return [
        LinearGroup(g) if g[0].linear is not None else NetworkGroup(g, stock_tokenizer=stock_tokenizer)
        for g in shared.values()
    ]


# Of a configuration, what names things and computes nothing.
_NAMES = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version")


def _kind(spec: CheckpointSpec, network: TextClassifier) -> str:
    """What decides how a network computes: those of one kind, such as the folds of a run, differ by weights alone."""
    config = {name: value for name, value in network.body.config.to_dict().items() if name not in _NAMES}
    return json.dumps([config, spec.head, spec.head_options, spec.form, spec.words], sort_keys=True, default=str)


def _copies(network: TextClassifier) -> bool:
    """Whether each forward pass copies something from the host."""
    return network.body.config.model_type in _COPYING and not disentangled.is_disentangled(network)


def _columns(values: torch.Tensor, order: list[int]) -> torch.Tensor:
    """These columns of (N, C) values. An index by a list would wait for the device to have done all before."""
    return values.index_select(1, send(np.array(order, np.int64), values.device))


def _take_over(member: Member) -> TextClassifier:
    network, member.network = member.network, None
    assert network is not None
    return network.requires_grad_(False)  # or the counter of operations stumbles over DeBERTa's shared parameters


def _tokenizer(member: Member, stock: bool) -> Callable[[pl.Series], Tokens | WordRows]:
    if member.spec.task == "token":
        return lambda texts: align_words(member.tokenizer, texts.to_list(), max_length=member.max_length)
    own = TextTokenizer(member.tokenizer, member.max_length, member.spec.form)
    tokenizer = own if stock else faster(own, member.tokenizer)
    return tokenizer if isinstance(tokenizer, FasterTokenizer) else lambda texts: own(texts.to_list())


def _sharing_key(member: Member) -> tuple[object, ...]:
    if member.linear is not None:
        return ("linear", member.spec.cleaning, member.linear.vectorizer.fingerprint)
    identity = member.tokenizer_digest or member.source
    return ("network", member.spec.cleaning, identity, member.max_length, member.spec.form)


def _try_out(network: TextClassifier, length: int, form: str) -> tuple[float, str | None]:
    """Operations of a forward pass over one row of so many tokens, by torch's own counter, for each token of it; and
    the layer that gives the logits (`models.inference.last_layer`)."""
    ids = torch.ones(1, length, dtype=torch.long)
    end_text(network, ids)
    # Two sequences of half the length, where texts are read apart.
    types = torch.arange(length)[None] * 2 // length if form == "apart" else None
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        last = name_of_last(network, lambda: network(input_ids=ids, attention_mask=None, token_type_ids=types))
    return counter.get_total_flops() / length, last
