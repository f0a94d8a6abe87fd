"""Writing one text of a pair from the other: the generative half of SimBERT's objective, with one encoder (UniLM).

Both texts stand in one sequence. The first one sees itself only; each token of the second one sees the first text and
what of the second stands before it, so that the encoder's states there can be asked for the next token. Dong et al.
2019, "Unified language model pre-training"; Su 2020, spaces.ac.cn/archives/7427. Knows nothing of labels and batches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.classifier import TextClassifier, split_pairs

_UNSEEN = -3e4  # added to an attention score: no weight is left, in any number format


class Generator(nn.Module):
    """States to scores of every token of the vocabulary, by the encoder's own word embeddings.

    As in BERT's pre-training. It serves in training only and is not saved.
    """

    def __init__(self, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """(n, V) logits of (n, D) states; `embeddings` are (V, D)."""
        transformed = self.norm(F.gelu(self.dense(states.to(self.dense.weight.dtype))))
        return F.linear(transformed, embeddings.to(transformed.dtype)) + self.bias


def unilm_mask(types: Tensor, real: Tensor) -> Tensor:
    """(B, 1, T, T) float32 to be added to attention scores: 0 where token i (row) sees token j (column).

    Args:
        types: (B, T): 0 for tokens of the first text, 1 for those of the second.
        real: (B, T) bool: false for padding, which nobody sees.
    """
    order = types.cumsum(1)
    visible = (order[:, None, :] <= order[:, :, None]) & real[:, None, :]
    # Not -inf, also in fp16: it would make NaN of a row that sees nothing. Bool masks leak with eager attention.
    return torch.zeros(visible.shape, device=types.device).masked_fill(~visible, _UNSEEN)[:, None]


def both_ways(first: Tensor, lengths: Tensor, pad_id: int, skip: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each pair as one sequence in both orders.

    Args:
        first: (2B, W): first all first texts, then all second ones.
        lengths: (2B,) tokens of each.
        pad_id: Fills short rows.
        skip: Tokens at the beginning of a text that are left out where it comes second, such as ``[CLS]``.

    Returns:
        Ids (2B, T), types (2B, T) and which tokens are real, (2B, T) bool.
    """
    n = len(first) // 2
    second, n_first, n_second = first.roll(n, 0), lengths[:, None], lengths.roll(n)[:, None] - skip
    columns = torch.arange(int((n_first + n_second).max()), device=first.device).expand(len(first), -1)
    in_first = columns < n_first
    real = columns < n_first + n_second
    places = (columns - n_first + skip).clamp(0, first.shape[1] - 1)
    ids = torch.where(in_first, first.gather(1, columns.clamp(max=first.shape[1] - 1)), second.gather(1, places))
    return torch.where(real, ids, pad_id), (real & ~in_first).long(), real


def generation_loss(
    network: TextClassifier, inputs: tuple[Tensor, Tensor | None, Tensor], positive: Tensor, skip: int
) -> Tensor:
    """Mean cross-entropy of the next token over the second texts, both texts of each positive pair being it once.

    Args:
        network: Has a `Generator`.
        inputs: Ids, mask and types of B pairs in form ``apart``.
        positive: (B,) bool; 0 is the loss of a batch without such a pair.
        skip: As in `both_ways`.
    """
    ids, mask, types = (None if part is None else part[positive] for part in inputs)
    assert ids is not None
    assert types is not None
    if not len(ids):
        return torch.zeros((), device=positive.device)
    pad_id = network.body.config.pad_token_id or 0
    split, inside = split_pairs(ids, mask, types, pad_id)
    lengths = torch.full((len(split),), split.shape[1], device=ids.device) if inside is None else inside.sum(1)
    joined, kinds, real = both_ways(split, lengths, pad_id, skip)
    extra = {"token_type_ids": kinds} if network.takes_types else {}
    states = network.body(input_ids=joined, attention_mask=unilm_mask(kinds, real), **extra).last_hidden_state
    wanted = kinds[:, 1:] == 1
    assert network.generator is not None
    logits = network.generator(states[:, :-1][wanted], network.body.get_input_embeddings().weight)
    return F.cross_entropy(logits.float(), joined[:, 1:][wanted])
