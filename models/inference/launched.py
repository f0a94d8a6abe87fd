"""A shard on its way through the device: what was launched, and when the device is through with it.

A GPU computes while Python goes on. So the next shard can be launched before this one is collected, and the device need
not wait for what happens between two shards. A CPU has computed what it was asked to launch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.inference.forward import TokenBudget, run_networks
from models.inference.groups import Features, Group, LinearGroup, NetworkGroup
from models.inference.shards import ShardStats
from models.inference.tag_shard import repeat_words, tag_group
from models.inference.tokens import Tokens
from models.tagging import WordRows

Key = TypeVar("Key")
Tick = Callable[[float], None]

# Forward passes that are launched and not computed. Of a small network (3 ms each) they outlast what Python does
# between two shards; of a large one (50 ms) they are less than a second, which progress and Ctrl-C are behind.
AHEAD = 16


class Mark:
    """A point in what a device was asked to do: on CUDA an event in its stream, elsewhere the time."""

    def __init__(self, device: torch.device) -> None:
        self._at = time.perf_counter()
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            # Blocking: whoever waits leaves the core to others.
            self._event = torch.cuda.Event(enable_timing=True, blocking=True)
            self._event.record(torch.cuda.current_stream(device))

    def wait(self) -> None:
        """Until the device has done all that was asked of it before."""
        if self._event is not None:
            self._event.synchronize()

    def since(self, earlier: Mark) -> float:
        """Seconds of the device from `earlier` to this, which it has reached."""
        if self._event is None or earlier._event is None:
            return self._at - earlier._at
        return float(earlier._event.elapsed_time(self._event)) / 1000  # from ms


class Pace:
    """Keeps Python at most `AHEAD` forward passes ahead of the device, or two batches where those are more."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: deque[tuple[Mark, int]] = deque()
        self._ahead = 0

    def keep(self, passes: int) -> None:
        """One more batch is launched, through so many networks."""
        self._marks.append((Mark(self._device), passes))
        self._ahead += passes
        while self._ahead > AHEAD and len(self._marks) > 2:
            mark, done = self._marks.popleft()
            mark.wait()
            self._ahead -= done


@dataclass(frozen=True)
class GroupOutputs:
    """What the members of a group give for a shard, on its way to the CPU.

    Attributes:
        sums: Run → (U, C) float32 probabilities of U distinct texts, summed over its members; columns as
            `Scorer.classes`. Where words have tags (W, C), of the words of all distinct texts.
        places: (N,) int64 which of the U each row has; where words have tags, which of the W each word of the rows.
        logits: Id of a member → (U, C) float32 logits, where they are kept.
        offsets: Where words have tags, (N + 1,) int64 at which of its words each row begins.
    """

    sums: Mapping[str, NDArray[np.float32]]
    places: NDArray[np.int64]
    logits: Mapping[int, NDArray[np.float32]]
    offsets: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Launched:
    """A shard that the device was sent. Arrays of its outputs are filled once `ended` is reached."""

    stats: ShardStats
    outputs: Sequence[GroupOutputs]
    keeps_logits: bool
    started: Mark
    ended: Mark


