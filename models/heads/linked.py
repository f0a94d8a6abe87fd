"""A head for linked label groups: each group's classifier reads the class of the group before it beside the text.

As a chain of rooms: the text's vector decides the first group, text and first group the second, and so on. In training
the class before is the true one (teacher forcing); in use it is unknown, so the classifier is asked for each class that
it may be, and the answers are averaged by their probabilities. That average is exact:

    p(g = c) = Σ_b p(g−1 = b) · p(g = c | text, g−1 = b)
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from models.heads.pooled import Dropout, HeadShape, Pool, first_token, max_pool, mean_pool
from models.schema import Between

POOLS: dict[str, Pool] = {"cls": first_token, "mean": mean_pool, "max": max_pool}


class LinkedHead(nn.Module):
    """pool → dropout → a linear layer a group, which from the second group on reads an embedded class, too.

    Args:
        pool: ``(hidden, mask) -> (B, D)``.
        shape: Width, classes of the groups.
        width: Of the embedding of a class.
        dropout: On the pooled vector.
        teacher: Whether training shows the true classes; otherwise it averages, as in use.
    """

    all_layers = False
    takes_targets = True

    def __init__(self, pool: Pool, shape: HeadShape, *, width: int, dropout: float, teacher: bool) -> None:
        super().__init__()
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        before = shape.groups[:-1]
        embeddings = [nn.Embedding(size, width) for size in before]
        widths = [shape.hidden, *(shape.hidden + width for _ in before)]
        classifiers = [nn.Linear(w, size) for w, size in zip(widths, shape.groups, strict=True)]
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.02)
        for classifier in classifiers:
            nn.init.normal_(classifier.weight, std=0.02)
            nn.init.zeros_(classifier.bias)
        self.embeddings, self.classifiers = nn.ModuleList(embeddings), nn.ModuleList(classifiers)
        self.teacher = teacher

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None, targets: Tensor | None = None) -> Tensor:
        """(B, ΣC) logits, the groups side by side; after the first group they are log-probabilities.

        Args:
            hidden: As for every head.
            mask: As for every head.
            targets: (B, G) true classes, which the teacher shows in training; None outside it.
        """
        dtype = next(self.classifiers.parameters()).dtype
        text = self.dropout(self.pool(hidden, mask).to(dtype))  # (B, D)
        outputs = [self.classifiers[0](text)]
        for g, (embedding, classifier) in enumerate(zip(self.embeddings, self.classifiers[1:], strict=True)):
            if self.training and self.teacher and targets is not None:
                outputs.append(classifier(torch.cat([text, embedding(targets[:, g])], dim=-1)))
            else:
                outputs.append(_average(text, outputs[-1], embedding, classifier))
        return torch.cat(outputs, dim=-1)


def linked(
    shape: HeadShape,
    *,
    dropout: Dropout = 0.1,
    pool: Literal["cls", "mean", "max"] = "mean",
    link: Literal["teacher", "soft"] = "teacher",
    width: Annotated[int, Between(1, 65_536)] = 32,
) -> LinkedHead:
    """For multi_group: each group's classifier reads the class of the group before it, too.

    Args:
        shape: Must have groups.
        dropout: On the pooled vector.
        pool: How token vectors become one.
        link: ``teacher`` shows the true class in training, ``soft`` averages over classes there as well.
        width: Of the embedding of a class.
    """
    return LinkedHead(POOLS[pool], shape, width=width, dropout=dropout, teacher=link == "teacher")


def _average(text: Tensor, before: Tensor, embedding: nn.Module, classifier: nn.Module) -> Tensor:
    """(B, C) log-probabilities of a group: the mean over what the group before may be, `before` being its logits."""
    n_before = before.shape[-1]
    every = embedding(torch.arange(n_before, device=text.device)).to(text.dtype)  # (P, W)
    pairs = torch.cat(
        [text.unsqueeze(1).expand(-1, n_before, -1), every.unsqueeze(0).expand(len(text), -1, -1)], dim=-1
    )  # (B, P, D + W)
    given: Tensor = classifier(pairs).float().log_softmax(-1)  # (B, P, C)
    return (before.float().log_softmax(-1).unsqueeze(-1) + given).logsumexp(dim=1)
