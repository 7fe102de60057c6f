"""Learning values: squared or Huber errors in standardised units, missing values masked, values averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import huber_loss, mse_loss

from dnatune.losses import Loss
from dnatune.regression_metrics import averages, evaluate
from dnatune.tasks.base import Learning
from dnatune.tasks.regression_values import scale_of

# Both per value; Huber's turns from squared to absolute at one standard deviation.
ERRORS = {"mse": mse_loss, "huber": huber_loss}


class RegressionLearning(Learning):
    """See the module."""

    def fitted_head(self, head: dict[str, Any], targets: np.ndarray) -> dict[str, Any]:
        """Return the head with mean and standard deviation of each output in the training part."""
        scale = scale_of(targets, self.options["columns"])
        return {**head, "mean": scale.mean.tolist(), "sd": scale.sd.tolist()}

    def loss(self, training: Mapping[str, Any], targets: np.ndarray, outputs: int) -> Loss:
        """Return the mean over outputs of the mean error in standard deviations of the training part.

        A value weighs 1 / (outputs x share of records that have this output), whatever else is in its batch: so
        outputs count equally however many values they have, and a rare one does not shake a batch.
        """
        scale, error = scale_of(targets, self.options["columns"]), ERRORS[self.options["loss"]]
        sd = torch.from_numpy(scale.sd).float()
        weight = torch.from_numpy(1 / (outputs * scale.share)).float()

        def loss(values: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
            there = ~measured.isnan()
            units = sd.to(values.device)
            # Predictions stand in for missing values: their error is 0, and no NaN reaches a gradient.
            target = torch.where(there, measured, values.detach())
            each = error(values / units, target / units, reduction="none")
            return (each * weight.to(values.device)).sum(1).mean()

        return loss

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the values."""
        return logits

    def scores(self, mean: torch.Tensor) -> torch.Tensor:
        """Return the values."""
        return mean

    def curve_metrics(self, scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return mean squared error, R2, Pearson's and Spearman's correlation, averaged over outputs."""
        found = averages(evaluate(targets, scores, self.options["columns"], per_output=False))
        return {metric: float(found[metric]) for metric in self.task.curve}
