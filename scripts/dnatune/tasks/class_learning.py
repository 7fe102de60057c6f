"""Learning classes: cross entropy in its kinds, probabilities averaged, scores are log probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dnatune.losses import Loss, classification_loss
from dnatune.metrics import evaluate
from dnatune.tasks.base import Learning


class ClassLearning(Learning):
    """See the module."""

    def loss(self, training: Mapping[str, Any], targets: np.ndarray, outputs: int) -> Loss:
        """Return the loss for ``training.imbalance``."""
        return classification_loss(training, np.bincount(targets, minlength=outputs))

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the softmax."""
        return logits.softmax(-1)

    def scores(self, mean: torch.Tensor) -> torch.Tensor:
        """Return log probabilities."""
        return mean.clamp_(min=torch.finfo(torch.float32).tiny).log_()

    def curve_metrics(self, scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return log loss, macro PR-AUC, accuracy and macro F1 over the classes present."""
        names = [str(i) for i in range(scores.shape[1])]
        table = evaluate(np.exp(scores.astype(np.float64)), targets, names, top_k=1, per_class=False)
        values = table.set_index("metric")["value"]
        return {metric: float(values[metric]) for metric in self.task.curve}
