"""A masked language model whose vocabulary-wide logits are computed where a token is to be foretold, and nowhere else.

Six tokens of seven are not masked; for a small encoder their logits would be most of the work. The head of the model is
given the states at the masked places alone: any head that goes token by token gives the same there, which is tried
before it is relied upon.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from models import peculiar
from models.pretraining.masking import IGNORED


class MaskedLm:
    """Ids and labels to losses.

    Args:
        body: A transformers model for masked language modelling.
        pads: Whether its mask hides padding (`models.padding`); where not, the rows of each length go by themselves.

    Attributes:
        sparse: Whether logits are computed at the masked places only: where the model gives the same so.
    """

    def __init__(self, body: Any, *, pads: bool = True) -> None:
        self.body = body
        self.pads = pads
        self._places: Tensor | None = None
        self._hook = body.base_model.register_forward_hook(self._pick)
        self.sparse = False
        self.sparse = self._is_the_same()

    def losses(self, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """(M,) float32 cross-entropy of each masked token, in the order of rows or, without padding, of their lengths.

        Args:
            ids: (B, T) int64, with masks.
            mask: (B, T) int64, nonzero where a token is real.
            labels: (B, T) int64, `IGNORED` where nothing is to be foretold.
        """
        if self.pads:
            return self._losses(ids, mask, labels)
        lengths = (mask != 0).sum(1)
        together = [(lengths == length, length) for length in torch.unique(lengths).tolist()]
        return torch.cat([self._losses(ids[rows, :n], mask[rows, :n], labels[rows, :n]) for rows, n in together])

    def remove(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()

    def _losses(self, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        ids, long_mask, _ = peculiar.long_enough(self.body.config, ids, mask, None)
        labels = pad(labels, (0, ids.shape[1] - labels.shape[1]), value=IGNORED)
        places = labels != IGNORED
        logits = self._logits(ids, long_mask, places)  # (M, V)
        return cross_entropy(logits.float(), labels[places], reduction="none")

    def _logits(self, ids: Tensor, mask: Tensor | None, places: Tensor) -> Tensor:
        peculiar.attend_by_length(self.body.base_model, self.body.config, ids.shape[1])
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
        ids = (torch.arange(12, device=self.body.device) % peculiar.n_known_tokens(self.body.config)).reshape(2, 6)
        places = (torch.arange(12, device=ids.device) % 4 == 1).reshape(2, 6)
        try:
            whole = self._logits(ids, torch.ones_like(ids), places)
            self.sparse = True
            part = self._logits(ids, torch.ones_like(ids), places)
            return part.shape == whole.shape and torch.allclose(part, whole, atol=1e-4, rtol=1e-4)
        except (RuntimeError, AttributeError, IndexError, TypeError, KeyError):
            return False
        finally:
            self.body.train(training)
