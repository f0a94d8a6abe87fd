"""GloVe: vectors of tokens whose products are the logarithms of how often the tokens meet.

Pennington, Socher, Manning 2014, "GloVe: Global vectors for word representation". Minimises

    ½ Σ f(X_ij) (w_i · c_j + a_i + b_j − log X_ij)²,    f(x) = min(1, (x / x_max)^α)

over the pairs that meet, by AdaGrad (Duchi, Hazan, Singer 2011), pair after pair in random order; a token's vector is
w_i + c_i. One thread, so that a seed gives the same vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.schema import Between

_CHUNK = 1 << 21  # tokens whose pairs are counted at a time


@dataclass
class GloveState:
    """What is learnt.

    Attributes:
        words, contexts: (V, D + 1) float32, the last column the bias.
        word_squares, context_squares: (V, D + 1) float32 sums of squared gradients, from 1.
    """

    words: NDArray[np.float32]
    contexts: NDArray[np.float32]
    word_squares: NDArray[np.float32]
    context_squares: NDArray[np.float32]


def glove(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    n_tokens: int,
    size: int,
    seed: int,
    *,
    window: Annotated[int, Between(1, 50)] = 8,
    epochs: Annotated[int, Between(1)] = 15,
    x_max: Annotated[float, Between(1.0)] = 20.0,
    alpha: Annotated[float, Between(0.0, 1.0)] = 0.75,
    rate: Annotated[float, Between(0.0, 1.0)] = 0.05,
    scale: Annotated[float, Between(0.001, 10.0)] = 0.1,
) -> NDArray[np.float32]:
    """Vectors of the tokens of some texts.

    Args:
        ids: (sum of lengths,) tokens, text after text, special ones left out.
        offsets: (N + 1,) where each text begins.
        n_tokens: V.
        size: D.
        seed: Of the first vectors and of the order of pairs.
        window: Tokens that see each other stand at most so far apart; a pair at distance d counts 1/d.
        epochs: Passes over the pairs.
        x_max: Count from which on a pair weighs in full. The paper has 100 for billions of tokens.
        alpha: How fast the weight falls below that.
        rate: Learning rate of AdaGrad.
        scale: Standard deviation that the vectors are brought to.

    Returns:
        (V, D) float32; rows of NaN for tokens that meet no other.
    """
    counts = count_pairs(ids, offsets, n_tokens, window)
    state = start(n_tokens, size, seed)
    fit(state, counts, epochs=epochs, x_max=x_max, alpha=alpha, rate=rate, seed=seed)
    vectors = state.words[:, :size] + state.contexts[:, :size]
    met = np.diff(counts.indptr) > 0
    vectors[~met] = np.nan
    spread = float(vectors[met].std()) if met.any() else 1.0
    return vectors * np.float32(scale / max(spread, 1e-12))


def count_pairs(ids: NDArray[np.int32], offsets: NDArray[np.int64], n_tokens: int, window: int) -> csr_matrix:
    """(V, V) symmetric float64: how often two tokens of a text stand within `window` of each other, each pair by 1/d.

    Args:
        ids: (sum of lengths,) tokens.
        offsets: (N + 1,) where each text begins.
        n_tokens: V.
        window: Greatest distance.
    """
    texts = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    total = csr_matrix((n_tokens, n_tokens))
    for begin in range(0, len(ids), _CHUNK):
        for distance in range(1, window + 1):
            left = np.arange(begin, min(begin + _CHUNK, len(ids) - distance))
            left = left[texts[left] == texts[left + distance]] if len(left) else left
            weights = np.full(len(left), 1.0 / distance)
            total += csr_matrix((weights, (ids[left], ids[left + distance])), shape=total.shape)
    both = csr_matrix(total + total.T)
    both.sum_duplicates()
    return both


def start(n_tokens: int, size: int, seed: int) -> GloveState:
    """Small random vectors."""
    generator = np.random.default_rng(seed)
    shape = (n_tokens, size + 1)
    draws = [((generator.random(shape) - 0.5) / size).astype(np.float32) for _ in range(2)]
    return GloveState(draws[0], draws[1], np.ones(shape, np.float32), np.ones(shape, np.float32))


def fit(
    state: GloveState, counts: csr_matrix, *, epochs: int, x_max: float, alpha: float, rate: float, seed: int
) -> list[float]:
    """Improve the state in place; gives each epoch's mean loss over the pairs, as it was met."""
    pairs = counts.tocoo()
    rows, columns = pairs.row.astype(np.int32), pairs.col.astype(np.int32)
    logs = np.log(pairs.data).astype(np.float32)
    weights = np.minimum(1.0, (pairs.data / x_max) ** alpha).astype(np.float32)
    generator = np.random.default_rng([seed, 1])
    losses = []
    for _ in range(epochs):
        order = generator.permutation(len(rows))
        total = _pass(
            rows, columns, logs, weights, order, np.float32(rate),
            state.words, state.contexts, state.word_squares, state.context_squares,
        )  # fmt: skip
        losses.append(float(total) / max(1, len(rows)))
    return losses


@numba.njit(cache=True, nogil=True)  # without fastmath: the same bits on every machine
def _pass(rows, columns, logs, weights, order, rate, words, contexts, word_squares, context_squares):  # type: ignore[no-untyped-def]
    """Each pair once: its gradient, then AdaGrad's step."""
    size = words.shape[1] - 1
    total = 0.0
    for k in order:
        i, j = rows[k], columns[k]
        w, c, w2, c2 = words[i], contexts[j], word_squares[i], context_squares[j]
        difference = w[size] + c[size] - logs[k]
        for d in range(size):
            difference += w[d] * c[d]
        slope = weights[k] * difference
        total += 0.5 * slope * difference
        for d in range(size):
            of_word, of_context = slope * c[d], slope * w[d]
            w[d] -= rate * of_word / np.sqrt(w2[d])
            c[d] -= rate * of_context / np.sqrt(c2[d])
            w2[d] += of_word * of_word
            c2[d] += of_context * of_context
        w[size] -= rate * slope / np.sqrt(w2[size])
        c[size] -= rate * slope / np.sqrt(c2[size])
        w2[size] += slope * slope
        c2[size] += slope * slope
    return total
