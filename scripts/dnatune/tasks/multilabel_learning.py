"""Learning many labels: binary cross entropy of each, sigmoid probabilities averaged, scores are log-odds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch.nn.functional import binary_cross_entropy_with_logits

from dnatune.losses import Loss
from dnatune.multilabel_metrics import evaluate_labels, thresholds_of
from dnatune.tasks.base import Learning


class MultilabelLearning(Learning):
    """See the module."""

    def loss(self, training: Mapping[str, Any], targets: np.ndarray, outputs: int) -> Loss:
        """Return the loss for ``training.imbalance``: the mean over records and labels.

        ``class_weights`` weighs a label's records by those without it per one with it; ``focal`` scales each decision
        by (1 - p)^gamma, p the probability of the truth (Lin 2017, eq. 4); balanced sampling changes no loss.
        """
        kind, gamma, smoothing = training["imbalance"], training["focal_gamma"], training["label_smoothing"]
        records = targets.sum(axis=0, dtype=np.int64)
        weights = np.maximum(len(targets) - records, 1) / np.maximum(records, 1)
        positive = torch.tensor(weights, dtype=torch.float32) if kind == "class_weights" else None

        def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            truth = labels.to(logits.dtype)
            smooth = truth * (1 - smoothing) + smoothing / 2
            weight = None if positive is None else positive.to(logits.device)
            each = binary_cross_entropy_with_logits(logits, smooth, pos_weight=weight, reduction="none")
            if kind == "focal":
                wrong = torch.where(truth > 0, -logits, logits).sigmoid()
                each = wrong.clamp(min=1e-6) ** gamma * each
            return each.mean()

        return loss

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the sigmoid."""
        return logits.sigmoid()

    def scores(self, mean: torch.Tensor) -> torch.Tensor:
        """Return log-odds, within what single precision can tell from 0 and 1."""
        numbers = torch.finfo(torch.float32)
        mean = mean.clamp(min=numbers.tiny, max=1 - numbers.eps)
        return mean.log() - (-mean).log1p()

    def curve_metrics(self, scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return the figures of the curve; tuned thresholds are here those that suit this very part best."""
        p = expit(scores.astype(np.float64))
        thresholds = thresholds_of(self.options["threshold"], p, targets)
        table = evaluate_labels(p, targets, thresholds, [""] * p.shape[1], per_label=False)
        values = table.set_index("metric")["value"]
        return {metric: float(values[metric]) for metric in self.task.curve}