class Launcher:
    """Sends one shard to the device, group after group.

    Args:
        classes: Wanted order of the columns.
        device: Where the networks are, and the thread's current device.
        budget: Tokens a batch; halved and remembered when memory runs out.
        stats: Of the shard; what is computed is added.
        tick: Called after each batch with the share of the shard's work that it was.
        keeps_logits: Whether each member's logits are sent back as well.
    """

    def __init__(
        self,
        classes: Sequence[str],
        device: torch.device,
        budget: TokenBudget,
        stats: ShardStats,
        tick: Callable[[float], None] | None,
        *,
        keeps_logits: bool,
    ) -> None:
        self._classes, self._device, self._budget = classes, device, budget
        self._stats, self._tick, self._keeps_logits = stats, tick, keeps_logits
        self._pace, self._started = Pace(device), Mark(device)
        self._outputs: list[GroupOutputs] = []

    def launch(self, group: Group, features: Features, inverse: NDArray[np.int64], share: float) -> None:
        """One more group.

        Args:
            group: Of the Scorer.
            features: What it makes of U distinct texts.
            inverse: (N,) which of them each row has.
            share: Of the shard's work.
        """

        def after_batch(part: float) -> None:
            self._pace.keep(len(group.members))
            if self._tick is not None:
                self._tick(part * share)

        if isinstance(group, LinearGroup):
            outputs = self._linear(group, features, inverse, after_batch)
        elif isinstance(features, WordRows):
            outputs = self._tags(group, features, inverse, after_batch)
        else:
            outputs = self._networks(group, features, inverse, after_batch)
        self._outputs.append(outputs)

    def launched(self) -> Launched:
        """All groups are launched."""
        return Launched(self._stats, self._outputs, self._keeps_logits, self._started, Mark(self._device))

    def _networks(self, group: NetworkGroup, tokens: Tokens, inverse: NDArray[np.int64], tick: Tick) -> GroupOutputs:
        logits, batches = run_networks(
            group.networks, tokens, self._device, self._budget, tick, pads=group.pads, packed=group.packed,
            graphs=group.graphs,
        )  # fmt: skip
        computed = sum(batch.n_tokens for batch in batches)
        stats = self._stats
        stats.tokens += tokens.ids.size
        stats.faster_tokens += tokens.ids.size if tokens.faster else 0
        stats.computed_tokens += computed * len(group.networks)
        stats.padding += (computed - tokens.ids.size) * len(group.networks)
        stats.truncated += tokens.n_truncated
        stats.lost += tokens.n_lost
        stats.rescued += tokens.n_rescued
        stats.flop += computed * group.flop_per_token
        sums = _sum_by_run(group.runs, group.probabilities(logits, self._classes))
        kept = group.in_order(logits, self._classes) if self._keeps_logits else {}
        return GroupOutputs(_sent_back(sums), inverse, _sent_back(kept))

    def _tags(self, group: NetworkGroup, words: WordRows, inverse: NDArray[np.int64], tick: Tick) -> GroupOutputs:
        """Tags of words; the device is waited for."""
        outputs = tag_group(group, words, self._classes, self._device, self._budget, tick)
        offsets, places = repeat_words(words.offsets, inverse)
        n_tokens, unseen = int(words.rows.lengths.sum()), [int((row < 0).sum()) for row in words.first]
        stats = self._stats
        stats.tokens += n_tokens
        stats.computed_tokens += n_tokens * len(group.networks)
        stats.truncated += sum(n > 0 for n in unseen)
        stats.lost += sum(unseen)
        stats.flop += n_tokens * group.flop_per_token
        return GroupOutputs(_sum_by_run(group.runs, outputs), places, {}, offsets)

    def _linear(self, group: LinearGroup, matrix: csr_matrix, inverse: NDArray[np.int64], tick: Tick) -> GroupOutputs:
        """Linear models compute here, whatever the device."""
        sums = _sum_by_run(group.runs, group.probabilities(matrix, self._classes))
        kept = group.logits(matrix, self._classes) if self._keeps_logits else {}
        tick(1.0)
        return GroupOutputs(sums, inverse, kept)


def _sum_by_run(runs: Sequence[str], outputs: Sequence[Any]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for run, output in zip(runs, outputs, strict=True):
        sums[run] = sums[run] + output if run in sums else output
    return sums


def _sent_back(parts: Mapping[Key, torch.Tensor]) -> dict[Key, NDArray[np.float32]]:
    """Arrays that a device fills: a GPU when it comes to it, without being waited for."""
    return {key: part.to("cpu", non_blocking=part.device.type == "cuda").numpy() for key, part in parts.items()}
