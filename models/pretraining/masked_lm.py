"""A masked language model whose vocabulary-wide logits are computed where a token is to be foretold, and nowhere else.

Six tokens of seven are not masked; for a small encoder their logits would be most of the work. The head of the model is
given the states at the masked places alone: any head that goes token by token gives the same there, which is tried
before it is relied upon.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.pretraining.masking import IGNORED


class MaskedLm:
    """Ids and labels to losses.

    Args:
        body: A transformers model for masked language modelling.
        sparse: Logits at the masked places only; None: where the model gives the same so.
    """

    def __init__(self, body: Any, *, sparse: bool | None = None) -> None:
        self.body = body
        self._places: Tensor | None = None
        self._hook = body.base_model.register_forward_hook(self._pick)
        self.sparse = self._is_the_same() if sparse is None else sparse

    def losses(self, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """(M,) float32 cross-entropy of each masked token.

        Args:
            ids: (B, T) int64, with masks.
            mask: (B, T) int64, nonzero where a token is real.
            labels: (B, T) int64, `IGNORED` where nothing is to be foretold.
        """
        places = labels != IGNORED
        logits = self._logits(ids, mask, places)  # (M, V)
        return cross_entropy(logits.float(), labels[places], reduction="none")

    def remove(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()

    def _logits(self, ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        if not self.sparse:
            return self.body(input_ids=ids, attention_mask=mask).logits[places]  # type: ignore[no-any-return]
        self._places = places
        try:
            return self.body(input_ids=ids, attention_mask=mask).logits[0]  # type: ignore[no-any-return]
        finally:
            self._places = None

    def _pick(self, module: Any, inputs: Any, output: Any) -> Any:  # noqa: ARG002
        if self._places is not None:
            output["last_hidden_state"] = output.last_hidden_state[self._places].unsqueeze(0)  # (1, M, D)
        return output

    @torch.no_grad()
    def _is_the_same(self) -> bool:
        training = self.body.training
        self.body.eval()
        ids = (torch.arange(12, device=self.body.device) % self.body.config.vocab_size).reshape(2, 6)
        places = (torch.arange(12, device=ids.device) % 4 == 1).reshape(2, 6)
        try:
            whole = self.body(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[places]
            self.sparse = True
            part = self._logits(ids, torch.ones_like(ids), places)
            return part.shape == whole.shape and torch.allclose(part, whole, atol=1e-4, rtol=1e-4)
        except (RuntimeError, AttributeError, IndexError, TypeError, KeyError):
            return False
        finally:
            self.body.train(training)
