"""A task knows its loss, how logits become probabilities, and which figures choose the best epoch.

Nothing else in the code asks which task it is: everything goes through the object that ``task`` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from dnatune.losses import Loss, classification_loss
from dnatune.metrics import evaluate


class Task(Protocol):
    """What training and prediction need to know about a task."""

    probabilities: Callable[[torch.Tensor], torch.Tensor]

    def loss(self, training: dict[str, Any], class_counts: np.ndarray) -> Loss:
        """Return the training loss."""
        ...

    def curve_metrics(self, log_probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the figures of one point of the learning curve, by metric name."""
        ...


class Multiclass:
    """One label per sequence, out of two or more. Probabilities are the softmax of the logits."""

    CURVE = ("log_loss", "pr_auc_macro", "accuracy", "f1_macro")

    @staticmethod
    def probabilities(logits: torch.Tensor) -> torch.Tensor:
        """Map logits (batch, classes) to probabilities (batch, classes)."""
        return logits.softmax(-1)

    def loss(self, training: dict[str, Any], class_counts: np.ndarray) -> Loss:
        """Return the loss for ``training.imbalance``; ``class_counts`` (classes,) of the training part."""
        return classification_loss(training, class_counts)

    def curve_metrics(self, log_probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return log loss, macro PR-AUC, accuracy and macro F1 over the classes present."""
        names = [str(i) for i in range(log_probabilities.shape[1])]
        table = evaluate(np.exp(log_probabilities.astype(np.float64)), labels, names, top_k=1, per_class=False)
        values = table.set_index("metric")["value"]
        return {metric: float(values[metric]) for metric in self.CURVE}


TASKS: dict[str, type] = {"multiclass": Multiclass}


def task(name: str) -> Task:
    """Return the task of the configuration key ``task``."""
    return TASKS[name]()
