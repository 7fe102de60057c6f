"""What stands between pooled hidden states and a task's outputs. In: (..., hidden); out: (..., outputs).

This file travels with every saved model that uses it, so it needs nothing but torch.
"""

from __future__ import annotations

import torch
from torch import nn


class ScaledLinear(nn.Linear):
    """A linear layer that learns standardised values and gives them back in their units (value * sd + mean)."""

    def __init__(self, hidden: int, outputs: int, mean=None, sd=None) -> None:
        super().__init__(hidden, outputs)
        self.register_buffer("mean", torch.tensor(mean or [0.0] * outputs))
        self.register_buffer("sd", torch.tensor(sd or [1.0] * outputs))

    def _apply(self, function, recurse=True):
        # Half precision is for weights: a mean of 1005 would become 1004.
        kept = {name: getattr(self, name) for name in ("mean", "sd")}
        super()._apply(function, recurse)
        for name, value in kept.items():
            moved = getattr(self, name)
            if moved.dtype != value.dtype and not value.is_meta:
                setattr(self, name, value.to(moved.device))
        return self

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Map embeddings to values in their units."""
        return super().forward(embedding).float() * self.sd + self.mean


class GroupedHeads(nn.Module):
    """A head of its own (one hidden layer) for each named group of labels; outputs in the order of the labels."""

    def __init__(self, hidden: int, groups: list[list[int]], dropout: float) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, len(labels)))
            for labels in groups
        )
        order = torch.tensor([label for labels in groups for label in labels])
        self.register_buffer("place", order.argsort())

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Map embeddings to logits."""
        return torch.cat([head(embedding) for head in self.heads], dim=-1)[..., self.place]


def make_head(hidden: int, outputs: int, head: dict | None, dropout: float) -> nn.Module:
    """Return the head that ``head`` (``PooledConfig.head``) describes, with fresh weights."""
    head = head or {}
    if head.get("groups"):
        made = GroupedHeads(hidden, head["groups"], dropout)
    elif head.get("problem_type") == "regression":
        made = ScaledLinear(hidden, outputs, head.get("mean"), head.get("sd"))
    else:
        made = nn.Linear(hidden, outputs)
    for layer in made.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return made


def loss_of(logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Return the loss that plain training with ``labels`` minimises; a missing value (NaN) counts for nothing."""
    logits = logits.float()
    if problem_type == "regression":
        there = ~labels.isnan()
        return nn.functional.mse_loss(logits[there], labels[there].float())
    if problem_type == "multi_label_classification":
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    return nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
