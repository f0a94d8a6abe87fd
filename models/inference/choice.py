"""Which backend computes on a CPU: the faster one on this machine, measured once on the user's own texts.

What was found is kept in the user's cache folder by checkpoints, processor, threads, number format and versions. Where
nothing was found yet, only a large table is worth the search: exporting a network and a few passes take seconds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from torch import nn

from models import cache
from models.classifier import TextClassifier
from models.hub import fingerprint
from models.inference import openvino_runtime as runtime
from models.inference.arithmetic import BACKENDS
from models.inference.device import DEFAULTS, processor_name
from models.inference.exported import NotExported, export
from models.inference.forward import TokenBudget, run_networks
from models.inference.groups import NetworkGroup
from models.inference.scorer import Scorer
from models.inference.tokens import Tokens

FILE = "backends.json"
MARGIN = 1.1  # so many times as fast OpenVINO must be: other digits and a second copy of the weights are no gain
# Of work by the device's nominal rate, from which on it pays to compile what is known to be faster, and to find out.
LEAST_SECONDS, LEAST_SECONDS_TO_MEASURE = 30.0, 300.0
ROUNDS = 2


@dataclass(frozen=True)
class Choice:
    """A backend, and what the user should know of how it was chosen; None where nothing was tried."""

    backend: str
    note: str | None = None


def choose_backend(scorer: Scorer, precision: str, texts: pl.Series, n_rows: int) -> Choice:
    """The backend for a scorer whose own was left open.

    Args:
        scorer: On a CPU. Afterwards it computes in torch, in float32 or `precision`.
        precision: ``fp32`` or ``bf16``.
        texts: Some of the texts that it will score.
        n_rows: How many it will score.
    """
    groups = [group for group in scorer.groups if isinstance(group, NetworkGroup)]
    if not groups or not len(texts) or scorer.task == "token":
        return Choice("torch")
    heaviest = max(groups, key=lambda group: group.flop_per_token)
    rows = heaviest.calibration_rows(texts.to_list())
    seconds = rows.ids.size / len(texts) * n_rows * scorer.flop_per_token / DEFAULTS["cpu"].flops
    if seconds < LEAST_SECONDS:
        return Choice("torch")
    key = _key(groups, precision)
    known = cache.read_notes(FILE).get(key)
    if isinstance(known, dict) and known.get("backend") in BACKENDS:
        return Choice(known["backend"])
    if seconds < LEAST_SECONDS_TO_MEASURE:
        return Choice("torch")
    found = _measure(scorer, heaviest, precision, rows)
    with suppress(OSError):  # then it is measured again the next time
        cache.add_note(FILE, key, found)
    return Choice(str(found["backend"]), str(found["note"]))


def _key(groups: Sequence[NetworkGroup], precision: str) -> str:
    prints = [fingerprint(Path(member.source)) for group in groups for member in group.members]
    models = hashlib.blake2b(repr(sorted(prints)).encode(), digest_size=8).hexdigest()
    machine = f"{processor_name()}, {torch.get_num_threads()} threads"
    return f"{models}, {precision}, {machine}, torch {torch.__version__}, {runtime.versions()}"


def _measure(scorer: Scorer, group: NetworkGroup, precision: str, rows: Tokens) -> dict[str, object]:
    """Race one network of a group against itself; what is to be remembered."""
    scorer.set_precision("fp32")
    network, member = group.networks[0], group.members[0]
    assert isinstance(network, TextClassifier)
    try:
        exported = export(network, member.source, member.max_length, precision)
    except NotExported as exc:
        return {"backend": "torch", "note": f"OpenVINO was tried: {member.source}: {exc}"}
    scorer.set_precision(precision)
    lanes = [
        _lane(scorer, rows, group.networks[0], group.pads, group.packed),
        _lane(scorer, rows, exported, group.pads),
    ]
    seconds = [[_timed(lane) for lane in lanes] for _ in range(1 + ROUNDS)][1:]  # the first makes all ready
    torch_s, openvino_s = (min(of_lane) for of_lane in zip(*seconds, strict=True))
    taken = torch_s >= MARGIN * openvino_s
    verdict = "it computes" if taken else "too little to change, torch computes"
    note = (
        f"OpenVINO is {torch_s / openvino_s:.2f} times as fast as torch in {precision} on rows of this input: {verdict}"
    )
    return {"backend": "openvino" if taken else "torch", "torch_s": torch_s, "openvino_s": openvino_s, "note": note}


def _lane(scorer: Scorer, rows: Tokens, network: nn.Module, pads: bool, packed: bool = False) -> Callable[[], object]:
    """Scores the rows, with a budget of its own."""
    budget = TokenBudget(scorer.budget.tokens, scorer.budget.pass_cost)
    return lambda: run_networks([network], rows, scorer.device, budget, lambda _: None, pads=pads, packed=packed)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
