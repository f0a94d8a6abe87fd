"""A linear-chain conditional random field over the words of a row: loss and marginals. In float32 throughout.

    crf = Crf(n_tags, first, allowed)                # what may come first, and after what; None for all
    crf.nll(emissions, tags)                         # mean over words; tags -100 where there is no word
    crf.marginals(emissions, words)                  # (B, T, C) probabilities; marginal_logits: to train on

A path of tags y_1 … y_n over a row's words scores start[y_1] + Σ e_t[y_t] + Σ transitions[y_t−1, y_t] + end[y_n]
(Lafferty, McCallum & Pereira 2001). Positions that are no words (special tokens, pieces after a word's first, padding)
may stand anywhere, also first: a row's words are pushed together before the recursion. Half precision would change the
tags of many a row, so parameters stay float32 whatever the network is converted to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NO_WORD = -100
FORBIDDEN = -1e4  # finite: a row for which nothing is allowed still has probabilities and no NaN


class Crf(nn.Module):
    """Scores of first tags, last tags and neighbours.

    Args:
        n_tags: C.
        first: (C,) bool, tags that a row may begin with; None for all.
        allowed: (C, C) bool, whether a tag (row) may be followed by another (column); None for all.
    """

    _first_bar: Tensor
    _bar: Tensor

    def __init__(self, n_tags: int, first: Tensor | None = None, allowed: Tensor | None = None) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.empty(n_tags).uniform_(-0.1, 0.1))
        self.end = nn.Parameter(torch.empty(n_tags).uniform_(-0.1, 0.1))
        self.transitions = nn.Parameter(torch.empty(n_tags, n_tags).uniform_(-0.1, 0.1))
        first = torch.ones(n_tags, dtype=torch.bool) if first is None else first
        allowed = torch.ones(n_tags, n_tags, dtype=torch.bool) if allowed is None else allowed
        self.register_buffer("_first_bar", (~first) * FORBIDDEN, persistent=False)
        self.register_buffer("_bar", (~allowed) * FORBIDDEN, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # To another device, but never to another format.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)  # type: ignore[no-untyped-call]

    def nll(self, emissions: Tensor, tags: Tensor) -> Tensor:
        """Negative log-probability of the true paths, mean over all words; 0 where there is none.

        Args:
            emissions: (B, T, C) scores of tags.
            tags: (B, T) int64, `NO_WORD` where there is no word.
        """
        words = tags != NO_WORD
        scores, lengths, order = _pushed(emissions, words)
        path = tags.gather(1, order).clamp(min=0)
        gold = self._path_score(scores, path, lengths)
        return (self._log_partition(scores, lengths) - gold).sum() / lengths.sum().clamp(min=1)

    @torch.no_grad()
    def marginals(self, emissions: Tensor, words: Tensor) -> Tensor:
        """(B, T, C) float32 probability of each tag at each word, over all paths; 0 where there is no word."""
        return self.marginal_logits(emissions, words).softmax(-1) * words.unsqueeze(-1)

    def marginal_logits(self, emissions: Tensor, words: Tensor) -> Tensor:
        """(B, T, C) float32 whose softmax is, at each word, that of `marginals`, and which has a gradient."""
        scores, lengths, order = _pushed(emissions, words)
        between, n = self.transitions + self._bar, scores.shape[1]
        forward = [self.start + self._first_bar + scores[:, 0]]
        for t in range(1, n):
            forward.append(torch.logsumexp(forward[-1].unsqueeze(2) + between, dim=1) + scores[:, t])
        backward = self.end.expand_as(forward[0])
        both = []
        for t in range(n - 1, -1, -1):
            both.append(forward[t] + backward)
            step = torch.logsumexp(between + (scores[:, t] + backward).unsqueeze(1), dim=2)
            backward = torch.where((t < lengths).unsqueeze(1), step, backward)
        logits = torch.stack(both[::-1], dim=1)  # (B, T', C), words pushed together
        empty = torch.zeros_like(emissions, dtype=torch.float32)
        return empty.scatter(1, order.unsqueeze(-1).expand_as(logits), logits)

    def _path_score(self, scores: Tensor, path: Tensor, lengths: Tensor) -> Tensor:
        """(B,) of left-aligned paths; 0 for rows without words."""
        steps = torch.arange(scores.shape[1], device=scores.device)
        alive = steps < lengths.unsqueeze(1)  # (B, T)
        total = (scores.gather(2, path.unsqueeze(2)).squeeze(2) * alive).sum(1)
        between = (self.transitions + self._bar)[path[:, :-1], path[:, 1:]]
        last = path.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        ends = (self.start + self._first_bar)[path[:, 0]] + self.end[last]
        return total + (between * alive[:, 1:]).sum(1) + ends * (lengths > 0)

    def _log_partition(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """(B,) log of the sum over all paths; 0 for rows without words."""
        between = self.transitions + self._bar
        alpha = self.start + self._first_bar + scores[:, 0]
        for t in range(1, scores.shape[1]):
            step = torch.logsumexp(alpha.unsqueeze(2) + between, dim=1) + scores[:, t]
            alpha = torch.where((t < lengths).unsqueeze(1), step, alpha)
        return torch.logsumexp(alpha + self.end, dim=1) * (lengths > 0)


def _pushed(emissions: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T', C) float32 scores with the words first, in their order; (B,) how many; (B, T') where they were.

    T' is the most words of a row, at least 1.
    """
    lengths = words.sum(1)
    longest = max(1, int(lengths.max()))
    order = torch.argsort((~words).to(torch.int8), dim=1, stable=True)
    near = order[:, :longest]
    scores = emissions.float().gather(1, near.unsqueeze(-1).expand(-1, -1, emissions.shape[-1]))
    return scores, lengths, near
