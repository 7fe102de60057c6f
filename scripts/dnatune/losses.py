"""Losses for classes of unequal size. In: logits (batch, classes) and class ids; out: one number to minimise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def classification_loss(training: dict[str, Any], class_counts: np.ndarray) -> Loss:
    """Return the loss for ``training.imbalance``; ``class_counts`` (classes,) are those of the training part.

    A class without a training sequence in this fold counts as one sequence, so that nothing is divided by zero.
    """
    counts = torch.from_numpy(np.maximum(class_counts, 1)).double()
    return LOSSES[training["imbalance"]](training, counts)


def _plain(training: dict[str, Any], counts: torch.Tensor) -> Loss:
    smoothing = training["label_smoothing"]
    return lambda logits, labels: cross_entropy(logits, labels, label_smoothing=smoothing)


def _weighted(training: dict[str, Any], counts: torch.Tensor) -> Loss:
    """Weight n / (classes * count), scikit-learn's 'balanced'."""
    smoothing = training["label_smoothing"]
    weights = (counts.sum() / (len(counts) * counts)).float()
    return lambda logits, labels: cross_entropy(
        logits, labels, weight=weights.to(logits.device), label_smoothing=smoothing
    )


def _focal(training: dict[str, Any], counts: torch.Tensor) -> Loss:
    """Scale each sequence's loss by (1 - p)^gamma, p the probability of the truth (Lin 2017, eq. 4)."""
    gamma, smoothing = training["focal_gamma"], training["label_smoothing"]

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = logits.log_softmax(-1).gather(1, labels[:, None]).squeeze(1).exp()
        each = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return ((1 - truth).clamp(min=1e-6) ** gamma * each).mean()

    return loss


def _adjusted(training: dict[str, Any], counts: torch.Tensor) -> Loss:
    """Add tau * log prior to the logits during training (Menon 2021, eq. 10)."""
    smoothing = training["label_smoothing"]
    prior = (training["logit_adjustment_tau"] * (counts / counts.sum()).log()).float()
    return lambda logits, labels: cross_entropy(logits + prior.to(logits.device), labels, label_smoothing=smoothing)


# Balanced sampling changes which sequences are drawn, not the loss.
LOSSES = {
    "none": _plain,
    "balanced_sampling": _plain,
    "class_weights": _weighted,
    "focal": _focal,
    "logit_adjustment": _adjusted,
}
