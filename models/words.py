"""Vectors of words beside those of tokens: each token is given the mean of the words of a lexicon that it is part of.

    words = WordVectors.of(spellings, vectors, n_tokens=len(tokenizer))
    words(ids, mask)                 # (B, T) to (B, T, W)

Words are found in the token ids themselves, by a trie, so that whatever feeds the network need not know of them, and
nothing has to decide which of two overlapping words is meant (Ma et al. 2020, "Simplify the usage of lexicon in Chinese
NER", do the same for characters). Knows nothing of how words and vectors came about: `models.vectors.words` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from models.errors import ModelError

LONGEST = 8  # tokens of a word; each more is a round of the search
_ROOT, _DEAD = 0, 1  # nodes of the trie: before the first token, and after one that begins no word


class WordVectors(nn.Module):
    """Token ids to the vectors of their words; zeros for tokens of none.

    Args:
        keys: (E,) int64 edges of the trie, ascending: node × (V + 1) + token; token V stands for padding, of no word.
        leads_to: (E,) int64 the node that each edge leads to.
        word_of: (nodes,) int64 the word that ends at a node; -1 for none.
        vectors: (words, W) float32.
        sizes: (2,) int64: V, and tokens of the longest word.
    """

    def __init__(self, keys: Tensor, leads_to: Tensor, word_of: Tensor, vectors: Tensor, sizes: Tensor) -> None:
        super().__init__()
        self.keys: Tensor
        self.leads_to: Tensor
        self.word_of: Tensor
        for name, value in (("keys", keys), ("leads_to", leads_to), ("word_of", word_of), ("sizes", sizes)):
            self.register_buffer(name, value)
        self.vectors = nn.Parameter(vectors.clone())
        self._n_tokens, self._longest = (int(size) for size in sizes)

    @classmethod
    def of(cls, spellings: Sequence[Sequence[int]], vectors: Tensor, n_tokens: int) -> WordVectors:
        """From words as sequences of token ids, none twice and none longer than `LONGEST`, and their vectors."""
        nodes: dict[tuple[int, ...], int] = {(): _ROOT}
        edges: dict[int, int] = {}
        ends: dict[int, int] = {}
        for number, word in enumerate(spellings):
            for n in range(1, len(word) + 1):
                prefix = tuple(word[:n])
                if prefix not in nodes:
                    nodes[prefix] = len(nodes) + 1  # one is left for the dead end
                    edges[nodes[prefix[:-1]] * (n_tokens + 1) + prefix[-1]] = nodes[prefix]
            ends[nodes[tuple(word)]] = number
        keys = sorted(edges)
        word_of = torch.full((len(nodes) + 1,), -1)
        word_of[list(ends)] = torch.tensor(list(ends.values()))
        longest = max(map(len, spellings))
        return cls(
            torch.tensor(keys), torch.tensor([edges[key] for key in keys]), word_of, vectors,
            torch.tensor([n_tokens, longest]),
        )  # fmt: skip

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> WordVectors:
        """From the tensors of a checkpoint.

        Raises:
            ModelError: They are not those of such a module.
        """
        names = ("keys", "leads_to", "word_of", "vectors", "sizes")
        if set(state) != set(names):
            raise ModelError("these are no word vectors", found=", ".join(sorted(state)), expected=", ".join(names))
        return cls(*(state[name] for name in names))

    @property
    def width(self) -> int:
        """W."""
        return self.vectors.shape[1]

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, W) of (B, T) int64 token ids; `mask` is (B, T), nonzero where a token is real, None where all are."""
        length = ids.shape[1]
        if mask is not None:
            ids = ids.masked_fill(mask == 0, self._n_tokens)
        nodes = torch.full_like(ids, _ROOT)
        total = self.vectors.new_zeros(*ids.shape, self.width)
        count = self.vectors.new_zeros(*ids.shape, 1)
        for n in range(1, min(self._longest, length) + 1):
            starts = length - n + 1
            nodes = self._step(nodes[:, :starts], ids[:, n - 1 :])  # after n tokens from each start
            words = self.word_of[nodes]
            found = (words >= 0).unsqueeze(-1).to(total.dtype)  # (B, starts, 1)
            vectors = self.vectors[words.clamp(min=0)] * found
            for offset in range(n):  # each token of the word
                margins = (0, 0, offset, n - 1 - offset)
                total = total + pad(vectors, margins)
                count = count + pad(found, margins)
        return total / count.clamp(min=1)

    def _step(self, nodes: Tensor, tokens: Tensor) -> Tensor:
        keys = nodes * (self._n_tokens + 1) + tokens
        places = torch.searchsorted(self.keys, keys.contiguous()).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[places] == keys, self.leads_to[places], _DEAD)
